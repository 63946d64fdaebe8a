"""The demos of learning run, on little, and leave what they say."""

from __future__ import annotations

import importlib.util
from pathlib import Path

from PIL import Image


def demo(name: str):
    spec = importlib.util.spec_from_file_location(name, Path(__file__).parents[1] / "demos" / f"{name}.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_classification_prints_its_table_and_draws_it(tmp_path, capsys):
    made = demo("learn_classification").main([], tmp_path, count=8, epochs=1, seeds=2)
    shown = capsys.readouterr().out
    for text in ("latents", "resized", "full", "144", "accuracy.png"):
        assert text in shown
    with Image.open(made) as picture:
        assert picture.width > 500


def test_colorization_prints_its_table_and_leaves_a_sheet(tmp_path, capsys):
    made = demo("learn_colorization").main([], tmp_path, count=20, epochs=1)
    shown = capsys.readouterr().out
    for text in ("latents", "pixels", "grey: the grey pictures", "2 to be tested on", "coloured.png"):
        assert text in shown
    with Image.open(made) as sheet:
        assert sheet.size == (3 * 128, 2 * 128)
