"""What it buys to colour latents: the same network, the same minutes or epochs, on latents and on pixels.

    latents     grey latents (C, h, w) → latents of the picture in colour ─ the codec's synthesis ─┐
    pixels      grey blocks (64, h, w) → blocks in colour (192, h, w) ─────────────────────────────┴─ picture

Both networks have as many tokens and the same blocks between them; what differs is the first map and the last.
All are scored alike: the picture that comes out, in 8 bits, against the original that was never trained on, pixel
by pixel. PSNR is that of the mean squared error over the whole test set (pictures without colours would have an
infinite one of their own): of red, green and blue, and of the two chroma planes of JPEG.

Beside them stand what no learning gives: the grey picture as it is, and what the codec alone makes of the picture
in colour, which is as far as its latents could ever lead.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from enfold.bench.learn_inputs import YCC, GreyPixels, Source, checksums, disk_bytes, grey_of
from enfold.bench.learn_runs import COSTS, Cost, Learning, Run, RunFile, Score, write
from enfold.bench.machine import Machine, this_machine
from enfold.errors import UsageError
from enfold.learners.colorization import Colorizer, synthesised
from enfold.learners.dataset import LatentDataset
from enfold.learners.fitting import Schedule
from enfold.learners.samples import Pairs, Samples, origin_of

INPUTS = ("latents", "pixels")
RESULTS = "learn-colorize.json"
PACKAGES = ("enfold", "numpy", "torch", "pillow", "pyarrow", "lightning-fabric")
AT_ONCE = 64                # pictures that are scored


@dataclass(frozen=True)
class ColourRow:
    """One input. shape: of a grey sample; psnr_db, chroma_psnr_db: of the pictures, over the test set."""

    input: str
    shape: tuple[int, ...]
    tokens: int
    parameters: int
    psnr_db: Score
    chroma_psnr_db: Score
    cost: Cost


@dataclass(frozen=True)
class Unlearnt:
    """What pictures score that no network has coloured: grey ones as they are, those in colour after the codec."""

    name: str
    psnr_db: float
    chroma_psnr_db: float


@dataclass(frozen=True)
class ColourResults:
    data: str
    codec: str
    quality: int
    train: int
    test: int
    features: int
    depth: int
    schedule: Schedule
    seeds: int
    rows: tuple[ColourRow, ...]
    unlearnt: tuple[Unlearnt, ...]
    machine: Machine
    command: str
    date: str


@dataclass(frozen=True)
class Side:
    """Training or test set: packs of the grey pictures and of those in colour, and the same as pixels."""

    grey: LatentDataset
    colour: LatentDataset
    pixels: GreyPixels

    @classmethod
    def of(cls, source: Source, out: Path, codec: str, quality: int | None) -> Side:
        """Raises UsageError where the pictures are of several sizes."""
        colour = source.packed(out, codec, quality)
        grey = source.packed(out.with_name(f"{out.name}-grey"), codec, quality, grey=True)
        reading = colour.reading.pack
        sizes = {(row["height"], row["width"]) for group in range(len(reading.groups))
                 for row in reading.table(group, ("height", "width")).to_pylist()}
        if len(sizes) > 1:
            raise UsageError(f"{source.path} holds pictures of {len(sizes)} sizes: a batch needs one, resize them "
                             "first")
        return cls(grey, colour, GreyPixels(source.files(colour), *sizes.pop()))

    def samples(self, name: str) -> Samples:
        return Pairs(self.grey, self.colour) if name == "latents" else self.pixels

    def bytes(self, name: str) -> int:
        """On disk: of pixels, the pictures in colour alone, for the grey is made of them."""
        both = (*self.grey.reading.pack.shards, *self.colour.reading.pack.shards)
        return disk_bytes(both if name == "latents" else self.pixels.files)


def bench_colorize(train: Path | Source, test: Path | Source, out: Path, *, codec: str, quality: int | None = None,
                   inputs: Sequence[str] = INPUTS, learning: Learning | None = None, command: str = "",
                   date: str = "", say: Callable[[str], None] = lambda text: None) -> ColourResults:
    """train, test: pictures of one size. out: where packs, runs and learn-colorize.json go, and where those
    that are there are taken up again.

    Raises UsageError, MediaError, MissingWeightsError.
    """
    learning = learning or Learning()
    if not inputs or set(inputs) - set(INPUTS):
        raise UsageError(f"inputs {', '.join(inputs) or 'none'}: they are of {', '.join(INPUTS)}")
    if learning.network != "conv":
        raise UsageError(f"network {learning.network!r}: pictures are coloured by conv")
    learning.schedules()
    fitting, testing = (Side.of(Source.of(source), out / name, codec, quality) for name, source in
                        (("train", train), ("test", test)))

    def run(name: str, schedule: Schedule) -> Run:
        learner = Colorizer(features=learning.features, depth=learning.depth, schedule=schedule)
        learner.fit(fitting.samples(name))
        return Run.of(name, learner, len(fitting.pixels), _scores(testing.pixels, _coloured(learner, name, testing)))

    about = ["colorize", *checksums(fitting.grey, fitting.colour, testing.grey, testing.colour), learning.features,
             learning.depth]
    every = RunFile(out, about).every(inputs, learning, run, say)
    results = ColourResults(
        Source.of(train).name, codec, fitting.colour.info.quality, len(fitting.pixels),
        len(testing.pixels), learning.features, learning.depth, learning.schedule, learning.seeds,
        tuple(_row(runs, fitting.bytes(name)) for name, runs in every.items()), _unlearnt(testing),
        this_machine(PACKAGES), command, date)
    write(results, out / RESULTS)
    return results


Pictures = Callable[[np.ndarray], Sequence[np.ndarray]]     # rows of the test set → uint8 (H, W, 3) of each


def _coloured(learner: Colorizer, name: str, testing: Side) -> Pictures:
    def of_pixels(rows: np.ndarray) -> Sequence[np.ndarray]:
        return testing.pixels.pictures(learner.predict(testing.pixels.only(rows)))

    return of_pixels if name == "pixels" else lambda rows: learner.pictures(testing.grey, rows.tolist())


def _unlearnt(testing: Side) -> tuple[Unlearnt, ...]:
    def grey(rows: np.ndarray) -> Sequence[np.ndarray]:
        return [np.repeat(grey_of(rgb)[..., None], 3, -1) for rgb in testing.pixels.colours(rows)]

    def codec(rows: np.ndarray) -> Sequence[np.ndarray]:
        return synthesised(origin_of(testing.colour), testing.colour.batch(rows).latents.numpy(),
                           testing.colour.reading.geometries(rows))

    return tuple(Unlearnt(name, **_scores(testing.pixels, pictures))
                 for name, pictures in (("grey", grey), ("codec", codec)))


def _scores(originals: GreyPixels, pictures: Pictures) -> dict[str, float]:
    """PSNR in dB of the mean squared error over all pictures."""
    squares, chroma_squares, count = 0.0, 0.0, 0
    for at in range(0, len(originals), AT_ONCE):
        rows = np.arange(at, min(at + AT_ONCE, len(originals)))
        for rgb, made in zip(originals.colours(rows), pictures(rows), strict=True):
            missed = made.reshape(-1, 3).astype(np.float64) - rgb.reshape(3, -1).T
            squares += np.square(missed).sum()
            chroma_squares += np.square(missed @ YCC[1:].T).sum()
            count += len(missed)
    return {"psnr_db": _db(squares / (3 * count)), "chroma_psnr_db": _db(chroma_squares / (2 * count))}


def _db(mean_square: float) -> float:
    return 10 * math.log10(255**2 / max(mean_square, 1e-9))


def _row(runs: Sequence[Run], on_disk: int) -> ColourRow:
    one = runs[0]
    return ColourRow(one.input, (one.channels, one.height, one.width), one.tokens, one.parameters,
                     Score.of(runs, "psnr_db"), Score.of(runs, "chroma_psnr_db"), Cost.of(runs, on_disk))


def show(results: ColourResults) -> None:
    """The table, on stdout."""
    from rich.console import Console
    from rich.table import Table

    table = Table(title=f"{results.data}: {results.train:,} to learn from, {results.test:,} to be tested on, "
                        f"{results.seeds} seeds", caption="grey: the grey pictures as they are; codec: those in "
                                                          "colour, as the codec keeps them")
    for title in ("input", "shape", "tokens", "PSNR, dB", "chroma, dB", *COSTS):
        table.add_column(title, justify="left" if title in ("input", "shape") else "right")
    for row in results.rows:
        table.add_row(row.input, "×".join(map(str, row.shape)), f"{row.tokens:,}", row.psnr_db.words(2),
                      row.chroma_psnr_db.words(2), *row.cost.words())
    for other in results.unlearnt:
        table.add_row(other.name, "", "", f"{other.psnr_db:.2f}", f"{other.chroma_psnr_db:.2f}")
    Console().print(table)
