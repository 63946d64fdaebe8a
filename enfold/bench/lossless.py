"""Lossless: bits per dimension and speed, of pictures that come back exactly.

The rate is that of the whole file over height × width × 3. A coder that gives other pixels back
is refused with the place of the first one.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from enfold.bench.images import PACKAGES, data_of, find_pictures, load_rgb, picture_tasks, timed, timing_note
from enfold.bench.machine import this_machine
from enfold.bench.peers import LOSSLESS, coder
from enfold.bench.points import Point, PointFile, Task, measured
from enfold.bench.results import Curve, Results, curve_points
from enfold.errors import UsageError


@dataclass(frozen=True)
class Plan:
    """What to measure; as in `images.Plan`. codecs: enfold's that are lossless."""

    folder: Path
    out: Path
    codecs: tuple[str, ...] = ()
    peers: tuple[str, ...] = tuple(LOSSLESS)
    limit: int = 0
    jobs: int = 1
    timing: bool = True
    cores: int = 0


def bench_lossless(plan: Plan, *, command: str = "", date: str = "",
                   begin: Callable[[int], Callable[[], None]] = lambda count: lambda: None) -> Results:
    """As `images.bench_images`, with one point for each coder and picture, and no distortion."""
    coders = [coder(name) for name in (*plan.codecs, *plan.peers)]
    if not coders:
        raise UsageError("nothing to measure: name codecs or peers")
    plan.out.mkdir(parents=True, exist_ok=True)
    pictures = find_pictures(plan.folder, plan.limit)
    tasks = picture_tasks(pictures, coders, {}, ())
    points = measured(tasks, measure, PointFile(plan.out / "points.jsonl"), jobs=plan.jobs, advance=begin(len(tasks)))
    curves = [Curve(c.name, c.label, c.version, c.settings, c.ours,
                    curve_points([point for point in points if point.codec == c.name], ())) for c in coders]
    if plan.timing:
        curves = timed(curves, list(pictures), plan.out / "timing.json", plan.cores)
    results = Results("pictures", "bits/dim", "Mpix/s", data_of(plan.folder, pictures), (), tuple(curves), (),
                      this_machine(PACKAGES), command, date, timing_note(plan.timing, plan.cores, len(pictures)))
    results.write(plan.out / "results.json")
    return results


def measure(task: Task) -> Point:
    """One picture through one coder; runs in a worker."""
    picture, found = load_rgb(task.path), coder(task.codec)
    data = found.encode(picture, task.quality)
    decoded = found.decode(data)
    if not np.array_equal(decoded, picture):
        where = "shape" if decoded.shape != picture.shape else np.argwhere(decoded != picture)[0].tolist()
        raise UsageError(f"{task.codec} is not lossless: {task.item} came back with another pixel at {where}")
    return Point(task.item, task.digest, task.codec, task.version, task.quality, len(data),
                 8 * len(data) / picture.size, {})
