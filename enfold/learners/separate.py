"""Voices apart from what plays with them: latents of a mixture → latents of the voice, and of the rest.

    mixture (C, T) ─┬─ how loud, how shaped ─ blocks over time, ever wider ─┬─ a share of each latent ─┐
                    │                                                       └─ and what it lacks ──────┤
                    └───────────────────────── × ──────────────────────────────────────────────────── + ─▶ voice
                                                                              mixture - voice ──────────▶ rest

    learner = Separator(schedule=Schedule(epochs=10, batch_size=16)).fit(stems)
    voice, rest = learner.separate(enfold.latents("song.flac", "walloc-stereo-5x"))
    enfold.load(voice.codec).sound_of(voice)

What a network tells of a latent is mostly how much of it is voice; so it begins as a half of everything, and learns
shares. Loss is the logarithm of the squared error of each excerpt, which is its PSNR: quiet songs weigh as much as
loud ones. The same class separates any other columns of numbers: blocks of samples, or their principal components.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any, Self

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional

from enfold.codec import Latent
from enfold.errors import UsageError
from enfold.learners import fitting
from enfold.learners.fitting import Epoch, Schedule
from enfold.learners.learner import Learner
from enfold.learners.networks import Shape
from enfold.learners.samples import Examples, Origin, order

DILATIONS = (1, 2, 4, 8)
KNEE = 4.0                  # of a deviation: above it, what the network sees grows like a logarithm
QUIET = 1e-4                # of a deviation, squared: silence
LEAST = 1e-5                # of the deviations, squared: an error that is as good as none


@dataclass(frozen=True)
class Stems:
    """inputs: float32 (C, T) of each mixture; targets: (C, T) of the voice in it.

    columns: of the windows that are cut where they are shuffled, of as many per epoch as fill the sound; 0 for whole.
    """

    inputs: Sequence[np.ndarray]
    targets: Sequence[np.ndarray]
    origin: Origin
    columns: int = 0
    label_names = None

    def __post_init__(self) -> None:
        if len(self.inputs) != len(self.targets) or not len(self.inputs):
            raise UsageError(f"{len(self.inputs)} mixtures and {len(self.targets)} voices: give a voice for each of "
                             "one mixture or more")
        for mixture, voice in zip(self.inputs, self.targets, strict=True):
            if mixture.ndim != 2 or mixture.shape != voice.shape or mixture.shape[1] < self.columns:
                raise UsageError(f"a mixture of shape {mixture.shape} and a voice of {voice.shape}: both are (C, T), "
                                 f"T at least {self.columns}")

    def __len__(self) -> int:
        """Windows, or sounds."""
        return sum(max(1, mixture.shape[1] // self.columns) for mixture in self.inputs) if self.columns \
            else len(self.inputs)

    def examples(self, batch_size: int, *, shuffle: bool = False, seed: int = 0, epoch: int = 0, rank: int = 0,
                 ranks: int = 1) -> Iterator[Examples]:
        """inputs, targets: (B, C, 1, T). Windows lie anywhere; whole sounds come one by one."""
        if not self.columns:
            for number in range(rank, len(self.inputs), ranks):
                yield _batch([self.inputs[number]], [self.targets[number]])
            return
        random = np.random.default_rng((seed, epoch, 1))
        lengths = np.array([mixture.shape[1] for mixture in self.inputs])
        owners = np.repeat(np.arange(len(lengths)), np.maximum(1, lengths // self.columns))
        starts = random.integers(lengths[owners] - self.columns + 1)
        for rows in order(len(owners), batch_size, shuffle, seed, epoch, rank, ranks):
            cuts = [(owners[row], slice(starts[row], starts[row] + self.columns)) for row in rows]
            yield _batch([self.inputs[owner][:, cut] for owner, cut in cuts],
                         [self.targets[owner][:, cut] for owner, cut in cuts])


class Separating(nn.Module):
    """Mixtures (B, C, 1, T) → voices (B, C, 1, T), both in their own units."""

    std: Tensor

    def __init__(self, shape: Shape) -> None:
        super().__init__()
        channels, features = shape.channels, shape.features
        self.register_buffer("std", torch.ones(channels, 1, 1))
        self.embed = nn.Conv1d(2 * channels, features, 3, padding=1)
        self.body = nn.ModuleList(_OverTime(features, DILATIONS[at % len(DILATIONS)]) for at in range(shape.depth))
        self.head = nn.Sequential(nn.BatchNorm1d(features), nn.ReLU(), nn.Conv1d(features, 2 * channels, 1))
        for start in self.head[-1].parameters():        # before training, half of everything
            nn.init.zeros_(start)

    def forward(self, inputs: Tensor) -> Tensor:
        scaled = (inputs / self.std)[:, :, 0]
        power = functional.avg_pool2d(scaled.square()[:, None], 3, 1, 1, count_include_pad=False)[:, 0]
        x = self.embed(torch.cat([scaled.sign() * (scaled.abs() * KNEE).log1p(), (power + QUIET).log() / 2], 1))
        for block in self.body:
            x = block(x)
        share, more = self.head(x).chunk(2, 1)
        return ((scaled * share.sigmoid() + more) * self.std[..., 0])[:, :, None]


class _OverTime(nn.Module):
    """x + conv(relu(norm(conv(relu(norm(x)))))) of (B, features, T), the first of moments `dilation` apart."""

    def __init__(self, features: int, dilation: int) -> None:
        super().__init__()
        self.body = nn.Sequential(nn.BatchNorm1d(features), nn.ReLU(),
                                  nn.Conv1d(features, features, 3, padding=dilation, dilation=dilation),
                                  nn.BatchNorm1d(features), nn.ReLU(), nn.Conv1d(features, features, 3, padding=1))

    def forward(self, x: Tensor) -> Tensor:
        return x + self.body(x)


class Separator(Learner):
    """features, depth: size of the network. accelerator, devices: as Lightning Fabric has them."""

    _NETWORK = Separating
    network_: Separating

    def __init__(self, *, features: int = 96, depth: int = 4, schedule: Schedule | None = None,
                 accelerator: str = "cpu", devices: int | str = 1) -> None:
        super().__init__(schedule or Schedule(batch_size=16), accelerator, devices)
        self.features, self.depth = features, depth

    def fit(self, data: Stems, progress: Callable[[Epoch], None] = lambda epoch: None) -> Separator:
        """Raises UsageError where sounds and voices do not fit each other."""
        fabric = fitting.fabric_of(self.accelerator, self.devices)
        torch.manual_seed(self.schedule.seed)
        channels = len(data.inputs[0])
        self.shape_ = Shape("conv", channels, 1, data.columns or data.inputs[0].shape[1], 1, self.features, self.depth,
                            channels)
        self.network_ = Separating(self.shape_)
        mean, std = fitting.measured(data)
        self.network_.std.data = (mean.square() + std.square()).sqrt()      # about zero, where silence is
        self.origin_ = data.origin
        least = LEAST * self.network_.std.square().sum()

        def loss(made: Tensor, wanted: Tensor) -> Tensor:
            missed = (made - wanted).square().sum(1).mean((1, 2))
            return (missed + least.to(missed)).log().mean()

        self.history_ = fitting.fit(self.network_, loss, data, self.schedule, fabric, progress)
        return self

    def predict(self, data: Stems) -> list[np.ndarray]:
        """The voice in each mixture, whole, float32 (C, T). Raises FingerprintError, UsageError."""
        return [made[0, :, 0].numpy() for made, _ in self._outputs(replace(data, columns=0))]

    def score(self, data: Stems) -> float:
        """By how much the voice is nearer than half of the mixture, in dB of the squared error; the mean over sounds.

        Raises FingerprintError, UsageError."""
        gains = []
        for made, mixture, voice in zip(self.predict(data), data.inputs, data.targets, strict=True):
            half = np.square(mixture / 2 - voice, dtype=np.float64).sum()
            gains.append(10 * np.log10(max(half, 1e-12) / max(np.square(made - voice, dtype=np.float64).sum(), 1e-12)))
        return float(np.mean(gains))

    def separate(self, latent: Latent) -> tuple[Latent, Latent]:
        """(voice, rest) of a mixture's latent, as latents of its codec. Raises FingerprintError, UsageError."""
        origin = Origin(latent.codec, latent.fingerprint.hex(), latent.quality)
        voice, = self.predict(Stems([latent.values], [latent.values], origin))
        return _with(latent, voice), _with(latent, latent.values - voice)

    @classmethod
    def _of(cls, shape: Shape, schedule: Schedule) -> Self:
        return cls(features=shape.features, depth=shape.depth, schedule=schedule)

    def _own(self) -> dict[str, Any]:
        return {}

    def _restore(self, about: dict[str, Any]) -> None:
        pass


def _with(latent: Latent, values: np.ndarray) -> Latent:
    """A latent of other values: they are their own symbols."""
    return replace(latent, symbols=values, dequantise=_same)


def _same(values: np.ndarray) -> np.ndarray:
    return np.asarray(values, np.float32)


def _batch(inputs: Sequence[np.ndarray], targets: Sequence[np.ndarray]) -> Examples:
    made = [torch.from_numpy(np.stack(some).astype(np.float32, copy=False))[:, :, None] for some in (inputs, targets)]
    return Examples(*made)
