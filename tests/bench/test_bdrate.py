"""Bjøntegaard's measure, by curves worked by hand and by what it must be for any curve."""

from __future__ import annotations

import pytest

from enfold.bench.bdrate import bd_rate, compare
from enfold.bench.results import Curve, CurvePoint, Metric
from enfold.errors import UsageError

pytest.importorskip("bjontegaard", reason="bjontegaard is not installed: pip install 'enfold[bench]'")

BENT = [(0.1, 24.0), (0.2, 27.5), (0.45, 31.0), (0.8, 33.5), (1.7, 38.0)]


def straight(slope: float, start: float = 0.0, scores: tuple[float, ...] = (0, 2, 5, 9, 10)):
    """log10 of the rate is start + slope · score."""
    return [(10 ** (start + slope * score), score) for score in scores]


def curve(series: list[tuple[float, float]], name: str = "x") -> Curve:
    points = tuple(CurvePoint(n, rate, {"m": score}) for n, (rate, score) in enumerate(series))
    return Curve(name, name, "1", "", False, points)


def test_a_curve_against_itself_is_zero():
    percent, low, high = compare(BENT, BENT)
    assert percent == pytest.approx(0, abs=1e-9)
    assert (low, high) == (24, 38)


def test_half_the_rate_everywhere_is_minus_fifty_percent():
    half = [(rate / 2, score) for rate, score in BENT]
    assert compare(BENT, half)[0] == pytest.approx(-50, abs=1e-9)
    assert compare(half, BENT)[0] == pytest.approx(100, abs=1e-9)


def test_a_difference_that_grows_is_worked_by_hand():
    # log10 of the rates differs by 0.02·score, so by 0.1 on average over 0..10: 10^0.1 - 1
    percent, low, high = compare(straight(0.10), straight(0.12))
    assert percent == pytest.approx(25.8925, abs=1e-3)
    assert (low, high) == (0, 10)


def test_only_the_overlap_counts():
    # the test's curve ends at score 6: the difference is 0.02·score over 0..6, 0.06 on average
    percent, low, high = compare(straight(0.10), straight(0.12, scores=(0, 1, 3, 6)))
    assert percent == pytest.approx((10**0.06 - 1) * 100, abs=1e-3)
    assert (low, high) == (0, 6)


def test_a_range_of_rates_is_worked_by_hand():
    # rates 10^0.2 to 10^0.8: the anchor's scores are 2..8, the test's 5/3..20/3, the overlap 2..20/3
    percent, low, high = compare(straight(0.10), straight(0.12), (10**0.2, 10**0.8))
    assert (low, high) == (pytest.approx(2), pytest.approx(20 / 3))
    assert percent == pytest.approx((10 ** (0.02 * (2 + 20 / 3) / 2) - 1) * 100, abs=1e-3)


def test_a_range_as_wide_as_the_curves_changes_nothing():
    assert compare(BENT, straight(0.05, -2.0, (25, 28, 31, 36)), (1e-3, 1e3)) == pytest.approx(
        compare(BENT, straight(0.05, -2.0, (25, 28, 31, 36))))


@pytest.mark.parametrize(("test", "words"), [
    (straight(0.1, scores=(20, 22, 24, 26)), "do not overlap: the anchor's scores are 0 to 10, the codec's 20 to 26"),
    (straight(0.1, scores=(0, 5, 10)), "has 3 points: give 4 qualities"),
    ([(1, 1), (2, 3), (3, 2), (4, 4)], "does not rise from rate 2 .score 3. to 3"),
])
def test_what_cannot_be_compared_gives_the_reason_and_no_figure(test, words):
    with pytest.raises(UsageError, match=words):
        compare(straight(0.1), test)
    found = bd_rate(curve(test), curve(straight(0.1), "anchor"), Metric("m", "m"))
    assert found.percent is found.low is found.high is None
    assert found.note


def test_rates_that_no_curve_reaches_are_not_extrapolated():
    with pytest.raises(UsageError, match="between rates 50 and 90 the curves do not overlap"):
        compare(straight(0.1), straight(0.12), (50, 90))


def test_scores_where_less_is_better_and_scores_near_one_are_turned_and_turned_back():
    distance = [(rate, 50 - score) for rate, score in BENT]
    found = bd_rate(curve([(rate / 2, score) for rate, score in distance]), curve(distance),
                    Metric("m", "m", higher_is_better=False))
    assert found.percent == pytest.approx(-50)
    assert (found.low, found.high) == (pytest.approx(26), pytest.approx(12))
    near_one = [(rate, 1 - 10 ** (-score / 10)) for rate, score in straight(0.1)]
    assert bd_rate(curve(near_one), curve(near_one), Metric("m", "m", log=True)).high == pytest.approx(0.9)
