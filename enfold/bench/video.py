"""Films: bits per pixel and distortion of every codec on every film of a folder.

    psnr_db   over red, green and blue of a frame at once; mean over frames        ours, NumPy
    ms_ssim   structure at five scales; mean over frames                           ours, NumPy
    vmaf      what a viewer would say, 0 to 100, model 0.6.1; mean over frames     vmaf-torch

All are of RGB frames (VMAF of the luma that these have); `video_peers` says how they come about.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from functools import lru_cache, partial
from operator import attrgetter
from pathlib import Path
from typing import Any

import numpy as np

from enfold.bench.metrics import LEAST_SIDE, ms_ssim, psnr_db
from enfold.bench.points import Point, Task
from enfold.bench.results import Metric, Results
from enfold.bench.running import Medium, Plan, Scored, bench, chosen, finite
from enfold.bench.video_peers import KB, KR, Film, coder, read_film
from enfold.errors import UsageError

SUFFIXES = (".mp4", ".mkv", ".webm", ".mov", ".avi", ".y4m", ".m4v")
PACKAGES = ("av", "vmaf-torch")
TIMED_BPP = 0.1
FRAMES, GOP = 32, 32
CHUNK = 8                       # frames that VMAF is worked out on at once


def vmaf(original: Sequence[np.ndarray], other: Sequence[np.ndarray]) -> float:
    """Mean over frames, 0 to 100. Source: Li et al. 2016, "Toward a practical perceptual video
    quality metric"; the package's figures differ from the reference's by 0.03 at most."""
    import torch

    luma = [torch.from_numpy(np.stack([_luma(frame) for frame in film])[:, None]) for film in (original, other)]
    scores, count = [], len(original)
    with torch.inference_mode():
        for start in range(0, count, CHUNK):        # motion looks at the frame before and the one after
            low, high = max(start - 1, 0), min(start + CHUNK + 1, count)
            found = _vmaf()(luma[0][low:high], luma[1][low:high]).reshape(-1)
            scores.append(found[start - low:start - low + CHUNK])
        return float(torch.cat(scores).double().mean())


def _mean(score: Callable[[np.ndarray, np.ndarray], float], original: Sequence[np.ndarray],
          other: Sequence[np.ndarray]) -> float:
    return math.fsum(score(a, b) for a, b in zip(original, other, strict=True)) / len(original)


METRICS = {entry.metric.name: entry for entry in (
    Scored(Metric("psnr_db", "PSNR, dB (RGB)"), partial(_mean, psnr_db)),
    Scored(Metric("ms_ssim", "MS-SSIM", log=True), partial(_mean, ms_ssim)),
    Scored(Metric("vmaf", "VMAF"), vmaf, ("vmaf_torch",)),
)}


def medium(frames: int = FRAMES, gop: int = GOP, metrics: Sequence[str] = ()) -> Medium:
    """Films. frames: how many of each, from its beginning, 0 for all; gop: frames between key frames."""
    excerpt = f"the first {frames} frames of each film" if frames else ""
    return Medium("films", "bpp", "Mpix/s", SUFFIXES, PACKAGES, TIMED_BPP, partial(coder, gop=gop),
                  partial(read_film, frames=frames), attrgetter("mpix"), partial(measure, frames=frames, gop=gop),
                  partial(unfit, metrics=tuple(metrics)), excerpt)


def bench_video(plan: Plan, metrics: Sequence[str] = tuple(METRICS), frames: int = FRAMES, gop: int = GOP, *,
                command: str = "", date: str = "",
                begin: Callable[[int], Callable[[], None]] = lambda count: lambda: None) -> Results:
    """See `running.bench`. metrics: names; those that cannot be had are left out with a note."""
    if gop < 1:
        raise UsageError(f"gop is {gop}; it is the number of frames from one key frame to the next, 1 or more")
    found, notes = chosen(METRICS, metrics, "measures")
    return bench(plan, medium(frames, gop, [metric.name for metric in found]), found, notes, command=command,
                 date=date, begin=begin)


def measure(task: Task, frames: int, gop: int) -> Point:
    """One film through one coder at one quality; runs in a worker."""
    film, by = read_film(task.path, frames), coder(task.codec, gop)
    data = by.encode(film, task.quality)
    decoded = by.decode(data)
    original, other = list(film.rgb()), list(decoded.rgb() if isinstance(decoded, Film) else decoded)
    if len(other) != len(original) or other[0].shape != original[0].shape:
        raise UsageError(f"{task.codec} turned {len(original)} frames {original[0].shape} of {task.item} into "
                         f"{len(other)} {other[0].shape if other else ''}")
    scores = {name: METRICS[name].score(original, other) for name in task.metrics}
    return Point(task.item, task.digest, task.codec, task.version, task.quality, len(data),
                 8 * len(data) / (film.mpix * 1e6), finite(scores))


def unfit(path: Path, metrics: Sequence[str] = ()) -> str | None:
    """Too small for MS-SSIM's five scales."""
    film = read_film(path, 1)
    if "ms_ssim" in metrics and min(film.width, film.height) < LEAST_SIDE:
        return f"{film.width}×{film.height} pixels are too few for MS-SSIM: choose other --metrics"
    return None


def _luma(rgb: np.ndarray) -> np.ndarray:
    """float32, 16 to 235: BT.709, limited range."""
    return 16 + 219 / 255 * (rgb.astype(np.float32) @ np.array([KR, 1 - KR - KB, KB], np.float32))


@lru_cache(maxsize=1)
def _vmaf() -> Any:
    from vmaf_torch import VMAF

    return VMAF(clip_score=True).eval()
