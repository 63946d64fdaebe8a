"""Training a circuit: structure from mutual information, then stepwise EM, checkpoints, and it goes on.

A run is told its length in epochs or in minutes of wall clock. The rate of its steps falls, as the run
goes on, by equal factors from `first_rate` to a batch's share of the data: early steps forget quickly
and find their way, the last ones take the whole data set into account. Every 40th sample is held out.

What is coded is any array of small integers; which circuit a codec wants it says itself (`CircuitPlan`).
`TENSORS` is what the registry names.
"""

from __future__ import annotations

import json
import os
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np

from enfold.errors import UsageError
from enfold.learners.tensors import read_tensors
from enfold.learners.trainer import Report, Trainer, log_rows, thinned
from enfold.trees.flows import CircuitPlan, LearnedCircuit
from enfold.trees.frozen import freeze
from enfold.trees.hats import hats_of
from enfold.trees.structure import HiddenTree, hidden_tree, mutual_information

HELD_OUT_EVERY = 40
STRUCTURE_SAMPLES = 12_000


@dataclass(frozen=True)
class CircuitRecipe:
    """How a circuit is trained. Zero epochs: as many as `minutes` allow. prior: counts of a state, over all hats."""

    epochs: int = 0
    minutes: float = 30.0
    batch: int = 1000
    first_rate: float = 0.5
    prior: float = 0.5
    seed: int = 0
    checkpoint_minutes: float = 2.0


@dataclass(frozen=True)
class CircuitProgress:
    """Where a run stands. bits: a dimension, in training lately; held_out: the same, None between epochs."""

    step: int
    epoch: float
    minutes: float
    fraction: float
    rate: float
    bits: float
    held_out: float | None = None


class CircuitTrainer(Trainer):
    """`train_circuit` for the command line; `trainable` is a CircuitPlan."""

    recipe = CircuitRecipe
    data = "an .npy or IDX file of samples, a folder of IDX files, or a folder of pictures of one size"

    def about(self, data: Path) -> dict[str, Any]:
        samples = len(read_tensors(data))
        held_out = -(-samples // HELD_OUT_EVERY)
        return {"name": data.resolve().name, "samples": samples - held_out, "held_out": held_out}

    def train(self, trainable: Any, recipe: Any, data: Path, out: Path, *, threads: int, report: Report,
              start: Mapping[str, np.ndarray] | None) -> dict[str, np.ndarray]:
        if start is not None:
            raise UsageError("a circuit's model file holds probabilities, not the counts that training goes on from: "
                             "leave --from-weights out, or repeat the command of a run to go on with it")
        return train_circuit(trainable, recipe, read_tensors(data), out, threads or os.cpu_count() or 1, report)

    def history(self, out: Path) -> dict[str, Any]:
        rows = log_rows(out / "log.jsonl")
        if not rows:
            return {}
        curve = [{"step": row["step"], "minutes": round(row["minutes"], 1), "bits": round(row["bits"], 4),
                  "held_out_bits": round(row["held_out"], 4)} for row in thinned(rows)]
        return {"steps": rows[-1]["step"], "minutes": round(rows[-1]["minutes"], 1), "curve": curve}

    def words(self, progress: Any) -> str:
        where = f"epoch {progress.epoch:.1f}, {progress.minutes:.1f} min: {progress.bits:.4f} bits a dimension"
        return where if progress.held_out is None else f"{where}, held out {progress.held_out:.4f}"

    def is_milestone(self, progress: Any) -> bool:
        return progress.held_out is not None


TENSORS = CircuitTrainer()


def train_circuit(plan: CircuitPlan, recipe: CircuitRecipe, samples: np.ndarray, out: Path, threads: int = 1,
                  report: Callable[[CircuitProgress], None] = lambda progress: None) -> dict[str, np.ndarray]:
    """Trains on uint8 (samples, *plan.shape); returns the arrays of a model file.

    Checkpoints go to `out/checkpoint.npz`, the log, a line an epoch, to `out/log.jsonl`. If there is a
    checkpoint already, the run goes on from it. Raises UsageError for other samples.
    """
    if samples.shape[1:] != plan.shape or samples.dtype != np.uint8 or samples.max(initial=0) >= plan.values:
        raise UsageError(f"samples {samples.dtype}{samples.shape}, the largest {samples.max(initial=0)}, where uint8 "
                         f"(samples, {', '.join(map(str, plan.shape))}) below {plan.values} are due")
    held_out, rows = _divided(samples)
    if len(rows) < 2 * HELD_OUT_EVERY:
        raise UsageError(f"{len(samples)} samples are too few to learn from")
    out.mkdir(parents=True, exist_ok=True)
    run = _Run(plan, recipe, rows, out, threads)
    started = last_saved = last_said = time.monotonic()
    steps_an_epoch = -(-len(rows) // recipe.batch)
    lately = 0.0

    def minutes() -> float:
        return run.minutes_before + (time.monotonic() - started) / 60

    def fraction() -> float:
        return min(1.0, run.step / (recipe.epochs * steps_an_epoch) if recipe.epochs else minutes() / recipe.minutes)

    while (done := fraction()) < 1.0:
        rate = recipe.first_rate * (1 / steps_an_epoch / recipe.first_rate) ** done if steps_an_epoch > 2 else 0.5
        bits = run.circuit.step(rows[run.next_batch()], rate, recipe.prior, len(rows))
        lately = bits if not lately else 0.8 * lately + 0.2 * bits
        run.step += 1
        now, over = time.monotonic(), fraction() >= 1.0
        if now - last_said > 10:
            last_said = now
            report(CircuitProgress(run.step, run.step / steps_an_epoch, minutes(), done, rate, lately))
        if run.step % steps_an_epoch == 0 or over:
            progress = CircuitProgress(run.step, run.step / steps_an_epoch, minutes(), done, rate, lately,
                                       run.circuit.bits(held_out))
            with (out / "log.jsonl").open("a") as log:
                log.write(json.dumps(asdict(progress)) + "\n")
            report(progress)
        if now - last_saved > 60 * recipe.checkpoint_minutes or over:
            run.save(minutes())
            last_saved = time.monotonic()
    circuit = run.circuit
    return freeze(circuit.tree, circuit.hats, circuit.root, circuit.transition, circuit.mixture)


class _Run:
    """The circuit, and where its training stands."""

    def __init__(self, plan: CircuitPlan, recipe: CircuitRecipe, rows: np.ndarray, out: Path, threads: int) -> None:
        self._file, self._recipe, self._rows = out / "checkpoint.npz", recipe, len(rows)
        self.step, self.minutes_before = 0, 0.0
        before = np.load(self._file, allow_pickle=False) if self._file.exists() else None
        if before is None:
            few = np.random.default_rng(recipe.seed).permutation(len(rows))[:STRUCTURE_SAMPLES]
            tree = hidden_tree(mutual_information(rows[few]))
        else:
            tree = HiddenTree.from_arrays(before)
        hats = hats_of(rows, plan.values, plan.hats)
        self.circuit = LearnedCircuit(tree, plan.states, hats, recipe.seed, threads)
        if before is not None:
            self.step, self.minutes_before = int(before["step"]), float(before["minutes"])
            for name, counts in self.circuit.counts.items():
                counts[...] = before[name]
            self.circuit.follow_counts(recipe.prior, len(rows))
        self._batches = self._order()

    def next_batch(self) -> np.ndarray:
        """The rows of the next step: a function of the seed and the step alone."""
        return next(self._batches)

    def _order(self) -> Iterator[np.ndarray]:
        batch = self._recipe.batch
        epoch, passed = divmod(self.step, -(-self._rows // batch))
        while True:
            order = np.random.default_rng((self._recipe.seed, epoch)).permutation(self._rows)
            for at in range(passed * batch, self._rows, batch):
                yield order[at:at + batch]
            epoch, passed = epoch + 1, 0

    def save(self, minutes: float) -> None:
        """Whole or not at all."""
        partial = self._file.with_suffix(".partial.npz")
        np.savez(partial, step=self.step, minutes=minutes, **self.circuit.tree.to_arrays(), **self.circuit.counts)
        partial.replace(self._file)


def _divided(samples: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """(held out, to train on), as rows of variables."""
    rows = np.ascontiguousarray(samples.reshape(len(samples), -1))
    keep = np.arange(len(rows)) % HELD_OUT_EVERY > 0
    return rows[~keep], rows[keep]
