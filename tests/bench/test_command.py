"""`enfold bench` as it is typed."""

from __future__ import annotations

import json
import sys

import pytest
from PIL import Image
from typer.testing import CliRunner

from enfold.cli import app
from enfold.testing import sample

pytest.importorskip("bjontegaard", reason="bjontegaard is not installed: pip install 'enfold[bench]'")
pytest.importorskip("matplotlib", reason="matplotlib is not installed: pip install 'enfold[bench]'")


@pytest.fixture
def folder(tmp_path):
    made = tmp_path / "photos"
    made.mkdir()
    Image.fromarray(sample(40, 48)).save(made / "a.png")
    return made


def run(*words: object):
    return CliRunner().invoke(app, ["bench", *map(str, words)])


def test_results_hold_the_command_without_paths(folder, tmp_path, monkeypatch):
    out = tmp_path / "out"
    words = ["images", str(folder), "--codecs", "none", "--peers", "jpeg,webp", "--metrics", "psnr_db", "--qualities",
             "jpeg=20,40,60,80", "--no-timing", "--out", str(out), "--json"]
    monkeypatch.setattr(sys, "argv", ["/somewhere/bin/enfold", "bench", *words])
    done = run(*words)
    assert done.exit_code == 0, done.output
    results = json.loads(done.stdout)
    typed = " ".join(["enfold bench", *words])
    assert results["command"] == typed.replace(str(out), "out").replace(str(folder), "photos")
    assert [point["quality"] for point in results["curves"][0]["points"]] == [20, 40, 60, 80]
    assert str(tmp_path) not in (out / "results.json").read_text("utf-8")
    assert {path.name for path in out.iterdir()} >= {"results.json", "points.jsonl", "rate-psnr_db.png"}


def test_a_codec_is_measured_with_an_effort_and_without(folder, tmp_path):
    words = ["--codecs", "walloc-rgb-16x,walloc-rgb-16x@2", "--peers", "none", "--anchor", "walloc-rgb-16x"]
    done = run("images", folder, *words, "--qualities", "80", "--metrics", "psnr_db", "--no-timing", "--jobs", 1,
               "--out", tmp_path / "out", "--json")
    assert done.exit_code == 0, done.output
    plain, searched = json.loads(done.stdout)["curves"]
    assert searched["codec"] == "walloc-rgb-16x@2"
    assert searched["points"][0]["scores"]["psnr_db"] > plain["points"][0]["scores"]["psnr_db"]


@pytest.mark.parametrize(("words", "said"), [
    (["--peers", "gif"], "no peer is called 'gif'; there are jpeg, webp"),
    (["--metrics", "vmaf"], "no metric is called 'vmaf'"),
    (["--qualities", "jpeg=high"], "--qualities high: give numbers with commas between them"),
    (["--bpp-range", "2,1"], "--bpp-range 2,1: give two rates, the lower first"),
    (["--codecs", "walloc-cmyk"], "no codec is called 'walloc-cmyk'"),
    (["--codecs", "walloc-cmyk@3"], "no codec is called 'walloc-cmyk'"),
    (["--codecs", "walloc-rgb-16x@much"], "after the @ comes the effort, a whole number"),
])
def test_what_cannot_be_meant_is_said_in_words(folder, tmp_path, words, said):
    done = run("images", folder, *(["--codecs", "none"] if "--codecs" not in words else []), "--out", tmp_path, *words)
    assert done.exit_code == 2
    assert said in done.stderr.replace("\n", " ")
