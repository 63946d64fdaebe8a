"""Lossless: bits per dimension and speed, of pictures that come back exactly.

The rate is that of the whole file over height × width × 3. A coder that gives other pixels back is
refused, with the place of the first.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import numpy as np

from enfold.bench.images import load_rgb, medium
from enfold.bench.peers import coder
from enfold.bench.points import Point, Task
from enfold.bench.results import Results
from enfold.bench.running import Plan, bench
from enfold.errors import UsageError


def bench_lossless(plan: Plan, *, command: str = "", date: str = "",
                   begin: Callable[[int], Callable[[], None]] = lambda count: lambda: None) -> Results:
    """See `running.bench`: one point for each coder and picture, and no distortion."""
    pictures = replace(medium(), rate_unit="bits/dim", timed_rate=1.0, measure=measure)
    return bench(plan, pictures, (), command=command, date=date, begin=begin)


def measure(task: Task) -> Point:
    """One picture through one coder; runs in a worker."""
    picture, by = load_rgb(task.path), coder(task.codec)
    data = by.encode(picture, task.quality)
    decoded = by.decode(data)
    if not np.array_equal(decoded, picture):
        where = "its size" if decoded.shape != picture.shape else np.argwhere(decoded != picture)[0].tolist()
        raise UsageError(f"{task.codec} is not lossless: {task.item} came back changed at {where}")
    return Point(task.item, task.digest, task.codec, task.version, task.quality, len(data),
                 8 * len(data) / picture.size, {})
