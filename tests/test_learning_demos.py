"""The demos of learning run, on little, and leave what they say."""

from __future__ import annotations

import importlib.util
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

import enfold
from enfold.errors import MissingWeightsError


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


def test_documents_are_read_and_leave_a_sheet(tmp_path, capsys):
    sheet = demo("read_documents").main([], tmp_path, count=6, epochs=1)
    shown = capsys.readouterr().out
    for text in ("latents", "resized", "jpeg", "6 documents of 6 companies", "read.png"):
        assert text in shown
    with Image.open(sheet) as image:
        assert image.width == 3 * 460
        pixels = np.asarray(image)
    assert (pixels[..., 0] > pixels[..., 2].astype(int) + 60).any()      # something is marked


def test_voices_come_out_as_sounds(tmp_path, capsys):
    try:
        enfold.load("walloc-stereo-5x")
    except MissingWeightsError as error:
        pytest.skip(f"no weights to try it with: {error}")
    voices = demo("separate_voices")
    written = voices.main([], tmp_path, songs=2, seconds=1.6, epochs=2)
    assert [path.name for path in written] == [f"song1-{number}-{stem}.wav" for number in (0, 1)
                                               for stem in ("mixture", "voice", "rest")]
    from enfold.sounds import read_sound

    mixture, voice, rest = (np.asarray(read_sound(path)) for path in written[:3])
    assert mixture.shape == voice.shape == rest.shape and np.abs(voice - mixture).max() > 0.01
    assert "voice_psnr_db" in capsys.readouterr().out
