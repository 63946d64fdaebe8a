"""What every learner is once it is fitted: a network, the word of what it was fitted on, and a file of both.

    class Echo(Learner):
        _NETWORK = SomeModule               # is made from a Shape

        fit                                 # sets network_, shape_, origin_, history_ and what is its own
        _own, _restore                      # what is its own, to JSON and back

What `fit` learnt ends in an underscore, as in scikit-learn. Guarantee: inputs of another origin than
those it was fitted on are refused before the network sees them.
"""

from __future__ import annotations

import os
from abc import ABC, abstractmethod
from collections.abc import Iterator
from dataclasses import asdict
from typing import Any, ClassVar, Self

import torch
from torch import Tensor, nn

from enfold.errors import UsageError
from enfold.learners import saving
from enfold.learners.dataset import LatentDataset
from enfold.learners.fitting import Epoch, Schedule
from enfold.learners.networks import Shape
from enfold.learners.samples import Origin, Samples, samples_of


class Learner(ABC):
    """schedule: how long it learns. accelerator, devices: as Lightning Fabric has them."""

    _NETWORK: ClassVar[type[nn.Module]]

    network_: nn.Module
    shape_: Shape
    origin_: Origin
    history_: tuple[Epoch, ...]

    def __init__(self, schedule: Schedule, accelerator: str, devices: int | str) -> None:
        self.schedule, self.accelerator, self.devices = schedule, accelerator, devices

    @classmethod
    @abstractmethod
    def _of(cls, shape: Shape, schedule: Schedule) -> Self:
        """One that would be fitted to a network of this shape."""

    @abstractmethod
    def _own(self) -> dict[str, Any]:
        """What this kind of learner keeps beside the rest, as JSON holds it."""

    @abstractmethod
    def _restore(self, about: dict[str, Any]) -> None:
        """The inverse of `_own`."""

    def save(self, path: str | os.PathLike[str]) -> None:
        """One .safetensors file. Raises UsageError where nothing was fitted."""
        self._fitted()
        about = {"shape": asdict(self.shape_), "origin": asdict(self.origin_), "schedule": asdict(self.schedule),
                 "history": [asdict(epoch) for epoch in self.history_], **self._own()}
        saving.save(path, type(self).__name__, about, self.network_.state_dict())

    @classmethod
    def load(cls, path: str | os.PathLike[str]) -> Self:
        """What `save` saved, ready to predict. Raises MediaError, BitstreamError."""
        about, tensors = saving.load(path, cls.__name__)
        made = cls._of(Shape(**about["shape"]), Schedule(**about["schedule"]))
        made.shape_, made.origin_ = Shape(**about["shape"]), Origin(**about["origin"])
        made.history_ = tuple(Epoch(**epoch) for epoch in about["history"])
        made._restore(about)
        made.network_ = cls._NETWORK(made.shape_)
        made.network_.load_state_dict(tensors)
        made.network_.eval()
        return made

    @torch.inference_mode()
    def _outputs(self, data: Samples | LatentDataset) -> Iterator[tuple[Tensor, Tensor]]:
        """(what the network makes of a batch, its targets), batch by batch. Raises FingerprintError, UsageError."""
        self._fitted()
        samples = samples_of(data)
        self.origin_.refuse_other(samples.origin)
        device = next(self.network_.parameters()).device
        for examples in samples.examples(self.schedule.batch_size):
            yield self.network_(examples.inputs.to(device)).cpu(), examples.targets

    def _fitted(self) -> None:
        if not hasattr(self, "network_"):
            name = type(self).__name__
            raise UsageError(f"this {name.lower()} was not fitted: call fit, or {name}.load")
