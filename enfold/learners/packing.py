"""Packing: media into shards of coded latents, on this machine's cores or through Ray.

    listing ── items ──┬─ chunk ─▶ rows ─┐
                       ├─ chunk ─▶ rows ─┼─▶ shard, written aside, renamed ─▶ a line in the manifest
                       └─ chunk ─▶ rows ─┘
               what a sample becomes depends on its own bytes and the plan: on nothing else

Guarantees: the same source and options give the same bytes, whatever the engine, the number of
processes, and how often the run was killed and repeated on the way; a sample that cannot be read is
left out and reported; what lies under a shard's name is whole.
"""

from __future__ import annotations

import hashlib
import os
import time
from collections.abc import Callable, Generator, Sequence
from contextlib import closing
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

import enfold
from enfold.errors import EnfoldError, MediaError, UsageError
from enfold.learners import manifest as manifests
from enfold.learners.coding import StaticCoding
from enfold.learners.manifest import Manifest, Plan, ShardDone
from enfold.learners.processes import Workers, in_order, workers
from enfold.learners.ray_engine import run_ray, the_ray
from enfold.learners.rows import PackInfo
from enfold.learners.shards import WRITERS, tar_key
from enfold.learners.sources import Item, Listing, Refusal, listing
from enfold.learners.tasks import CHUNK, Task, count_latents, make_rows, one_thread, picture_of, stopped, write_shard

SHARD_ROWS = 4096
COUNTED = 512               # samples that static tables are counted on
ENGINES = ("local", "ray")
MAX_PIXELS = 2**28


@dataclass(frozen=True)
class PackReport:
    """What a run leaves. bytes: of all shards; bytes_in: of the media in them; resumed: shards that
    were there before; seconds: of this run."""

    out: Path
    codec: str
    coding: str
    samples: int
    shards: int
    resumed: int
    bytes: int
    bytes_in: int
    refused: tuple[Refusal, ...]
    seconds: float


def pack(source: str | os.PathLike[str], out: str | os.PathLike[str], *, codec: str = enfold.DEFAULT_CODEC,
         quality: int | None = None, coding: str | None = None, to: str = "parquet",
         labels: str | os.PathLike[str] | None = None, image_column: str = "image", label_column: str = "label",
         grey: bool = False, shard_rows: int = SHARD_ROWS, jobs: int = 1, engine: str = "local", strict: bool = False,
         max_pixels: int | None = MAX_PIXELS,
         progress: Callable[[int, int], None] = lambda done, of: None) -> PackReport:
    """Packs what `sources.listing` finds in `source` into the folder `out`; goes on where a run stopped.

    quality: 1 to 100, None for the codec's default. coding: "static" or "codec", see `coding`; None
    takes static where the codec's latents allow it. to: "parquet" or "webdataset". grey: pictures
    lose their colours first. jobs: processes, 0 for one a core. strict: the first sample that cannot
    be read ends the run. progress: is told how many samples are done, of how many.

    Raises UsageError, MediaError (nothing to pack, nothing that can be read, or writing failed),
    MissingWeightsError.
    """
    started = time.monotonic()
    if to not in WRITERS or engine not in ENGINES or shard_rows < 1 or jobs < 0:
        raise UsageError(f"to={to!r}, engine={engine!r}, shard_rows={shard_rows}, jobs={jobs}: to is one of "
                         f"{', '.join(WRITERS)}, engine one of {', '.join(ENGINES)}, and numbers are positive")
    if to == "webdataset" and coding not in (None, "codec"):
        raise UsageError("tars hold whole .enf files, whose coding is the codec's: leave coding out")
    if engine == "ray":
        the_ray()                           # known to be missing before anything is read
    folder = Path(out)
    found = _fit_for(to, listing(source, labels=labels, image_column=image_column, label_column=label_column))
    if strict and found.refused:
        raise stopped(found.refused[0])
    before = manifests.read(folder)
    alone = engine != "local" or len(found.items) <= CHUNK or (before is not None and before.complete)
    many = 1 if alone else jobs or _cores()
    with manifests.held(folder), one_thread(), workers(many, enfold.load, codec) as by:
        state = _begin(folder, found, codec, quality, coding, to, shard_rows, grey, max_pixels, by)
        task = Task(state.info, grey, max_pixels)
        resumed, done = len(state.done), dict(state.done)
        samples = sum(_size(state.plan, number) for number in done)
        progress(samples, len(found.items))
        todo = [number for number in range(state.plan.shards) if number not in done]
        parts = [(number, found.items[number * shard_rows:(number + 1) * shard_rows]) for number in todo]

        def counted(more: int) -> None:
            nonlocal samples
            progress(samples := samples + more, len(found.items))

        if engine == "ray":
            finished = run_ray(task, parts, folder, to, jobs, strict, counted)
        else:
            finished = run_local(task, parts, folder, to, by, strict, counted)
        with closing(finished):             # so that processes end with an error, not some time after
            for entry in manifests.note(folder, finished):
                done[entry.shard] = entry
        state = replace(state, done=done)
        manifests.rewrite(state)
    entries = done.values()
    refused = (*found.refused, *(refusal for number in sorted(done) for refusal in done[number].refused))
    return PackReport(folder, state.plan.codec, state.plan.coding, sum(e.rows for e in entries), len(done), resumed,
                      sum(e.bytes for e in entries), sum(e.bytes_in for e in entries), refused,
                      time.monotonic() - started)


def run_local(task: Task, parts: Sequence[tuple[int, tuple[Item, ...]]], folder: Path, to: str, by: Workers,
              strict: bool, counted: Callable[[int], None]) -> Generator[ShardDone, None, None]:
    """Shard after shard, chunks of them in other processes where there are any."""
    chunks = [(number, items[at:at + CHUNK]) for number, items in parts for at in range(0, len(items), CHUNK)]
    results = in_order(make_rows, [(task, items) for _, items in chunks], by)
    with closing(results):
        for number, items in parts:
            count = -(-len(items) // CHUNK)
            yield write_shard(task.info, number, (next(results) for _ in range(count)), folder, to, strict, counted)


def _begin(folder: Path, found: Listing, codec: str, quality: int | None, coding: str | None, to: str, shard_rows: int,
           grey: bool, max_pixels: int | None, by: Workers) -> Manifest:
    """The manifest of the folder, or a new one: then tables are counted first."""
    model = enfold.load(codec)
    quality = getattr(model, "default_quality", 75) if quality is None else quality
    digest = hashlib.sha256("\n".join(f"{item.key}\t{item.label}" for item in found.items).encode()).hexdigest()
    before = manifests.read(folder)
    form = coding or ("codec" if to == "webdataset" else before.plan.coding if before else "static")
    plan = Plan(codec, model.fingerprint.hex(), quality, form, to, shard_rows, grey, len(found.items), digest)
    state = manifests.claim(folder, plan, None)
    if state is None:
        static = None
        if plan.coding == "static":
            task = Task(PackInfo(codec, model.fingerprint, quality, "codec"), grey, max_pixels)
            try:
                static = _static(model, task, found.items, by)
            except UsageError:
                if coding == "static":
                    raise
                plan = replace(plan, coding="codec")
        info = PackInfo(codec, model.fingerprint, quality, plan.coding, found.label_names, static)
        state = manifests.claim(folder, plan, info)
    if state is None:
        raise UsageError(f"{folder} changed while it was looked at: repeat the command")
    return state


def _static(model: Any, task: Task, items: Sequence[Item], by: Workers) -> StaticCoding:
    """Tables counted on samples spread over all."""
    some = [items[at] for at in np.unique(np.linspace(0, len(items) - 1, min(COUNTED, len(items))).astype(int))]
    calls = [(task, some[at:at + CHUNK]) for at in range(0, len(some), CHUNK)]
    with closing(in_order(count_latents, calls, by)) as found:
        latents = [latent for chunk in found for latent in chunk]
    if not latents:
        raise MediaError(f"of {len(items)} samples none that was tried can be read; the first: "
                         f"{_first_reason(task, items[0])}")
    blank = model.latents(np.zeros((8, 8, 3), np.uint8), quality=task.info.quality)
    return StaticCoding.of(latents, blank.dequantise)


def _first_reason(task: Task, item: Item) -> str:
    try:
        picture_of(item.read(), task)
    except EnfoldError as error:
        return f"{item.key}: {Refusal.of(item.key, error).reason}"
    return f"{item.key} can be"


def _fit_for(to: str, found: Listing) -> Listing:
    """In a tar, keys lose their suffix and dots: what is then the same is refused."""
    if to != "webdataset":
        return found
    first: dict[str, str] = {}
    items, refused = [], list(found.refused)
    for item in found.items:
        rival = first.setdefault(tar_key(item.key), item.key)
        if rival == item.key:
            items.append(item)
        else:
            refused.append(Refusal(item.key, "MediaError", f"in a tar its name is that of {rival}: rename one of them"))
    return Listing(tuple(items), found.label_names, tuple(refused))


def _size(plan: Plan, shard: int) -> int:
    return min(plan.shard_rows, plan.items - shard * plan.shard_rows)


def _cores() -> int:
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
