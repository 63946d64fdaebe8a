"""One model for all rates: what depends on quality, and a loss that trains every quality at once.

Quality is a position in [0, 1], coarse to fine. Whatever depends on it is a curve through a few
learned anchors. The quantisation step falls geometrically along it, and distortion's weight
follows the step as theory has it for a uniform quantiser.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn

from enfold.layers.trainable import Loss

ANCHORS = 6


class Curves(nn.Module):
    """A value for each channel and quality: linear between learned anchors, from first to last at the start."""

    def __init__(self, channels: int, first: float, last: float) -> None:
        super().__init__()
        path = torch.linspace(first, last, ANCHORS)
        self.anchors = nn.Parameter(path[:, None].repeat(1, channels))

    def forward(self, position: Tensor) -> Tensor:
        """position (B,) in [0, 1] → (B, channels)."""
        at = position * (ANCHORS - 1)
        left = at.floor().clamp(0, ANCHORS - 2)
        weight = (at - left)[:, None]
        left = left.long()
        return torch.lerp(self.anchors[left], self.anchors[left + 1], weight)


    @torch.no_grad()
    def load(self, values: Tensor) -> None:
        """Takes up values (100, channels) of qualities 1 to 100: the anchors whose curve comes closest to them."""
        position = qualities().double() * (ANCHORS - 1)
        weights = (1 - (position[:, None] - torch.arange(ANCHORS)).abs()).clamp_min(0)
        self.anchors.copy_(torch.linalg.lstsq(weights, values.double()).solution)


class ByQuality(nn.Module):
    """A positive value for each channel and quality: geometric between learned anchors."""

    def __init__(self, channels: int, first: float, last: float) -> None:
        super().__init__()
        self.log = Curves(channels, math.log(first), math.log(last))

    def forward(self, position: Tensor) -> Tensor:
        """position (B,) in [0, 1] → (B, channels)."""
        return self.log(position).exp()

    def load(self, values: Tensor) -> None:
        """As `Curves.load`."""
        self.log.load(values.log())


def qualities() -> Tensor:
    """The positions (100,) of qualities 1 to 100."""
    return torch.arange(100) / 99


def bits_for_error(position: Tensor, coarsest_step: float, finest_step: float, values: int = 3) -> Tensor:
    """Bits a pixel that a grey level squared is worth at each quality, as theory has it for a uniform quantiser.

    values: how many a pixel has; of sound, 1, with bits a sample and squares of samples.
    """
    nominal = coarsest_step * (finest_step / coarsest_step) ** position
    # dR/dD at high rate, 6 / (ln 2 · step²) bits a latent
    return values * 6 / math.log(2) / nominal.square()


def rate_distortion(bpp: Tensor, error: Tensor, position: Tensor, coarsest_step: float, finest_step: float,
                    values: int = 3, mse: Tensor | None = None) -> Loss:
    """bpp, error in grey levels squared, and position, each (B,) → what a training step minimises; values: as above.
    mse: for people, where the error is another."""
    nominal = coarsest_step * (finest_step / coarsest_step) ** position
    slope = bits_for_error(position, coarsest_step, finest_step, values)
    # hopeless crops do not own the gradient: what is reported is a mean of decibels
    usual = error.detach().clamp_min(1).log().mean().exp()
    slope = slope * 2 * usual / (error.detach() + usual)
    # in proportion to the root of the step, or the finest qualities own the gradient
    weight = (nominal / math.sqrt(coarsest_step * finest_step)).sqrt()
    return Loss((weight * (bpp + slope * error)).mean(), bpp.detach(), (error if mse is None else mse).detach())
