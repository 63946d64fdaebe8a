"""Latents searched for: what an encoder with time to spare finds, for a decoder that stays as it is.

    integers ─┬─ synthesis ─ error ─┐
        ↑     └─ prior ───── bits ──┴─ bits + worth · error ─ gradient ─ which of them to move by one
        └───────────────────────────────────────────────────────────────┘

A transform encodes in one go, and its latents are good for most pictures and the best for none. As
decoder and prior are differentiable, gradients g say how the sum would change with each latent. Moved by
one, it changes by about h/2 - |g|, where h, the curvature, is that of a linear transform's error and so
known beforehand. Those are moved where that is a gain; at first only the clearest, since all move at once
and each gain is foretold as if it were the only one. What turns out no gain is taken back, and fewer are
moved next. (Real latents, rounded with gradients passed straight through, take three times as many
steps where latents are fine, and find nothing where they are coarse: they run back and forth.)

The file's format and its decoder know nothing of all this. Large grids are searched tile by tile, each
with a halo of latents that stay as they are and are decoded and priced with it; so memory is bounded, and
what a tile settles, the next one sees.

Guarantees: what comes back is never worse than what it began with, by the very sum that is minimised;
the same input gives the same latents on the same machine and threads.

Source: Campos et al. 2019, *Content Adaptive Optimization for Neural Image Compression*, which searches
real latents.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

FIRST, LAST = 0.8, 0.5      # |g| / h from which on a latent moves, in the first step and the last: a gain is 0.5
CAUTION = 1.3               # by how much that rises with every step that was none
_RANGE = -(1 << 15) + 1, (1 << 15) - 1
Box = tuple[slice, slice]


@dataclass(frozen=True)
class Tile:
    """Rows and columns of a grid. own: what is searched; seen: the same and a halo, within the grid; strip: what of it
    is coded together, so priced, within the strip. `inside` and `priced` are own and strip as parts of seen."""

    own: Box
    seen: Box
    strip: Box

    @property
    def inside(self) -> Box:
        return _part(self.own[0], self.seen[0]), _part(self.own[1], self.seen[1])

    @property
    def priced(self) -> Box:
        return _part(self.strip[0], self.seen[0]), _part(self.strip[1], self.seen[1])


@dataclass(frozen=True)
class Objective:
    """What a search brings down, for a grid of positions that stand for block × block pixels each.

    decoded: symbols (1, C, h, w) → pixels (1, 3, H, W); bits: of symbols, (1,), in a strip of their own. Both
    differentiable. worth: bits for a grey level squared; spread: grey levels squared for a latent's step, (C, 1, 1).
    tile, halo: positions a side that are searched at once, and around them; tile is a multiple of halo, and halo of
    what keeps the phases of a prior in place.
    """

    decoded: Callable[[Tensor], Tensor]
    bits: Callable[[Tensor], Tensor]
    worth: float
    spread: Tensor
    block: int
    tile: int
    halo: int

    @property
    def curvature(self) -> Tensor:
        return 2 * self.worth * self.spread


def refined(symbols: np.ndarray, rgb: np.ndarray, padded: np.ndarray, strips: list[slice], objective: Objective,
            steps: int) -> np.ndarray:
    """Better symbols, int16 (C, h, w), for a picture (H, W, 3), which `padded` extends to whole blocks."""
    symbols = symbols.copy()
    height, width = symbols.shape[1:]
    for tile in tiles(strips, height, width, objective.tile, objective.halo):
        own = slice(None), *tile.own
        found = search(torch.from_numpy(symbols[own]).float()[None], _cost(objective, symbols, rgb, padded, tile),
                       objective.curvature, steps)
        symbols[own] = found[0].clamp(*_RANGE).to(torch.int16).numpy()
    return symbols


def _cost(objective: Objective, symbols: np.ndarray, rgb: np.ndarray, padded: np.ndarray,
          tile: Tile) -> Callable[[Tensor], Tensor]:
    """Of the latents of a tile, while those around it stay as they are."""
    rows, columns = (slice(part.start * objective.block, part.stop * objective.block) for part in tile.seen)
    pixels = torch.from_numpy(padded[rows, columns].astype(np.float32)).permute(2, 0, 1)[None]
    around = torch.from_numpy(symbols[(slice(None), *tile.seen)]).float()[None]
    shown = ..., slice(rgb.shape[0] - rows.start), slice(rgb.shape[1] - columns.start)       # not what pads it

    def cost(latents: Tensor) -> Tensor:
        whole = around.clone()
        whole[(..., *tile.inside)] = latents
        error = (objective.decoded(whole) - pixels)[shown]
        return objective.bits(whole[(..., *tile.priced)]).sum() + objective.worth * error.square().sum()

    return cost


def tiles(strips: list[slice], height: int, width: int, size: int, halo: int) -> Iterator[Tile]:
    """Of a grid that is coded in strips of whole rows, every position once; a tile never crosses strips."""
    for rows in strips:
        for top in range(rows.start, rows.stop, size):
            for left in range(0, width, size):
                bottom, right = min(top + size, rows.stop), min(left + size, width)
                columns = slice(max(0, left - halo), min(right + halo, width))
                yield Tile((slice(top, bottom), slice(left, right)),
                           (slice(max(0, top - halo), min(bottom + halo, height)), columns),
                           (slice(max(rows.start, top - halo), min(bottom + halo, rows.stop)), columns))


def search(start: Tensor, cost: Callable[[Tensor], Tensor], curvature: Tensor, steps: int) -> Tensor:
    """The best integers that `steps` steps from the integers `start` (B, C, h, w) come upon.

    cost: latents → a scalar, differentiable. curvature: h, positive, broadcast to latents.
    """
    best, trial, slope = start, start, torch.zeros_like(start)
    least, caution = math.inf, 1.0
    for step in range(steps + 1):
        moving = trial.clone().requires_grad_(step < steps)
        total = cost(moving)
        if total.item() < least:
            best, least = trial, total.item()
            if step < steps:
                slope, = torch.autograd.grad(total, moving)
        else:
            caution *= CAUTION
        threshold = caution * (FIRST + (LAST - FIRST) * step / max(1, steps))
        trial = best - slope.sign() * (slope.abs() > threshold * curvature)
    return best


def _part(inner: slice, outer: slice) -> slice:
    return slice(inner.start - outer.start, inner.stop - outer.start)
