"""What a classifier is fed in `enfold bench learn`: latents, and what one would use instead of them.

    latents     (C, h, w)           from a pack
    resized     (3, s·h, s·w)       JPEGs decoded and resized as they are read; patches of s make h·w tokens, s² · 3 = C
    full        (3, 8h, 8w)         JPEGs decoded; patches of 8 make as many tokens
    dct, pca    (C, h, w)           the lowest frequencies, or the principal components, of blocks of 8×8 pixels
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from PIL import Image

from enfold.errors import MediaError
from enfold.learners.samples import Arrays, Examples, Origin, order

BLOCK = 8
BLOCKS_SEEN = 1 << 16       # by PCA


@dataclass(frozen=True)
class Pictures:
    """JPEG files and labels; decoded and resized to (height, width) at every reading, as a data loader does."""

    files: tuple[Path, ...]
    labels: np.ndarray
    height: int
    width: int
    label_names: tuple[str, ...] | None = None

    @property
    def origin(self) -> Origin:
        return Origin(f"pixels, {self.height}×{self.width}")

    @property
    def targets(self) -> np.ndarray:
        return self.labels

    def __len__(self) -> int:
        return len(self.files)

    def pixels(self, rows: Sequence[int] | np.ndarray) -> np.ndarray:
        """(N, 3, height, width) uint8."""
        return np.stack([self._one(self.files[row]) for row in rows])

    def examples(self, batch_size: int, *, shuffle: bool = False, seed: int = 0, epoch: int = 0, rank: int = 0,
                 ranks: int = 1) -> Iterator[Examples]:
        for rows in order(len(self), batch_size, shuffle, seed, epoch, rank, ranks):
            yield Examples(torch.from_numpy(self.pixels(rows)).float(), torch.from_numpy(self.labels[rows]).long())

    def _one(self, file: Path) -> np.ndarray:
        try:
            with Image.open(file) as image:
                pixels = image.convert("RGB")
        except OSError as error:
            raise MediaError(f"{file}: cannot be read: {error}; take it out of both sides of the comparison") from error
        if pixels.size != (self.width, self.height):
            pixels = pixels.resize((self.width, self.height), Image.Resampling.BILINEAR)
        return np.asarray(pixels).transpose(2, 0, 1)


def side_of(channels: int) -> int:
    """Pixels a side of a patch that holds about as many numbers as a latent."""
    return max(1, round(math.sqrt(channels / 3)))


def block_coefficients(train: Pictures, others: Sequence[Pictures], channels: int, *, pca: bool) -> list[Arrays]:
    """DCT or PCA latents of the same dimension, in memory as float16: of `train`, then of each of `others`."""
    if pca:
        random = np.random.default_rng(0)
        some = random.permutation(len(train))[:256]
        blocks = _blocks(train.pixels(some)).transpose(0, 2, 3, 1).reshape(-1, 3 * BLOCK * BLOCK)
        blocks = blocks[random.permutation(len(blocks))[:BLOCKS_SEEN]]
        vectors = np.linalg.eigh(np.cov(blocks.T))[1][:, ::-1].T[:channels]
    else:
        vectors = _dct(channels)
    name = "PCA" if pca else "DCT"
    return [Arrays(np.concatenate([_project(vectors, data.pixels(rows)) for rows in order(len(data), 256, False, 0, 0,
                                                                                         0, 1)]),
                   data.labels, Origin(f"{name} of 8×8 blocks, {channels}"), data.label_names)
            for data in (train, *others)]


def _blocks(pixels: np.ndarray) -> np.ndarray:
    """(N, 3, 8h, 8w) uint8 → (N, 192, h, w) float32, about zero."""
    count, colours, height, width = pixels.shape
    split = pixels.reshape(count, colours, height // BLOCK, BLOCK, width // BLOCK, BLOCK).astype(np.float32) - 128
    return split.transpose(0, 1, 3, 5, 2, 4).reshape(count, -1, height // BLOCK, width // BLOCK)


def _project(vectors: np.ndarray, pixels: np.ndarray) -> np.ndarray:
    return np.einsum("kf,nfhw->nkhw", vectors.astype(np.float32), _blocks(pixels), optimize=True).astype(np.float16)


def _dct(channels: int) -> np.ndarray:
    """(channels, 192): of luma a half, of each chroma a quarter of them, from the lowest frequency on."""
    place, rate = np.arange(BLOCK), np.arange(BLOCK)[:, None]
    basis = np.cos(np.pi * (place + 0.5) * rate / BLOCK) * np.sqrt(np.where(rate, 2, 1) / BLOCK)
    lowest = sorted(np.ndindex(BLOCK, BLOCK), key=lambda at: (at[0] ** 2 + at[1] ** 2, at))
    ycc = np.array([[0.299, 0.587, 0.114], [-0.168736, -0.331264, 0.5], [0.5, -0.418688, -0.081312]])
    quarter = channels // 4
    made = [np.multiply.outer(ycc[colour], np.outer(basis[y], basis[x])).ravel()
            for colour, count in ((0, channels - 2 * quarter), (1, quarter), (2, quarter)) for y, x in lowest[:count]]
    return np.array(made)
