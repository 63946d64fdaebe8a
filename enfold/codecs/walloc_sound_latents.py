"""WaLLoC for sound: latents from bytes and back, on NumPy and the entropy coder alone.

Latents lie by channel (middle, side) and by frequency, so a section is a picture of as many rows as bands and as many
columns as moments, and `entropy.interlaced` codes it as one: a latent is told of those around it, a moment before and
after, a band below and above, in both channels.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from enfold.entropy.frozen import FrozenLocationScale
from enfold.entropy.interlaced import code_grid, thaw
from enfold.sections import SectionLatents


@dataclass(frozen=True)
class SoundConfig:
    """What tells one codec of sound from another. Steps and levels in units of 16 bits.

    sides: channels that a sound is coded as. levels: of the packets; a column stands for 2^levels samples.
    usual: the loudness (root mean square) up to which quiet sections are amplified. compand_width: up to where the
    compand is nearly the identity. emphasis: how much of the difference in power between bands counts for nothing; 0
    makes the least squared error, 1 the least relative error in each band.
    """

    latents: int
    sides: int
    levels: int
    columns: int
    rates_hz: tuple[int, int, int]
    coarsest_step: float
    finest_step: float
    usual: float
    compand_width: float
    emphasis: float
    width: int
    blocks: int
    default_quality: int = 60

    @property
    def bands(self) -> int:
        return 1 << self.levels

    @property
    def rows(self) -> int:
        """Latents of the middle channel; the side channel has as many, or one less."""
        return -(-self.latents // self.sides)


_SMALL = SoundConfig(27, 2, levels=8, columns=1722, rates_hz=(32000, 48000, 44100), coarsest_step=24000.0,
                     finest_step=1000.0, usual=1000.0, compand_width=8192.0, emphasis=0.0, width=128, blocks=3)
CONFIGS = {
    "walloc-stereo-5x": replace(_SMALL, latents=108, coarsest_step=20000.0, finest_step=300.0),
    "walloc-stereo-20x": _SMALL,
    "walloc-speech": SoundConfig(64, 1, levels=7, columns=1250, rates_hz=(8000, 24000, 16000), coarsest_step=20000.0,
                                 finest_step=800.0, usual=2000.0, compand_width=8192.0, emphasis=0.5, width=96,
                                 blocks=3, default_quality=85),
}


class SoundLatents(SectionLatents):
    """weights: the arrays of a model file, see `SoundModel.frozen`."""

    def __init__(self, name: str, weights: Mapping[str, np.ndarray], fingerprint: bytes) -> None:
        self.name, self.fingerprint = name, fingerprint
        self.config = config = CONFIGS[name]
        self.channels, self.block, self.columns = config.latents, config.bands, config.columns
        self.sound_channels, self.rates_hz = config.sides, config.rates_hz
        self.steps = weights["steps"]                # (100, C) float32
        self.floor = weights["floor"]                # (100, sides · rows) float32, dyadic
        self.power = weights["compand.power"].reshape(-1, 1)
        self.context = thaw(weights, "context.")
        self.density = FrozenLocationScale.from_arrays(weights, "density.")
        self.groups = (1,) * config.sides

    def prior(self, coder: Any, quality: int, columns: int, symbols: np.ndarray | None = None) -> np.ndarray:
        shape = (self.config.sides, self.config.rows, columns)
        floor = self.floor[quality - 1].reshape(*shape[:2], 1)
        grid = None if symbols is None else to_grid(symbols, self.config)
        return from_grid(code_grid(coder, self.density, self.context, floor, self.groups, shape, grid), self.config)

    def values(self, symbols: np.ndarray, quality: int) -> np.ndarray:
        """Dequantised latents, float32 (C, T), in units of 16 bits; the compand undone."""
        companded, width = symbols * self.steps[quality - 1][:, None], self.config.compand_width
        grown = np.log1p(np.abs(companded) * (self.power / width)) / self.power
        return (np.sign(companded) * np.expm1(grown) * width).astype(np.float32)


def to_grid(symbols: np.ndarray, config: SoundConfig) -> np.ndarray:
    """(C, T) → (sides, rows, T); where the side channel has a row less, there are zeros."""
    spare = config.sides * config.rows - config.latents
    return np.pad(symbols, ((0, spare), (0, 0))).reshape(config.sides, config.rows, -1)


def from_grid(grid: np.ndarray, config: SoundConfig) -> np.ndarray:
    """The inverse of `to_grid`."""
    return grid.reshape(config.sides * config.rows, -1)[:config.latents]
