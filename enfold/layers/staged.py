"""What a training loop asks of a codec that is trained in stages, and nothing more."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar, Protocol

import numpy as np
import torch
from torch import Tensor, nn

from enfold.layers.trainable import TrainablePrior


class Crops(Protocol):
    """An endless stream of batches of crops."""

    def __next__(self) -> Tensor:
        """(B, 3, side, side) in 0…255."""


@dataclass(frozen=True)
class Stage:
    """Until which share of a run a stage lasts, and its learning rates at first and at last, as shares of the run's."""

    name: str
    until: float
    first_rate: float
    last_rate: float


@dataclass(frozen=True)
class Losses:
    """What one training step minimises (a scalar), and for people, sample by sample (B,): how far features are apart,
    and the squared error in grey levels."""

    total: Tensor
    features: Tensor
    mse: Tensor


class Staged(nn.Module):
    """A codec while it is trained. stage: the one that is under way, as its state says; -1 before the first."""

    stages: ClassVar[tuple[Stage, ...]]
    stage: Tensor

    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("stage", torch.tensor(-1.0))

    @abstractmethod
    def begin(self, stage: int, crops: Crops) -> None:
        """What is to be done once, with the averaged weights of the stage before in place."""

    @abstractmethod
    def learnt(self, stage: int) -> list[nn.Parameter]:
        """The parameters that a stage changes."""

    @abstractmethod
    def loss(self, pixels: Tensor, stage: int, progress: float) -> Losses:
        """pixels (B, 3, H, W) in 0…255; progress: of the stage, from 0 to 1."""

    @abstractmethod
    def validate(self, pixels: Tensor, stage: int) -> list[tuple[float, float, float, float]]:
        """(position, bpp at most, PSNR in dB, feature distance) at some qualities, as means over pictures."""

    @abstractmethod
    def frozen(self) -> dict[str, np.ndarray]:
        """The arrays of a model file, with a prior that is not trained."""

    @abstractmethod
    def prior(self, arrays: Mapping[str, np.ndarray]) -> TrainablePrior:
        """The prior of a model file's arrays, to be trained."""
