"""What it buys to learn from latents: the same network, the same minutes or epochs, on latents and on pixels.

Every input has as many tokens and goes through the same network; only its embedding differs. Each is
trained with several seeds on one pack of options; accuracy is that on pictures never trained on, with
the standard error over seeds. Time is wall clock and CPU-seconds (the proxy of energy), loading included.
"""

from __future__ import annotations

import statistics
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np

from enfold.bench.learn_inputs import BLOCK, Pictures, block_coefficients, side_of
from enfold.bench.machine import Machine, this_machine
from enfold.errors import MediaError, UsageError
from enfold.learners.classification import Classifier
from enfold.learners.dataset import LatentDataset
from enfold.learners.fitting import Epoch, Schedule
from enfold.learners.packing import pack
from enfold.learners.samples import Samples, samples_of

INPUTS = ("latents", "resized", "full", "dct", "pca")
REFERENCE = "resized"
PACKAGES = ("enfold", "numpy", "torch", "pillow", "pyarrow", "lightning-fabric")


@dataclass(frozen=True)
class LearnRow:
    """One input. accuracy: mean over seeds; error: its standard error, None of one seed. bytes: of the training
    set on disk. seconds, cpu_seconds: of an epoch, loading included; epochs: that a run had."""

    input: str
    shape: tuple[int, ...]
    tokens: int
    parameters: int
    accuracy: float
    error: float | None
    accuracies: tuple[float, ...]
    epochs: float
    seconds: float
    cpu_seconds: float
    bytes: int


@dataclass(frozen=True)
class LearnResults:
    data: str
    codec: str
    quality: int
    train: int
    test: int
    network: str
    schedule: Schedule
    seeds: int
    rows: tuple[LearnRow, ...]
    machine: Machine
    command: str
    date: str


@dataclass(frozen=True)
class Learning:
    """The network, its schedule (whose seed is the first), and how many seeds."""

    network: str = "conv"
    features: int = 48
    depth: int = 2
    schedule: Schedule = field(default_factory=Schedule)
    seeds: int = 3


def bench_learn(train: Path, test: Path, out: Path, *, codec: str, quality: int | None = None,
                inputs: Sequence[str] = INPUTS, learning: Learning | None = None, command: str = "", date: str = "",
                say: Callable[[str], None] = lambda text: None) -> LearnResults:
    """train, test: folders of JPEGs of one size, a sub-folder for each class. out: where packs go, or are.

    Raises UsageError, MediaError, MissingWeightsError.
    """
    learning = learning or Learning()
    if learning.seeds < 1 or not inputs or set(inputs) - set(INPUTS):
        raise UsageError(f"inputs {', '.join(inputs) or 'none'} and {learning.seeds} seeds: inputs are of "
                         f"{', '.join(INPUTS)}, and there is at least one seed")
    packs = {}
    for name, folder in (("train", train), ("test", test)):
        pack(folder, out / name, codec=codec, quality=quality, jobs=0)
        packs[name] = LatentDataset(out / name)
    first = packs["train"].batch([0]).latents
    _, channels, high, wide = first.shape
    sets = _sets(inputs, packs, train, test, channels, high, wide)
    files = {"latents": packs["train"].reading.pack.shards, "pixels": _pictures(train, high, wide).files}
    on_disk = {name: sum(file.stat().st_size for file in of) for name, of in files.items()}
    rows = []
    for name, (patch, fitting, testing) in sets.items():
        runs = [_run(name, patch, fitting, testing, learning, seed, say) for seed in range(learning.seeds)]
        rows.append(_row(name, runs, on_disk["latents" if name == "latents" else "pixels"]))
    return LearnResults(train.resolve().parent.name or train.name, codec, packs["train"].info.quality,
                        len(packs["train"]), len(packs["test"]), learning.network, learning.schedule, learning.seeds,
                        tuple(rows), this_machine(PACKAGES), command, date)


def _sets(inputs: Sequence[str], packs: dict[str, LatentDataset], train: Path, test: Path, channels: int, high: int,
          wide: int) -> dict[str, tuple[int, Samples, Samples]]:
    """Of each input: (patch, training set, test set)."""
    side = side_of(channels)
    full = [_pictures(folder, BLOCK * high, BLOCK * wide) for folder in (train, test)]
    sets: dict[str, tuple[int, Samples, Samples]] = {}
    for name in inputs:
        if name == "latents":
            sets[name] = (1, samples_of(packs["train"]), samples_of(packs["test"]))
        elif name == "resized":
            small = [_pictures(folder, side * high, side * wide) for folder in (train, test)]
            sets[name] = (side, small[0], small[1])
        elif name == "full":
            sets[name] = (BLOCK, full[0], full[1])
        else:
            made = block_coefficients(full[0], full[1:], channels, pca=name == "pca")
            sets[name] = (1, made[0], made[1])
    return sets


def _pictures(folder: Path, height: int, width: int) -> Pictures:
    files = tuple(sorted(path for path in folder.rglob("*") if path.suffix.lower() in (".jpg", ".jpeg")))
    if not files:
        raise MediaError(f"{folder} holds no JPEG files: name a folder with one sub-folder for each class")
    names = tuple(sorted({path.relative_to(folder).parts[0] for path in files}))
    labels = np.array([names.index(path.relative_to(folder).parts[0]) for path in files])
    return Pictures(files, labels, height, width, names)


@dataclass(frozen=True)
class _Run:
    accuracy: float
    history: tuple[Epoch, ...]
    shape: Any
    parameters: int
    samples: int


def _run(name: str, patch: int, train: Samples, test: Samples, learning: Learning, seed: int,
         say: Callable[[str], None]) -> _Run:
    schedule = replace(learning.schedule, seed=learning.schedule.seed + seed)
    learner = Classifier(learning.network, patch=patch, features=learning.features, depth=learning.depth,
                         schedule=schedule).fit(train)
    accuracy = learner.score(test)
    say(f"{name}, seed {schedule.seed}: {accuracy:.1%} after {len(learner.history_)} epochs")
    return _Run(accuracy, learner.history_, learner.shape_,
                sum(parameter.numel() for parameter in learner.network_.parameters()), len(train))


def _row(name: str, runs: Sequence[_Run], on_disk: int) -> LearnRow:
    accuracies = tuple(run.accuracy for run in runs)
    epochs = [epoch for run in runs for epoch in run.history]
    passes = sum(epoch.samples for epoch in epochs) / runs[0].samples
    shape = runs[0].shape
    return LearnRow(name, (shape.channels, shape.height, shape.width), shape.tokens, runs[0].parameters,
                    statistics.mean(accuracies),
                    statistics.stdev(accuracies) / len(accuracies) ** 0.5 if len(accuracies) > 1 else None, accuracies,
                    passes / len(runs), sum(epoch.seconds for epoch in epochs) / passes,
                    sum(epoch.cpu_seconds for epoch in epochs) / passes, on_disk)


def show(results: LearnResults) -> None:
    """The table, on stdout."""
    from rich.console import Console
    from rich.table import Table

    table = Table(title=f"{results.data}: {results.train:,} to learn from, {results.test:,} to be tested on, "
                        f"{results.network}, {results.seeds} seeds")
    for title in ("input", "shape", "tokens", "accuracy, %", "epochs", "s an epoch", "CPU-s an epoch", "MB on disk"):
        table.add_column(title, justify="left" if title in ("input", "shape") else "right")
    for row in results.rows:
        spread = "" if row.error is None else f" ± {100 * row.error:.1f}"
        table.add_row(row.input, "×".join(map(str, row.shape)), f"{row.tokens:,}", f"{100 * row.accuracy:.1f}{spread}",
                      f"{row.epochs:.1f}", f"{row.seconds:.1f}", f"{row.cpu_seconds:.1f}", f"{row.bytes / 1e6:.1f}")
    Console().print(table)
