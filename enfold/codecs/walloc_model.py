"""WaLLoC while it is trained: everything learnable, the loss, and the way to frozen weights.

A loss of rate plus distortion over random qualities. The rate is that of the real prior, run by
a `Meter`; distortion's weight follows the step as theory has it for a uniform quantiser.
"""

from __future__ import annotations

import math

import numpy as np
import torch
from torch import Tensor, nn

from enfold.codecs.walloc import Analysis, Synthesis
from enfold.codecs.walloc_latents import CONFIGS
from enfold.entropy.densities import GaussianScaleMixture
from enfold.entropy.interlaced import code_grid, freeze, weight_shapes
from enfold.entropy.meter import Meter, round_through
from enfold.layers.trainable import Loss, Trainable

ANCHORS = 6
FLOOR_BITS = 6              # scales' floors are multiples of 2^-6


class ByQuality(nn.Module):
    """A positive value for each channel and quality: geometric between learned anchors."""

    def __init__(self, channels: int, first: float, last: float) -> None:
        super().__init__()
        path = torch.linspace(math.log(first), math.log(last), ANCHORS)
        self.log_values = nn.Parameter(path[:, None].repeat(1, channels))

    def forward(self, position: Tensor) -> Tensor:
        """position (B,) in [0, 1], coarse to fine → (B, channels)."""
        at = position * (ANCHORS - 1)
        left = at.floor().clamp(0, ANCHORS - 2)
        weight = (at - left)[:, None]
        left = left.long()
        return torch.lerp(self.log_values[left], self.log_values[left + 1], weight).exp()


class PriorWeights(nn.Module):
    """The context's weights while they are trained: scales are squares, so they stay positive."""

    def __init__(self, channels: int, groups: tuple[int, ...]) -> None:
        super().__init__()
        self.raw = nn.ParameterDict()
        for name, shape in weight_shapes(channels, groups).items():
            if name.startswith("mean"):
                self.raw[name] = nn.Parameter(torch.zeros(shape))
            else:
                self.raw[name] = nn.Parameter(torch.full(shape, (0.4 / shape[1]) ** 0.5))

    def forward(self) -> dict[str, Tensor]:
        return {name: raw if name.startswith("mean") else raw.square()
                for name, raw in self.raw.items()}


class WallocModel(Trainable):
    """Everything of a WaLLoC codec that is learned."""

    def __init__(self, name: str) -> None:
        super().__init__()
        self.config = config = CONFIGS[name]
        self.analysis = Analysis(config)
        self.synthesis = Synthesis(config)
        self.steps = ByQuality(config.latents, config.coarsest_step, config.finest_step)
        self.floor = ByQuality(config.latents, 0.5, 0.5)
        self.context = PriorWeights(config.latents, config.groups)
        self.density = GaussianScaleMixture()

    @torch.no_grad()
    def initialise(self, pixels: Tensor) -> None:
        """Closed-form start from a sample of crops (B, 3, H, W): principal components."""
        x = self.analysis.packets.analysis(pixels - 128.0).permute(1, 0, 2, 3).flatten(1)
        covariance = (x @ x.T / x.shape[1]).double()
        values, vectors = torch.linalg.eigh(covariance)
        keep = self.config.latents
        basis = vectors[:, -keep:].flip(1).float()
        spread = values[-keep:].flip(0).float().sqrt()
        self.analysis.linear.weight.copy_(basis.T[:, :, None, None])
        self.synthesis.skip.weight.copy_(basis[:, :, None, None])
        self.synthesis.spread.copy_(spread[:, None, None])
        # each latent's scale where nothing is known, over the range of steps
        at = self.steps.log_values.exp()
        self.floor.log_values.copy_((0.5 * spread / at + 0.1).log())

    def loss(self, pixels: Tensor, position: Tensor, *, hard: bool) -> Loss:
        """pixels (B, 3, H, W) in 0…255, position (B,) in [0, 1]. hard: the encoder is frozen
        and the rate is that of rounded latents."""
        config = self.config
        with torch.set_grad_enabled(not hard):
            companded = self.analysis(pixels)
            steps = self.steps(position)[:, :, None, None]
            scaled = companded / steps
        meter = Meter(noisy=not hard)
        code_grid(meter, self.density, self.context(), self.floor(position)[:, :, None],
                  config.groups, tuple(scaled.shape), scaled)
        latents = self.analysis.compand.expand(round_through(scaled) * steps)
        if hard:
            latents = latents.detach()
        decoded = self.synthesis(latents, position)
        mse = (decoded - pixels).square().mean((1, 2, 3))
        bpp = meter.bits() / (pixels.shape[-1] * pixels.shape[-2])
        nominal = config.coarsest_step * (config.finest_step / config.coarsest_step) ** position
        # dR/dD of a uniform quantiser at high rate, 6 / (ln 2 · step²) bits a latent
        slope = 3 * 6 / math.log(2) / nominal.square()
        # hopeless crops do not own the gradient: what is reported is a mean of decibels
        usual = mse.detach().clamp_min(1).log().mean().exp()
        slope = slope * 2 * usual / (mse.detach() + usual)
        # in proportion to the root of the step, or the finest qualities own the gradient
        weight = (nominal / math.sqrt(config.coarsest_step * config.finest_step)).sqrt()
        return Loss((weight * (bpp + slope * mse)).mean(), bpp.detach(), mse.detach())

    @torch.no_grad()
    def frozen(self) -> dict[str, np.ndarray]:
        """The arrays of a model file: transforms, curves by quality, context and tables."""
        position = torch.arange(100) / 99
        arrays = {"steps": self.steps(position).numpy(),
                  "compand.power": self.analysis.compand.power.numpy(),
                  "floor": (self.floor(position) * 2 ** FLOOR_BITS).round().clamp_min(1).numpy() / 2 ** FLOOR_BITS}
        context = {name: weight.numpy() for name, weight in self.context().items()}
        arrays |= {f"context.{name}": weight for name, weight in freeze(context).items()}
        arrays |= self.density.freeze().to_arrays("density.")
        arrays |= {f"density_shape.{name}": value.numpy() for name, value in self.density.state_dict().items()}
        arrays |= {f"analysis.{name}": value.numpy() for name, value in self.analysis.state_dict().items()}
        # half precision: the network runs in bfloat16, which keeps fewer digits
        arrays |= {f"synthesis.{name}": value.numpy().astype(np.float16 if value.dim() == 4 else np.float32)
                   for name, value in self.synthesis.state_dict().items()}
        return arrays
