"""WaLLoC for sound while it is trained: everything learnable, the loss, and the way to frozen weights.

Packets are fixed and linear, so training never leaves the bands: what it is given are bands, and the error of samples
is that of bands, weighed by how the packets of a moment overlap (`waves.overlap`).
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import torch
from torch import Tensor

from enfold.codecs.walloc_model import PriorWeights, frozen_prior
from enfold.codecs.walloc_sound import PRICE, SoundAnalysis, SoundSynthesis, to_bands
from enfold.codecs.walloc_sound_latents import CONFIGS
from enfold.entropy.densities import GaussianScaleMixture
from enfold.entropy.interlaced import OCTAVES, code_grid, thaw
from enfold.entropy.meter import Meter, Quantizer, round_through
from enfold.layers import waves
from enfold.layers.parts import load_parts
from enfold.layers.quality import ByQuality, qualities, rate_distortion
from enfold.layers.trainable import Loss, Trainable

HIDDEN = 16                 # of the prior
SCALES, LARGEST = 49, 256.0     # of tables: tones are far larger than steps
NETWORK_SCALE = 0.3         # of a band's spread: what the network says at first


class SoundModel(Trainable):
    """Everything of a WaLLoC codec of sound that is learned."""

    metric: Tensor          # (bands, bands): its square is `waves.overlap`, emphasised

    def __init__(self, name: str) -> None:
        super().__init__()
        self.config = config = CONFIGS[name]
        self.analysis, self.synthesis = SoundAnalysis(config), SoundSynthesis(config)
        self.steps = ByQuality(config.latents, config.coarsest_step, config.finest_step)
        self.floor = ByQuality(config.sides * config.rows, 0.5, 0.5)
        self.groups = (1,) * config.sides
        self.context = PriorWeights(config.sides, self.groups, OCTAVES, HIDDEN)
        self.density = GaussianScaleMixture()
        self.register_buffer("metric", _root(waves.overlap(config.levels)).float())

    def prepared(self, samples: np.ndarray) -> np.ndarray:
        """float32 (sides, n) in units of 16 bits, n a multiple of the block → the bands (sides · bands, n / block)."""
        return to_bands(torch.from_numpy(samples)[None], self.config)[0].numpy()

    @torch.no_grad()
    def initialise(self, bands: Tensor) -> None:
        """Closed-form start from a sample of bands (B, sides · bands, T).

        The encoder keeps the lowest bands of each side, in coordinates in which the error of samples is that of
        coefficients; the skip is the least-squares way back.
        """
        config = self.config
        x = bands.permute(1, 0, 2).flatten(1).double()
        covariance = x @ x.T / x.shape[1] + 1e-2 * torch.eye(len(x), dtype=torch.float64)
        if config.emphasis:
            power = _smooth(covariance.diagonal().view(config.sides, config.bands).mean(0))
            weight = (power / power.max()).clamp_min(1e-8) ** (-config.emphasis / 2)
            self.metric.copy_(weight.float()[:, None] * self.metric)
        metric = self.metric.double()
        rows = [config.rows] * (config.sides - 1) + [config.latents - config.rows * (config.sides - 1)]
        kept = torch.block_diag(*(metric[:count] for count in rows))
        # least squares by what the kept bands tell of all others
        back = covariance @ kept.T @ torch.linalg.inv(kept @ covariance @ kept.T)
        spread = (kept @ covariance @ kept.T).diagonal().sqrt()
        self.analysis.linear.weight.copy_(kept)
        self.synthesis.skip.weight.copy_(back)
        self.synthesis.spread.copy_(spread[:, None])
        self.synthesis.scale.copy_(NETWORK_SCALE * covariance.diagonal().sqrt()[:, None])
        # each latent's scale where nothing is known, over the range of steps
        at = self.steps.log.anchors.exp()
        start = (0.5 * spread.float() / at + 0.1).log()
        self.floor.log.anchors.fill_(-2.0)
        self.floor.log.anchors[:, :config.latents] = start

    def loss(self, bands: Tensor, position: Tensor, *, hard: bool) -> Loss:
        """bands (B, sides · bands, T), position (B,) in [0, 1]. hard: the encoder is frozen and the rate is that of
        rounded latents. The loss's bpp are bits a sample of each channel, its mse is that of such samples."""
        config = self.config
        with torch.set_grad_enabled(not hard and torch.is_grad_enabled()):
            steps = self.steps(position)[:, :, None]
            scaled = self.analysis(bands) / steps
        spare = config.sides * config.rows - config.latents
        grid = torch.nn.functional.pad(scaled, (0, 0, 0, spare)).unflatten(1, (config.sides, config.rows))
        meter = Meter(noisy=not hard)
        floor, context = self.floor(position).view(-1, config.sides, config.rows, 1), self.context()
        if hard:        # what the encoder of use does
            with torch.no_grad():
                grid = code_grid(Quantizer(PRICE), self.density, context, floor, self.groups, tuple(grid.shape), grid)
            scaled = grid.flatten(1, 2)[:, :config.latents]
        code_grid(meter, self.density, context, floor, self.groups, tuple(grid.shape), grid)
        latents = self.analysis.compand.expand(round_through(scaled) * steps)
        if hard:
            latents = latents.detach()
        missed = (self.synthesis(latents, position) - bands).unflatten(1, (config.sides, config.bands))
        samples = bands[0].numel()
        mse = torch.einsum("cb,sxbt->sxct", self.metric, missed).square().sum((1, 2, 3)) / samples
        return rate_distortion(meter.bits() / samples, mse, position, config.coarsest_step, config.finest_step, 1)

    def load(self, arrays: Mapping[str, np.ndarray]) -> None:
        load_parts({"analysis.": self.analysis, "synthesis.": self.synthesis, "density_shape.": self.density}, arrays)
        self.steps.load(torch.from_numpy(arrays["steps"]))
        self.floor.load(torch.from_numpy(arrays["floor"]))
        self.metric.copy_(torch.from_numpy(arrays["metric"].astype(np.float32)))
        self.context.replace({name: torch.from_numpy(weight) for name, weight in thaw(arrays, "context.").items()})

    @torch.no_grad()
    def frozen(self) -> dict[str, np.ndarray]:
        """The arrays of a model file: transforms, curves by quality, context and tables."""
        position = qualities()
        arrays = {"steps": self.steps(position).numpy(), "compand.power": self.analysis.compand.power.numpy(),
                  "metric": self.metric.numpy().astype(np.float16)}
        arrays |= frozen_prior(self.context, self.floor, self.density, {"scales": SCALES, "largest": LARGEST})
        for name, part in (("analysis", self.analysis), ("synthesis", self.synthesis)):
            arrays |= {f"{name}.{key}": value.numpy().astype(np.float16 if value.dim() == 3 else np.float32)
                       for key, value in part.state_dict().items()}
        return arrays


def _root(matrix: Tensor) -> Tensor:
    """The symmetric root of a positive matrix."""
    values, vectors = torch.linalg.eigh(matrix)
    return (vectors * values.clamp_min(0).sqrt()) @ vectors.T


def _smooth(power: Tensor) -> Tensor:
    """A spectrum without its ripples: means over growing neighbourhoods."""
    at = torch.arange(len(power))
    return torch.stack([power[max(0, k - k // 4 - 1):k + k // 4 + 2].mean() for k in at.tolist()])
