"""Mosaics: a folder of many small pictures in a few files is a source like any other."""

from __future__ import annotations

import json

import numpy as np
import pytest
from PIL import Image

from enfold.bench.learn_inputs import Source
from enfold.errors import EnfoldError, MediaError
from enfold.learners import LatentDataset, pack
from enfold.learners.sources import listing
from enfold.testing import sample

SIDE, ROWS, COLUMNS = 16, 2, 3


@pytest.fixture
def folder(tmp_path):
    """Two mosaics of 2×3 tiles; names in the folder above."""
    root = tmp_path / "set" / "train"
    root.mkdir(parents=True)
    for number in range(2):
        Image.fromarray(sample(ROWS * SIDE, COLUMNS * SIDE, seed=number)).save(root / f"{number:02}.png")
    np.save(root / "labels.npy", np.arange(12) % 3)
    (root.parent / "classes.json").write_text(json.dumps(["cat", "dog", "eel"]))
    return root


def tile(number):
    """As a reader of the format would cut it."""
    mosaic = sample(ROWS * SIDE, COLUMNS * SIDE, seed=number // 6)
    return mosaic.reshape(ROWS, SIDE, COLUMNS, SIDE, 3).swapaxes(1, 2).reshape(-1, SIDE, SIDE, 3)[number % 6]


def test_tiles_are_samples_in_the_order_of_their_labels(folder, tmp_path):
    report = pack(folder, tmp_path / "out", codec="circuit-mnist")          # lossless
    assert report.samples == 12 and not report.refused
    dataset = LatentDataset(tmp_path / "out")
    assert dataset.labels.tolist() == [number % 3 for number in range(12)]
    assert dataset.info.label_names == ("cat", "dog", "eel")
    items = listing(folder).items
    assert [item.key for item in items][5:7] == ["00/000005", "01/000000"]
    for number, path in enumerate(Source(folder).files(dataset)):
        np.testing.assert_array_equal(np.asarray(Image.open(path)), tile(number))


def test_pictures_of_a_folder_without_labels_are_no_mosaics(folder):
    (folder / "labels.npy").unlink()
    assert [item.key for item in listing(folder).items] == ["00.png", "01.png"]


@pytest.mark.parametrize(("change", "words"), [
    (lambda root: np.save(root / "labels.npy", np.arange(11)), "do not divide into the 11 square tiles"),
    (lambda root: np.save(root / "labels.npy", np.zeros(0, int)), "do not divide into the 0 square tiles"),
    (lambda root: np.save(root / "labels.npy", np.zeros((12, 2))), "a row of whole numbers is due"),
    (lambda root: (root / "labels.npy").write_bytes(b"no array"), "cannot be read as an array"),
    (lambda root: Image.new("RGB", (32, 32)).save(root / "02.png"), "mosaics of 2 sizes"),
    (lambda root: (root / "01.png").write_bytes(b"no picture"), "01.png: cannot be read"),
    (lambda root: (root.parent / "classes.json").write_text('{"0": "cat"}'), "no list of names"),
])
def test_what_is_wrong_with_a_mosaic_is_said(folder, change, words):
    change(folder)
    with pytest.raises(EnfoldError, match=words):
        listing(folder)


def test_labels_alone_are_no_data_set(folder):
    for path in folder.glob("*.png"):
        path.unlink()
    with pytest.raises(MediaError, match="its mosaics are missing"):
        listing(folder)
