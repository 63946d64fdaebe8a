"""hyper-rgb's latents: from bytes and back, on NumPy and the entropy coder alone.

A position of the grid of latents stands for 16×16 pixels. Writing needs the hyper-latents as well,
which the encoder's network makes of the latents: `codecs/hyper.py` holds it, and the transforms.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from enfold.entropy.coders import Quantizer
from enfold.entropy.exact import thaw
from enfold.entropy.frozen import FrozenIndexed, FrozenLocationScale
from enfold.entropy.hyperprior import HyperpriorConfig, code_hyperprior
from enfold.strips import MOST, StripLatents, each

BLOCK = 16


@dataclass(frozen=True)
class HyperConfig:
    """What tells one codec of the family from another. Steps in grey levels; widths of the
    networks at one sample for 8×8 and for 16×16 pixels, and how many residual blocks each has."""

    prior: HyperpriorConfig
    coarsest_step: float
    finest_step: float
    fine_width: int
    coarse_width: int
    analysis_blocks: tuple[int, int]
    synthesis_blocks: tuple[int, int]
    hyper_width: int

    @property
    def channels(self) -> int:
        return self.prior.channels


CONFIGS = {
    "hyper-rgb": HyperConfig(
        HyperpriorConfig(groups=(8, 24, 72, 216), hyper=32, features=64, hidden=192, group_hidden=128),
        coarsest_step=150.0, finest_step=14.0, fine_width=96, coarse_width=192,
        analysis_blocks=(2, 2), synthesis_blocks=(3, 2), hyper_width=96),
}


class HyperLatents(StripLatents):
    """weights: the arrays of a model file, see `HyperModel.frozen`."""

    block = BLOCK
    positions = 1 << 13         # two megapixels

    def __init__(self, name: str, weights: Mapping[str, np.ndarray], fingerprint: bytes) -> None:
        def under(prefix: str) -> dict[str, np.ndarray]:
            return {key[len(prefix):]: weights[key] for key in weights if key.startswith(prefix)}

        self.name, self.fingerprint = name, fingerprint
        self.config = CONFIGS[name]
        self.channels = self.config.prior.channels
        self.steps = weights["steps"]                                       # (100, C) float32, in grey levels
        self.weights = thaw(under("prior."))
        self.biases = {key: value.astype(np.float32)[..., None] for key, value in under("bias.").items()}
        self.density = FrozenLocationScale.from_arrays(weights, "density.")
        self.hyper_density = FrozenIndexed.from_arrays(weights, "hyper_density.")

    def prior(self, coder: Any, shape: tuple[int, ...], quality: int, latent: np.ndarray | None = None,
              hyper: np.ndarray | None = None) -> Any:
        """Codes one strip of latents (C, h, w) and its hyper-latents; see `entropy.hyperprior`."""
        biases = {name: bias[quality - 1] for name, bias in self.biases.items()}
        return code_hyperprior(coder, self.density, self.hyper_density, self.weights, biases, self.config.prior,
                               shape, latent, hyper)

    def quantise(self, latent: np.ndarray, quality: int, price: float,
                 hyper: Callable[[np.ndarray], np.ndarray]) -> np.ndarray:
        """A latent (C, h, w) in steps → int16 symbols, chosen by an `entropy.coders.Quantizer`.

        hyper: makes a strip's hyper-latents of its real numbers; those of the file are made of the symbols.
        """
        symbols = np.empty(latent.shape, np.int16)

        def one(rows: slice) -> None:
            strip = latent[:, rows].clip(-MOST, MOST)
            symbols[:, rows] = self.prior(Quantizer(price), strip.shape, quality, strip, hyper(strip))

        each(one, self.strips(*latent.shape[1:]))
        return symbols

    def values(self, symbols: np.ndarray, quality: int) -> np.ndarray:
        """Dequantised latents, float32 (C, h, w), in grey levels."""
        return (symbols * self.steps[quality - 1][:, None, None]).astype(np.float32)
