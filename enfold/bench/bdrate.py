"""Bjøntegaard's measure: how many more bytes one codec takes than another at equal quality.

Between the scores that both curves reach, log-rate is interpolated over the score (PCHIP, which
adds no bumps of its own), integrated, subtracted; the mean difference is given in percent. The
interpolation and integration are those of the package `bjontegaard`.

Guarantees: nothing is extrapolated, neither in score nor in rate; curves that do not overlap,
fall somewhere, or have fewer than four points give no figure but the reason.

Source: Bjøntegaard 2001, VCEG-M33; Herglotz et al. 2022, "Beyond Bjøntegaard" (why PCHIP or Akima).
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from itertools import pairwise
from typing import Any

from enfold.bench.results import BdRate, Curve, Metric
from enfold.errors import UsageError

METHOD = "pchip"
LEAST_POINTS = 4

Series = Sequence[tuple[float, float]]


def bd_rate(codec: Curve, anchor: Curve, metric: Metric, rate_range: tuple[float, float] | None = None) -> BdRate:
    """Of one curve against another. rate_range: the rates to which both are cut."""
    def said(percent: float | None, low: float | None, high: float | None, note: str) -> BdRate:
        ends = [None if end is None else _unaxis(metric, end) for end in (low, high)]
        return BdRate(codec.codec, anchor.codec, metric.name, rate_range, percent, ends[0], ends[1], note)

    try:
        return said(*compare(_series(anchor, metric), _series(codec, metric), rate_range), "")
    except UsageError as reason:
        return said(None, None, None, str(reason))


def compare(anchor: Series, test: Series, rate_range: tuple[float, float] | None = None) -> tuple[float, float, float]:
    """(percent, low, high): rate of `test` against `anchor`, between two scores.

    Both are (rate, score) pairs, in order of rate, the score rising. Raises UsageError where there
    is nothing to compare.
    """
    from bjontegaard import bd_rate as bjontegaard

    for name, series in (("anchor", anchor), ("codec", test)):
        _check(name, series)
    low, high = max(s[0][1] for s in (anchor, test)), min(s[-1][1] for s in (anchor, test))
    if low >= high:
        raise UsageError(f"the curves do not overlap: the anchor's scores are {_ends(anchor)}, "
                         f"the codec's {_ends(test)}")
    rates_scores = [[pair[column] for pair in series] for series in (anchor, test) for column in (0, 1)]
    percent, *fits = bjontegaard(*rates_scores, method=METHOD, require_matching_points=False, interpolators=True,
                                 min_overlap=0)
    if rate_range is None:
        return float(percent), low, high
    cuts = [[_score_at(fit, series, rate) for fit, series in zip(fits, (anchor, test), strict=True)]
            for rate in rate_range]
    low, high = max(cuts[0]), min(cuts[1])
    if low >= high:
        raise UsageError(f"between rates {rate_range[0]:g} and {rate_range[1]:g} the curves do not overlap in score")
    difference = (fits[1].integrate(low, high) - fits[0].integrate(low, high)) / (high - low)
    return float((10**difference - 1) * 100), low, high


def _series(curve: Curve, metric: Metric) -> Series:
    pairs = ((point.rate, point.scores[metric.name]) for point in curve.points)
    return [(rate, metric.axis(score)) for rate, score in pairs if score is not None]


def _check(name: str, series: Series) -> None:
    if len(series) < LEAST_POINTS:
        raise UsageError(f"the {name}'s curve has {len(series)} points: give {LEAST_POINTS} qualities or more")
    for (rate, score), (next_rate, next_score) in pairwise(series):
        if next_rate <= rate or next_score <= score:
            raise UsageError(f"the {name}'s curve does not rise from rate {rate:.4g} (score {score:.4g}) to "
                             f"{next_rate:.4g} ({next_score:.4g})")


def _score_at(fit: Any, series: Series, rate: float) -> float:
    """Where a fitted curve meets a rate; the curve's own end where it ends before."""
    if rate <= series[0][0]:
        return series[0][1]
    if rate >= series[-1][0]:
        return series[-1][1]
    return float(fit.solve(math.log10(rate), extrapolate=False)[0])


def _ends(series: Series) -> str:
    return f"{series[0][1]:.4g} to {series[-1][1]:.4g}"


def _unaxis(metric: Metric, value: float) -> float:
    """The inverse of `Metric.axis`."""
    if metric.log:
        return 1 - 10 ** (-value / 10)
    return value if metric.higher_is_better else -value
