"""The residual block that every network here is built from."""

from __future__ import annotations

from torch import Tensor, nn


class Residual(nn.Module):
    """x + conv(relu(conv(x))), of (B, width, h, w)."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.first = nn.Conv2d(width, width, 3, padding=1)
        self.second = nn.Conv2d(width, width, 3, padding=1)

    def forward(self, x: Tensor) -> Tensor:
        return x + self.second(self.first(x).relu_())
