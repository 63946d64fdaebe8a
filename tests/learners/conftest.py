"""Small data sets of pictures, and packs of them."""

from __future__ import annotations

from pathlib import Path

import pytest
from PIL import Image

from enfold.learners import pack
from enfold.testing import sample

CODEC = "walloc-rgb-16x"
CLASSES = ("cat", "dog", "eel")


def write_pictures(folder: Path, count: int = 18, size: tuple[int, int] = (40, 48)) -> Path:
    """count pictures in one sub-folder for each of CLASSES."""
    for number in range(count):
        path = folder / CLASSES[number % 3] / f"{number:02}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(sample(*size, seed=number)).save(path)
    return folder


@pytest.fixture(scope="session")
def photos(tmp_path_factory) -> Path:
    return write_pictures(tmp_path_factory.mktemp("photos"))


@pytest.fixture(scope="session")
def packed(photos, tmp_path_factory) -> Path:
    """A pack of `photos` in three shards."""
    out = tmp_path_factory.mktemp("packs") / "latents"
    pack(photos, out, codec=CODEC, shard_rows=7)
    return out


def same_files(first: Path, second: Path) -> bool:
    """Whether two folders hold the same files, byte for byte."""
    def contents(folder: Path) -> dict[str, bytes]:
        return {path.name: path.read_bytes() for path in folder.iterdir()}
    return contents(first) == contents(second) != {}
