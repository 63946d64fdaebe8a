"""What a learner eats: batches of inputs and targets, and the word of where they come from.

`Samples` is the protocol. `LatentDataset` and `Pairs` are made of packs; `Arrays` of anything in memory.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Protocol

import numpy as np
import torch
from torch import Tensor

from enfold.errors import FingerprintError, UsageError
from enfold.learners.dataset import LatentDataset


@dataclass(frozen=True)
class Origin:
    """What made inputs. codec: its name, or what else they are; fingerprint: hex, "" where there is none."""

    codec: str
    fingerprint: str = ""
    quality: int = 0

    def refuse_other(self, other: Origin) -> None:
        """Raises FingerprintError for other weights, UsageError for another codec or quality."""
        if other == self:
            return
        if other.codec == self.codec and other.fingerprint != self.fingerprint:
            raise FingerprintError(self.codec, bytes.fromhex(self.fingerprint), bytes.fromhex(other.fingerprint),
                                   f"it was fitted on latents of those weights, and these are of {other.fingerprint}, "
                                   "which mean something else: pack the data with the same weights, or fit again")
        raise UsageError(f"fitted on {self.codec} at quality {self.quality}, and this is {other.codec} at quality "
                         f"{other.quality}: pack the data alike, or fit again")


@dataclass(frozen=True)
class Examples:
    """inputs: (B, C, h, w) float32. targets: (B,) int64 labels, or (B, C', h, w) float32."""

    inputs: Tensor
    targets: Tensor


class Samples(Protocol):
    """Targets and inputs, shuffled by epoch. origin: of the inputs; label_names: of labels, if they have any."""

    @property
    def origin(self) -> Origin: ...

    @property
    def label_names(self) -> tuple[str, ...] | None: ...

    def __len__(self) -> int: ...

    def examples(self, batch_size: int, *, shuffle: bool = False, seed: int = 0, epoch: int = 0, rank: int = 0,
                 ranks: int = 1) -> Iterator[Examples]: ...


@dataclass(frozen=True)
class Arrays:
    """inputs: (N, C, h, w), uint8 or float; targets: (N,) labels, or (N, C', h, w)."""

    inputs: np.ndarray
    targets: np.ndarray
    origin: Origin
    label_names: tuple[str, ...] | None = None

    def __post_init__(self) -> None:
        if self.inputs.ndim != 4 or len(self.inputs) != len(self.targets):
            raise UsageError(f"inputs of shape {self.inputs.shape} and {len(self.targets)} targets: give (N, C, h, w) "
                             "and a target for each")

    def __len__(self) -> int:
        return len(self.inputs)

    def examples(self, batch_size: int, *, shuffle: bool = False, seed: int = 0, epoch: int = 0, rank: int = 0,
                 ranks: int = 1) -> Iterator[Examples]:
        for rows in order(len(self), batch_size, shuffle, seed, epoch, rank, ranks):
            targets = torch.from_numpy(self.targets[rows])
            yield Examples(torch.from_numpy(self.inputs[rows].astype(np.float32)),
                           targets.long() if targets.dim() == 1 else targets.float())


class Packed:
    """A pack as labelled examples."""

    def __init__(self, dataset: LatentDataset) -> None:
        self.dataset = dataset
        self.label_names = dataset.info.label_names

    @property
    def origin(self) -> Origin:
        return origin_of(self.dataset)

    def __len__(self) -> int:
        return len(self.dataset)

    def examples(self, batch_size: int, *, shuffle: bool = False, seed: int = 0, epoch: int = 0, rank: int = 0,
                 ranks: int = 1) -> Iterator[Examples]:
        self.dataset.set_epoch(epoch)
        for rows in order(len(self), batch_size, shuffle, seed, epoch, rank, ranks):
            batch = self.dataset.batch(rows)
            yield Examples(batch.latents, batch.labels)


class Pairs:
    """Two packs of the same keys, such as grey and colour: latents of the first, and of the second as targets."""

    label_names = None

    def __init__(self, inputs: LatentDataset, targets: LatentDataset) -> None:
        row_of = {key: row for row, key in enumerate(targets.reading.pack.keys())}
        keys = inputs.reading.pack.keys()
        both = [(row, row_of[key]) for row, key in enumerate(keys) if key in row_of]
        if not both:
            raise UsageError("the two packs have no key in common: pack the same pictures twice, once with --grey")
        self.inputs, self.targets = inputs, targets
        self.rows = np.array(both)

    @property
    def origin(self) -> Origin:
        return origin_of(self.inputs)

    @property
    def target_origin(self) -> Origin:
        return origin_of(self.targets)

    def __len__(self) -> int:
        return len(self.rows)

    def examples(self, batch_size: int, *, shuffle: bool = False, seed: int = 0, epoch: int = 0, rank: int = 0,
                 ranks: int = 1) -> Iterator[Examples]:
        for rows in order(len(self), batch_size, shuffle, seed, epoch, rank, ranks):
            ours, theirs = self.rows[rows].T
            yield Examples(self.inputs.batch(ours).latents, self.targets.batch(theirs).latents)


def origin_of(dataset: LatentDataset) -> Origin:
    info = dataset.info
    return Origin(info.codec, info.fingerprint.hex(), info.quality)


def samples_of(data: Samples | LatentDataset) -> Samples:
    return Packed(data) if isinstance(data, LatentDataset) else data


def order(count: int, batch_size: int, shuffle: bool, seed: int, epoch: int, rank: int, ranks: int) -> list[np.ndarray]:
    """The rows of each batch of a rank; shuffled ones are as many for every rank, so some may be left out."""
    rows = np.random.default_rng((seed, epoch)).permutation(count) if shuffle else np.arange(count)
    if ranks > 1:
        rows = rows[rank:count // ranks * ranks if shuffle else count:ranks]
    return [rows[at:at + batch_size] for at in range(0, len(rows), batch_size)]
