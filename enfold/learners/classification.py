"""Classes from latents: fit, predict, score, save, load.

    learner = Classifier(features=48, schedule=Schedule(epochs=20)).fit(LatentDataset("train/"))
    accuracy = learner.score(LatentDataset("val/"))
    learner.save("classes.safetensors")

What `fit` learnt ends in an underscore, as in scikit-learn. Latents of other weights than those it was
fitted on are refused: they have the same shape and mean something else.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from dataclasses import asdict
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from enfold.errors import UsageError
from enfold.learners import fitting, saving
from enfold.learners.dataset import LatentDataset
from enfold.learners.fitting import Epoch, Schedule
from enfold.learners.networks import Classifying, Shape
from enfold.learners.samples import Origin, Samples, samples_of

SMOOTHING = 0.1


class Classifier:
    """network: "conv" or "vit". patch: inputs a side of a token, 1 for latents. features, depth: its size.
    accelerator, devices: as Lightning Fabric has them."""

    network_: Classifying
    shape_: Shape
    origin_: Origin
    label_names_: tuple[str, ...] | None
    history_: tuple[Epoch, ...]

    def __init__(self, network: str = "conv", *, patch: int = 1, features: int = 48, depth: int = 2,
                 schedule: Schedule | None = None, accelerator: str = "cpu", devices: int | str = 1) -> None:
        self.network, self.patch, self.features, self.depth = network, patch, features, depth
        self.schedule, self.accelerator, self.devices = schedule or Schedule(), accelerator, devices

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
        return np.concatenate([logits.argmax(1).numpy() for logits, _ in self._logits(data)])

    def score(self, data: Samples | LatentDataset) -> float:
        """The share of samples whose label is predicted."""
        right = [(logits.argmax(1) == labels).float() for logits, labels in self._logits(data)]
        return torch.cat(right).mean().item()

    def save(self, path: str | os.PathLike[str]) -> None:
        """One .safetensors file. Raises UsageError where nothing was fitted."""
        self._fitted()
        about = {"shape": asdict(self.shape_), "origin": asdict(self.origin_), "label_names": self.label_names_,
                 "schedule": asdict(self.schedule), "history": [asdict(epoch) for epoch in self.history_]}
        saving.save(path, "Classifier", about, self.network_.state_dict())

    @classmethod
    def load(cls, path: str | os.PathLike[str]) -> Classifier:
        """What `save` saved, ready to predict. Raises MediaError, BitstreamError."""
        about, tensors = saving.load(path, "Classifier")
        shape = Shape(**about["shape"])
        made = cls(shape.kind, patch=shape.patch, features=shape.features, depth=shape.depth,
                   schedule=Schedule(**about["schedule"]))
        made.shape_, made.origin_ = shape, Origin(**about["origin"])
        made.label_names_ = None if about["label_names"] is None else tuple(about["label_names"])
        made.history_ = tuple(Epoch(**epoch) for epoch in about["history"])
        made.network_ = Classifying(shape)
        made.network_.load_state_dict(tensors)
        made.network_.eval()
        return made

    @torch.inference_mode()
    def _logits(self, data: Samples | LatentDataset) -> Iterator[tuple[Tensor, Tensor]]:
        self._fitted()
        samples = samples_of(data)
        self.origin_.refuse_other(samples.origin)
        device = next(self.network_.parameters()).device
        for examples in samples.examples(self.schedule.batch_size):
            yield self.network_(examples.inputs.to(device)).cpu(), examples.targets

    def _fitted(self) -> None:
        if not hasattr(self, "network_"):
            raise UsageError("this classifier was not fitted: call fit, or Classifier.load")


def _labels(samples: Samples) -> int:
    """The largest label."""
    known: Any = getattr(getattr(samples, "dataset", None), "labels", None)
    labels = np.asarray(getattr(samples, "targets", known) if known is None else known)
    if not labels.size or labels.min() < 0:
        raise UsageError(f"{int((labels < 0).sum())} of {labels.size} samples have no label: pack a folder with "
                         "sub-folders, or with --labels")
    return int(labels.max())
