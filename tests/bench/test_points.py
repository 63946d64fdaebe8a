"""Points are kept, found again, and added to; nothing half-written is believed."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from enfold.bench.points import Point, PointFile, Task
from enfold.bench.results import curve_points

POINT = Point("a.png", "d1", "jpeg", "1", 50.0, 800, 0.5, {"psnr_db": 30.0})
TASK = Task(Path("a.png"), "a.png", "d1", "jpeg", "1", 50.0, ("psnr_db",))


def test_points_are_found_again_by_another_process(tmp_path):
    PointFile(tmp_path / "points.jsonl").add(POINT)
    assert PointFile(tmp_path / "points.jsonl").get(TASK) == POINT


@pytest.mark.parametrize("changed", [{"digest": "d2"}, {"codec": "webp"}, {"version": "2"}, {"quality": 51.0}])
def test_what_changes_a_point_makes_it_another(tmp_path, changed):
    file = PointFile(tmp_path / "points.jsonl")
    file.add(POINT)
    assert file.get(replace(TASK, **changed)) is None


def test_a_renamed_item_keeps_its_points(tmp_path):
    file = PointFile(tmp_path / "points.jsonl")
    file.add(POINT)
    assert file.get(replace(TASK, item="b.png")) == replace(POINT, item="b.png")


def test_metrics_are_added_by_a_line_of_their_own(tmp_path):
    file = PointFile(tmp_path / "points.jsonl")
    file.add(POINT)
    file.add(replace(POINT, scores={"ms_ssim": 0.9}))
    assert PointFile(file.path).get(TASK).scores == {"psnr_db": 30.0, "ms_ssim": 0.9}
    assert len(file.path.read_text().splitlines()) == 2


def test_a_line_cut_off_is_dropped_and_the_file_goes_on(tmp_path):
    file = PointFile(tmp_path / "points.jsonl")
    file.add(POINT)
    with file.path.open("a") as cut:
        cut.write('{"item": "a.pn')
    file = PointFile(file.path)
    other = replace(POINT, quality=60.0)
    file.add(other)
    assert PointFile(file.path).get(replace(TASK, quality=60.0)) == other


def test_curves_are_means_over_items_in_order_of_rate():
    points = [POINT, replace(POINT, item="b.png", digest="d2", rate=1.5, scores={"psnr_db": 32.0}),
              replace(POINT, quality=10.0, rate=0.1, scores={"psnr_db": 20.0}),
              replace(POINT, item="b.png", digest="d2", quality=10.0, rate=0.3, scores={"psnr_db": None})]
    low, high = curve_points(points, ["psnr_db"])
    assert (low.quality, low.rate, low.scores) == (10.0, pytest.approx(0.2), {"psnr_db": None})
    assert (high.quality, high.rate, high.scores) == (50.0, 1.0, {"psnr_db": 31.0})
