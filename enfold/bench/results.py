"""What a bench found, as plain data: the same for pictures, sound and film.

    points ─ means over items ─→ Curve ─┐
    alternating runs ─→ Speed, Memory ──┼→ Results ←→ results.json → table, plots, report
    two curves ─→ BdRate ───────────────┘

Guarantees: `Results.read` returns what `write` was given; the same points give the same file, in
the same order, whatever the number of jobs (dates and timings aside); no paths in it, only names.
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from enfold.bench.machine import Machine
from enfold.bench.points import Point
from enfold.errors import UsageError

SCHEMA = 1


@dataclass(frozen=True)
class Metric:
    """How a decoded item is scored. log: the score nears 1, and is compared as -10·log10(1 - score)."""

    name: str
    label: str
    higher_is_better: bool = True
    log: bool = False

    def axis(self, score: float) -> float:
        """The score as it is interpolated and drawn: rising with quality."""
        if self.log:
            return -10 * math.log10(max(1 - score, 1e-9))
        return score if self.higher_is_better else -score


@dataclass(frozen=True)
class Speed:
    """Items a second, in the bench's unit, from array to bytes and back; at one quality."""

    quality: float
    encode: float
    decode: float


@dataclass(frozen=True)
class Memory:
    """Of a process that encodes and decodes one item, in MB: at its peak, and before it began."""

    peak_mb: float
    before_mb: float


@dataclass(frozen=True)
class CurvePoint:
    """Means over the items. A score is None where one item's is infinite."""

    quality: float
    rate: float
    scores: Mapping[str, float | None]


@dataclass(frozen=True)
class Curve:
    """A codec over its qualities, lowest rate first; without points where it was only timed.

    ours: whether it is enfold's.
    """

    codec: str
    label: str
    version: str
    settings: str
    ours: bool
    points: tuple[CurvePoint, ...]
    speed: Speed | None = None
    memory: Memory | None = None


@dataclass(frozen=True)
class BdRate:
    """How many percent more bytes `codec` takes than `anchor` at equal score, on average.

    percent: None where it cannot be said, and `note` says why. low, high: the scores between which
    the curves were compared. rate_range: the rates that they were cut to; None for all.
    """

    codec: str
    anchor: str
    metric: str
    rate_range: tuple[float, float] | None
    percent: float | None
    low: float | None
    high: float | None
    note: str = ""


@dataclass(frozen=True)
class Data:
    """What was measured on. digest: of the items' digests in order."""

    name: str
    items: int
    digest: str


@dataclass(frozen=True)
class Results:
    """All that a bench found. command: with names in the place of paths. notes: what was left out."""

    medium: str
    rate_unit: str
    speed_unit: str
    data: Data
    metrics: tuple[Metric, ...]
    curves: tuple[Curve, ...]
    bd_rates: tuple[BdRate, ...]
    machine: Machine
    command: str
    date: str
    timing: str = ""
    notes: tuple[str, ...] = ()
    schema: int = SCHEMA

    def curve(self, codec: str) -> Curve:
        return next(curve for curve in self.curves if curve.codec == codec)

    def bd_rate(self, codec: str, metric: str, rate_range: tuple[float, float] | None = None) -> BdRate | None:
        found = (bd for bd in self.bd_rates if (bd.codec, bd.metric, bd.rate_range) == (codec, metric, rate_range))
        return next(found, None)

    @property
    def rate_ranges(self) -> tuple[tuple[float, float] | None, ...]:
        """Those for which there are BD-rates, in order."""
        return tuple(dict.fromkeys(bd.rate_range for bd in self.bd_rates))

    def write(self, path: Path) -> None:
        from enfold.media import replace_file

        replace_file(path, (json.dumps(asdict(self), indent=1, ensure_ascii=False) + "\n").encode())

    @classmethod
    def read(cls, path: Path) -> Results:
        """Raises UsageError where the file is of another schema."""
        raw = json.loads(path.read_text("utf-8"))
        if raw.get("schema") != SCHEMA:
            raise UsageError(f"{path}: results of schema {raw.get('schema')!r}, this enfold reads {SCHEMA}: "
                             "run the bench again")
        parts: dict[str, Any] = {
            "data": Data(**raw["data"]), "machine": Machine(**raw["machine"]), "notes": tuple(raw["notes"]),
            "metrics": tuple(Metric(**metric) for metric in raw["metrics"]),
            "curves": tuple(_curve(curve) for curve in raw["curves"]),
            "bd_rates": tuple(BdRate(**{**bd, "rate_range": bd["rate_range"] and tuple(bd["rate_range"])})
                              for bd in raw["bd_rates"])}
        return cls(**{**raw, **parts})


def curve_points(points: Sequence[Point], metrics: Sequence[str]) -> tuple[CurvePoint, ...]:
    """Means over the items, for each quality; lowest rate first."""
    qualities = dict.fromkeys(point.quality for point in points)
    means = []
    for quality in qualities:
        group = sorted((point for point in points if point.quality == quality), key=lambda point: point.item)
        rate = math.fsum(point.rate for point in group) / len(group)
        means.append(CurvePoint(quality, rate, {name: _mean([p.scores[name] for p in group]) for name in metrics}))
    return tuple(sorted(means, key=lambda point: (point.rate, point.quality)))


def _mean(scores: Sequence[float | None]) -> float | None:
    known = [score for score in scores if score is not None]
    return math.fsum(known) / len(known) if len(known) == len(scores) else None


def _curve(raw: dict[str, Any]) -> Curve:
    parts: dict[str, Any] = {"points": tuple(CurvePoint(**point) for point in raw["points"]),
                             "speed": raw["speed"] and Speed(**raw["speed"]),
                             "memory": raw["memory"] and Memory(**raw["memory"])}
    return Curve(**{**raw, **parts})
