"""A context prior for grids of latents: coarse positions first, then what lies between them.

A grid is coded in seven phases, each a regular lattice; inside a phase, in a few groups of
channels. Every position of a phase is coded at once, so the schedule has tens of steps, not
one a pixel, and yet half of all positions see their four direct neighbours:

    0 6 3 6 0 6 3 6        phase   step  starts (row, column)
    5 4 5 4 5 4 5 4        0, 1    4     (0, 0), (2, 2)
    2 6 1 6 2 6 1 6        2, 3    4     (2, 0), (0, 2)
    5 4 5 4 5 4 5 4        4       2     (1, 1)
    0 6 3 6 0 6 3 6        5, 6    2     (1, 0), (0, 1)

What a latent is given: a mean, linear in the nearest known latents (all channels); a scale,
linear in their magnitudes and in the differences of opposite ones; and, from the groups before
it at the same position, what the mean missed. The weights are the whole model.

Guarantee: `code_grid` is the only description. Under a `Meter` it runs on tensors that carry
gradients, under an `Encoder` or a `Decoder` on NumPy arrays. There every number is a dyadic
rational so coarse that float32 adds it without rounding (`freeze` proves the bound), so means
and scales are the same on every machine, whatever the order of summation.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

STEPS = (4, 4, 4, 4, 2, 2, 2)
STARTS = ((0, 0), (2, 2), (2, 0), (0, 2), (1, 1), (1, 0), (0, 1))
MAX_TAPS = 12
CLIP = 255.0                # contexts see latents no larger than this; the coder sees them whole
FRACTION_BITS = 2           # means are snapped to quarters of a quantisation step


@dataclass(frozen=True)
class Phase:
    """One lattice and the offsets (row, column) of the known positions that its latents see."""

    step: int
    start: tuple[int, int]
    taps: tuple[tuple[int, int], ...]

    def cell(self, channels: slice) -> tuple[Any, ...]:
        """Index of this lattice's latents in a grid (..., C, h, w)."""
        return (..., channels, slice(self.start[0], None, self.step),
                slice(self.start[1], None, self.step))

    @property
    def pairs(self) -> tuple[tuple[int, int], ...]:
        """Indices of opposite taps: their difference tells how fast the latent changes."""
        at = {tap: k for k, tap in enumerate(self.taps)}
        return tuple((k, at[-dy, -dx]) for (dy, dx), k in at.items()
                     if (dy, dx) < (-dy, -dx) and (-dy, -dx) in at)


def _phases() -> tuple[Phase, ...]:
    phases = []
    for number, (step, start) in enumerate(zip(STEPS, STARTS, strict=True)):
        reach = 2 * step
        known = [(dy, dx) for dy in range(-reach, reach + 1) for dx in range(-reach, reach + 1)
                 if any((start[0] + dy - y) % s == 0 and (start[1] + dx - x) % s == 0
                        for s, (y, x) in list(zip(STEPS, STARTS, strict=True))[:number])]
        far = sorted({dy * dy + dx * dx for dy, dx in known})
        taps: list[tuple[int, int]] = []
        for distance in far:                            # whole rings only: no side is favoured
            ring = sorted(d for d in known if d[0] ** 2 + d[1] ** 2 == distance)
            if len(taps) + len(ring) > MAX_TAPS:
                break
            taps += ring
        phases.append(Phase(step, start, tuple(taps)))
    return tuple(phases)


PHASES = _phases()
MARGIN = max(abs(d) for phase in PHASES for tap in phase.taps for d in tap)


def weight_shapes(channels: int, groups: Sequence[int]) -> dict[str, tuple[int, int]]:
    """Names and shapes (outputs, features) of the weights of a grid of `channels` channels."""
    shapes = {}
    for number, phase in enumerate(PHASES):
        if phase.taps:
            shapes[f"mean_{number}"] = (channels, channels * len(phase.taps))
            shapes[f"scale_{number}"] = (channels, channels * (len(phase.taps) + len(phase.pairs)))
        start = 0
        for order, size in enumerate(groups):
            if start:
                shapes[f"mean_{number}_{order}"] = (size, start)
                shapes[f"scale_{number}_{order}"] = (size, start)
            start += size
    return shapes


def code_grid(coder: Any, density: Any, weights: Mapping[str, Any], floor: Any,
              groups: Sequence[int], shape: tuple[int, ...], latent: Any = None) -> Any:
    """Codes a grid of latents (..., C, h, w) and returns it.

    coder: Meter, Encoder or Decoder. density: of location and scale. weights: as named by
    `weight_shapes`. floor: (..., C, 1) the scale where all that is known is zero. groups: sizes
    that add up to C. latent: what to code, real-valued under a Meter, integers under an Encoder,
    None under a Decoder.
    """
    grid = coder.grid(shape, latent, MARGIN, CLIP)
    for number, phase in enumerate(PHASES):
        lattice = grid.known[phase.cell(slice(None))].shape
        rows, columns = lattice[-2:]
        if not rows or not columns:
            continue
        mean = coder.zeros((*lattice[:-2], rows * columns))
        scale = mean + floor
        if phase.taps:
            near = coder.gather(grid.seen, _windows(phase, rows, columns))
            mean = coder.linear(weights[f"mean_{number}"], near)
            scale = floor + coder.linear(weights[f"scale_{number}"], coder.activity(near, phase.pairs, shape[-3]))
        missed = None
        start = 0
        for order, size in enumerate(groups):
            channels = slice(start, start + size)
            group_mean, group_scale = mean[..., channels, :], scale[..., channels, :]
            if missed is not None:
                group_mean = group_mean + coder.linear(weights[f"mean_{number}_{order}"], missed)
                group_scale = group_scale + coder.linear(weights[f"scale_{number}_{order}"],
                                                         abs(missed))
            cell_shape = (*lattice[:-3], size, rows, columns)
            group_mean = coder.snap(group_mean, FRACTION_BITS).reshape(cell_shape)
            cell = phase.cell(channels)
            values = coder.code(density, (group_mean, group_scale.reshape(cell_shape)), grid.take(cell))
            grid.put(cell, values)
            error = (grid.known[cell] - group_mean).clip(-CLIP, CLIP)
            error = error.reshape(*lattice[:-3], size, rows * columns)
            missed = error if missed is None else coder.concat([missed, error], -2)
            start += size
    return grid.known


def _windows(phase: Phase, rows: int, columns: int) -> list[tuple[Any, ...]]:
    """For each tap, where the latents that it meets lie in a grid with MARGIN around it."""
    (top, left), step = phase.start, phase.step
    starts = [(top + dy + MARGIN, left + dx + MARGIN) for dy, dx in phase.taps]
    return [(..., slice(y, y + (rows - 1) * step + 1, step), slice(x, x + (columns - 1) * step + 1, step))
            for y, x in starts]


def freeze(weights: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
    """Rounds weights to the finest dyadic grid on which float32 sums are proven exact.

    Features are multiples of 2^-FRACTION_BITS no larger than 2·CLIP, so a sum is a multiple of
    2^-(bits + FRACTION_BITS) and never exceeds 2·CLIP·Σ|w|; it is exact while that is less than
    2^24 units. Raises ValueError where a row is so large that not even 4 bits are left.
    """
    frozen = {}
    for name, weight in weights.items():
        weight = np.asarray(weight, np.float64)
        for bits in range(12, 3, -1):
            rounded = np.round(weight * 2.0 ** bits) / 2.0 ** bits
            largest = 2 * CLIP * np.abs(rounded).sum(-1).max(initial=0)
            if largest * 2.0 ** (bits + FRACTION_BITS) < 2 ** 24:
                break
        else:
            raise ValueError(f"weights {name!r} are too large to add exactly: a row sums to "
                             f"{np.abs(weight).sum(-1).max():.3g}; train with a smaller step")
        frozen[name] = rounded.astype(np.float32)
    return frozen
