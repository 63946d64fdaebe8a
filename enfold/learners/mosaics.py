"""Small pictures, many in one: how data sets of thumbnails are kept without a file for each.

    labels.npy          (N,) integers, the class of each sample
    00.png 01.png …     lossless pictures of one size, each a mosaic of square tiles, row by row, left to right
    classes.json        the classes' names, as a list; here, in the folder above, or nowhere

The tiles' side is nowhere written: it is the one with which all mosaics hold N tiles, and none is empty.

    numpy.save("train/labels.npy", labels)
    mosaic = images.reshape(25, 40, 32, 32, 3).swapaxes(1, 2).reshape(800, 1280, 3)     # 1000 of 32×32
    Image.fromarray(mosaic).save("train/00.png")
"""

from __future__ import annotations

import json
import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from io import BytesIO
from pathlib import Path

import numpy as np

from enfold.errors import MediaError, UsageError

LABELS = "labels.npy"
NAMES = "classes.json"


@dataclass(frozen=True)
class InMosaic:
    """The tile `number` of a mosaic of tiles of `side` pixels."""

    path: str
    side: int
    number: int

    def read(self) -> bytes:
        """The tile as a PNG file."""
        from PIL import Image

        pixels = _pixels(self.path)
        row, column = divmod(self.number, pixels.shape[1] // self.side)
        out = BytesIO()
        Image.fromarray(pixels[row * self.side:(row + 1) * self.side, column * self.side:(column + 1) * self.side]
                        ).save(out, "PNG")
        return out.getvalue()


def tiles(root: Path, suffixes: Sequence[str]) -> tuple[list[InMosaic], list[int]]:
    """The tiles of a folder's mosaics in order, and their labels. Raises MediaError, UsageError."""
    labels = _labels(root / LABELS)
    files = sorted(path for path in root.iterdir() if path.suffix.lower() in suffixes)
    if not files:
        raise MediaError(f"{root} has {LABELS} and no pictures: its mosaics are missing")
    sizes = {_size(file) for file in files}
    if len(sizes) > 1:
        raise UsageError(f"{root} holds mosaics of {len(sizes)} sizes: make them of one")
    (width, height), = sizes
    side = math.isqrt(len(files) * width * height // max(1, len(labels)))
    if not side or width % side or height % side or width * height * len(files) != side * side * len(labels):
        raise UsageError(f"{root}: {len(files)} mosaics of {width}×{height} pixels do not divide into the "
                         f"{len(labels)} square tiles that {LABELS} has classes for")
    each = width * height // (side * side)
    return [InMosaic(str(file), side, number) for file in files for number in range(each)], labels


def class_names(root: Path) -> tuple[str, ...] | None:
    """Those of classes.json, here or in the folder above. Raises UsageError where it is no list of names."""
    for folder in (root, root.parent):
        if (path := folder / NAMES).exists():
            try:
                names = json.loads(path.read_text("utf-8"))
            except ValueError as error:
                raise UsageError(f"{path} is not JSON: {error}") from None
            if not isinstance(names, list) or not all(isinstance(name, str) for name in names):
                raise UsageError(f"{path} is no list of names")
            return tuple(names)
    return None


def _labels(path: Path) -> list[int]:
    try:
        labels = np.load(path, allow_pickle=False)
    except (OSError, ValueError) as error:
        raise MediaError(f"{path}: cannot be read as an array: {error}") from error
    if labels.ndim != 1 or labels.dtype.kind not in "iu":
        raise UsageError(f"{path} is {labels.dtype} of shape {labels.shape}: a row of whole numbers is due")
    return labels.tolist()


def _size(path: Path) -> tuple[int, int]:
    from PIL import Image

    try:
        with Image.open(path) as image:
            return image.size
    except OSError as error:
        raise MediaError(f"{path}: cannot be read: {error}") from error


@lru_cache(maxsize=2)
def _pixels(path: str) -> np.ndarray:
    from PIL import Image

    try:
        with Image.open(path) as image:
            return np.asarray(image)
    except OSError as error:
        raise MediaError(f"{path}: cannot be read: {error}") from error
