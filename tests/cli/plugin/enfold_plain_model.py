"""Something to train: one number, the mean of all pixels."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from enfold.layers.trainable import Loss, Trainable


class Model(Trainable):
    def __init__(self, name: str) -> None:
        super().__init__()
        self.mean = nn.Parameter(torch.zeros(()))

    def initialise(self, pixels: Tensor) -> None:
        self.mean.data.copy_(pixels.mean())

    def loss(self, pixels: Tensor, position: Tensor, *, hard: bool) -> Loss:
        mse = (pixels - self.mean).square().mean((1, 2, 3))
        return Loss(mse.mean(), torch.full_like(mse, 0.5), mse.detach())

    def frozen(self):
        return {"mean": self.mean.detach().numpy()}

    def load(self, arrays):
        self.mean.data.copy_(torch.from_numpy(arrays["mean"]))
