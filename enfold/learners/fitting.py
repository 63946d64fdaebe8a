"""The loop that all learners share: AdamW, a warm start, a cosine to zero, for so many epochs or minutes.

It runs through Lightning Fabric, so the same lines train on a CPU, a GPU or several of them.
"""

from __future__ import annotations

import math
import time
import warnings
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from enfold.errors import UsageError
from enfold.learners.samples import Samples

WARM = 0.05                 # of the run, while the learning rate rises
MEASURED = 2048             # samples on which means and deviations are measured


@dataclass(frozen=True)
class Schedule:
    """How long and how fast. minutes: of wall clock, loading included, in the place of `epochs` if above 0."""

    epochs: int = 10
    minutes: float = 0.0
    batch_size: int = 64
    learning_rate: float = 2e-3
    weight_decay: float = 0.05
    seed: int = 0

    def __post_init__(self) -> None:
        if self.epochs < 1 or self.minutes < 0 or self.batch_size < 1 or not self.learning_rate > 0:
            raise UsageError(f"{self}: epochs and batch_size are 1 or more, learning_rate is above 0")


@dataclass(frozen=True)
class Epoch:
    """One pass. loss: its mean; seconds, cpu_seconds: of this process, loading included."""

    epoch: int
    samples: int
    loss: float
    seconds: float
    cpu_seconds: float


def fabric_of(accelerator: str, devices: int | str) -> Any:
    """A launched Lightning Fabric; UsageError with the way to get it where it is missing."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")     # of its own dependencies, at import
            from lightning_fabric import Fabric
    except ImportError:
        raise UsageError("learning needs Lightning Fabric: pip install 'enfold[learn]'") from None
    fabric = Fabric(accelerator=accelerator, devices=devices)
    fabric.launch()
    return fabric


def fit(network: nn.Module, loss_of: Callable[[Tensor, Tensor], Tensor], data: Samples, schedule: Schedule, fabric: Any,
        progress: Callable[[Epoch], None] = lambda epoch: None) -> tuple[Epoch, ...]:
    """Trains `network` in place; returns what happened, epoch by epoch."""
    ours = [p for p in network.parameters() if p.requires_grad]
    groups: list[dict[str, Any]] = [{"params": [p for p in ours if p.dim() > 1]},
                                    {"params": [p for p in ours if p.dim() <= 1], "weight_decay": 0.0}]
    optimiser = torch.optim.AdamW(groups, schedule.learning_rate, weight_decay=schedule.weight_decay)
    wrapped, optimiser = fabric.setup(network.to(memory_format=torch.channels_last), optimiser)
    wrapped.train()
    history: list[Epoch] = []
    started = time.monotonic()
    per_epoch = max(1, -(-len(data) // fabric.world_size // schedule.batch_size))
    step, done = 0, 0.0
    while done < 1.0:
        epoch_began, cpu_began, total, seen = time.monotonic(), time.process_time(), 0.0, 0
        for examples in data.examples(schedule.batch_size, shuffle=True, seed=schedule.seed, epoch=len(history),
                                      rank=fabric.global_rank, ranks=fabric.world_size):
            done = (time.monotonic() - started) / (60 * schedule.minutes) if schedule.minutes else \
                step / (schedule.epochs * per_epoch)
            done = fabric.broadcast(done) if fabric.world_size > 1 else done
            if done >= 1.0:
                break
            rate = schedule.learning_rate * min(1.0, (done + 1e-3) / WARM) * (0.5 + 0.5 * math.cos(math.pi * done))
            for group in optimiser.param_groups:
                group["lr"] = rate
            inputs, targets = fabric.to_device((examples.inputs, examples.targets))
            loss = loss_of(wrapped(inputs), targets)
            optimiser.zero_grad(set_to_none=True)
            fabric.backward(loss)
            optimiser.step()
            step, seen = step + 1, seen + len(inputs)
            total += loss.item() * len(inputs)
        if not schedule.minutes:
            done = step / (schedule.epochs * per_epoch)
        if seen:
            history.append(Epoch(len(history), seen, total / seen, time.monotonic() - epoch_began,
                                 time.process_time() - cpu_began))
            progress(history[-1])
    network.eval()
    return tuple(history)


def measured(data: Samples, *, targets: bool = False) -> tuple[Tensor, Tensor]:
    """(mean, standard deviation) of each channel, (C, 1, 1), over the first samples in a fixed shuffle.

    A channel that hardly varies is given a hundredth of the largest deviation: it weighs little, divides by no zero.
    """
    count, total, squares = 0, torch.zeros(()), torch.zeros(())
    for examples in data.examples(256, shuffle=True, seed=0):
        some = (examples.targets if targets else examples.inputs).double()
        total = total + some.sum((0, 2, 3))
        squares = squares + some.square().sum((0, 2, 3))
        count += len(some)
        numbers = count * some.shape[2] * some.shape[3]
        if count >= MEASURED:
            break
    if not count:
        raise UsageError("no samples to learn from: the data set is empty")
    mean = total / numbers
    deviation = (squares / numbers - mean.square()).clamp_min(0).sqrt()
    least = max(1e-6, 0.01 * deviation.max().item())
    return mean.float()[:, None, None], deviation.clamp_min(least).float()[:, None, None]
