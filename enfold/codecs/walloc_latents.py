"""WaLLoC's latents: from bytes and back, on NumPy and the entropy coder alone.

What is read here is all that a learner needs: integers, and the same in grey levels of the
companded, linearly encoded wavelet packets. `codecs/walloc.py` holds the transforms.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from enfold.entropy.frozen import FrozenLocationScale
from enfold.entropy.interlaced import code_grid, thaw
from enfold.strips import StripLatents

BLOCK = 8
COMPAND_WIDTH = 64.0        # grey levels up to which the compand is nearly the identity


@dataclass(frozen=True)
class WallocConfig:
    """What tells one WaLLoC codec from another. Steps in grey levels."""

    latents: int
    groups: tuple[int, ...]
    coarsest_step: float
    finest_step: float
    width: int
    blocks: int


CONFIGS = {
    "walloc-rgb-16x": WallocConfig(12, (1, 2, 3, 6), 120.0, 20.0, 128, 6),
    "walloc-rgb-4x": WallocConfig(48, (1, 2, 5, 12, 28), 90.0, 13.0, 96, 4),
}


class WallocLatents(StripLatents):
    """weights: the arrays of a model file, see `WallocModel.frozen`."""

    block = BLOCK
    positions = 1 << 15         # two megapixels

    def __init__(self, name: str, weights: Mapping[str, np.ndarray], fingerprint: bytes) -> None:
        self.name, self.fingerprint = name, fingerprint
        self.config = CONFIGS[name]
        self.channels = self.config.latents
        self.steps = weights["steps"]                # (100, C) float32, in grey levels
        self.floor = weights["floor"]                # (100, C) float32, dyadic
        self.power = weights["compand.power"].reshape(-1, 1, 1)
        self.context = thaw(weights, "context.")
        self.density = FrozenLocationScale.from_arrays(weights, "density.")

    def prior(self, coder: Any, shape: tuple[int, ...], quality: int, latent: np.ndarray | None = None,
              hyper: np.ndarray | None = None) -> Any:
        """Codes one strip of latents (C, h, w), without hyper-latents; see `entropy.interlaced`."""
        floor = self.floor[quality - 1][:, None]
        return code_grid(coder, self.density, self.context, floor, self.config.groups, shape, latent)

    def values(self, symbols: np.ndarray, quality: int) -> np.ndarray:
        """Dequantised latents, float32 (C, h, w), in grey levels; the compand undone."""
        companded = symbols * self.steps[quality - 1][:, None, None]
        grown = np.log1p(np.abs(companded) * (self.power / COMPAND_WIDTH)) / self.power
        return (np.sign(companded) * np.expm1(grown) * COMPAND_WIDTH).astype(np.float32)
