"""A compand: latents near zero as they are, large ones by a power, so that steps grow with what they quantise."""

from __future__ import annotations

import torch
from torch import Tensor, nn


class Compand(nn.Module):
    """y → sign(y)·s·((1 + |y|/s)^p − 1)/p: linear near zero, a power p in (0, 1) far away.

    Takes (B, C, …) of `axes` axes after the channels. width: s. power: where training begins.
    """

    def __init__(self, channels: int, width: float, axes: int = 2, power: float = 0.9) -> None:
        super().__init__()
        self.width = width
        start = torch.logit(torch.tensor(power)).item()
        self.raw_power = nn.Parameter(torch.full((channels, *(1,) * axes), start))

    @property
    def power(self) -> Tensor:
        return self.raw_power.sigmoid()

    def forward(self, y: Tensor) -> Tensor:
        grown = (1 + y.abs() / self.width) ** self.power - 1
        return y.sign() * grown * (self.width / self.power)

    def expand(self, u: Tensor) -> Tensor:
        """The inverse of `forward`."""
        grown = (1 + u.abs() * (self.power / self.width)) ** (1 / self.power) - 1
        return u.sign() * grown * self.width
