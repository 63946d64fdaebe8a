"""Colours from grey: latents of grey pictures → latents of the pictures in colour.

    pairs = Pairs(LatentDataset("grey/"), LatentDataset("colour/"))     # packed with and without --grey
    learner = Colorizer(schedule=Schedule(epochs=20)).fit(pairs)
    pictures = learner.pictures(LatentDataset("grey-val/"), rows=[0, 1])

No pixel is touched in between: one network at an eighth of the resolution, and the codec's own synthesis
at the end. On pixels the same class colours (N, C, h, w) arrays of them.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import asdict
from typing import Any, Self

import numpy as np
import torch
from torch import Tensor, nn

from enfold.errors import UsageError
from enfold.geometry import ImageGeometry
from enfold.learners import fitting
from enfold.learners.dataset import LatentDataset
from enfold.learners.fitting import Epoch, Schedule
from enfold.learners.learner import Learner
from enfold.learners.networks import ImageToImage, Shape
from enfold.learners.samples import Origin, Samples, origin_of

STARTED = 512               # samples that the linear map begins with
RIDGE = 1e-4


class Colorizer(Learner):
    """features, depth: size of the network. accelerator, devices: as Lightning Fabric has them."""

    _NETWORK = ImageToImage
    network_: ImageToImage
    target_origin_: Origin

    def __init__(self, *, features: int = 64, depth: int = 4, schedule: Schedule | None = None,
                 accelerator: str = "cpu", devices: int | str = 1) -> None:
        super().__init__(schedule or Schedule(weight_decay=0.0), accelerator, devices)
        self.features, self.depth = features, depth

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
        _start(self.network_, data)
        spread = self.network_.out_std.clone()
        self.origin_, self.target_origin_ = data.origin, getattr(data, "target_origin", data.origin)

        def loss(made: Tensor, wanted: Tensor) -> Tensor:
            return nn.functional.mse_loss(made / spread.to(made), wanted / spread.to(made))

        self.history_ = fitting.fit(self.network_, loss, data, self.schedule, fabric, progress)
        return self

    def predict(self, data: Samples | LatentDataset) -> np.ndarray:
        """(N, C', h, w) float32. Raises FingerprintError, UsageError."""
        return np.concatenate([made.numpy() for made, _ in self._outputs(data)])

    def score(self, data: Samples) -> float:
        """R²: the share of the targets' variance, channel by channel, that is predicted; 1 is all."""
        self._fitted()
        missed, total = torch.zeros(()), torch.zeros(())
        spread, mean = self.network_.out_std, self.network_.out_mean
        for made, wanted in self._outputs(data):
            missed += ((made - wanted) / spread).square().sum()
            total += ((wanted - mean) / spread).square().sum()
        return 1 - (missed / total).item()

    def pictures(self, data: LatentDataset, rows: Sequence[int]) -> list[np.ndarray]:
        """Samples of a grey pack in colour, uint8 (H, W, 3): the codec's synthesis of what is predicted."""
        self._fitted()
        self.origin_.refuse_other(origin_of(data))
        device, found = next(self.network_.parameters()).device, []
        for at in range(0, len(rows), self.schedule.batch_size):
            some = np.asarray(rows[at:at + self.schedule.batch_size])
            with torch.inference_mode():
                made = self.network_(data.batch(some).latents.to(device)).cpu().numpy()
            found.extend(synthesised(self.target_origin_, made, data.reading.geometries(some)))
        return found

    @classmethod
    def _of(cls, shape: Shape, schedule: Schedule) -> Self:
        return cls(features=shape.features, depth=shape.depth, schedule=schedule)

    def _own(self) -> dict[str, Any]:
        return {"target_origin": asdict(self.target_origin_)}

    def _restore(self, about: dict[str, Any]) -> None:
        self.target_origin_ = Origin(**about["target_origin"])


def _start(network: ImageToImage, data: Samples) -> None:
    """The linear map of each place begins as least squares has it, on some samples: training adds to it."""
    gram, cross, seen = torch.zeros(()), torch.zeros(()), 0
    for examples in data.examples(64, shuffle=True, seed=0):
        places = ((examples.inputs - network.mean) / network.std).movedim(1, 3).flatten(0, 2).double()
        wanted = ((examples.targets - network.out_mean) / network.out_std).movedim(1, 3).flatten(0, 2).double()
        places = nn.functional.pad(places, (0, 1), value=1.0)
        gram, cross, seen = gram + places.T @ places, cross + places.T @ wanted, seen + len(examples.inputs)
        if seen >= STARTED:
            break
    ridge = RIDGE * gram.diagonal().mean() * torch.eye(len(gram), dtype=gram.dtype)
    solved = torch.linalg.solve(gram + ridge, cross).float()
    network.skip.weight.data = solved[:-1].T[..., None, None].contiguous()
    network.skip.bias = nn.Parameter(solved[-1])


def synthesised(origin: Origin, latents: np.ndarray, geometries: Sequence[ImageGeometry]) -> list[np.ndarray]:
    """Dequantised latents (B, C, h, w) of a codec → uint8 (H, W, 3) of each. Raises FingerprintError, UsageError."""
    import enfold
    from enfold.codec import Latent

    codec = enfold.load(origin.codec)
    Origin(origin.codec, codec.fingerprint.hex(), origin.quality).refuse_other(origin)
    if not hasattr(codec, "synthesise"):
        raise UsageError(f"{codec!r} is no codec of pictures")
    return [codec.synthesise(Latent(values, lambda same: np.asarray(same, np.float32), codec.name, codec.fingerprint,
                                    origin.quality, geometry))
            for values, geometry in zip(latents, geometries, strict=True)]
