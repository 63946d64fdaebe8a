"""Speed and memory, measured apart from everything else.

Speed: coders take turns on the same item in one process, so that whatever else the machine does
hits all of them alike: one turn each to warm up, then ROUNDS rounds; of an item's turns the median
counts, and the speed is all items' size over the sum of their medians. From array to the bytes of
a whole file, and from those bytes back.

Memory: a fresh process each, that encodes and decodes one item; the kernel's own high-water mark.
"""

from __future__ import annotations

import re
import resource
import statistics
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from enfold.bench.results import Memory, Speed

ROUNDS = 5


@dataclass(frozen=True)
class Contestant:
    """A coder at one quality: media to the bytes of a file, and back."""

    name: str
    quality: float
    encode: Callable[[Any, float], Any]
    decode: Callable[[Any], Any]


def race(contestants: Sequence[Contestant], items: Sequence[tuple[Any, float]],
         rounds: int = ROUNDS) -> dict[str, Speed]:
    """items: media and their size in the unit of the speed (Mpix, seconds of sound, ...)."""
    spent = {contestant.name: [0.0, 0.0] for contestant in contestants}
    for media, _ in items:
        turns = [_laps(contestants, media) for _ in range(rounds + 1)][1:]
        for name, total in spent.items():
            for way in (0, 1):
                total[way] += statistics.median(turn[name][way] for turn in turns)
    size = sum(size for _, size in items)
    return {c.name: Speed(c.quality, size / spent[c.name][0], size / spent[c.name][1]) for c in contestants}


def _laps(contestants: Sequence[Contestant], media: Any) -> Mapping[str, tuple[float, float]]:
    """One turn each: seconds of encoding and decoding."""
    laps = {}
    for contestant in contestants:
        start = time.perf_counter()
        data = contestant.encode(media, contestant.quality)
        middle = time.perf_counter()
        contestant.decode(data)
        laps[contestant.name] = (middle - start, time.perf_counter() - middle)
    return laps


def peak_memory(contestant: Contestant, media: Any) -> Memory:
    """Of this process, which should have done nothing else."""
    before = peak_mb()
    contestant.decode(contestant.encode(media, contestant.quality))
    return Memory(round(peak_mb(), 1), round(before, 1))


def peak_mb() -> float:
    """The most memory this process ever held, in MB.

    From /proc where there is one: getrusage counts what the parent held before it, too.
    """
    status = Path("/proc/self/status")
    if status.exists() and (found := re.search(r"VmHWM:\s+(\d+) kB", status.read_text())):
        return int(found[1]) * 1024 / 1e6
    unit = 1 if sys.platform == "darwin" else 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit / 1e6
