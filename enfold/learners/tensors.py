"""Arrays of small integers to learn from, uint8 (samples, …), from what data sets come as.

    a folder of pictures of one size       grey (N, H, W) or RGB (N, H, W, 3)
    a folder of IDX files                  its images to train on: train-images-idx3-ubyte, .gz or not
    .npy, .idx…, .gz of it                 that array
"""

from __future__ import annotations

import gzip
import zlib
from math import prod
from pathlib import Path

import numpy as np

from enfold.errors import MediaError, UsageError
from enfold.media import read_picture

PICTURES = (".png", ".webp", ".bmp", ".jpg", ".jpeg", ".tif", ".tiff")


def read_tensors(source: Path) -> np.ndarray:
    """uint8 (samples, …), at least one sample. Raises MediaError, UsageError."""
    if source.is_dir():
        named = sorted(p for p in source.iterdir() if p.name.startswith("train-images-idx"))
        if named:
            return _from_idx(named[0])
        files = sorted(p for p in source.rglob("*") if p.suffix.lower() in PICTURES)
        if not files:
            raise MediaError(f"{source} holds neither pictures nor train-images-idx3-ubyte: name another folder")
        return _stacked(files)
    if source.suffix == ".npy":
        try:
            array = np.load(source, allow_pickle=False)
        except (OSError, ValueError) as error:
            raise MediaError(f"{source} is no readable .npy: {error}") from error
        if array.dtype != np.uint8 or array.ndim < 2 or not array.size:
            raise UsageError(f"{source} holds {array.dtype} of shape {array.shape}; uint8 (samples, …) is learned from")
        return array
    return _from_idx(source)


def _stacked(files: list[Path]) -> np.ndarray:
    first = np.asarray(read_picture(files[0]))
    out = np.empty((len(files), *first.shape), np.uint8)
    for number, path in enumerate(files):
        picture = np.asarray(read_picture(path))
        if picture.shape != first.shape:
            raise UsageError(f"{path} has shape {picture.shape}, {files[0].name} {first.shape}: all must have one")
        out[number] = picture
    return out


def _from_idx(path: Path) -> np.ndarray:
    """Source of the format: LeCun, Cortes and Burges, the MNIST database."""
    try:
        data = path.read_bytes()
        data = gzip.decompress(data) if path.suffix == ".gz" else data
    except (OSError, EOFError, zlib.error) as error:
        raise MediaError(f"{path}: cannot be read: {error}") from error
    axes = data[3] if len(data) > 4 else 0
    shape = tuple(int.from_bytes(data[at:at + 4], "big") for at in range(4, 4 + 4 * axes, 4))
    if data[:3] != b"\0\0\x08" or axes < 2 or not all(shape) or len(data) != 4 + 4 * axes + prod(shape):
        raise MediaError(f"{path} is no IDX file of bytes with samples: it begins with {data[:4].hex(' ')}")
    return np.frombuffer(data, np.uint8, offset=4 + 4 * axes).reshape(shape)
