"""What a training loop asks of a codec, and nothing more."""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass

import numpy as np
from torch import Tensor, nn


@dataclass(frozen=True)
class Loss:
    """What one training step minimises (a scalar), and what it is made of: (B,), sample by sample.

    mse is in grey levels squared, bpp in bits a pixel.
    """

    total: Tensor
    bpp: Tensor
    mse: Tensor


class Trainable(nn.Module, ABC):
    """A codec while it is trained."""

    @abstractmethod
    def initialise(self, pixels: Tensor) -> None:
        """A closed-form start from a sample of crops (B, 3, H, W) in 0…255."""

    @abstractmethod
    def loss(self, pixels: Tensor, position: Tensor, *, hard: bool) -> Loss:
        """pixels (B, 3, H, W) in 0…255; position (B,) in [0, 1], coarse to fine quality.

        hard: latents are rounded for the rate as well, and the encoder stays as it is.
        """

    @abstractmethod
    def frozen(self) -> dict[str, np.ndarray]:
        """The arrays of a model file, tables included."""
