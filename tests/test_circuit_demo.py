"""The demo of what a circuit can do runs, on pictures given and drawn, and leaves a sheet."""

from __future__ import annotations

import importlib.util
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from enfold.pretrained.writing import write_model
from enfold.trees.frozen import freeze
from enfold.trees.hats import hats_of
from enfold.trees.structure import HiddenTree

DEMO = Path(__file__).parents[1] / "demos" / "circuit_inpainting.py"


@pytest.fixture
def demo(tmp_path, monkeypatch):
    random = np.random.default_rng(0)
    tree = HiddenTree(np.array([-1, 0]), np.arange(784) // 392)
    leaf = random.dirichlet(np.ones(256), (784, 8)).transpose(0, 2, 1)
    write_model(tmp_path / "weights", "circuit-mnist",
                freeze(tree, hats_of(np.arange(256), 256, 256), np.full(8, 1 / 8),
                       random.dirichlet(np.ones(8), (2, 8)), leaf), {})
    monkeypatch.setenv("ENFOLD_WEIGHTS", str(tmp_path / "weights"))
    spec = importlib.util.spec_from_file_location("circuit_inpainting", DEMO)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.mark.parametrize("given", [False, True])
def test_inpainting_leaves_a_sheet_and_scores(demo, given, tmp_path, capsys):
    np.save(tmp_path / "pictures.npy", np.random.default_rng(1).integers(0, 256, (9, 28, 28), dtype=np.uint8))
    made = demo.main([str(tmp_path / "pictures.npy")] if given else [], tmp_path / "out")
    with Image.open(made) as sheet:
        assert sheet.size == (7 * 88 + 4, 6 * 88 + 4)
    shown = capsys.readouterr().out
    assert all(kind in shown for kind in ("pictures", "turned", "inverted", "noise", "bits a pixel"))


def test_what_is_known_stays(demo):
    """The third to last columns agree with the picture wherever it is known."""
    from enfold import load

    images = np.random.default_rng(1).integers(0, 256, (6, 28, 28), dtype=np.uint8)
    rows = demo.fill_in(load("circuit-mnist").latent_codec.circuit, images)
    for row, image, known in zip(rows, images, demo.masks(28, 28).values(), strict=True):
        assert (row[1:, known] == image[known]).all() and (row[1, ~known] == 96).all()
