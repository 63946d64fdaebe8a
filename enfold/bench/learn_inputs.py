"""What a network is fed in `enfold bench learn`: latents, and what one would use instead of them.

    latents     (C, h, w)           from a pack
    thumbnail   (3, h, w)           JPEGs decoded and resized as they are read, a token a pixel
    resized     (3, s·h, s·w)       the same, in patches of s that make h·w tokens, s² · 3 = C
    full        (3, 8h, 8w)         JPEGs decoded; patches of 8, or of what the codec's token stands for, make as many
                                    tokens
    dct, pca    (C, h, w)           the lowest frequencies, or the principal components, of blocks of 8×8 pixels
    pixels      (64, h, w)          to be coloured: JPEGs decoded, turned grey and cut into blocks of 8×8 pixels

All are of the samples that are in the pack, in their order.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch
from PIL import Image

from enfold.errors import MediaError
from enfold.learners.dataset import LatentDataset
from enfold.learners.manifest import read
from enfold.learners.packing import pack
from enfold.learners.samples import Arrays, Examples, Origin, order
from enfold.learners.sources import InFile, Item, listing
from enfold.media import crop, pad_to_multiple, replace_file

BLOCK = 8
BLOCKS_SEEN = 1 << 16       # by PCA
YCC = np.array([[0.299, 0.587, 0.114], [-0.168736, -0.331264, 0.5], [0.5, -0.418688, -0.081312]])     # as JPEG has it


@dataclass(frozen=True)
class Source:
    """What is packed, and learnt from as pixels: any source of `learners.pack`."""

    path: Path
    image_column: str = "image"
    label_column: str = "label"

    @classmethod
    def of(cls, source: Path | Source) -> Source:
        return source if isinstance(source, Source) else cls(source)

    @property
    def name(self) -> str:
        """What a table calls the data set."""
        return self.path.resolve().parent.name or self.path.name

    def packed(self, out: Path, codec: str, quality: int | None, *, grey: bool = False) -> LatentDataset:
        """The pack: made now, unless it is there."""
        pack(self.path, out, codec=codec, quality=quality, grey=grey, jobs=0, image_column=self.image_column,
             label_column=self.label_column)
        return LatentDataset(out)

    def files(self, dataset: LatentDataset) -> tuple[Path, ...]:
        """The pictures that a pack was made of, in the order of its rows.

        Those that lie in tars, Parquet or mosaics are written to files beside the pack first, as they are.
        """
        items = {item.key: item for item in listing(self.path, image_column=self.image_column,
                                                    label_column=self.label_column).items}
        folder = dataset.reading.pack.folder
        beside = folder.with_name(f"{folder.name}-pictures")
        return tuple(_file(items[key], beside / f"{number:07}") for number, key in
                     enumerate(dataset.reading.pack.keys()))


def _file(item: Item, path: Path) -> Path:
    if isinstance(item.place, InFile):
        return Path(item.place.path)
    if not path.exists():
        path.parent.mkdir(parents=True, exist_ok=True)
        replace_file(path, item.read())
    return path


def checksums(*datasets: LatentDataset) -> list[str]:
    """What tells packs apart: those of their shards."""
    manifests = [read(dataset.reading.pack.folder) for dataset in datasets]
    return [done.crc32c for manifest in manifests if manifest for _, done in sorted(manifest.done.items())]


def disk_bytes(files: Iterable[Path]) -> int:
    return sum(file.stat().st_size for file in files)


@dataclass(frozen=True)
class Pictures:
    """Picture files and labels; decoded and resized to (height, width) at every reading, as a data loader does."""

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
        return np.stack([read_rgb(self.files[row], self.height, self.width) for row in rows])

    def examples(self, batch_size: int, *, shuffle: bool = False, seed: int = 0, epoch: int = 0, rank: int = 0,
                 ranks: int = 1) -> Iterator[Examples]:
        for rows in order(len(self), batch_size, shuffle, seed, epoch, rank, ranks):
            yield Examples(torch.from_numpy(self.pixels(rows)).float(), torch.from_numpy(self.labels[rows]).long())


@dataclass(frozen=True)
class GreyPixels:
    """JPEG files of one size, in blocks of 8×8, padded as codecs do: grey (B, 64, h, w), in colour (B, 192, h, w).

    Decoded and turned grey at every reading, as a data loader does. The grey is that of `pack(grey=True)`.
    """

    files: tuple[Path, ...]
    height: int
    width: int
    label_names = None

    @property
    def origin(self) -> Origin:
        return Origin(f"grey pixels in blocks of {BLOCK}×{BLOCK}")

    def __len__(self) -> int:
        return len(self.files)

    def examples(self, batch_size: int, *, shuffle: bool = False, seed: int = 0, epoch: int = 0, rank: int = 0,
                 ranks: int = 1) -> Iterator[Examples]:
        for rows in order(len(self), batch_size, shuffle, seed, epoch, rank, ranks):
            colours = self.colours(rows)
            greys = [grey_of(rgb)[None] for rgb in colours]
            yield Examples(*(torch.from_numpy(_blocks(np.stack([_padded(one) for one in some])))
                             for some in (greys, colours)))

    def only(self, rows: np.ndarray) -> GreyPixels:
        """Those samples alone."""
        return replace(self, files=tuple(self.files[row] for row in rows))

    def colours(self, rows: np.ndarray) -> list[np.ndarray]:
        """uint8 (3, height, width) of each."""
        return [read_rgb(self.files[row], self.height, self.width) for row in rows]

    def pictures(self, blocks: np.ndarray) -> list[np.ndarray]:
        """(B, 192, h, w) as targets are → uint8 (height, width, 3) of each."""
        count, _, high, wide = blocks.shape
        split = blocks.reshape(count, 3, BLOCK, BLOCK, high, wide).transpose(0, 4, 2, 5, 3, 1)
        whole = (split.reshape(count, high * BLOCK, wide * BLOCK, 3) + 128).round().clip(0, 255).astype(np.uint8)
        return [crop(one, self.height, self.width) for one in whole]


def read_rgb(file: Path, height: int, width: int) -> np.ndarray:
    """uint8 (3, height, width). Raises MediaError."""
    try:
        with Image.open(file) as image:
            pixels = image.convert("RGB")
    except OSError as error:
        raise MediaError(f"{file}: cannot be read: {error}; take it out of both sides of the comparison") from error
    if pixels.size != (width, height):
        pixels = pixels.resize((width, height), Image.Resampling.BILINEAR)
    return np.asarray(pixels).transpose(2, 0, 1)


def grey_of(rgb: np.ndarray) -> np.ndarray:
    """uint8 (3, height, width) → (height, width)."""
    return np.asarray(Image.fromarray(np.ascontiguousarray(rgb.transpose(1, 2, 0))).convert("L"))


def block_of(file: Path, wide: int) -> int:
    """Pixels a side that a token stands for, a power of two, where a picture as wide as this one, padded, has so many
    tokens beside each other."""
    with Image.open(file) as image:
        return 1 << (-(-image.width // wide) - 1).bit_length()


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


def _padded(pixels: np.ndarray) -> np.ndarray:
    """(C, height, width) → (C, 8h, 8w)."""
    return pad_to_multiple(pixels.transpose(1, 2, 0), BLOCK).transpose(2, 0, 1)


def _blocks(pixels: np.ndarray) -> np.ndarray:
    """(N, C, 8h, 8w) uint8 → (N, 64·C, h, w) float32, about zero."""
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
    quarter = channels // 4
    made = [np.multiply.outer(YCC[colour], np.outer(basis[y], basis[x])).ravel()
            for colour, count in ((0, channels - 2 * quarter), (1, quarter), (2, quarter)) for y, x in lowest[:count]]
    return np.array(made)
