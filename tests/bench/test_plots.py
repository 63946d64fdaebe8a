"""Plots: which there are, that names do not cover each other, and that they can be made again."""

from __future__ import annotations

from dataclasses import replace

import pytest

pytest.importorskip("matplotlib", reason="matplotlib is not installed: pip install 'enfold[bench]'")

from matplotlib import rc_context

from enfold.bench import plots
from enfold.bench.machine import Machine
from enfold.bench.results import BdRate, Curve, CurvePoint, Data, Metric, Results, Speed

METRICS = (Metric("psnr_db", "PSNR, dB (RGB)"), Metric("ms_ssim", "MS-SSIM", log=True),
           Metric("lite0", "distance", higher_is_better=False))


def curve(name: str, gain: float, *, ours: bool = False) -> Curve:
    points = tuple(CurvePoint(q, 0.1 * 2**q / gain, {"psnr_db": 26.0 + 3 * q, "ms_ssim": 1 - 0.2 * 2**-q,
                                                     "lite0": 0.5 - q / 10}) for q in range(5))
    return Curve(name, name, "1", "", ours, points, Speed(2, 10 * gain, 20 * gain))


@pytest.fixture(scope="module")
def results() -> Results:
    curves = (curve("ours", 1.5, ours=True), curve("JPEG", 1.0), curve("rival", 1.02), curve("another", 1.04))
    bds = tuple(BdRate(c.codec, "JPEG", m.name, None, 100 * (1 / gain - 1), 1, 2)
                for c, gain in zip(curves, (1.5, 1, 1.02, 1.04), strict=True) if c.codec != "JPEG" for m in METRICS)
    return Results("pictures", "bpp", "Mpix/s", Data("kodak", 24, "0"), METRICS, curves, bds,
                   Machine("CPU", 2, "Linux", "3.11", {}), "enfold bench", "2026-01-01")


def test_each_metric_has_a_plot_and_speed_has_one(results, tmp_path):
    names = {path.name for path in plots.draw(results, tmp_path)}
    stems = ("rate-psnr_db", "rate-ms_ssim", "rate-lite0", "speed-psnr_db")
    assert names == {f"{stem}{suffix}" for stem in stems for suffix in (".png", ".svg")}
    assert b"<svg" in (tmp_path / "rate-psnr_db.svg").read_bytes()[:400]


def test_the_same_results_give_the_same_files(results, tmp_path):
    for folder in (tmp_path / "1", tmp_path / "2"):
        folder.mkdir()
        plots.draw(replace(results, metrics=METRICS[:1]), folder)
    for path in (tmp_path / "1").iterdir():
        assert path.read_bytes() == (tmp_path / "2" / path.name).read_bytes(), path.name


def test_names_do_not_cover_each_other(results):
    with rc_context(plots.STYLE):
        figure = plots.rate_plot(results, METRICS[0])
    boxes = [text.get_window_extent() for text in figure.axes[0].texts]
    assert len(boxes) == 4
    assert not any(a.overlaps(b) for n, a in enumerate(boxes) for b in boxes[n + 1:])
