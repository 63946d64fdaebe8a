"""Samples a second from disk to batch: latents out of a pack, beside JPEGs decoded and resized.

    latents      Parquet → checksums → entropy decoding → float32 (B, C, h, w), dequantised
    JPEG         file → decoder → resize to as many numbers: (B, 3, s·h, s·w), s² · 3 = C → float32

One process, one thread. Contestants take turns, a batch each; every round reads its data anew, from
the system's file cache. `draft` lets libjpeg decode at a half, a quarter or an eighth of the size, as
close above the wanted one as there is: quicker, and not the same picture.
"""

from __future__ import annotations

import math
import statistics
import time
import warnings
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np

from enfold.bench.learn_runs import write
from enfold.bench.machine import Machine, this_machine
from enfold.errors import MediaError, UsageError
from enfold.learners.packing import pack
from enfold.learners.packs import Pack, open_pack

PACKAGES = ("enfold", "numpy", "torch", "torchvision", "pillow", "pyarrow")
REFERENCE = "JPEG, Pillow"
RESULTS = "loader.json"
ROUNDS = 5


@dataclass(frozen=True)
class LoaderRow:
    """One way to read the samples. times: samples a second over those of REFERENCE, the median of the
    rounds' ratios. bytes: on disk. numbers: of one sample in the batch. tokens: places it stands for."""

    name: str
    samples_per_s: float
    times: float
    bytes: int
    numbers: int
    tokens: int


@dataclass(frozen=True)
class LoaderResults:
    data: str
    codec: str
    quality: int
    samples: int
    batch: int
    rows: tuple[LoaderRow, ...]
    machine: Machine
    command: str
    date: str
    notes: tuple[str, ...]


def bench_loader(folder: Path, out: Path, *, codec: str, quality: int | None = None, batch: int = 64, limit: int = 0,
                 rounds: int = ROUNDS, command: str = "", date: str = "",
                 begin: Callable[[int], Callable[[], None]] = lambda count: lambda: None) -> LoaderResults:
    """folder: of JPEGs, one size; out: where packs of it go, or are, and loader.json. limit: only so many samples.

    Raises UsageError, MediaError, MissingWeightsError.
    """
    import torch

    files = sorted(path for path in folder.rglob("*") if path.suffix.lower() in (".jpg", ".jpeg") and path.is_file())
    files = files[:limit or None]
    if len(files) < batch:
        raise MediaError(f"{folder} holds {len(files)} JPEG files, a batch is {batch}: name a folder with more")
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        listed = _listed(files, folder, out)
        packs = {}
        for coding in ("static", "codec"):
            pack(folder, out / coding, codec=codec, quality=quality, coding=coding, labels=listed, jobs=0)
            packs[coding] = open_pack(out / coding)
        _, channels, high, wide = _first(packs["static"]).shape
        side = max(1, round(math.sqrt(channels / 3)))
        readers: dict[str, Callable[[], Iterator[Any]]] = {
            f"latents, {coding} coding": partial(_latents, opened, batch) for coding, opened in packs.items()}
        decoders, notes = _decoders(side * wide, side * high)
        for name, decoder in decoders.items():
            readers[name] = partial(_pictures, files, decoder, batch)
        speeds = _race(readers, rounds, len(files), begin(rounds * len(readers)))
        sizes = {f"latents, {coding} coding": sum(path.stat().st_size for path in opened.shards)
                 for coding, opened in packs.items()}
    finally:
        torch.set_num_threads(before)
    originals = sum(path.stat().st_size for path in files)
    rows = tuple(LoaderRow(name, round(statistics.median(turns), 1),
                           round(statistics.median(mine / other for mine, other in
                                                   zip(turns, speeds[REFERENCE], strict=True)), 2),
                           sizes.get(name, originals),
                           channels * high * wide if name in sizes else 3 * side * side * high * wide, high * wide)
                 for name, turns in speeds.items())
    results = LoaderResults(folder.resolve().name, codec, packs["static"].info.quality, len(files), batch, rows,
                            this_machine(PACKAGES), command, date, notes)
    write(results, out / RESULTS)
    return results


def _listed(files: Sequence[Path], folder: Path, out: Path) -> Path:
    """The samples as a CSV: packs of a part of a folder are of that part."""
    import csv

    table = out / "samples.csv"
    try:
        out.mkdir(parents=True, exist_ok=True)
        with table.open("w", newline="", encoding="utf-8") as file:
            names = [path.relative_to(folder).as_posix() for path in files]
            csv.writer(file).writerows([("file", "label"), *((name, name.partition("/")[0]) for name in names)])
    except (OSError, UnicodeEncodeError) as error:
        raise MediaError(f"{table}: cannot be written: {error}") from error
    return table


def _first(opened: Pack) -> Any:
    from enfold.learners.dataset import LatentDataset

    grids = {(row["latent_height"], row["latent_width"]) for group in range(len(opened.groups))
             for row in opened.table(group, ("latent_height", "latent_width")).to_pylist()}
    if len(grids) > 1:
        raise UsageError(f"the pictures make latents of {len(grids)} sizes: a batch needs one, resize them first")
    return LatentDataset(opened).batch([0]).latents


def _latents(opened: Pack, batch: int) -> Iterator[Any]:
    """Shuffled batches; nothing is kept from one round to the next."""
    from enfold.learners.dataset import LatentStream

    for made in LatentStream(open_pack(opened.folder), batch):
        yield made.latents


def _pictures(files: Sequence[Path], decoder: Callable[[bytes], Any], batch: int) -> Iterator[Any]:
    import torch

    order = np.random.default_rng(0).permutation(len(files))
    for at in range(0, len(files), batch):
        yield torch.stack([decoder(files[number].read_bytes()) for number in order[at:at + batch]])


def _decoders(width: int, height: int) -> tuple[dict[str, Callable[[bytes], Any]], tuple[str, ...]]:
    """JPEG bytes → float32 (3, height, width), in each way that is installed."""
    import torch
    from PIL import Image

    def pillow(data: bytes, draft: bool = False) -> Any:
        with Image.open(BytesIO(data)) as image:
            if draft:
                image.draft("RGB", (width, height))
            small = image.convert("RGB").resize((width, height), Image.Resampling.BILINEAR)
        return torch.from_numpy(np.asarray(small, np.float32)).permute(2, 0, 1)

    decoders: dict[str, Callable[[bytes], Any]] = {
        REFERENCE: pillow, "JPEG, Pillow, draft": partial(pillow, draft=True)}
    try:
        from torchvision.io import ImageReadMode, decode_jpeg
    except ImportError:
        return decoders, ("torchvision left out: it is not installed: pip install 'enfold[bench]'",)

    def torchvision(data: bytes) -> Any:
        with warnings.catch_warnings():         # that TorchCodec will take its place, at every call
            warnings.simplefilter("ignore", DeprecationWarning)
            pixels = decode_jpeg(torch.frombuffer(bytearray(data), dtype=torch.uint8), mode=ImageReadMode.RGB)
        return torch.nn.functional.interpolate(pixels[None].float(), (height, width), mode="bilinear",
                                               antialias=True, align_corners=False)[0]

    decoders["JPEG, torchvision"] = torchvision
    return decoders, ()


def _race(readers: dict[str, Callable[[], Iterator[Any]]], rounds: int, samples: int,
          advance: Callable[[], None]) -> dict[str, list[float]]:
    """Samples a second in each round: in turn, batch by batch; a round before warms up."""
    speeds: dict[str, list[float]] = {name: [] for name in readers}
    for number in range(rounds + 1):
        spent = dict.fromkeys(readers, 0.0)
        under_way: dict[str, Iterator[Any] | None] = dict.fromkeys(readers)
        while under_way:
            for name in list(under_way):
                start = time.perf_counter()
                batches = under_way[name] or readers[name]()
                under_way[name] = batches
                ended = next(batches, None) is None
                spent[name] += time.perf_counter() - start
                if ended:
                    del under_way[name]
        for name, seconds in spent.items() if number else ():
            speeds[name].append(samples / seconds)
            advance()
    return speeds


def show(results: LoaderResults) -> None:
    """The table, on stdout."""
    from rich.console import Console
    from rich.table import Table

    table = Table(title=f"{results.data}: {results.samples:,} samples, {results.codec} at quality {results.quality}, "
                        f"batches of {results.batch}, one thread")
    for title in ("", "samples/s", f"times {REFERENCE}", "MB on disk", "numbers", "tokens"):
        table.add_column(title, justify="right" if title else "left")
    for row in results.rows:
        table.add_row(row.name, f"{row.samples_per_s:,.0f}", f"{row.times:.1f}", f"{row.bytes / 1e6:.1f}",
                      f"{row.numbers:,}", f"{row.tokens:,}")
    console = Console()
    console.print(table)
    for note in results.notes:
        console.print(note, markup=False)
