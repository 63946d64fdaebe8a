"""Runs of `enfold bench learn`: a network, an input, a seed; kept in OUT as soon as each is over.

    {"key": "9c1f…", "run": {"input": "latents", "seed": 0, "scores": {"accuracy": 0.61}, …}}     one a line

Guarantees: a run that is there is not made again, so hours of them survive an interruption; a change of
anything that decides a run (data, weights, network, schedule, seed) makes another run of it.
"""

from __future__ import annotations

import hashlib
import json
import os
import statistics
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

from enfold.errors import UsageError
from enfold.learners.fitting import Schedule
from enfold.learners.learner import Learner
from enfold.media import replace_file

FILE = "runs.jsonl"
COSTS = ("epochs", "s an epoch", "CPU-s an epoch", "MB on disk")


@dataclass(frozen=True)
class Learning:
    """The network, its schedule (whose seed is the first), and how many seeds."""

    network: str = "conv"
    features: int = 48
    depth: int = 2
    schedule: Schedule = field(default_factory=Schedule)
    seeds: int = 3

    def schedules(self) -> list[Schedule]:
        """One for each seed. Raises UsageError where there is none."""
        if self.seeds < 1:
            raise UsageError(f"{self.seeds} seeds: there is at least one")
        return [replace(self.schedule, seed=self.schedule.seed + more) for more in range(self.seeds)]


@dataclass(frozen=True)
class Run:
    """channels, height, width: of the input. epochs: passes over the training set, which need not be whole; seconds,
    cpu_seconds: of all of them, loading included; cpu_seconds: of this process and its threads."""

    input: str
    seed: int
    scores: Mapping[str, float]
    channels: int
    height: int
    width: int
    tokens: int
    parameters: int
    epochs: float
    seconds: float
    cpu_seconds: float

    @classmethod
    def of(cls, name: str, learner: Learner, samples: int, scores: Mapping[str, float]) -> Run:
        """A learner that was fitted on so many samples."""
        shape, history = learner.shape_, learner.history_
        return cls(name, learner.schedule.seed, scores, shape.channels, shape.height, shape.width, shape.tokens,
                   sum(parameter.numel() for parameter in learner.network_.parameters()),
                   sum(epoch.samples for epoch in history) / samples, sum(epoch.seconds for epoch in history),
                   sum(epoch.cpu_seconds for epoch in history))


@dataclass(frozen=True)
class Score:
    """Over seeds. error: the standard error of the mean, None of one seed."""

    mean: float
    error: float | None
    each: tuple[float, ...]

    @classmethod
    def of(cls, runs: Sequence[Run], name: str) -> Score:
        each = tuple(run.scores[name] for run in runs)
        error = statistics.stdev(each) / len(each) ** 0.5 if len(each) > 1 else None
        return cls(statistics.mean(each), error, each)

    def words(self, digits: int, times: float = 1) -> str:
        spread = "" if self.error is None else f" ± {times * self.error:.{digits}f}"
        return f"{times * self.mean:.{digits}f}{spread}"


@dataclass(frozen=True)
class Cost:
    """What it took, the mean over seeds. seconds, cpu_seconds: of an epoch; bytes: of the training set on disk."""

    epochs: float
    seconds: float
    cpu_seconds: float
    bytes: int

    @classmethod
    def of(cls, runs: Sequence[Run], bytes: int) -> Cost:
        epochs = sum(run.epochs for run in runs)
        return cls(epochs / len(runs), sum(run.seconds for run in runs) / epochs,
                   sum(run.cpu_seconds for run in runs) / epochs, bytes)


    def words(self) -> tuple[str, ...]:
        """Under the titles of COSTS."""
        return (f"{self.epochs:.1f}", f"{self.seconds:.1f}", f"{self.cpu_seconds:.1f}", f"{self.bytes / 1e6:.1f}")


class RunFile:
    """The runs of a folder. about: what decides all of them, as JSON holds it."""

    def __init__(self, folder: Path, about: Sequence[Any]) -> None:
        self.path, self._about = folder / FILE, about
        self._runs: dict[str, Run] = {}
        text = self.path.read_bytes() if self.path.exists() else b""
        whole = text[:text.rfind(b"\n") + 1]
        if whole != text:                   # its last line was cut short
            os.truncate(self.path, len(whole))
        for line in whole.splitlines():
            made = json.loads(line)
            self._runs[made["key"]] = Run(**made["run"])

    def every(self, inputs: Iterable[str], learning: Learning, make: Callable[[str, Schedule], Run],
              say: Callable[[str], None]) -> dict[str, list[Run]]:
        """The runs of each input: those that are not there are made now, seed by seed, so that whatever else
        the machine does meets all inputs alike."""
        runs: dict[str, list[Run]] = {name: [] for name in inputs}
        for schedule in learning.schedules():
            for name, done in runs.items():
                done.append(self._known(name, schedule, make))
                scores = ", ".join(f"{score} {value:.4g}" for score, value in done[-1].scores.items())
                say(f"{name}, seed {schedule.seed}: {scores} after {done[-1].epochs:.1f} epochs")
        return runs

    def _known(self, name: str, schedule: Schedule, make: Callable[[str, Schedule], Run]) -> Run:
        text = json.dumps([*self._about, name, asdict(schedule)], sort_keys=True)
        key = hashlib.sha256(text.encode()).hexdigest()[:16]
        if key not in self._runs:
            self._runs[key] = make(name, schedule)
            with self.path.open("a", encoding="utf-8") as file:
                file.write(json.dumps({"key": key, "run": asdict(self._runs[key])}) + "\n")
        return self._runs[key]


def write(results: Any, path: Path) -> None:
    """A dataclass as JSON, as the other benches write theirs. Raises MediaError."""
    replace_file(path, (json.dumps(asdict(results), indent=1, ensure_ascii=False) + "\n").encode())
