"""Sounds: kbit/s and distortion of every codec on every sound of a folder.

Rates are those of whole files (see `audio_peers` for the containers); distortions are those of the
samples decoded from them, at the sampling rate and of the length of the original, with the codec's
delay taken off.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from operator import attrgetter
from pathlib import Path

import numpy as np

from enfold.bench.audio_metrics import METRICS
from enfold.bench.audio_peers import coder, fitted, read_pcm, read_sound, unfit_pcm
from enfold.bench.points import Point, Task
from enfold.bench.results import Results
from enfold.bench.running import Medium, Plan, bench, chosen, finite
from enfold.errors import UsageError

SUFFIXES = (".wav", ".flac", ".ogg", ".oga", ".opus", ".aif", ".aiff")
PACKAGES = ("av", "soundfile", "visqol-python", "numba")
TIMED_KBPS = 96.0


def medium(seconds: float = 0) -> Medium:
    """Sounds. seconds: how much of each, from its beginning; 0 for all."""
    load = partial(read_sound, seconds=seconds)
    excerpt = f"the first {seconds:g} seconds of each sound" if seconds else ""
    return Medium("sounds", "kbit/s", "× real time", SUFFIXES, PACKAGES, TIMED_KBPS, coder, load,
                  attrgetter("seconds"), partial(measure, seconds=seconds), partial(unfit, seconds=seconds), excerpt)


def bench_audio(plan: Plan, metrics: Sequence[str] = tuple(METRICS), seconds: float = 0, *, command: str = "",
                date: str = "", begin: Callable[[int], Callable[[], None]] = lambda count: lambda: None) -> Results:
    """See `running.bench`. metrics: names; those that cannot be had are left out with a note."""
    found, notes = chosen(METRICS, metrics, "measures")
    return bench(plan, medium(seconds), found, notes, command=command, date=date, begin=begin)


def lossless() -> Medium:
    """Sounds of 16 bits, for `bench lossless`: the rate is bits a sample, and nothing may change."""
    return Medium("sounds", "bits/sample", "× real time", SUFFIXES, PACKAGES, 8.0, coder, read_pcm,
                  attrgetter("seconds"), measure_lossless, unfit_pcm)


def measure(task: Task, seconds: float = 0) -> Point:
    """One sound through one coder at one quality; runs in a worker."""
    sound, by = read_sound(task.path, seconds), coder(task.codec)
    data = by.encode(sound, task.quality)
    try:
        decoded = fitted(by.decode(data), sound)
    except UsageError as error:
        raise UsageError(f"{task.item} by {task.codec}: {error}") from error
    scores = {name: METRICS[name].score(sound.samples, decoded.samples, sound.rate_hz) for name in task.metrics}
    return Point(task.item, task.digest, task.codec, task.version, task.quality, len(data),
                 8 * len(data) / sound.seconds / 1000, finite(scores))


def measure_lossless(task: Task) -> Point:
    """One sound through one lossless coder; runs in a worker."""
    sound, by = read_pcm(task.path), coder(task.codec)
    data = by.encode(sound, task.quality)
    if not np.array_equal(by.decode(data).samples, sound.samples):
        raise UsageError(f"{task.codec} is not lossless: {task.item} came back changed")
    return Point(task.item, task.digest, task.codec, task.version, task.quality, len(data),
                 8 * len(data) / sound.samples.size, {})


def unfit(path: Path, seconds: float = 0) -> str | None:
    """SI-SDR compares shapes, and silence has none."""
    sound = read_sound(path, seconds)
    if not np.ptp(sound.samples, 0).any():
        return "it is silent"
    channels = sound.samples.shape[1]
    return f"it has {channels} channels, and this bench compares one or two" if channels > 2 else None
