"""WaLLoC for sound: wavelet packets in one dimension, a linear encoder, a small network that decodes.

    left, right ─ middle, side ─ wavelet packets ─ linear ─ compand ─ ÷ step ─ round ─ prior ─ bytes
                  (2 · 256 bands of 256 samples)  (512 → 108 or 27)                      │
    left, right ─ middle, side ─ wavelet packets⁻¹ ─ linear skip + network over time ─ expand ─ × step

Before training, the encoder keeps the lowest bands, made orthogonal, and the linear skip restores all bands from them
by least squares. `quality` sets the step, by a learned curve for each latent; the network is told which. Rounding is
done with the prior's tables in view: a latent goes to the nearest integer, or the next towards its mean where that
saves more bits than it costs.

What differs from the published codec: a rate term in training and a real prior in place of fixed eight bits; middle
and side; symmetric extension, so that a section needs nothing of its neighbours; no filter after the decoder.

Source: Jacobellis & Yadwadkar 2024.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import torch
from torch import Tensor, nn

from enfold.codecs.walloc_sound_latents import SoundConfig, SoundLatents
from enfold.entropy import meter
from enfold.entropy.coders import Quantizer
from enfold.entropy.densities import GaussianScaleMixture
from enfold.entropy.interlaced import code_grid
from enfold.layers import waves
from enfold.layers.compand import Compand
from enfold.layers.parts import load_parts
from enfold.layers.quality import qualities
from enfold.sound_codec import SoundCodec

PRICE = 0.06                # steps that rounding may be moved by, for each bit that it saves


class ResidualInTime(nn.Module):
    """x + conv(relu(conv(x))), of (B, width, T)."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.first = nn.Conv1d(width, width, 3, padding=1)
        self.second = nn.Conv1d(width, width, 3, padding=1)

    def forward(self, x: Tensor) -> Tensor:
        return x + self.second(self.first(x).relu_())


class Mix(nn.Module):
    """Sums of channels, weighted: (B, inputs, T) → (B, outputs, T)."""

    def __init__(self, inputs: int, outputs: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.zeros(outputs, inputs))

    def forward(self, x: Tensor) -> Tensor:
        return self.weight @ x


class SoundAnalysis(nn.Module):
    """Bands (B, sides · bands, T) → companded latents (B, C, T), in units of 16 bits."""

    def __init__(self, config: SoundConfig) -> None:
        super().__init__()
        self.linear = Mix(config.sides * config.bands, config.latents)
        self.compand = Compand(config.latents, config.compand_width, axes=1, power=0.97)

    def forward(self, bands: Tensor) -> Tensor:
        return self.compand(self.linear(bands))


class SoundSynthesis(nn.Module):
    """Latents (B, C, T), expanded, and quality position (B,) → bands (B, sides · bands, T)."""

    spread: Tensor          # (C, 1) of each latent: what the network sees is O(1)
    scale: Tensor           # (sides · bands, 1) of each band, for what the network says

    def __init__(self, config: SoundConfig) -> None:
        super().__init__()
        bands = config.sides * config.bands
        self.skip = Mix(config.latents, bands)
        self.register_buffer("spread", torch.ones(config.latents, 1))
        self.register_buffer("scale", torch.ones(bands, 1))
        self.head = nn.Conv1d(config.latents + 1, config.width, 3, padding=1)
        self.body = nn.Sequential(*(ResidualInTime(config.width) for _ in range(config.blocks)))
        self.tail = Mix(config.width, bands)            # zero: before training, the linear skip alone decodes

    def forward(self, latents: Tensor, position: Tensor) -> Tensor:
        plane = (2 * position - 1).view(-1, 1, 1).expand(-1, 1, latents.shape[-1])
        seen = torch.cat([(latents / self.spread).clamp(-30, 30), plane], 1)
        return self.skip(latents) + self.tail(self.body(self.head(seen)).relu()) * self.scale


class WallocSound(nn.Module, SoundCodec):
    """A trained WaLLoC codec of sound.

    encode, decode and latents are those of every codec of sound. `forward` takes samples (B, sides, n) in units of
    16 bits, n a multiple of the block, and a quality, and returns what a file of them would decode to and the bits
    (B,) that it would take: differentiable, rounding passed straight through. Source: see the module.
    """

    def __init__(self, name: str, weights: Mapping[str, np.ndarray], fingerprint: bytes) -> None:
        super().__init__()
        self.name, self.fingerprint = name, fingerprint
        self.latent_codec: SoundLatents = SoundLatents(name, weights, fingerprint)
        self.config = config = self.latent_codec.config
        self.usual, self.default_quality = config.usual, config.default_quality
        self.analysis, self.synthesis = SoundAnalysis(config), SoundSynthesis(config)
        self.density = GaussianScaleMixture()
        load_parts({"analysis.": self.analysis, "synthesis.": self.synthesis, "density_shape.": self.density}, weights)
        self.eval().requires_grad_(False)

    def extra_repr(self) -> str:
        return f"name={self.name!r}, fingerprint={self.fingerprint.hex()}"

    def forward(self, samples: Tensor, quality: int | None = None) -> tuple[Tensor, Tensor]:
        quality = self.default_quality if quality is None else quality
        half, config = self.latent_codec, self.config
        scaled = self.analysis(to_bands(samples, config)) / self._steps(quality)
        spare = config.sides * config.rows - config.latents
        grid = nn.functional.pad(scaled, (0, 0, 0, spare)).unflatten(1, (config.sides, config.rows))
        floor = torch.from_numpy(half.floor[quality - 1]).view(config.sides, config.rows, 1)
        model = (self.density, {key: torch.from_numpy(value) for key, value in half.context.items()},
                 floor.expand(len(scaled), -1, -1, -1), half.groups, tuple(grid.shape))
        with torch.no_grad():
            chosen = code_grid(meter.Quantizer(PRICE), *model, grid)
        grid = grid + (chosen - grid).detach()
        counted = meter.Meter(noisy=False)
        code_grid(counted, *model, grid)
        latents = self.analysis.compand.expand(grid.flatten(1, 2)[:, :config.latents] * self._steps(quality))
        bands = self.synthesis(latents, _position(quality).expand(len(samples)))
        return to_samples(bands, config), counted.bits()

    def _steps(self, quality: int) -> Tensor:
        return torch.from_numpy(self.latent_codec.steps[quality - 1])[:, None]

    @torch.inference_mode()
    def analyse(self, units: np.ndarray, quality: int) -> np.ndarray:
        config, half = self.config, self.latent_codec
        samples = torch.from_numpy(units)
        if not samples.shape[1]:
            return np.zeros((config.latents, 0), np.int16)
        scaled = self.analysis(to_bands(samples.expand(config.sides, -1)[None], config))[0] / self._steps(quality)
        chosen = half.prior(Quantizer(PRICE), quality, scaled.shape[1], scaled.numpy())
        return chosen.astype(np.int16)

    def synthesise(self, symbols: np.ndarray, quality: int) -> np.ndarray:
        return self.restored(self.latent_codec.values(symbols, quality), quality)

    @torch.inference_mode()
    def restored(self, values: np.ndarray, quality: int) -> np.ndarray:
        if not values.shape[1]:
            return np.zeros((self.config.sides, 0), np.float32)
        bands = self.synthesis(torch.from_numpy(values)[None], _position(quality)[None])
        return to_samples(bands, self.config)[0].numpy()


def to_bands(samples: Tensor, config: SoundConfig) -> Tensor:
    """(B, sides, n) → (B, sides · bands, n / bands), of the middle and the side."""
    return waves.analysis(_turned(samples), config.levels).flatten(1, 2)


def to_samples(bands: Tensor, config: SoundConfig) -> Tensor:
    """The inverse of `to_bands`."""
    return _turned(waves.synthesis(bands.unflatten(1, (config.sides, config.bands))))


def _turned(channels: Tensor) -> Tensor:
    """Left and right ↔ middle and side, both ways; one channel as it is."""
    if channels.shape[1] == 1:
        return channels
    left, right = channels.unbind(1)
    return torch.stack([left + right, left - right], 1) * 0.5**0.5


def _position(quality: int) -> Tensor:
    """Quality 1…100 as the network and the curves of steps know it: 0, coarse, to 1, fine."""
    return qualities()[quality - 1]

