"""What codes stand for, and the search for those of a latent.

    targets     level 1/64    means and activities of 4×4 positions
                level 1/32    those of 2×2, less what the level above says
                level 1/16    the latent, less what all before says: coarse levels, neighbours

`Reconstruction` follows the prior's order (see `entropy.codebooks`) and knows at each pass what was decoded
before; from this it predicts the leading channels of the pass, by linear maps, and codes add their words.
A `Search` is the same with a latent at hand: it tells the errors of all words, of which a `Quantizer`
chooses with their bits in mind. Both work in steps of quantisation. Floating point may be used freely: what
codes stand for selects no table.

The quantiser seen as a mixture: a word is a mean; `Words.variances` are those of what remains around it, for
each channel, so that `Likelihood` gives the density of a latent under the mixture that a prior says.

Source: Zhu et al. 2022.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import pairwise
from typing import Any

import numpy as np

from enfold.entropy.codebooks import CascadeConfig, Codes, cell_of
from enfold.entropy.coders import Quantizer
from enfold.entropy.hyperprior import PASSES

MEANS = 8                   # leading channels whose means coarse levels tell
ACTIVITIES = 6              # ranges of channels of which they tell how much there is
PREDICTED = 24              # channels that are predicted
NEAR = 12                   # channels of the neighbours that they are predicted from
COARSE_WEIGHTS = (4.0, 16.0)    # what an error of means and of activities is worth, in squared steps
_AROUND = tuple((dy, dx) for dy in (-1, 0, 1) for dx in (-1, 0, 1))


class Words:
    """The codebooks of a band, and the maps that predict.

    sizes: (channels, words) of each codebook of the finest level; they take its channels in `order`.
    """

    def __init__(self, sizes: Sequence[tuple[int, int]], arrays: Mapping[str, np.ndarray]) -> None:
        self.sizes = sizes
        self.order = arrays["order"].astype(np.int64)                       # channels of a latent, as books take them
        self.coarse = [[arrays[f"words.{level}.{book}"].astype(np.float32) for book in range(2)] for level in range(2)]
        self.fine = [arrays[f"words.2.{book}"].astype(np.float32) for book in range(len(sizes))]
        self.variances = [arrays[f"variances.{book}"].astype(np.float32) for book in range(len(sizes))]
        self.base = arrays["base"].astype(np.float32)                       # (4, 9·(MEANS + ACTIVITIES) + 1, PREDICTED)
        self.near = [arrays[f"near.{number}"].astype(np.float32) for number in range(1, 4)]
        starts = np.cumsum([0, *(channels for channels, _ in sizes)])
        self.ranges = [slice(int(a), int(b)) for a, b in pairwise(starts)]
        self.channels = int(starts[-1])


class Reconstruction(Codes):
    """What codes make: `put` takes them, in the prior's order; `latent` is what they stand for."""

    def __init__(self, cascade: CascadeConfig, words: Words, rows: int, columns: int) -> None:
        super().__init__(cascade, (), rows, columns)
        self.words, self.shape = words, (rows, columns)
        self.coarse = [np.zeros((*cascade.shape(level, rows, columns), MEANS + ACTIVITIES), np.float32)
                       for level in range(2)]
        self.made = np.zeros((rows + 2, columns + 2, words.channels), np.float32)       # a margin of one
        self._base = np.zeros((rows + 2, columns + 2, PREDICTED), np.float32)
        self._predicted = np.zeros((0, PREDICTED), np.float32)

    @classmethod
    def of(cls, cascade: CascadeConfig, words: Words, grids: Sequence[np.ndarray]) -> Reconstruction:
        """Of codes that are known."""
        made = cls(cascade, words, *grids[-1].shape[:2])
        for level, books in enumerate(cascade.levels):
            for number, phase in enumerate(PASSES):
                for book in range(len(books)):
                    cell = grids[level][cell_of(phase, book)]
                    if cell.size:
                        made.begin(level, number, book)
                        made.put(level, number, book, cell.reshape(-1))
        return made

    def begin(self, level: int, number: int, book: int) -> None:
        """Called before the codes of a pass: what is known now predicts them."""
        if level < 2 or book:
            return
        if number == 0:
            self._lay_base()
        phase = PASSES[number]
        cell = cell_of(phase)
        base = self._base[1:-1, 1:-1][cell]
        if number:
            r, c = base.shape[:2]
            (top, left), step = phase.start, phase.step
            seen = [(self.made[..., :NEAR] - self._base[..., :NEAR])
                    [y:y + (r - 1) * step + 1:step, x:x + (c - 1) * step + 1:step]
                    for y, x in ((top + dy + 1, left + dx + 1) for dy, dx in phase.taps)]
            base = base + np.concatenate(seen, -1) @ self.words.near[number - 1]
        self._predicted = base.reshape(-1, PREDICTED)

    def put(self, level: int, number: int, book: int, codes: np.ndarray) -> None:
        super().put(level, number, book, codes)
        cell = cell_of(PASSES[number])
        if level < 2:
            half = (slice(None, MEANS), slice(MEANS, None))[book]
            target = self.coarse[level][(*cell[:-1], half)]
            target += self.words.coarse[level][book][codes].reshape(target.shape)
            if level == 0:      # the next level begins with what this one says
                self.coarse[1][..., half] = _wide(self.coarse[0][..., half], *self.coarse[1].shape[:2])
            return
        inside = self.words.ranges[book]
        added = self.words.fine[book][codes]
        if inside.start < PREDICTED:
            known = self._predicted[:, inside]
            added[:, :known.shape[1]] += known
        target = self.made[1:-1, 1:-1][(*cell[:-1], inside)]
        target[...] = added.reshape(target.shape)

    def latent(self, channels: int) -> np.ndarray:
        """float32 (channels, h, w), in steps."""
        out = np.zeros((channels, *self.shape), np.float32)
        out[self.words.order] = np.moveaxis(self.made[1:-1, 1:-1], -1, 0)
        return out

    def _lay_base(self) -> None:
        """What coarse levels alone predict, of every position."""
        seen = coarse_features(self.coarse[1])
        for number, phase in enumerate(PASSES):
            target = self._base[1:-1, 1:-1][cell_of(phase)]
            r, c = target.shape[:2]
            target[...] = seen[:r, :c] @ self.words.base[number]


class Search(Reconstruction):
    """Tells a Quantizer what error each word would make. latent: (C, h, w), in steps."""

    def __init__(self, cascade: CascadeConfig, words: Words, latent: np.ndarray) -> None:
        super().__init__(cascade, words, *latent.shape[1:])
        self._latent = np.ascontiguousarray(np.moveaxis(latent[words.order], 0, -1))
        told = pooled(features(self._latent))
        self._targets = [pooled(told), told]

    def residual(self, level: int, number: int, book: int) -> np.ndarray:
        """(n, d): what a book's words are to come near to."""
        cell = cell_of(PASSES[number])
        if level < 2:
            half = (slice(None, MEANS), slice(MEANS, None))[book]
            left = self._targets[level][(*cell[:-1], half)] - self.coarse[level][(*cell[:-1], half)]
            return left.reshape(-1, left.shape[-1])
        inside = self.words.ranges[book]
        left = self._latent[(*cell[:-1], inside)].reshape(-1, inside.stop - inside.start)
        if inside.start < PREDICTED:
            known = self._predicted[:, inside]
            left = left.copy()
            left[:, :known.shape[1]] -= known
        return left

    def take(self, level: int, number: int, book: int) -> np.ndarray:
        """(n, K): squared errors, less what all words have alike."""
        self.begin(level, number, book)
        left = self.residual(level, number, book)
        words = self.words.fine[book] if level == 2 else self.words.coarse[level][book]
        error = np.square(words).sum(1) - 2 * (left @ words.T)
        return error if level == 2 else COARSE_WEIGHTS[book] * error


def features(latent: np.ndarray) -> np.ndarray:
    """(h, w, C) → (h, w, MEANS + ACTIVITIES): what coarse levels tell of, before it is pooled."""
    bands = np.array_split(np.log2(1 + np.abs(latent)), ACTIVITIES, -1)
    return np.concatenate([latent[..., :MEANS], *(band.mean(-1, keepdims=True) for band in bands)], -1)


def pooled(x: np.ndarray) -> np.ndarray:
    """(h, w, n) → means of 2×2 (⌈h/2⌉, ⌈w/2⌉, n), the last row or column repeated where it lacks a partner."""
    x = np.pad(x, ((0, len(x) % 2), (0, x.shape[1] % 2), (0, 0)), "edge")
    return (x[::2, ::2] + x[1::2, ::2] + x[::2, 1::2] + x[1::2, 1::2]) / 4


def coarse_features(coarse: np.ndarray) -> np.ndarray:
    """(h, w, n) → (h, w, 9n + 1): each position's nine around it, borders repeated, and a one."""
    h, w, _ = coarse.shape
    padded = np.pad(coarse, ((1, 1), (1, 1), (0, 0)), "edge")
    seen = [padded[1 + dy:1 + dy + h, 1 + dx:1 + dx + w] for dy, dx in _AROUND]
    return np.concatenate([*seen, np.ones((h, w, 1), np.float32)], -1)


def _wide(coarse: np.ndarray, rows: int, columns: int) -> np.ndarray:
    return coarse.repeat(2, 0).repeat(2, 1)[:rows, :columns]


class Listener(Quantizer):
    """A Quantizer that keeps the logits by which it chose."""

    def __init__(self, price: float) -> None:
        super().__init__(price)
        self.logits: list[np.ndarray] = []

    def code(self, density: Any, context: Any, values: np.ndarray | None = None) -> np.ndarray:
        self.logits.append(context)
        return super().code(density, context, values)


class Likelihood(Search):
    """A search that keeps what words were to come near to: `log2_density` afterwards."""

    def __init__(self, cascade: CascadeConfig, words: Words, latent: np.ndarray) -> None:
        super().__init__(cascade, words, latent)
        self._seen: list[tuple[int, int, np.ndarray]] = []

    def residual(self, level: int, number: int, book: int) -> np.ndarray:
        left = super().residual(level, number, book)
        self._seen.append((level, book, left))
        return left

    def log2_density(self, logits: Sequence[np.ndarray]) -> float:
        """Of the latent, given the logits (n, K) of all codes in the order of coding: for each book of the finest level
        and each position a mixture of Gaussians, with what the prior said of its words as weights."""
        total = 0.0
        for (level, book, left), said in zip(self._seen, logits, strict=True):
            if level == 2:
                variance = self.words.variances[book]
                distance = np.square(left[:, None] - self.words.fine[book]) / variance
                exponent = said - (distance + np.log(2 * np.pi * variance)).sum(-1) * (0.5 / np.log(2))
                total += float(_log2_sum(exponent).sum() - _log2_sum(said).sum())
        return total


def _log2_sum(x: np.ndarray) -> np.ndarray:
    """log2 of the sum of 2^x over the last axis."""
    top = x.max(-1, keepdims=True)
    return np.log2(np.exp2((x - top).astype(np.float64)).sum(-1)) + top[..., 0]
