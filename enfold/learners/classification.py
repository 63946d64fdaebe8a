"""Classes from latents: fit, predict, score, save, load.

    learner = Classifier(features=48, schedule=Schedule(epochs=20)).fit(LatentDataset("train/"))
    accuracy = learner.score(LatentDataset("val/"))
    learner.save("classes.safetensors")

Latents of other weights than those it was fitted on are refused: they have the same shape and mean
something else.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Self

import numpy as np
import torch
from torch import nn

from enfold.errors import UsageError
from enfold.learners import fitting
from enfold.learners.dataset import LatentDataset
from enfold.learners.fitting import Epoch, Schedule
from enfold.learners.learner import Learner
from enfold.learners.networks import Classifying, Shape
from enfold.learners.samples import Samples, samples_of

SMOOTHING = 0.1


class Classifier(Learner):
    """network: "conv" or "vit". patch: inputs a side of a token, 1 for latents. features, depth: its size.
    accelerator, devices: as Lightning Fabric has them."""

    _NETWORK = Classifying
    network_: Classifying
    label_names_: tuple[str, ...] | None

    def __init__(self, network: str = "conv", *, patch: int = 1, features: int = 48, depth: int = 2,
                 schedule: Schedule | None = None, accelerator: str = "cpu", devices: int | str = 1) -> None:
        super().__init__(schedule or Schedule(), accelerator, devices)
        self.network, self.patch, self.features, self.depth = network, patch, features, depth

    def fit(self, data: Samples | LatentDataset, progress: Callable[[Epoch], None] = lambda epoch: None) -> Classifier:
        """data: labelled; labels count from 0. Raises UsageError where there are none, or sizes differ."""
        samples = samples_of(data)
        fabric = fitting.fabric_of(self.accelerator, self.devices)
        labels = _labels(samples)
        torch.manual_seed(self.schedule.seed)
        first = next(iter(samples.examples(1))).inputs
        self.shape_ = Shape(self.network, first.shape[1], first.shape[2], first.shape[3], self.patch,
                            self.features, self.depth, labels + 1)
        self.network_ = Classifying(self.shape_)
        self.network_.mean.data, self.network_.std.data = fitting.measured(samples)
        self.origin_, self.label_names_ = samples.origin, samples.label_names
        loss = nn.CrossEntropyLoss(label_smoothing=SMOOTHING)
        self.history_ = fitting.fit(self.network_, loss, samples, self.schedule, fabric, progress)
        return self

    def predict(self, data: Samples | LatentDataset) -> np.ndarray:
        """(N,) int64 labels. Raises FingerprintError, UsageError."""
        return np.concatenate([logits.argmax(1).numpy() for logits, _ in self._outputs(data)])

    def score(self, data: Samples | LatentDataset) -> float:
        """The share of samples whose label is predicted."""
        right = [(logits.argmax(1) == labels).float() for logits, labels in self._outputs(data)]
        return torch.cat(right).mean().item()

    @classmethod
    def _of(cls, shape: Shape, schedule: Schedule) -> Self:
        return cls(shape.kind, patch=shape.patch, features=shape.features, depth=shape.depth, schedule=schedule)

    def _own(self) -> dict[str, Any]:
        return {"label_names": self.label_names_}

    def _restore(self, about: dict[str, Any]) -> None:
        self.label_names_ = None if about["label_names"] is None else tuple(about["label_names"])


def _labels(samples: Samples) -> int:
    """The largest label."""
    known: Any = getattr(getattr(samples, "dataset", None), "labels", None)
    labels = np.asarray(getattr(samples, "targets", known) if known is None else known)
    if not labels.size or labels.min() < 0:
        raise UsageError(f"{int((labels < 0).sum())} of {labels.size} samples have no label: pack a folder with "
                         "sub-folders, or with --labels")
    return int(labels.max())
