"""What it buys to learn from latents: the same network, the same minutes or epochs, on latents and on pixels.

Every input has as many tokens and goes through the same network; only its embedding differs. Each is
trained with several seeds on one pack of options; accuracy is that on pictures never trained on, with
the standard error over seeds. Time is wall clock and CPU-seconds (the proxy of energy), loading included.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from enfold.bench.learn_inputs import (
    BLOCK,
    Pictures,
    Source,
    block_coefficients,
    block_of,
    checksums,
    disk_bytes,
    side_of,
)
from enfold.bench.learn_runs import COSTS, Cost, Learning, Run, RunFile, Score, write
from enfold.bench.machine import Machine, this_machine
from enfold.errors import UsageError
from enfold.learners.classification import Classifier
from enfold.learners.dataset import LatentDataset
from enfold.learners.fitting import Schedule
from enfold.learners.samples import Samples, samples_of

INPUTS = ("latents", "thumbnail", "resized", "full", "dct", "pca")
RESULTS = "learn.json"
PACKAGES = ("enfold", "numpy", "torch", "pillow", "pyarrow", "lightning-fabric")


@dataclass(frozen=True)
class LearnRow:
    """One input. accuracy: the share of the test set that is told right; parameters: of the network."""

    input: str
    shape: tuple[int, ...]
    tokens: int
    parameters: int
    accuracy: Score
    cost: Cost


@dataclass(frozen=True)
class LearnResults:
    data: str
    codec: str
    quality: int
    train: int
    test: int
    network: str
    features: int
    depth: int
    schedule: Schedule
    seeds: int
    rows: tuple[LearnRow, ...]
    machine: Machine
    command: str
    date: str


def bench_learn(train: Path | Source, test: Path | Source, out: Path, *, codec: str, quality: int | None = None,
                inputs: Sequence[str] = INPUTS, learning: Learning | None = None, command: str = "", date: str = "",
                say: Callable[[str], None] = lambda text: None) -> LearnResults:
    """train, test: labelled pictures of one size. out: where packs, runs and learn.json go, and where those that are
    there are taken up again.

    Raises UsageError, MediaError, MissingWeightsError.
    """
    learning = learning or Learning()
    if not inputs or set(inputs) - set(INPUTS):
        raise UsageError(f"inputs {', '.join(inputs) or 'none'}: they are of {', '.join(INPUTS)}")
    learning.schedules()
    sources = Source.of(train), Source.of(test)
    fitting, testing = (source.packed(out / name, codec, quality)
                        for name, source in zip(("train", "test"), sources, strict=True))
    files = sources[0].files(fitting), sources[1].files(testing)
    sets = _sets(inputs, fitting, testing, *files)

    def run(name: str, schedule: Schedule) -> Run:
        patch, learnt, asked = sets[name]
        learner = Classifier(learning.network, patch=patch, features=learning.features, depth=learning.depth,
                             schedule=schedule).fit(learnt)
        return Run.of(name, learner, len(learnt), {"accuracy": learner.score(asked)})

    about = ["classify", *checksums(fitting, testing), learning.network, learning.features, learning.depth]
    every = RunFile(out, about).every(inputs, learning, run, say)
    on_disk = {name: disk_bytes(fitting.reading.pack.shards if name == "latents" else files[0])
               for name in inputs}
    results = LearnResults(sources[0].name, codec, fitting.info.quality, len(fitting),
                           len(testing), learning.network, learning.features, learning.depth, learning.schedule,
                           learning.seeds, tuple(_row(runs, on_disk[name]) for name, runs in every.items()),
                           this_machine(PACKAGES), command, date)
    write(results, out / RESULTS)
    return results


def _sets(inputs: Sequence[str], fitting: LatentDataset, testing: LatentDataset, train: Sequence[Path],
          test: Sequence[Path]) -> dict[str, tuple[int, Samples, Samples]]:
    """Of each input: (patch, training set, test set)."""
    _, channels, high, wide = fitting.batch([0]).latents.shape
    block = block_of(train[0], wide)
    parts = ((train, fitting), (test, testing))

    def pictures(side: int) -> list[Pictures]:
        """Resized to `side` pixels a latent."""
        return [Pictures(tuple(files), dataset.labels, side * high, side * wide, dataset.info.label_names)
                for files, dataset in parts]

    sets: dict[str, tuple[int, Samples, Samples]] = {}
    for name in inputs:
        if name == "latents":
            sets[name] = (1, samples_of(fitting), samples_of(testing))
        elif name in ("thumbnail", "resized", "full"):
            side = {"thumbnail": 1, "resized": side_of(channels), "full": block}[name]
            learnt, asked = pictures(side)
            sets[name] = (side, learnt, asked)
        elif block != BLOCK:
            raise UsageError(f"{name} is made of {BLOCK}×{BLOCK} pixels a token, and {fitting.info.codec} has a token "
                             f"for {block}×{block}: leave it out of --inputs")
        else:
            full, others = pictures(BLOCK)
            made = block_coefficients(full, [others], channels, pca=name == "pca")
            sets[name] = (1, made[0], made[1])
    return sets


def _row(runs: Sequence[Run], on_disk: int) -> LearnRow:
    one = runs[0]
    return LearnRow(one.input, (one.channels, one.height, one.width), one.tokens, one.parameters,
                    Score.of(runs, "accuracy"), Cost.of(runs, on_disk))


def show(results: LearnResults) -> None:
    """The table, on stdout."""
    from rich.console import Console
    from rich.table import Table

    table = Table(title=f"{results.data}: {results.train:,} to learn from, {results.test:,} to be tested on, "
                        f"{results.network}, {results.seeds} seeds")
    for title in ("input", "shape", "tokens", "accuracy, %", *COSTS):
        table.add_column(title, justify="left" if title in ("input", "shape") else "right")
    for row in results.rows:
        table.add_row(row.input, "×".join(map(str, row.shape)), f"{row.tokens:,}", row.accuracy.words(1, 100),
                      *row.cost.words())
    Console().print(table)
