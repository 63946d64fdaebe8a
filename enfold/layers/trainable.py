"""What a training loop asks of a codec, and nothing more."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
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
    """A codec while it is trained. distortion: what for, of those that `layers.distortion` knows."""

    distortion = "mse"

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

    @abstractmethod
    def load(self, arrays: Mapping[str, np.ndarray]) -> None:
        """Takes up the arrays of a model file, to go on from: `frozen` gives them back.

        Parameters may be other objects afterwards.
        """

    def prior(self, arrays: Mapping[str, np.ndarray]) -> TrainablePrior | None:
        """The prior of a model file's arrays, to be trained alone; None where there is none that can be."""
        return None


class TrainablePrior(nn.Module, ABC):
    """A codec's prior while it alone is trained, on latents of an analysis that stays as it is."""

    @abstractmethod
    def latents(self, rgb: np.ndarray) -> np.ndarray:
        """uint8 (H, W, 3) of any size → float32 (C, h, w): all that quality and rounding leave to do."""

    @abstractmethod
    def bits(self, latents: Tensor, position: Tensor) -> Tensor:
        """What rounded latents (B, C, h, w) cost at qualities (B,) in [0, 1], coarse to fine: (B,), differentiable."""

    @abstractmethod
    def frozen(self) -> dict[str, np.ndarray]:
        """The arrays of the model file, with the prior as it is now."""


class CodeTrainable(Trainable):
    """A codec of codebooks while its codes are learned, by an analysis that stays as it is.

    bands: so many ranges of quality have codebooks and a prior of their own. places: qualities in each.
    """

    bands: int
    places: int

    @abstractmethod
    def adopt(self, arrays: Mapping[str, np.ndarray], pictures: Sequence[np.ndarray]) -> None:
        """Takes over the transforms of another model's file, with some pictures uint8 (H, W, 3) in view."""

    @abstractmethod
    def latents(self, rgb: np.ndarray, band: int, place: int) -> np.ndarray:
        """uint8 (H, W, 3) of any size → float32 (C, h, w), of which codes are chosen."""

    @abstractmethod
    def lay(self, band: int, latents: Sequence[np.ndarray], seed: int) -> None:
        """Makes a band's codebooks anew."""

    @abstractmethod
    def codes(self, band: int, latents: Sequence[np.ndarray], places: Sequence[int]) -> list[np.ndarray]:
        """The codes (M, h, w) that the encoder of use chooses now, for each latent."""

    @abstractmethod
    def refine(self, band: int, latents: Sequence[np.ndarray], codes: Sequence[np.ndarray]) -> None:
        """Moves a band's words to the means of what chose them."""

    @abstractmethod
    def prior_of(self, band: int) -> nn.Module:
        """Of a band: the parameters that `bits` depends on."""

    @abstractmethod
    def bits(self, band: int, codes: Tensor, place: Tensor) -> Tensor:
        """What codes (B, M, h, w) cost at places (B,) in a band: (B,), differentiable."""

    @abstractmethod
    def books(self, band: int) -> list[tuple[int, int]]:
        """Of each channel of a band's codes: (words, positions of a side that each code stands for)."""
