"""Short sounds to learn from: frames of latents, or of anything else, each sound of its own length.

    (C, T) of each sound ─▶ (B, C, 1, frames): a shorter one between silence, of a longer one the middle

Where they are shuffled, sounds begin somewhere within the frames, and so are never learnt by their place.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import torch

from enfold.errors import UsageError
from enfold.learners.samples import Examples, Origin, order


@dataclass(frozen=True)
class Clips:
    """inputs: float32 (C, T) of each; targets: (N,) labels; silence: (C,), what stands before and after a sound."""

    inputs: Sequence[np.ndarray]
    targets: np.ndarray
    frames: int
    silence: np.ndarray
    origin: Origin
    label_names: tuple[str, ...] | None = None

    def __post_init__(self) -> None:
        if len(self.inputs) != len(self.targets) or self.frames < 1:
            raise UsageError(f"{len(self.inputs)} sounds, {len(self.targets)} targets, {self.frames} frames: give a "
                             "target for each sound, and a frame or more")
        odd = {clip.shape for clip in self.inputs if clip.ndim != 2 or len(clip) != len(self.silence)}
        if odd:
            raise UsageError(f"sounds of shape {odd.pop()} and silence of {len(self.silence)} channels: "
                             "sounds are (C, T)")

    def __len__(self) -> int:
        return len(self.inputs)

    def examples(self, batch_size: int, *, shuffle: bool = False, seed: int = 0, epoch: int = 0, rank: int = 0,
                 ranks: int = 1) -> Iterator[Examples]:
        random = np.random.default_rng((seed, epoch, 1)) if shuffle else None
        for rows in order(len(self), batch_size, shuffle, seed, epoch, rank, ranks):
            made = np.repeat(self.silence.astype(np.float32)[None, :, None], len(rows), 0)
            made = np.repeat(made, self.frames, 2)
            for place, row in zip(made, rows, strict=True):
                self._put(place, self.inputs[row], random)
            yield Examples(torch.from_numpy(made[:, :, None]), torch.from_numpy(self.targets[rows]).long())

    def _put(self, place: np.ndarray, clip: np.ndarray, random: np.random.Generator | None) -> None:
        spare = self.frames - clip.shape[1]
        if spare < 0:
            clip, spare = clip[:, -spare // 2:-spare // 2 + self.frames], 0
        begin = spare // 2 if random is None else int(random.integers(spare + 1))
        place[:, begin:begin + clip.shape[1]] = clip
