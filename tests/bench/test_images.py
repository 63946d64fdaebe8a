"""A whole bench on two small pictures: what it writes, that it goes on, that nothing hangs on the jobs."""

from __future__ import annotations

import json
from dataclasses import replace
from io import BytesIO
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from enfold.bench import points, table
from enfold.bench.images import bench_images
from enfold.bench.lossless import bench_lossless
from enfold.bench.peers import DOWNSCALED, LOSSY, coder
from enfold.bench.results import SCHEMA, Results
from enfold.bench.running import Plan
from enfold.errors import MediaError, UsageError
from enfold.testing import sample

pytest.importorskip("bjontegaard", reason="bjontegaard is not installed: pip install 'enfold[bench]'")

QUALITIES = {"jpeg": (10.0, 30.0, 60.0, 90.0), "webp": (5.0, 30.0, 60.0, 90.0)}


@pytest.fixture(scope="module")
def folder(tmp_path_factory) -> Path:
    made = tmp_path_factory.mktemp("pictures")
    for name, (height, width, mode) in {"a": (48, 64, "RGB"), "b": (56, 40, "L"), "c": (24, 24, "RGBA")}.items():
        Image.fromarray(sample(height, width, mode)).save(made / f"{name}.png")
    return made


def plan(folder: Path, out: Path, **changes) -> Plan:
    usual = Plan(folder, out, (), ("jpeg", "webp"), "jpeg", QUALITIES, timing=False)
    return replace(usual, **changes)


@pytest.fixture(scope="module")
def done(folder, tmp_path_factory) -> tuple[Results, Path]:
    out = tmp_path_factory.mktemp("results")
    begun = []
    results = bench_images(plan(folder, out, timing=True, rate_range=(1.0, 3.0)), ["psnr_db"], command="enfold bench",
                           date="2026-01-01", begin=lambda count: lambda: begun.append(count))
    assert begun == [16] * 16
    return results, out


def test_results_are_read_back_as_they_were_written(done):
    results, out = done
    assert Results.read(out / "results.json") == results


def test_the_form_of_the_results_is_the_one_that_was_published(done):
    raw = json.loads((done[1] / "results.json").read_text("utf-8"))
    assert raw["schema"] == SCHEMA == 1
    assert list(raw) == ["medium", "rate_unit", "speed_unit", "data", "metrics", "curves", "bd_rates", "machine",
                         "command", "date", "timing", "notes", "schema"]
    assert list(raw["curves"][0]) == ["codec", "label", "version", "settings", "ours", "points", "speed", "memory"]
    assert list(raw["curves"][0]["points"][0]) == ["quality", "rate", "scores"]
    assert list(raw["bd_rates"][0]) == ["codec", "anchor", "metric", "rate_range", "percent", "low", "high", "note"]
    assert list(raw["machine"]) == ["cpu", "cores", "system", "python", "libraries"]


def test_rates_and_scores_are_those_of_the_files(done, folder):
    curve = done[0].curve("jpeg")
    assert [point.quality for point in curve.points] == list(QUALITIES["jpeg"])
    rates, scores = [], []
    for name in ("a", "b"):
        picture, out = Image.open(folder / f"{name}.png").convert("RGB"), BytesIO()
        picture.save(out, "JPEG", quality=60, optimize=True)
        rates.append(8 * len(out.getvalue()) / (picture.width * picture.height))
        error = np.asarray(picture, float) - np.asarray(Image.open(out), float)
        scores.append(10 * np.log10(255**2 / np.mean(error**2)))
    assert curve.points[2].rate == pytest.approx(np.mean(rates))
    assert curve.points[2].scores["psnr_db"] == pytest.approx(np.mean(scores))


def test_speed_and_memory_are_measured(done):
    for curve in done[0].curves:
        assert curve.speed.encode > 0 and curve.speed.decode > 0
        assert curve.memory.peak_mb >= curve.memory.before_mb > 1


def test_a_picture_with_alpha_is_left_out_and_named(done):
    assert done[0].data.items == 2
    assert "c.png is left out: it has transparent parts, which this bench does not compare" in done[0].notes


def test_nothing_is_measured_twice(done, folder, monkeypatch):
    results, out = done
    before = {path.name: path.read_bytes() for path in out.iterdir()}

    def none(*_, **__):
        raise AssertionError("a worker was started")

    monkeypatch.setattr(points, "workers", none)
    monkeypatch.setattr("enfold.bench.running.workers", none)
    again = bench_images(plan(folder, out, timing=True, rate_range=(1.0, 3.0)), ["psnr_db"], command="enfold bench",
                         date="2026-01-01")
    assert again == results
    assert {path.name: path.read_bytes() for path in out.iterdir()} == before


def test_another_anchor_is_a_matter_of_what_was_measured(done, folder, tmp_path, monkeypatch):
    results, out = done
    (tmp_path / "points.jsonl").write_bytes((out / "points.jsonl").read_bytes())

    def none(*_, **__):
        raise AssertionError("a worker was started")

    monkeypatch.setattr(points, "workers", none)
    other = bench_images(plan(folder, tmp_path, anchor="webp"), ["psnr_db"])
    assert [curve.points for curve in other.curves] == [curve.points for curve in results.curves]
    (before,), (after,) = ([bd for bd in one.bd_rates if bd.rate_range is None] for one in (results, other))
    assert (before.codec, before.anchor, after.codec, after.anchor) == ("webp", "jpeg", "jpeg", "webp")
    assert (1 + before.percent / 100) * (1 + after.percent / 100) == pytest.approx(1)


def test_only_what_is_missing_is_measured(done, folder):
    results, out = done
    more = {**QUALITIES, "jpeg": (*QUALITIES["jpeg"], 75.0)}
    before = (out / "points.jsonl").read_text().splitlines()
    found = bench_images(plan(folder, out, qualities=more), ["psnr_db"])
    assert len((out / "points.jsonl").read_text().splitlines()) == len(before) + 2
    assert found.curve("webp").points == results.curve("webp").points


def test_results_do_not_hang_on_the_number_of_jobs(done, folder, tmp_path):
    two = bench_images(plan(folder, tmp_path, jobs=2), ["psnr_db"], command="enfold bench", date="2026-01-01")
    assert [curve.points for curve in two.curves] == [curve.points for curve in done[0].curves]
    assert two.bd_rates == tuple(bd for bd in done[0].bd_rates if bd.rate_range is None)


def test_the_table_names_codecs_and_the_anchor(done, capsys):
    table.show(done[0])
    shown = capsys.readouterr().out
    assert "WebP" in shown and "anchor" in shown and "1 to 3 bpp" in shown


def test_an_anchor_that_is_not_measured_is_refused(folder, tmp_path):
    with pytest.raises(UsageError, match="the anchor 'avif' is not among jpeg, webp: add it"):
        bench_images(plan(folder, tmp_path, anchor="avif"), ["psnr_db"])


def test_qualities_of_a_codec_that_is_not_measured_are_refused(folder, tmp_path):
    with pytest.raises(UsageError, match="qualities for avif, which this bench does not measure: it measures jpeg"):
        bench_images(plan(folder, tmp_path, qualities={**QUALITIES, "avif": (50.0,)}), ["psnr_db"])


def test_a_folder_without_pictures_is_named(tmp_path):
    with pytest.raises(MediaError, match=r"holds no pictures that end in \.png"):
        bench_images(plan(tmp_path, tmp_path / "out"), ["psnr_db"])


@pytest.mark.parametrize("name", [*LOSSY, DOWNSCALED])
def test_every_peer_gives_a_file_that_is_better_with_more_quality(name):
    if name == "jxl":
        pytest.importorskip("pillow_jxl", reason="pillow-jxl-plugin is not installed: pip install 'enfold[bench]'")
    peer, picture = coder(name), sample(64, 80)
    ends = sorted(peer.qualities, reverse=name == "jxl")
    files = [peer.encode(picture, quality) for quality in (ends[0], ends[-1])]
    errors = [np.mean((peer.decode(data) - picture.astype(float)) ** 2) for data in files]
    assert len(files[0]) < len(files[1])
    assert errors[0] > errors[1]


def test_lossless_counts_bits_per_dimension(folder, tmp_path):
    peers = ("png", "webp-lossless")
    results = bench_lossless(Plan(folder, tmp_path, (), peers, "png", timing=False))
    png = [8 * len(coder("png").encode(np.asarray(Image.open(folder / f"{name}.png").convert("RGB")), 0)) / pixels / 3
           for name, pixels in (("a", 48 * 64), ("b", 56 * 40))]
    assert results.curve("png").points[0].rate == pytest.approx(np.mean(png))
    assert results.rate_unit == "bits/dim" and results.bd_rates == ()


def test_a_coder_that_changes_pixels_is_no_lossless_one(folder, tmp_path):
    with pytest.raises(UsageError, match=r"jpeg is not lossless: .\.png came back changed at \[\d+, \d+, \d+\]"):
        bench_lossless(Plan(folder, tmp_path, (), ("jpeg",), "jpeg", {"jpeg": (20.0,)}, timing=False))
