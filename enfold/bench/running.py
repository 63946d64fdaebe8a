"""One bench, whatever the medium: what is measured, in which order, and what is made of it.

    folder ─→ tasks (item × coder × quality) ─→ points.jsonl ─→ curves ─→ BD-rates ─┐
                                               timing.json ───────────────────────┴→ results.json

A `Medium` says what the items are, how they are read, coded and measured; everything else is here.
"""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from enfold.bench.bdrate import bd_rate
from enfold.bench.machine import this_machine
from enfold.bench.points import Point, PointFile, Task, digest, measured, workers
from enfold.bench.results import Curve, Data, Memory, Metric, Results, Speed, curve_points
from enfold.bench.timing import ROUNDS, Contestant, peak_memory, race
from enfold.errors import MediaError, UsageError
from enfold.media import replace_file

PACKAGES = ("enfold", "numpy", "torch", "scipy", "bjontegaard")
TIMED_ITEMS = 4


@dataclass(frozen=True)
class Coder:
    """A codec as the bench sees it. encode: (media, quality) → the bytes of a whole file; decode:
    back. qualities: the usual ones, any order; none for a codec of which only speed and memory mean
    something, and which takes quality 0. version: of the library or the weights; a point measured with
    another is another point."""

    name: str
    label: str
    version: str
    settings: str
    qualities: tuple[float, ...]
    encode: Callable[[Any, float], bytes]
    decode: Callable[[bytes], Any]
    ours: bool = False


@dataclass(frozen=True)
class Scored:
    """A metric and how it is worked out. needs: packages that must be there."""

    metric: Metric
    score: Callable[..., float]
    needs: tuple[str, ...] = ()


@dataclass(frozen=True)
class Medium:
    """What is benched. The functions must be a module's, or partials of such: they run in other
    processes.

    name: in the plural. excerpt: which part of each item, in words; "" for all of it. packages:
    whose versions matter. coder: by name; raises UsageError. load: a file's media; size: theirs, in
    the unit of speed. measure: one task. unfit: why a file cannot take part, None if it can; may raise MediaError.
    timed_rate: speed is measured at the quality nearest to it.
    """

    name: str
    rate_unit: str
    speed_unit: str
    suffixes: tuple[str, ...]
    packages: tuple[str, ...]
    timed_rate: float
    coder: Callable[[str], Coder]
    load: Callable[[Path], Any]
    size: Callable[[Any], float]
    measure: Callable[[Task], Point]
    unfit: Callable[[Path], str | None] = lambda path: None
    excerpt: str = ""


@dataclass(frozen=True)
class Plan:
    """What to measure. codecs: enfold's; peers: others. qualities: for codecs that shall have others
    than their usual ones. limit: at most so many items, 0 for all. cores: that the timing may use,
    0 for all; timing: whether speed and memory are measured."""

    folder: Path
    out: Path
    codecs: tuple[str, ...]
    peers: tuple[str, ...]
    anchor: str
    qualities: Mapping[str, tuple[float, ...]] = field(default_factory=dict)
    rate_range: tuple[float, float] | None = None
    limit: int = 0
    jobs: int = 1
    timing: bool = True
    cores: int = 0


def bench(plan: Plan, medium: Medium, metrics: Sequence[Metric], notes: Sequence[str] = (), *, command: str = "",
          date: str = "", begin: Callable[[int], Callable[[], None]] = lambda count: lambda: None) -> Results:
    """Measures what is not measured yet, and writes `results.json` into `plan.out`.

    begin: is told the number of points and returns what to call for each. Raises UsageError,
    MediaError, MissingWeightsError.
    """
    coders = [medium.coder(name) for name in (*plan.codecs, *plan.peers)]
    rated, only_timed = [c.name for c in coders if c.qualities], [c for c in coders if not c.qualities]
    if plan.anchor not in rated:
        raise UsageError(f"the anchor {plan.anchor!r} is not among {', '.join(rated) or 'no codecs'}: "
                         "add it to --peers or --codecs, or name another with --anchor")
    if unknown := set(plan.qualities) - set(rated):
        raise UsageError(f"qualities for {', '.join(sorted(unknown))}, which this bench does not measure: "
                         f"it measures {', '.join(rated)}")
    if only_timed and not plan.timing:
        raise UsageError(f"{only_timed[0].name} can only be timed: leave it out of --peers, or --no-timing")
    plan.out.mkdir(parents=True, exist_ok=True)
    items, unfit = find(plan.folder, medium, plan.limit)
    tasks = [task(path, mark, c, quality, [metric.name for metric in metrics])
             for path, mark in items.items() for c in coders
             for quality in sorted(set(plan.qualities.get(c.name, c.qualities)))]
    points = measured(tasks, medium.measure, PointFile(plan.out / "points.jsonl"), jobs=plan.jobs,
                      advance=begin(len(tasks)))
    curves = [_curve(c, points, metrics) for c in coders]
    if plan.timing:
        curves = timed(curves, list(items), medium, plan.out / "timing.json", plan.cores)
    anchor = next(curve for curve in curves if curve.codec == plan.anchor)
    bd_rates = [bd_rate(curve, anchor, metric, cut) for cut in dict.fromkeys((None, plan.rate_range))
                for metric in metrics for curve in curves if curve is not anchor and curve.points]
    results = Results(
        medium.name, medium.rate_unit, medium.speed_unit,
        Data(plan.folder.resolve().name, len(items), digest("".join(items.values()).encode())),
        tuple(metrics), tuple(curves), tuple(bd_rates), this_machine((*PACKAGES, *medium.packages)), command, date,
        _timing(medium, len(items), plan.cores) if plan.timing else "",
        (*([medium.excerpt] if medium.excerpt else []), *unfit, *notes,
         *(f"{c.label}: only speed and memory are measured; {c.settings}" for c in only_timed)))
    results.write(plan.out / "results.json")
    return results


def chosen(known: Mapping[str, Scored], names: Sequence[str], extra: str) -> tuple[list[Metric], list[str]]:
    """The metrics of those names, and a note for each that cannot be had here. extra: of enfold,
    that brings what they need. Raises UsageError for a name there is not, and where nothing is left."""
    for name in names:
        if name not in known:
            raise UsageError(f"no metric is called {name!r}; there are {', '.join(known)}")
    lacking = {name: missing for name in names
               if (missing := [package for package in known[name].needs if find_spec(package) is None])}
    notes = [f"{known[name].metric.label} left out: it needs {', '.join(missing)}: pip install 'enfold[{extra}]'"
             for name, missing in lacking.items()]
    if len(lacking) == len(names):
        raise UsageError("; ".join(notes) or f"no metric is named: give --metrics some of {', '.join(known)}")
    return [known[name].metric for name in names if name not in lacking], notes


def find(folder: Path, medium: Medium, limit: int = 0) -> tuple[dict[Path, str], list[str]]:
    """The items of a folder, in order of their names, with digests; and a note for each left out."""
    paths = sorted(path for path in folder.rglob("*") if path.suffix.lower() in medium.suffixes and path.is_file())
    notes: list[str] = []
    items: dict[Path, str] = {}
    for path in paths:
        if limit and len(items) == limit:
            break
        try:
            reason = medium.unfit(path)
        except MediaError as error:
            reason = str(error).removeprefix(f"{path}: ").removeprefix(f"{path.name}: ")
        if reason is None:
            items[path] = digest(path.read_bytes() + medium.excerpt.encode())
        else:
            notes.append(f"{path.name} is left out: {reason}")
    if not items:
        raise MediaError("; ".join([f"{folder} holds no {medium.name} that end in {', '.join(medium.suffixes)} "
                                    "and can be measured", *notes]))
    return items, notes


def task(path: Path, mark: str, coder: Coder, quality: float, metrics: Sequence[str] = ()) -> Task:
    """One item, of the digest `mark`, through one coder."""
    return Task(path, path.name, mark, coder.name, f"{coder.version}; {coder.settings}", float(quality), tuple(metrics))


def timed(curves: Sequence[Curve], paths: Sequence[Path], medium: Medium, file: Path, cores: int) -> list[Curve]:
    """The curves with speed and memory, each at its quality nearest the medium's timed rate; from
    `file` if it holds the same run."""
    entries = [(curve.codec, _timed_quality(curve, medium.timed_rate)) for curve in curves]
    run = [[(curve.version, curve.settings) for curve in curves], entries, [path.name for path in paths],
           medium.excerpt, cores]
    key = hashlib.sha256(json.dumps(run).encode()).hexdigest()
    known = json.loads(file.read_text("utf-8")) if file.exists() else {}
    if known.get("run") != key:
        with workers(1, threads=0, cores=cores) as pool:
            speeds = pool.submit(_race, medium.coder, medium.load, medium.size, entries, paths[:TIMED_ITEMS]).result()
        memories = {}
        for name, quality in entries:
            with workers(1, threads=0, cores=cores) as pool:
                memories[name] = pool.submit(_memory, medium.coder, medium.load, name, quality, paths[0]).result()
        known = {"run": key, "speeds": {name: asdict(speed) for name, speed in speeds.items()},
                 "memories": {name: asdict(memory) for name, memory in memories.items()}}
        replace_file(file, json.dumps(known, indent=1).encode())
    return [replace(curve, speed=Speed(**known["speeds"][curve.codec]), memory=Memory(**known["memories"][curve.codec]))
            for curve in curves]


def finite(scores: Mapping[str, float]) -> dict[str, float | None]:
    """As points hold them: None for what is infinite."""
    return {name: score if math.isfinite(score) else None for name, score in scores.items()}


def _race(coder: Callable[[str], Coder], load: Callable[[Path], Any], size: Callable[[Any], float],
          entries: Sequence[tuple[str, float]], paths: Sequence[Path]) -> dict[str, Speed]:
    """Runs in a process of its own."""
    media = [load(path) for path in paths]
    return race([_contestant(coder(name), quality) for name, quality in entries],
                [(item, size(item)) for item in media])


def _memory(coder: Callable[[str], Coder], load: Callable[[Path], Any], name: str, quality: float,
            path: Path) -> Memory:
    """Runs in a process of its own."""
    return peak_memory(_contestant(coder(name), quality), load(path))


def _contestant(coder: Coder, quality: float) -> Contestant:
    return Contestant(coder.name, quality, coder.encode, coder.decode)


def _timed_quality(curve: Curve, rate: float) -> float:
    nearest = min(curve.points, key=lambda point: abs(math.log(point.rate / rate)), default=None)
    return 0.0 if nearest is None else nearest.quality


def _timing(medium: Medium, items: int, cores: int) -> str:
    return (f"{min(TIMED_ITEMS, items)} {medium.name}, coders alternating, median of {ROUNDS}, on "
            f"{f'{cores} cores' if cores else 'all cores'}, at the quality nearest {medium.timed_rate:g} "
            f"{medium.rate_unit}")


def _curve(of: Coder, points: Sequence[Point], metrics: Sequence[Metric]) -> Curve:
    own = [point for point in points if point.codec == of.name]
    return Curve(of.name, of.label, of.version, of.settings, of.ours, curve_points(own, [m.name for m in metrics]))
