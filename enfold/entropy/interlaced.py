"""A context prior for grids of latents: coarse positions first, then what lies between them.

A grid is coded in phases, each a regular lattice; inside a phase, in a few groups of channels.
Every position of a phase is coded at once, so the schedule has tens of steps, not one a pixel,
and yet half of all positions see their four direct neighbours:

    0 6 3 6 0 6 3 6        phase   step  starts (row, column)
    5 4 5 4 5 4 5 4        1       4     (2, 2)
    2 6 1 6 2 6 1 6        2, 3    4     (2, 0), (0, 2)
    5 4 5 4 5 4 5 4        4       2     (1, 1)
    0 6 3 6 0 6 3 6        5, 6    2     (1, 0), (0, 1)

What is phase 0 here is coded before, and likewise: in each of `octaves` the lattices 4, 5 and 6,
scaled up, so that only positions 16 apart, or 4 · 2^octaves, know nothing.

What a latent is given: a mean, linear in the nearest known latents (all channels); a scale,
linear in their magnitudes and in the differences of opposite ones; and, from the groups before it
at the same position, what the mean missed, and by how much. To both comes what a small hidden layer
makes of all these: it is worked out again for each group, once what the last one missed is known. The
weights are the whole model; how many octaves there are, and whether there is a hidden layer, or one
that starts anew in each group, they say themselves.

Guarantee: `code_grid` is the only description. Under a `Meter` it runs on tensors that carry
gradients, under an `Encoder` or a `Decoder` on NumPy arrays. There every number is a dyadic
rational so coarse that float32 adds it without rounding (`freeze` proves the bound), so means
and scales are the same on every machine, whatever the order of summation.
"""

from __future__ import annotations

import itertools
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property, lru_cache
from typing import Any

import numpy as np

from enfold.entropy.exact import FRACTION_BITS as HIDDEN_FRACTION_BITS

MAX_TAPS = 12
OCTAVES = 3
CLIP = 255.0                # contexts see latents no larger than this; the coder sees them whole
FRACTION_BITS = 2           # means are snapped to quarters of a quantisation step
MOST_BITS, LEAST_BITS = 12, 4       # of a weight's fraction


@dataclass(frozen=True)
class Phase:
    """One lattice and the offsets (row, column) of the known positions that its latents see.

    number: what its weights are called by.
    """

    step: int
    start: tuple[int, int]
    taps: tuple[tuple[int, int], ...]
    number: int = 0

    def cell(self, channels: slice) -> tuple[Any, ...]:
        """Index of this lattice's latents in a grid (..., C, h, w)."""
        return (..., channels, slice(self.start[0], None, self.step),
                slice(self.start[1], None, self.step))

    @cached_property
    def pairs(self) -> tuple[tuple[int, int], ...]:
        """Indices of opposite taps: their difference tells how fast the latent changes."""
        at = {tap: k for k, tap in enumerate(self.taps)}
        return tuple((k, at[-dy, -dx]) for (dy, dx), k in at.items()
                     if (dy, dx) < (-dy, -dx) and (-dy, -dx) in at)


@lru_cache
def schedule(octaves: int = OCTAVES) -> tuple[Phase, ...]:
    """The phases in the order of coding. Those of the first octave are numbered from 7, of the next from 10."""
    lattices = [(4 << octaves, (0, 0), 0)]
    for octave in range(octaves + 1, -1, -1):
        half = 1 << octave
        first = 3 * octave + 1 if octave > 1 else 4 - 3 * octave
        lattices += [(2 * half, start, first + k) for k, start in enumerate(((half, half), (half, 0), (0, half)))]
    return tuple(Phase(step, start, _taps(step, start, lattices[:at]), number)
                 for at, (step, start, number) in enumerate(lattices))


def _taps(step: int, start: tuple[int, int], known: Sequence[tuple[int, tuple[int, int], int]]
          ) -> tuple[tuple[int, int], ...]:
    """The nearest offsets from a lattice to those known before it: whole rings only, so that no side is favoured."""
    reach = 2 * step
    near = [(dy, dx) for dy in range(-reach, reach + 1) for dx in range(-reach, reach + 1)
            if any((start[0] + dy - y) % s == 0 and (start[1] + dx - x) % s == 0 for s, (y, x), _ in known)]
    taps: list[tuple[int, int]] = []
    for distance in sorted({dy * dy + dx * dx for dy, dx in near}):
        ring = sorted(d for d in near if d[0] ** 2 + d[1] ** 2 == distance)
        if len(taps) + len(ring) > MAX_TAPS:
            break
        taps += ring
    return tuple(taps)


def weight_shapes(channels: int, groups: Sequence[int], octaves: int = OCTAVES,
                  hidden: int = 0) -> dict[str, tuple[int, int]]:
    """Names and shapes (outputs, features) of the weights of a grid of `channels` channels."""
    shapes = {}
    for phase in schedule(octaves):
        if phase.taps:
            near, active = channels * len(phase.taps), channels * (len(phase.taps) + len(phase.pairs))
            shapes[f"mean_{phase.number}"] = (channels, near)
            shapes[f"scale_{phase.number}"] = (channels, active)
            if hidden:
                shapes[f"near_{phase.number}"] = (hidden, near)
                shapes[f"active_{phase.number}"] = (hidden, active)
                shapes[f"bias_{phase.number}"] = (hidden, 1)
                shapes[f"out_{phase.number}"] = (2 * channels, hidden)
        start = 0
        for order, size in enumerate(groups):
            if start:
                shapes[f"mean_{phase.number}_{order}"] = (size, start)
                shapes[f"scale_{phase.number}_{order}"] = (size, start)
                if hidden and phase.taps:
                    shapes[f"missed_{phase.number}_{order}"] = (hidden, 2 * start)
                    shapes[f"out_{phase.number}_{order}"] = (2 * size, hidden)
            start += size
    return shapes


def code_grid(coder: Any, density: Any, weights: Mapping[str, Any], floor: Any,
              groups: Sequence[int], shape: tuple[int, ...], latent: Any = None) -> Any:
    """Codes a grid of latents (..., C, h, w) and returns it.

    coder: Meter, Encoder or Decoder. density: of location and scale. weights: as named by
    `weight_shapes`, with any octaves and hidden layer. floor: (..., C, 1), or (..., C, h, 1), the scale where
    all that is known is zero. groups: sizes that add up to C. latent: what to code, real-valued under a Meter,
    integers under an Encoder, None under a Decoder.
    """
    octaves = next(n for n in itertools.count() if f"mean_{7 + 3 * n}" not in weights)
    grid = coder.grid(shape, latent, _margin(octaves), CLIP)
    for phase in schedule(octaves):
        lattice = grid.known[phase.cell(slice(None))].shape
        rows, columns = lattice[-2:]
        if not rows or not columns:
            continue
        least = floor
        if floor.ndim == len(shape):
            of_rows = coder.zeros(lattice) + floor[..., phase.start[0]::phase.step, :]
            least = of_rows.reshape(*lattice[:-2], rows * columns)
        hidden = None
        if phase.taps:
            near = coder.gather(grid.seen, _windows(phase, rows, columns, _margin(octaves)))
            active = coder.activity(near, phase.pairs, shape[-3])
            mean = coder.linear(weights[f"mean_{phase.number}"], near)
            scale = least + coder.linear(weights[f"scale_{phase.number}"], active)
            if f"out_{phase.number}" in weights:
                hidden = coder.linear(weights[f"active_{phase.number}"], active,
                                      coder.linear(weights[f"near_{phase.number}"], near))
                if f"bias_{phase.number}" in weights:
                    hidden = hidden + weights[f"bias_{phase.number}"]
                felt, out = coder.rectify(hidden, CLIP), weights[f"out_{phase.number}"]
                mean, scale = (coder.linear(out[:shape[-3]], felt, mean), coder.linear(out[shape[-3]:], felt, scale))
        else:
            mean = coder.zeros((*lattice[:-2], rows * columns))
            scale = mean + least
        missed, start = None, 0
        for order, size in enumerate(groups):
            channels = slice(start, start + size)
            group_mean, group_scale = mean[..., channels, :], scale[..., channels, :]
            if missed is not None:
                maps = [weights.get(f"{kind}_{phase.number}_{order}") for kind in ("mean", "scale", "missed", "out")]
                group_mean, group_scale = coder.adjust(group_mean, group_scale, missed, maps, hidden, CLIP)
            cell, cell_shape = phase.cell(channels), (*lattice[:-3], size, rows, columns)
            group_mean = group_mean.reshape(cell_shape)
            values = coder.code(density, (group_mean, group_scale.reshape(cell_shape)), grid.take(cell))
            error = coder.settle(grid, cell, values, group_mean, FRACTION_BITS)
            error = error.reshape(*lattice[:-3], size, rows * columns)
            missed = error if missed is None else coder.concat([missed, error], -2)
            start += size
    return grid.known


@lru_cache
def _margin(octaves: int) -> int:
    return max(abs(d) for phase in schedule(octaves) for tap in phase.taps for d in tap)


@lru_cache(maxsize=256)
def _windows(phase: Phase, rows: int, columns: int, margin: int) -> tuple[tuple[Any, ...], ...]:
    """For each tap, where the latents that it meets lie in a grid with a margin around it."""
    (top, left), step = phase.start, phase.step
    starts = [(top + dy + margin, left + dx + margin) for dy, dx in phase.taps]
    return tuple((..., slice(y, y + (rows - 1) * step + 1, step), slice(x, x + (columns - 1) * step + 1, step))
                 for y, x in starts)


def freeze(weights: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
    """Rounds each row of the weights to the finest dyadic grid on which float32 sums are proven exact.

    Features are multiples of 2^-f no larger than L: of 2^-FRACTION_BITS and 2·CLIP, but for a
    hidden layer's, which `rectify` makes. So a sum is a multiple of 2^-(bits + f) and never exceeds
    L·Σ|w|; it is exact while that is less than 2^24 units. In float16, half the bytes, where that holds every weight
    exactly; else float32. Raises ValueError where a row is so large that not even 4 bits are left.
    """
    frozen = {}
    for name, weight in weights.items():
        weight = np.asarray(weight, np.float64)
        largest, fraction_bits = (CLIP, HIDDEN_FRACTION_BITS) if name.startswith("out") else (2 * CLIP, FRACTION_BITS)
        rounded = np.full_like(weight, np.nan)
        for bits in range(MOST_BITS, LEAST_BITS - 1, -1):
            on_grid = np.round(weight * 2.0 ** bits) / 2.0 ** bits
            fits = largest * np.abs(on_grid).sum(-1) * 2.0 ** (bits + fraction_bits) < 2 ** 24
            rounded = np.where(np.isnan(rounded) & fits[:, None], on_grid, rounded)
        if np.isnan(rounded).any():
            raise ValueError(f"weights {name!r} are too large to add exactly: a row sums to "
                             f"{np.abs(weight).sum(-1).max():.3g}; train with a smaller step")
        narrow = rounded.astype(np.float16)
        frozen[name] = narrow if np.array_equal(narrow, rounded) else rounded.astype(np.float32)
    return frozen


def thaw(arrays: Mapping[str, np.ndarray], prefix: str = "") -> dict[str, np.ndarray]:
    """What `freeze` made, as `code_grid` wants it: the same numbers in float32. prefix: of names in a model file."""
    return {name[len(prefix):]: arrays[name].astype(np.float32) for name in arrays if name.startswith(prefix)}
