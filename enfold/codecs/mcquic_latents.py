"""mcquic-rgb's latents: from bytes and back, on NumPy and the entropy coder alone.

A latent is a grid of codes, one vector for each 16×16 pixels: in channel after channel the indices of the
codebooks, coarse levels first (each code of theirs repeated over the positions that it stands for), then
those of the finest level. What they stand for, dequantised latents, `mcquic_search.Reconstruction` says.

Qualities 1 to 100 are cut into four bands of 25; each has codebooks and a prior of its own, made for its rate.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any

import numpy as np

from enfold.codecs.mcquic_search import Likelihood, Listener, Reconstruction, Search, Words
from enfold.entropy.codebooks import CascadeConfig, Codes, code_cascade, thaw_cascade
from enfold.entropy.coders import Chooser, Encoder
from enfold.entropy.softmax import FrozenSoftmax
from enfold.strips import StripLatents, each

BLOCK = 16
KNOWN, HIDDEN = (16, 16, 32), (48, 48, 80)      # of the prior's levels
BAND = 25                   # qualities that share codebooks
COARSE = ((32, 16), (64, 16))      # words at 1/64 and 1/32: of means, of activities


@dataclass(frozen=True)
class McquicConfig:
    """What tells one codec of the family from another.

    channels: that the transforms keep. books: of each band, coarse quality first, (channels, words) of each codebook
    of the finest level. coarsest, finest: the positions, in the transforms' range of qualities, of 1 and of 100.
    """

    channels: int
    fine_width: int
    coarse_width: int
    analysis_blocks: tuple[int, int]
    synthesis_blocks: tuple[int, int]
    coarsest: float
    finest: float
    books: tuple[tuple[tuple[int, int], ...], ...]

    def cascade(self, band: int) -> CascadeConfig:
        return CascadeConfig((*COARSE, tuple(words for _, words in self.books[band])), KNOWN, HIDDEN)

    @cached_property
    def codes(self) -> int:
        """Codes of a position, at most."""
        return sum(map(len, COARSE)) + max(map(len, self.books))

    def position(self, quality: int) -> float:
        """In [0, 1], as the transforms are told it."""
        return self.coarsest + (self.finest - self.coarsest) * (quality - 1) / 99


_RGB = McquicConfig(
    channels=176, fine_width=96, coarse_width=192, analysis_blocks=(2, 2), synthesis_blocks=(3, 2),
    coarsest=0.08, finest=0.44, books=(
        ((1, 38), (1, 23), (1, 13), (1, 15), (2, 99), (3, 128), (3, 128), (4, 128), (5, 128), (6, 128), (8, 128),
         (12, 128), (8, 24)),
        ((1, 53), (1, 33), (1, 18), (1, 21), (1, 22), (1, 14), (2, 128), (2, 86), (3, 128), (3, 128), (3, 128),
         (3, 128), (4, 128), (4, 128), (5, 128), (6, 128), (7, 128), (10, 128), (12, 128), (9, 54)),
        ((1, 73), (1, 45), (1, 26), (1, 32), (1, 30), (1, 20), (1, 16), (1, 20), (1, 15), (2, 128), (2, 117),
         (2, 78), (2, 75), (2, 56), (3, 128), (3, 128), (3, 128), (3, 128), (3, 120), (4, 128), (4, 128), (4, 128),
         (5, 128), (5, 128), (6, 128), (7, 128), (7, 128), (9, 128), (11, 128), (12, 128), (8, 49)),
        ((1, 100), (1, 64), (1, 36), (1, 46), (1, 44), (1, 27), (1, 22), (1, 28), (1, 22), (1, 17), (1, 16),
         (1, 19), (1, 18), (1, 13), (1, 13), (2, 128), (2, 127), (2, 119), (2, 128), (2, 88), (2, 103), (2, 104),
         (2, 84), (2, 58), (3, 128), (3, 128), (3, 128), (3, 128), (3, 128), (3, 128), (3, 128), (3, 128),
         (3, 124), (4, 128), (4, 128), (4, 128), (4, 128), (4, 128), (5, 128), (6, 128), (6, 128), (6, 128),
         (7, 128), (7, 128), (10, 128), (11, 128), (11, 128), (12, 128), (12, 128), (3, 7))))
_MS_SSIM = replace(
    _RGB, channels=144, coarsest=0.0, finest=0.36, books=(
        ((1, 41), (1, 25), (1, 20), (1, 12), (1, 21), (2, 116), (2, 83), (3, 128), (3, 128), (4, 128),
         (4, 128), (6, 128), (11, 128), (7, 30)),
        ((1, 58), (1, 35), (1, 29), (1, 29), (1, 18), (1, 20), (1, 16), (1, 19), (2, 128), (2, 104), (2, 74),
         (3, 128), (3, 128), (3, 128), (4, 128), (5, 128), (5, 128), (7, 128), (12, 128), (10, 57)),
        ((1, 81), (1, 50), (1, 44), (1, 41), (1, 26), (1, 29), (1, 22), (1, 29), (1, 19), (1, 16), (1, 15),
         (1, 16), (1, 16), (2, 109), (2, 119), (2, 75), (2, 84), (2, 59), (3, 128), (3, 128), (3, 128),
         (3, 95), (4, 128), (4, 128), (5, 128), (6, 128), (7, 128), (10, 128), (12, 128), (2, 4)),
        ((1, 109), (1, 69), (1, 62), (1, 37), (1, 58), (1, 39), (1, 30), (1, 40), (1, 23), (1, 27), (1, 22),
         (1, 23), (1, 23), (1, 17), (1, 15), (1, 21), (1, 19), (1, 14), (1, 15), (1, 13), (2, 128), (2, 128),
         (2, 98), (2, 108), (2, 107), (2, 95), (2, 69), (3, 128), (3, 128), (3, 128), (3, 128), (4, 128),
         (4, 128), (4, 128), (5, 128), (5, 128), (6, 128), (8, 128), (11, 128), (12, 128))))
CONFIGS = {"mcquic-rgb": _RGB, "mcquic-rgb-ms-ssim": _MS_SSIM}


class Band:
    """What qualities that share codebooks share: words, prior."""

    def __init__(self, config: McquicConfig, number: int, arrays: Mapping[str, np.ndarray]) -> None:
        """arrays: those of a model file whose names begin with the band's number, by the rest of their names."""
        self.cascade = config.cascade(number)
        self.words = Words(config.books[number], arrays)
        self.weights, self.biases, self.looks = thaw_cascade(arrays)

    def code(self, coder: Any, place: int, outer: tuple[int, ...], rows: int, columns: int, source: Any) -> None:
        """Codes what `source` holds at the quality that is the band's `place`-th; see `code_cascade`."""
        biases = {name: bias[min(place, len(bias) - 1)] for name, bias in self.biases.items()}
        code_cascade(coder, FrozenSoftmax(), self.weights, biases, self.looks, self.cascade, outer, rows, columns,
                     source)


class McquicLatents(StripLatents):
    """weights: the arrays of a model file, see `McquicModel.frozen`."""

    block = BLOCK
    positions = 1 << 13         # two megapixels

    def __init__(self, name: str, weights: Mapping[str, np.ndarray], fingerprint: bytes) -> None:
        self.name, self.fingerprint = name, fingerprint
        self.config = CONFIGS[name]
        self.channels = self.config.codes
        self.steps = weights["steps"].astype(np.float32)                    # (100, C), in grey levels
        self._arrays = [_of_band(weights, number) for number in range(len(self.config.books))]
        self._bands: dict[int, Band] = {}

    def band(self, quality: int) -> tuple[Band, int]:
        """The band of a quality, and its place in it."""
        number, place = divmod(quality - 1, BAND)
        if number not in self._bands:
            self._bands[number] = Band(self.config, number, self._arrays[number])
        return self._bands[number], place

    def prior(self, coder: Any, shape: tuple[int, ...], quality: int, latent: np.ndarray | None = None,
              hyper: np.ndarray | None = None) -> Any:
        """Codes one strip of codes (..., C, h, w); see `entropy.codebooks`."""
        band, place = self.band(quality)
        *outer, _, rows, columns = shape
        given = None if latent is None else split(band.cascade, latent)
        source = Codes(band.cascade, tuple(outer), rows, columns, given)
        band.code(coder, place, tuple(outer), rows, columns, source)
        return joined(band.cascade, source.grids, shape)

    def quantise(self, latent: np.ndarray, quality: int, price: float) -> tuple[np.ndarray, list[Encoder]]:
        """A latent (C, h, w) in steps → int16 codes, by errors and bits; and for each strip, an Encoder that has coded
        it."""
        band, place = self.band(quality)
        symbols = np.empty((self.channels, *latent.shape[1:]), np.int16)

        def one(rows: slice) -> Encoder:
            search, coder = Search(band.cascade, band.words, latent[:, rows]), Chooser(price)
            band.code(coder, place, (), *search.shape, search)
            symbols[:, rows] = joined(band.cascade, search.grids, symbols[:, rows].shape)
            return coder

        return symbols, each(one, self.strips(*latent.shape[1:]))

    def log2_density(self, latent: np.ndarray, quality: int, price: float) -> float:
        """log2 of the density of a latent (C, h, w) in steps: see `mcquic_search.Likelihood`."""
        band, place = self.band(quality)

        def one(rows: slice) -> float:
            search, coder = Likelihood(band.cascade, band.words, latent[:, rows]), Listener(price)
            band.code(coder, place, (), *search.shape, search)
            return search.log2_density(coder.logits)

        return sum(each(one, self.strips(*latent.shape[1:])))

    def values(self, symbols: np.ndarray, quality: int) -> np.ndarray:
        """Dequantised latents, float32 (C, h, w), in grey levels."""
        band, _ = self.band(quality)
        out = np.empty((self.config.channels, *symbols.shape[1:]), np.float32)

        def one(rows: slice) -> None:
            made = Reconstruction.of(band.cascade, band.words, split(band.cascade, symbols[:, rows]))
            out[:, rows] = made.latent(self.config.channels)

        each(one, self.strips(*symbols.shape[1:]))
        return out * self.steps[quality - 1][:, None, None]


def _of_band(weights: Mapping[str, np.ndarray], number: int) -> dict[str, np.ndarray]:
    """A band's arrays of a model file: `N.NAME`, `prior.N.NAME` and `bias.N.NAME`, without the number."""
    parts = {}
    for name in weights:
        kind, _, rest = name.partition(".")
        if kind == str(number):
            parts[rest] = weights[name]
        elif kind in ("prior", "bias") and rest.startswith(f"{number}."):
            parts[f"{kind}.{rest.partition('.')[2]}"] = weights[name]
    return parts


def split(cascade: CascadeConfig, symbols: np.ndarray) -> list[np.ndarray]:
    """Codes (..., C, h, w) as the grids of `codebooks.Codes`, coarse to fine."""
    grids, start = [], 0
    for level, books in enumerate(cascade.levels):
        step = 1 << len(cascade.levels) - 1 - level
        grids.append(np.moveaxis(symbols[..., start:start + len(books), ::step, ::step], -3, -1))
        start += len(books)
    return grids


def joined(cascade: CascadeConfig, grids: list[np.ndarray], shape: tuple[int, ...]) -> np.ndarray:
    """The inverse of `split`: int32 of `shape`; channels beyond the cascade's are zero."""
    *_, rows, columns = shape
    out, start = np.zeros(shape, np.int32), 0
    for level, (books, grid) in enumerate(zip(cascade.levels, grids, strict=True)):
        step = 1 << len(cascade.levels) - 1 - level
        wide = grid.repeat(step, -3).repeat(step, -2)[..., :rows, :columns, :]
        out[..., start:start + len(books), :, :] = np.moveaxis(wide, -1, -3)
        start += len(books)
    return out
