"""Reading documents from latents: where there is text, and what each line of it tells.

    page (C, h, w) ─ blocks, ever wider apart ─┬─ of each cell: is there text?            ─▶ a mask
                                               └─ of each cell: five fields ─ mean of a box ─▶ a line's field

    learner = DocumentReader(schedule=Schedule(epochs=20, batch_size=2)).fit(pages)
    learner.score(others)                   # ReadingScore(text_f1=…, field_accuracy=…, field_f1=…)

One network without a dense layer reads pages of any size. Each page comes with two planes more, how far down and
across a cell lies, for that is half of what a receipt says. Pixels go through the very same network in patches.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any, Self

import numpy as np
import torch
from torch import Tensor, nn

from enfold.errors import UsageError
from enfold.learners import fitting
from enfold.learners.documents import FIELDS
from enfold.learners.fitting import Epoch, Schedule
from enfold.learners.learner import Learner
from enfold.learners.networks import Shape
from enfold.learners.samples import Examples, Origin, order

OUTSIDE = -2.0              # in a batch, cells beyond the end of a page
DILATIONS = (1, 2, 4, 1)


@dataclass(frozen=True)
class Pages:
    """inputs: float32 (C, h, w) of each page, of its own size; targets: (2, h/patch, w/patch) as `cells_of` has it.

    rows: the height of the windows that are cut of pages where they are shuffled, in cells; 0 for whole pages.
    """

    inputs: Sequence[np.ndarray]
    targets: Sequence[np.ndarray]
    origin: Origin
    patch: int = 1
    rows: int = 0
    label_names: tuple[str, ...] = field(default=FIELDS)

    def __post_init__(self) -> None:
        if len(self.inputs) != len(self.targets):
            raise UsageError(f"{len(self.inputs)} pages and targets of {len(self.targets)}: give one for each")
        for page, cells in zip(self.inputs, self.targets, strict=True):
            if page.ndim != 3 or page.shape[1:] != (cells.shape[1] * self.patch, cells.shape[2] * self.patch):
                raise UsageError(f"a page of shape {page.shape} has cells of shape {cells.shape}: with patches of "
                                 f"{self.patch} it is (C, h, w) and (2, h/{self.patch}, w/{self.patch})")

    def __len__(self) -> int:
        return len(self.inputs)

    def only(self, numbers: Sequence[int]) -> Pages:
        """Those pages alone."""
        return Pages([self.inputs[number] for number in numbers], [self.targets[number] for number in numbers],
                     self.origin, self.patch, self.rows)

    def examples(self, batch_size: int, *, shuffle: bool = False, seed: int = 0, epoch: int = 0, rank: int = 0,
                 ranks: int = 1) -> Iterator[Examples]:
        """inputs: (B, C+2, h, w), padded with its last row and column; targets: (B, 2, h, w), OUTSIDE there."""
        random = np.random.default_rng((seed, epoch, 1)) if shuffle and self.rows else None
        for numbers in order(len(self), batch_size, shuffle, seed, epoch, rank, ranks):
            yield _batch([self._cut(number, random) for number in numbers], self.patch)

    def _cut(self, number: int, random: np.random.Generator | None) -> tuple[np.ndarray, np.ndarray]:
        page, cells = placed(self.inputs[number]), self.targets[number]
        if random is None or cells.shape[1] <= self.rows:
            return page, cells
        first = int(random.integers(cells.shape[1] - self.rows + 1))
        return (page[:, first * self.patch:(first + self.rows) * self.patch],
                cells[:, first:first + self.rows])


@dataclass(frozen=True)
class PageRead:
    """text: bool (h, w), the cells that hold text. fields: int64 (lines,), indices of FIELDS."""

    text: np.ndarray
    fields: np.ndarray


@dataclass(frozen=True)
class ReadingScore:
    """text_f1: of cells, over all pages. field_accuracy: the share of lines whose field is told right. field_f1: the
    mean over the four fields (without "other") of each one's F1 over lines."""

    text_f1: float
    field_accuracy: float
    field_f1: float


class PageNetwork(nn.Module):
    """Pages (B, channels, height, width) → (B, 1 + fields, h, w): of each token, the logit of text, and fields.

    `depth` blocks look about at half the grid, further and further; what they find is added to the tokens again.
    """

    mean: Tensor
    std: Tensor

    def __init__(self, shape: Shape) -> None:
        super().__init__()
        self.register_buffer("mean", torch.zeros(shape.channels, 1, 1))
        self.register_buffer("std", torch.ones(shape.channels, 1, 1))
        near, wide = shape.features, 2 * shape.features
        self.embed = nn.Conv2d(shape.channels, near, shape.patch, stride=shape.patch)
        self.near = _Spread(near, 1)
        self.halve = nn.Conv2d(near, wide, 2, stride=2)
        self.about = nn.Sequential(*(_Spread(wide, DILATIONS[at % len(DILATIONS)]) for at in range(shape.depth)))
        self.widen = nn.Conv2d(wide, 4 * near, 1)
        self.joined = _Spread(near, 1)
        self.head = nn.Sequential(nn.BatchNorm2d(near), nn.ReLU(), nn.Conv2d(near, shape.outputs, 1))

    def forward(self, inputs: Tensor) -> Tensor:
        x = self.near(self.embed((inputs - self.mean) / self.std))
        high, wide = x.shape[2:]
        even = nn.functional.pad(x, (0, wide % 2, 0, high % 2), mode="replicate")
        found = nn.functional.pixel_shuffle(self.widen(self.about(self.halve(even))), 2)
        return self.head(self.joined(x + found[:, :, :high, :wide]))


class _Spread(nn.Module):
    """x + conv(relu(norm(conv(relu(norm(x)))))), the first of neighbours `dilation` apart."""

    def __init__(self, features: int, dilation: int) -> None:
        super().__init__()
        self.body = nn.Sequential(nn.BatchNorm2d(features), nn.ReLU(),
                                  nn.Conv2d(features, features, 3, padding=dilation, dilation=dilation),
                                  nn.BatchNorm2d(features), nn.ReLU(), nn.Conv2d(features, features, 3, padding=1))

    def forward(self, x: Tensor) -> Tensor:
        return x + self.body(x)


class DocumentReader(Learner):
    """features, depth: size of the network. accelerator, devices: as Lightning Fabric has them."""

    _NETWORK = PageNetwork
    network_: PageNetwork

    def __init__(self, *, features: int = 24, depth: int = 3, schedule: Schedule | None = None,
                 accelerator: str = "cpu", devices: int | str = 1) -> None:
        super().__init__(schedule or Schedule(batch_size=2), accelerator, devices)
        self.features, self.depth = features, depth

    def fit(self, data: Pages, progress: Callable[[Epoch], None] = lambda epoch: None) -> DocumentReader:
        """Raises UsageError where no line is on any page."""
        fabric = fitting.fabric_of(self.accelerator, self.devices)
        torch.manual_seed(self.schedule.seed)
        weights = _weights(data)
        channels, high, wide = placed(data.inputs[0]).shape
        self.shape_ = Shape("conv", channels, high, wide, data.patch, self.features, self.depth, 1 + len(FIELDS))
        self.network_ = PageNetwork(self.shape_)
        self.network_.mean.data, self.network_.std.data = fitting.measured(data)
        self.origin_ = data.origin

        def loss(made: Tensor, cells: Tensor) -> Tensor:
            inside = cells[:, 0] > OUTSIDE
            located = nn.functional.binary_cross_entropy_with_logits(made[:, 0][inside],
                                                                     (cells[:, 0] >= 0).to(made)[inside])
            logits, fields = _of_lines(made, cells)
            if not len(fields):
                return located
            return located + nn.functional.cross_entropy(logits, fields, weights.to(made))

        self.history_ = fitting.fit(self.network_, loss, data, self.schedule, fabric, progress)
        return self

    def predict(self, data: Pages) -> list[PageRead]:
        """Of each page; fields of the lines that its targets number. Raises FingerprintError, UsageError."""
        return [PageRead((made[0, 0] > 0).numpy(), _of_lines(made, cells)[0].argmax(1).numpy())
                for made, cells in self._read(data)]

    def score(self, data: Pages) -> ReadingScore:
        """Raises FingerprintError, UsageError."""
        right, said, meant = 0, 0, 0
        guessed, known = [], []
        for read, cells in zip(self.predict(data), data.targets, strict=True):
            text = cells[0] >= 0
            right, said, meant = right + (read.text & text).sum(), said + read.text.sum(), meant + text.sum()
            guessed.append(read.fields)
            known.append(_fields(cells))
        fields, wanted = np.concatenate(guessed), np.concatenate(known)
        return ReadingScore(float(2 * right / max(said + meant, 1)), float((fields == wanted).mean()),
                            _mean_f1(fields, wanted))

    @classmethod
    def _of(cls, shape: Shape, schedule: Schedule) -> Self:
        return cls(features=shape.features, depth=shape.depth, schedule=schedule)

    def _own(self) -> dict[str, Any]:
        return {"fields": FIELDS}

    def _restore(self, about: dict[str, Any]) -> None:
        if tuple(about["fields"]) != FIELDS:
            raise UsageError(f"it was fitted on fields {about['fields']}, and this enfold has {FIELDS}: fit it again")

    @torch.inference_mode()
    def _read(self, data: Pages) -> Iterator[tuple[Tensor, Tensor]]:
        """(what the network makes of a page, its targets), page by page, each of its own size."""
        self._fitted()
        self.origin_.refuse_other(data.origin)
        device = next(self.network_.parameters()).device
        for examples in data.examples(1):
            yield self.network_(examples.inputs.to(device)).cpu(), examples.targets


def placed(page: np.ndarray) -> np.ndarray:
    """(C, h, w) → (C+2, h, w): how far down and across, from -1 to 1."""
    down, across = (np.linspace(-1, 1, count, dtype=np.float32) for count in page.shape[1:])
    planes = np.broadcast_to(down[:, None], page.shape[1:]), np.broadcast_to(across, page.shape[1:])
    return np.concatenate([page.astype(np.float32, copy=False), np.stack(planes)])


def _batch(pages: Sequence[tuple[np.ndarray, np.ndarray]], patch: int) -> Examples:
    high, wide = (max(cells.shape[axis] for _, cells in pages) for axis in (1, 2))
    inputs, targets = [], []
    for page, cells in pages:
        more = high - cells.shape[1], wide - cells.shape[2]
        inputs.append(np.pad(page, ((0, 0), (0, more[0] * patch), (0, more[1] * patch)), "edge"))
        targets.append(np.pad(cells, ((0, 0), (0, more[0]), (0, more[1])), constant_values=OUTSIDE))
    return Examples(torch.from_numpy(np.stack(inputs)), torch.from_numpy(np.stack(targets)))


def _of_lines(made: Tensor, cells: Tensor) -> tuple[Tensor, Tensor]:
    """Logits (lines, fields) of each line that is there, the mean over its cells, and its field (lines,)."""
    fields = made.shape[1] - 1
    lines, text = cells[:, 0], cells[:, 0] >= 0
    pages = torch.arange(len(cells), device=cells.device)[:, None, None].expand_as(lines)
    of_cell = (pages * (lines.max() + 1) + lines)[text]
    _, line = of_cell.unique(return_inverse=True)
    count = int(line.max()) + 1 if len(line) else 0
    logits = made[:, 1:].movedim(1, 3)[text]
    total = logits.new_zeros(count, fields + 1).index_add(0, line, nn.functional.pad(logits, (0, 1), value=1.0))
    known = cells.new_zeros(count).index_copy(0, line, cells[:, 1][text]).long()
    return total[:, :fields] / total[:, fields:], known


def _fields(cells: np.ndarray) -> np.ndarray:
    """The field of each line that has a cell, by its number."""
    _, first = np.unique(cells[0][cells[0] >= 0], return_index=True)
    return cells[1][cells[0] >= 0][first].astype(np.int64)


def _weights(data: Pages) -> Tensor:
    """Of each field in the loss: the root of how rare it is, or rare fields would never be guessed."""
    counts = np.bincount(np.concatenate([_fields(cells) for cells in data.targets]), minlength=len(FIELDS))
    if not counts.sum():
        raise UsageError("no page holds a line of text: there is nothing to learn from")
    weights = np.sqrt(counts.sum() / np.maximum(counts, 1) / len(FIELDS)).astype(np.float32)
    return torch.from_numpy(np.where(counts, weights, 0))


def _mean_f1(said: np.ndarray, meant: np.ndarray) -> float:
    """Over the fields that are there, "other" aside."""
    there = [number for number in range(1, len(FIELDS)) if (meant == number).any()]
    if not there:
        return 0.0
    return float(np.mean([2 * ((said == number) & (meant == number)).sum()
                          / ((said == number).sum() + (meant == number).sum()) for number in there]))
