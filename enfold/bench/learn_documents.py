"""What it buys to read documents from latents: the same network on latents, and on pixels of as many tokens or bytes.

    latents     (C, h, w)          of our file
    thumbnail   (1, h, w)          the page resized: a grey pixel a token
    resized     (1, s·h, s·w)      the page resized: as many tokens, and at least as many numbers
    jpeg, webp  (1, 8h, 8w)        the best file of at most our bytes, page by page, decoded; patches of 8×8
    full        (1, 8h, 8w)        the page as it came
    blank       (1, h, w)          nothing: what the place of a line, and the page's size, tell alone

Pages are read in grey. Documents are dealt into folds, those of one company into one; each fold in turn is never
trained on and is asked where there is text (F1 over cells of 8×8 pixels), and what each line tells, given its box.
Errors are those of the mean over folds and seeds, for the difference from latents too, of which they are taken
run by run.
"""

from __future__ import annotations

import math
import statistics
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from io import BytesIO
from pathlib import Path

import numpy as np
from PIL import Image

import enfold
from enfold.bench.learn_inputs import BLOCK
from enfold.bench.learn_runs import Learning, Run, RunFile, Score, write
from enfold.bench.machine import Machine, this_machine
from enfold.errors import UsageError
from enfold.learners.documents import FIELDS, Document, cells_of, folds_of, read_documents
from enfold.learners.fitting import Schedule
from enfold.learners.read_documents import DocumentReader, Pages
from enfold.learners.samples import Origin
from enfold.media import pad_to_multiple

INPUTS = ("latents", "thumbnail", "resized", "jpeg", "webp", "full", "blank")
SCORES = ("text_f1", "field_accuracy", "field_f1")
RESULTS = "learn-documents.json"
PACKAGES = ("enfold", "numpy", "torch", "pillow", "lightning-fabric")
QUALITIES = {"jpeg": "JPEG", "webp": "WEBP"}
LEARNING = Learning("conv", 24, 4, Schedule(epochs=16, batch_size=2, learning_rate=3e-3), seeds=1)
WINDOW = 64                 # rows of cells that are learnt from at a time


@dataclass(frozen=True)
class DocumentRow:
    """One input. numbers: that each token holds; bytes: of a page, the mean. behind: scores minus those of latents."""

    input: str
    patch: int
    numbers: int
    bytes: float
    parameters: int
    text_f1: Score
    field_accuracy: Score
    field_f1: Score
    behind: dict[str, Score]
    seconds: float


@dataclass(frozen=True)
class DocumentResults:
    """lines: of each field."""

    data: str
    codec: str
    quality: int
    documents: int
    groups: int
    folds: int
    lines: dict[str, int]
    tokens: float
    features: int
    depth: int
    schedule: Schedule
    seeds: int
    rows: tuple[DocumentRow, ...]
    machine: Machine
    command: str
    date: str


@dataclass(frozen=True)
class Input:
    """pages: of all documents. bytes: of each page's file."""

    pages: Pages
    bytes: tuple[int, ...]


def bench_documents(folder: Path, out: Path, *, codec: str, quality: int | None = None,
                    inputs: Sequence[str] = INPUTS, learning: Learning | None = None, folds: int = 5,
                    command: str = "", date: str = "", say: Callable[[str], None] = lambda text: None
                    ) -> DocumentResults:
    """folder: pictures, a .json beside each (see `learners.documents`). out: where runs and learn-documents.json go,
    and where runs that are there are taken up again.

    Raises UsageError, MediaError, MissingWeightsError.
    """
    learning = learning or LEARNING
    if not inputs or set(inputs) - set(INPUTS):
        raise UsageError(f"inputs {', '.join(inputs) or 'none'}: they are of {', '.join(INPUTS)}")
    learning.schedules()
    documents = read_documents(folder)
    parts = folds_of(documents, folds)
    made, used, tokens = inputs_of(documents, inputs, codec, quality)
    out.mkdir(parents=True, exist_ok=True)
    every: dict[str, list[Run]] = {name: [] for name in inputs}
    for number, part in enumerate(parts):
        asked = set(part)
        kept = [page for page in range(len(documents)) if page not in asked]

        def run(name: str, schedule: Schedule, kept: list[int] = kept, part: list[int] = part) -> Run:
            learner = DocumentReader(features=learning.features, depth=learning.depth, schedule=schedule)
            learner.fit(made[name].pages.only(kept))
            return Run.of(name, learner, len(kept), asdict(learner.score(made[name].pages.only(part))))

        about = ["documents", _checksum(documents, made), part, learning.features, learning.depth, WINDOW]
        say(f"fold {number + 1} of {folds}")
        for name, runs in RunFile(out, about).every(inputs, learning, run, say).items():
            every[name] += runs
    counts = np.bincount([line.field for document in documents for line in document.lines], minlength=len(FIELDS))
    results = DocumentResults(
        folder.resolve().name, codec, used, len(documents), len({document.group for document in documents}), folds,
        dict(zip(FIELDS, counts.tolist(), strict=True)), tokens, learning.features, learning.depth, learning.schedule,
        learning.seeds, tuple(_row(name, made[name], every) for name in inputs), this_machine(PACKAGES), command, date)
    write(results, out / RESULTS)
    return results


def inputs_of(documents: Sequence[Document], inputs: Sequence[str], codec: str, quality: int | None
              ) -> tuple[dict[str, Input], int, float]:
    """Of each input its pages; the quality of our files, and tokens a page, the mean."""
    pages: dict[str, list[np.ndarray]] = {name: [] for name in inputs}
    sizes: dict[str, list[int]] = {name: [] for name in inputs}
    targets = []
    for document in documents:
        grey = _grey(document.path)
        data = enfold.encode(grey, codec, quality=quality)
        latent = enfold.latents(data)
        channels, high, wide = latent.values.shape
        targets.append(cells_of(document, high, wide, BLOCK))
        for name in inputs:
            page, size = _page(name, grey, latent.values, len(data), document.path)
            pages[name].append(page)
            sizes[name].append(size)
    side = _side(channels)
    patches = {"latents": 1, "thumbnail": 1, "blank": 1, "resized": side}
    origins = {"latents": Origin(codec, latent.fingerprint.hex(), latent.quality)}
    made = {name: Input(Pages(pages[name], targets, origins.get(name, Origin(f"grey pages, {name}")),
                              patches.get(name, BLOCK), WINDOW), tuple(sizes[name])) for name in inputs}
    return made, latent.quality, statistics.mean(cells[0].size for cells in targets)


def _page(name: str, grey: np.ndarray, latent: np.ndarray, size: int, path: Path) -> tuple[np.ndarray, int]:
    """(C, height, width) and the bytes that it takes to have it."""
    channels, high, wide = latent.shape
    if name == "latents":
        return latent, size
    if name == "blank":
        return np.zeros((1, high, wide), np.float32), 0
    if name in QUALITIES:
        data = _best_within(grey, QUALITIES[name], size)
        with Image.open(BytesIO(data)) as image:
            return _padded(np.asarray(image.convert("L"))), len(data)
    if name == "full":
        return _padded(grey), path.stat().st_size
    side = 1 if name == "thumbnail" else _side(channels)
    small = Image.fromarray(_padded(grey)[0].astype(np.uint8)).resize((wide * side, high * side),
                                                                      Image.Resampling.LANCZOS)
    return np.asarray(small)[None].astype(np.float32), path.stat().st_size


def _side(channels: int) -> int:
    """Pixels a side of a grey patch that holds at least as many numbers as a latent."""
    return math.ceil(math.sqrt(channels))


def _best_within(grey: np.ndarray, kind: str, size: int) -> bytes:
    """The file of the highest quality that takes at most so many bytes, or the smallest there is."""
    low, high = 0, 100
    best = _saved(grey, kind, low)
    while low < high:
        middle = (low + high + 1) // 2
        data = _saved(grey, kind, middle)
        if len(data) <= size:
            low, best = middle, data
        else:
            high = middle - 1
    return best


def _saved(grey: np.ndarray, kind: str, quality: int) -> bytes:
    out = BytesIO()
    Image.fromarray(grey).save(out, kind, quality=quality, **({"optimize": True} if kind == "JPEG" else {"method": 6}))
    return out.getvalue()


def _grey(path: Path) -> np.ndarray:
    with Image.open(path) as image:
        return np.asarray(image.convert("L"))


def _padded(grey: np.ndarray) -> np.ndarray:
    return pad_to_multiple(grey[..., None], BLOCK).transpose(2, 0, 1).astype(np.float32)


def _checksum(documents: Sequence[Document], made: dict[str, Input]) -> int:
    """What tells data sets and files apart."""
    import google_crc32c

    value = 0
    for document in documents:
        value = google_crc32c.extend(value, repr(document.lines).encode() + document.path.read_bytes())
    for one in made.values():
        value = google_crc32c.extend(value, repr((one.pages.origin, one.bytes)).encode())
    return value


def _row(name: str, one: Input, every: dict[str, list[Run]]) -> DocumentRow:
    runs, first = every[name], every[name][0]
    scores = {score: Score.of(runs, score) for score in SCORES}
    behind = {}
    if name != "latents" and "latents" in every:
        for score in SCORES:
            each = [ours.scores[score] - latents.scores[score]
                    for ours, latents in zip(runs, every["latents"], strict=True)]
            behind[score] = Score(statistics.mean(each), statistics.stdev(each) / len(each) ** 0.5, tuple(each))
    return DocumentRow(name, one.pages.patch, (first.channels - 2) * one.pages.patch**2, statistics.mean(one.bytes),
                       first.parameters, **scores, behind=behind,
                       seconds=statistics.mean(run.seconds for run in runs))


def show(results: DocumentResults) -> None:
    """The table, on stdout."""
    from rich.console import Console
    from rich.table import Table

    table = Table(title=f"{results.data}: {results.documents} documents of {results.groups} companies, "
                        f"{results.folds} folds, {results.seeds} seeds", caption="in brackets: against latents")
    for title in ("input", "numbers a token", "kB a page", "text, F1 %", "fields, accuracy %", "fields, F1 %", "s"):
        table.add_column(title, justify="left" if title == "input" else "right")
    for row in results.rows:
        scores = []
        for name in SCORES:
            words = getattr(row, name).words(1, 100)
            scores.append(words + (f" ({row.behind[name].words(1, 100)})" if name in row.behind else ""))
        table.add_row(row.input, str(row.numbers), f"{row.bytes / 1000:.1f}", *scores, f"{row.seconds:.0f}")
    Console().print(table)
