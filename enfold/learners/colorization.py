"""Colours from grey: latents of grey pictures → latents of the pictures in colour.

    pairs = Pairs(LatentDataset("grey/"), LatentDataset("colour/"))     # packed with and without --grey
    learner = Colorizer(schedule=Schedule(epochs=20)).fit(pairs)
    pictures = learner.pictures(LatentDataset("grey-val/"), rows=[0, 1])

No pixel is touched in between: one network at an eighth of the resolution, and the codec's own synthesis
at the end. On pixels the same class colours (N, C, h, w) arrays of them.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict

import numpy as np
import torch
from torch import Tensor, nn

from enfold.errors import UsageError
from enfold.learners import fitting, saving
from enfold.learners.dataset import LatentDataset
from enfold.learners.fitting import Epoch, Schedule
from enfold.learners.networks import ImageToImage, Shape
from enfold.learners.samples import Origin, Samples, origin_of


class Colorizer:
    """features, depth: size of the network. accelerator, devices: as Lightning Fabric has them."""

    network_: ImageToImage
    shape_: Shape
    origin_: Origin
    target_origin_: Origin
    history_: tuple[Epoch, ...]

    def __init__(self, *, features: int = 64, depth: int = 4, schedule: Schedule | None = None,
                 accelerator: str = "cpu", devices: int | str = 1) -> None:
        self.features, self.depth = features, depth
        self.schedule = schedule or Schedule(weight_decay=0.0)
        self.accelerator, self.devices = accelerator, devices

    def fit(self, data: Samples, progress: Callable[[Epoch], None] = lambda epoch: None) -> Colorizer:
        """data: inputs grey, targets in colour, of one grid; see `Pairs`."""
        fabric = fitting.fabric_of(self.accelerator, self.devices)
        torch.manual_seed(self.schedule.seed)
        first = next(iter(data.examples(1)))
        if first.targets.dim() != 4 or first.inputs.shape[2:] != first.targets.shape[2:]:
            raise UsageError(f"inputs of shape {tuple(first.inputs.shape)}, targets of {tuple(first.targets.shape)}: "
                             "both must have one grid")
        self.shape_ = Shape("conv", first.inputs.shape[1], first.inputs.shape[2], first.inputs.shape[3], 1,
                            self.features, self.depth, first.targets.shape[1])
        self.network_ = ImageToImage(self.shape_)
        self.network_.mean.data, self.network_.std.data = fitting.measured(data)
        self.network_.out_mean.data, self.network_.out_std.data = fitting.measured(data, targets=True)
        spread = self.network_.out_std.clone()
        self.origin_, self.target_origin_ = data.origin, getattr(data, "target_origin", data.origin)

        def loss(made: Tensor, wanted: Tensor) -> Tensor:
            return nn.functional.mse_loss(made / spread.to(made), wanted / spread.to(made))

        self.history_ = fitting.fit(self.network_, loss, data, self.schedule, fabric, progress)
        return self

    def predict(self, data: Samples | LatentDataset) -> np.ndarray:
        """(N, C', h, w) float32. Raises FingerprintError, UsageError."""
        return np.concatenate([made.numpy() for made, _ in self._made(data)])

    def score(self, data: Samples) -> float:
        """R²: the share of the targets' variance, channel by channel, that is predicted; 1 is all."""
        missed, total = torch.zeros(()), torch.zeros(())
        spread, mean = self.network_.out_std, self.network_.out_mean
        for made, wanted in self._made(data):
            missed += ((made - wanted) / spread).square().sum()
            total += ((wanted - mean) / spread).square().sum()
        return 1 - (missed / total).item()

    def pictures(self, data: LatentDataset, rows: Sequence[int]) -> list[np.ndarray]:
        """Samples of a grey pack in colour, uint8 (H, W, 3): the codec's synthesis of what is predicted."""
        import enfold
        from enfold.codec import Latent
        from enfold.learners.shards import rows_of

        codec = enfold.load(self.target_origin_.codec)
        Origin(self.target_origin_.codec, codec.fingerprint.hex(), self.target_origin_.quality).refuse_other(
            self.target_origin_)
        if not hasattr(codec, "synthesise"):
            raise UsageError(f"{codec!r} is no codec of pictures")
        self.origin_.refuse_other(origin_of(data))
        pack, found = data.reading.pack, []
        for row in rows:
            group = int(np.searchsorted(pack.starts, row, side="right")) - 1
            sample = next(rows_of(pack.table(group).slice(row - int(pack.starts[group]), 1)))
            with torch.inference_mode():
                made = self.network_(data.batch([row]).latents)[0].numpy()
            found.append(codec.synthesise(Latent(made, lambda values: np.asarray(values, np.float32), codec.name,
                                                 codec.fingerprint, self.target_origin_.quality, sample.geometry)))
        return found

    def save(self, path: str | os.PathLike[str]) -> None:
        """One .safetensors file. Raises UsageError where nothing was fitted."""
        self._fitted()
        about = {"shape": asdict(self.shape_), "origin": asdict(self.origin_),
                 "target_origin": asdict(self.target_origin_), "schedule": asdict(self.schedule),
                 "history": [asdict(epoch) for epoch in self.history_]}
        saving.save(path, "Colorizer", about, self.network_.state_dict())

    @classmethod
    def load(cls, path: str | os.PathLike[str]) -> Colorizer:
        """What `save` saved, ready to predict. Raises MediaError, BitstreamError."""
        about, tensors = saving.load(path, "Colorizer")
        shape = Shape(**about["shape"])
        made = cls(features=shape.features, depth=shape.depth, schedule=Schedule(**about["schedule"]))
        made.shape_, made.origin_, made.target_origin_ = \
            shape, Origin(**about["origin"]), Origin(**about["target_origin"])
        made.history_ = tuple(Epoch(**epoch) for epoch in about["history"])
        made.network_ = ImageToImage(shape)
        made.network_.load_state_dict(tensors)
        made.network_.eval()
        return made

    @torch.inference_mode()
    def _made(self, data: Samples | LatentDataset) -> Iterator[tuple[Tensor, Tensor]]:
        self._fitted()
        from enfold.learners.samples import samples_of

        samples = samples_of(data)
        self.origin_.refuse_other(samples.origin)
        device = next(self.network_.parameters()).device
        for examples in samples.examples(self.schedule.batch_size):
            yield self.network_(examples.inputs.to(device)).cpu(), examples.targets

    def _fitted(self) -> None:
        if not hasattr(self, "network_"):
            raise UsageError("this colorizer was not fitted: call fit, or Colorizer.load")
