"""The demos run, on any picture and with any weights, and leave what they say."""

from __future__ import annotations

import importlib.util
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

import enfold
from enfold.codecs.walloc_model import WallocModel
from enfold.pretrained.writing import write_model

CODEC = "walloc-rgb-16x"


@pytest.fixture
def photographs(tmp_path, monkeypatch):
    """demos/photographs.py as a module, with weights that were never trained and one repeat."""
    path = Path(__file__).parents[1] / "demos" / "photographs.py"
    spec = importlib.util.spec_from_file_location("photographs", path)
    module = importlib.util.module_from_spec(spec)
    monkeypatch.setitem(__import__("sys").modules, "photographs", module)
    spec.loader.exec_module(module)
    model = WallocModel(CODEC)
    model.initialise(255 * torch.rand(2, 3, 64, 64, generator=torch.Generator().manual_seed(0)))
    write_model(tmp_path / "weights", CODEC, model.frozen(), {})
    monkeypatch.setenv("ENFOLD_WEIGHTS", str(tmp_path / "weights"))
    monkeypatch.setattr(module, "CODECS", (CODEC,))
    monkeypatch.setattr(module, "REPEATS", 1)
    return module


@pytest.fixture
def picture(tmp_path) -> Path:
    y, x = np.mgrid[:170, :190]
    pixels = np.stack([127 + 100 * np.sin(x / (5 + 3 * c)) * np.cos(y / 11) for c in range(3)], -1)
    Image.fromarray(pixels.astype(np.uint8)).save(tmp_path / "waves.png")
    return tmp_path / "waves.png"


def test_photographs_leaves_files_that_decode_and_a_picture(photographs, picture, tmp_path, capsys):
    (made,) = photographs.main([str(picture)], tmp_path / "out")
    shown = capsys.readouterr().out
    for text in ("waves", CODEC, "JPEG", "WebP", "AVIF", "PSNR", "waves.png"):
        assert text in shown
    with Image.open(made) as sheet:
        assert sheet.width > 5 * 400
    data = (tmp_path / "out" / "enf" / f"waves.{CODEC}.enf").read_bytes()
    with Image.open(tmp_path / "out" / "decoded" / f"waves.{CODEC}.png") as decoded:
        assert np.array_equal(np.asarray(decoded), np.asarray(enfold.decode(data)))


def test_peers_get_the_nearest_size_that_is_not_smaller(photographs, picture):
    with Image.open(picture) as image:
        original = np.asarray(image)
    options = photographs.PEERS["JPEG"][0]
    data, again, remark = photographs.nearest("JPEG", original, 4000, options)
    assert len(data) >= 4000 and again() == data and remark == ""
    smaller = max((len(d) for size in range(2000, 4000, 250)
                   if len(d := photographs.nearest("JPEG", original, size, options)[0]) < 4000), default=0)
    assert smaller < 4000 <= len(data)
    assert photographs.nearest("JPEG", original, 10, options)[2] == "gets no smaller"
    assert photographs.nearest("JPEG", original, 10**7, options)[2] == "gets no larger"


def test_zoom_finds_the_detail(photographs):
    picture = np.full((100, 120, 3), 90, np.uint8)
    picture[40:60:2, 70:90] = 250
    left, top = photographs.most_detailed(picture, 30)
    assert 58 <= left <= 72 and 28 <= top <= 42
