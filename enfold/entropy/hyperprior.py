"""A prior with side information and a context network, in four passes over a grid of latents.

    hyper-latents (one for 4×4 positions)            0 2 0 2      pass 0 knows the hyper-latents,
      │ exact network                                3 1 3 1      1 its diagonal neighbours,
    features of each position ─┐                     0 2 0 2      2 all four direct ones,
    known neighbours ──────────┴─ hidden ─ mean,     3 1 3 1      3 direct and diagonal ones
                                           level

Inside a pass the channels come in a few groups, energetic ones first; each group is given, beside
all that, what the means of the groups before it missed at the same position. A level is the
logarithm of a scale: it names a table. Each channel's own neighbours reach its level directly as
well, and in the first groups its mean.

Guarantee: `code_hyperprior` is the only description; under an Encoder or a Decoder all that leads
to a table is exact (`entropy.exact`), and needs NumPy alone.

Source: Ballé et al. 2018 (side information); Minnen et al. 2018 and 2020 (contexts, channel
groups); Li et al. 2023 (passes over a quadtree).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any

from enfold.entropy.exact import FRACTION_BITS, TOP, Part, Sum
from enfold.entropy.interlaced import Phase

CLIP = 255.0                # contexts see latents no larger than this
HYPER_CLIP = 31.0
HYPER_STEP = 4              # positions that a hyper-latent stands for, in each direction
MEAN_BITS = 2               # means are snapped to quarters of a quantisation step
LEVELS = 48
LEVEL_UNIT = 8              # levels for one unit of a sum: weights of usual size move scales by usual amounts
LEAST_SCALE, LARGEST_SCALE = 0.08, 96.0
LOG_RANGE = 8.0             # of `logarithm`, for latents within CLIP
BIAS_RANGE = 64.0           # of every bias, a multiple of 2^-FRACTION_BITS

_DIAGONAL = ((-1, -1), (-1, 1), (1, -1), (1, 1))
_DIRECT = ((-1, 0), (0, -1), (0, 1), (1, 0))
PASSES = (Phase(2, (0, 0), ()), Phase(2, (1, 1), _DIAGONAL), Phase(2, (0, 1), _DIRECT),
          Phase(2, (1, 0), _DIRECT + _DIAGONAL))
_AROUND = tuple((dy, dx) for dy in (-1, 0, 1) for dx in (-1, 0, 1))


@dataclass(frozen=True)
class HyperpriorConfig:
    """Sizes: of the latents' channel groups, the hyper-latents, and the hidden layers.

    linear: so many groups, the first, have means that are linear in their own neighbours as well.
    """

    groups: tuple[int, ...]
    hyper: int
    features: int
    hidden: int
    group_hidden: int
    linear: int = 2

    @property
    def channels(self) -> int:
        return sum(self.groups)

    @property
    def linear_channels(self) -> int:
        return sum(self.groups[:self.linear])

    @cached_property
    def sums(self) -> dict[str, Sum]:
        """Every sum of the prior's exact network, by name."""
        def rectified(name: str, features: int) -> Part:
            return Part(name, features, TOP, FRACTION_BITS)

        def logarithms(name: str, features: int) -> Part:
            return Part(name, features, LOG_RANGE, FRACTION_BITS)

        sums = {"around": Sum(self.hidden, (Part("around", 9 * self.hyper, HYPER_CLIP, 0),), BIAS_RANGE),
                "spread": Sum(self.features * HYPER_STEP ** 2, (rectified("spread", self.hidden),), BIAS_RANGE)}
        for number, phase in enumerate(PASSES):
            parts = [rectified(f"local_{number}", self.features)]
            if phase.taps:
                parts.append(logarithms(f"near_{number}", 2 * len(phase.taps) * self.channels))
            sums[f"hidden_{number}"] = Sum(self.hidden, tuple(parts), BIAS_RANGE)
        start = 0
        for order, size in enumerate(self.groups):
            inner = self.group_hidden if start else self.hidden
            mean = [rectified(f"mean_{order}", inner)]
            if start:
                sums[f"group_{order}"] = Sum(inner, (rectified(f"inner_{order}", self.hidden),
                                                     logarithms(f"missed_{order}", 2 * start)), BIAS_RANGE)
                mean.append(Part(f"mean_missed_{order}", start, CLIP, MEAN_BITS))
            if order < self.linear:
                mean += [Part(f"linear_{number}_{order}", len(phase.taps) * self.linear_channels, CLIP, 0)
                         for number, phase in enumerate(PASSES) if phase.taps]
            sums[f"mean_{order}"] = Sum(size, tuple(mean), BIAS_RANGE)
            own = [logarithms(f"own_{number}_{order}", len(phase.taps))
                   for number, phase in enumerate(PASSES) if phase.taps]
            sums[f"level_{order}"] = Sum(size, (rectified(f"level_{order}", inner), *own), BIAS_RANGE)
            start += size
        return sums

    def hyper_shape(self, shape: tuple[int, ...]) -> tuple[int, ...]:
        """Of the hyper-latents for latents of `shape` (..., C, h, w)."""
        *outer, _, rows, columns = shape
        return (*outer, self.hyper, -(-rows // HYPER_STEP), -(-columns // HYPER_STEP))


def code_hyperprior(coder: Any, density: Any, hyper_density: Any, weights: Mapping[str, Any], biases: Mapping[str, Any],
                    config: HyperpriorConfig, shape: tuple[int, ...], latent: Any = None, hyper: Any = None) -> Any:
    """Codes hyper-latents and latents (..., C, h, w); returns the latents.

    coder: Meter, Encoder or Decoder. density: of (mean, level). hyper_density: of channels.
    weights: of the parts of `config.sums`. biases: (..., n, 1), at the quality that is coded.
    latent, hyper: what to code, real-valued under a Meter, integers under an Encoder, None under
    a Decoder.
    """
    features = _features(coder, hyper_density, weights, biases, config, shape, hyper)
    grid = coder.grid(shape, latent, 1, CLIP)
    for number, phase in enumerate(PASSES):
        local = features[phase.cell(slice(None))]
        *outer, _, rows, columns = local.shape
        if not rows or not columns:
            continue
        n = rows * columns
        hidden = coder.linear(weights[f"local_{number}"], local.reshape(*outer, config.features, n))
        if phase.taps:
            windows = _windows(phase, rows, columns)
            near = coder.gather(coder.logarithm(grid.seen), windows)
            magnitudes = abs(near)
            hidden = hidden + coder.linear(weights[f"near_{number}"], coder.concat([near, magnitudes], -2))
            magnitudes = magnitudes.reshape(*outer, len(phase.taps), config.channels, n)
            near_first = coder.gather(grid.seen[..., :config.linear_channels, :, :], windows)
        hidden = coder.rectify(hidden + biases[f"hidden_{number}"])
        missed, start = None, 0
        for order, size in enumerate(config.groups):
            inner = hidden
            if missed is not None:
                felt = coder.logarithm(missed)
                inner = coder.rectify(coder.linear(weights[f"inner_{order}"], hidden) + biases[f"group_{order}"]
                                      + coder.linear(weights[f"missed_{order}"], coder.concat([felt, abs(felt)], -2)))
            mean = coder.linear(weights[f"mean_{order}"], inner) + biases[f"mean_{order}"]
            if missed is not None:
                mean = mean + coder.linear(weights[f"mean_missed_{order}"], missed)
            if phase.taps and order < config.linear:
                mean = mean + coder.linear(weights[f"linear_{number}_{order}"], near_first)
            level = coder.linear(weights[f"level_{order}"], inner) + biases[f"level_{order}"]
            if phase.taps:
                level = level + coder.own(weights[f"own_{number}_{order}"], magnitudes[..., start:start + size, :])
            cell_shape = (*outer, size, rows, columns)
            mean = coder.snap(mean, MEAN_BITS).reshape(cell_shape)
            level = coder.limit(level * LEVEL_UNIT, 0, LEVELS - 0.5).reshape(cell_shape)
            cell = phase.cell(slice(start, start + size))
            values = coder.code(density, (mean, level), grid.take(cell))
            error = coder.settle(grid, cell, values, mean, MEAN_BITS).reshape(*outer, size, n)
            missed = error if missed is None else coder.concat([missed, error], -2)
            start += size
    return grid.known


def _features(coder: Any, density: Any, weights: Mapping[str, Any], biases: Mapping[str, Any],
              config: HyperpriorConfig, shape: tuple[int, ...], hyper: Any) -> Any:
    """Codes the hyper-latents; returns what they tell of each position, (..., features, h, w)."""
    hyper_shape = config.hyper_shape(shape)
    *outer, _, rows, columns = hyper_shape
    grid = coder.grid(hyper_shape, hyper, 1, HYPER_CLIP)
    everything = (..., slice(None), slice(None), slice(None))
    grid.put(everything, coder.code(density, coder.channels(hyper_shape), grid.take(everything)))
    near = coder.gather(grid.seen, _windows(Phase(1, (0, 0), _AROUND), rows, columns))
    hidden = coder.rectify(coder.linear(weights["around"], near) + biases["around"])
    spread = coder.rectify(coder.linear(weights["spread"], hidden) + biases["spread"])
    spread = spread.reshape(*outer, config.features, HYPER_STEP, HYPER_STEP, rows, columns)
    # (F, a, b, h, w) → (F, h, a, w, b): each hyper-latent's 4×4 positions, side by side
    spread = spread.swapaxes(-4, -2).swapaxes(-3, -2).swapaxes(-2, -1)
    spread = spread.reshape(*outer, config.features, rows * HYPER_STEP, columns * HYPER_STEP)
    return spread[..., :shape[-2], :shape[-1]]


def _windows(phase: Phase, rows: int, columns: int) -> list[tuple[Any, ...]]:
    """For each tap, where the latents that it meets lie in a grid with one zero around it."""
    (top, left), step = phase.start, phase.step
    starts = [(top + dy + 1, left + dx + 1) for dy, dx in phase.taps]
    return [(..., slice(y, y + (rows - 1) * step + 1, step), slice(x, x + (columns - 1) * step + 1, step))
            for y, x in starts]
