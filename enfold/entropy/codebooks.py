"""A prior of codebook indices: a cascade of grids, coarse to fine, several codebooks at each position.

    1/64   1/32    1/16                at each level: four passes      at each position:
    ┌──┐  ┌─┬─┐  ┌┬┬┬┐                 0 2 0 2                         book 0, 1, 2, …
    │  │  ├─┼─┤  ├┼┼┼┤  each cell is   3 1 3 1   pass 1 knows its
    │  │  ├─┼─┤  ├┼┼┼┤  told of the    0 2 0 2   diagonal neighbours,
    └──┘  └─┴─┘  └┴┴┴┘  nine around    3 1 3 1   2 its direct ones,
                        it one level             3 both
                        up

What is known of a position is the sum of one learned vector for each of its codes (`look` tables), clipped
to [0, 16). Those of the neighbours and of the level above make a hidden vector; each book's logits are a
linear map of it, and the code that is read adds a vector of its own to it before the next book's turn. So
every code is told of all that came before, and all that it takes is look-ups and small exact products
(see `exact`, `softmax`).

Guarantee: `code_cascade` is the only description; under an Encoder or a Decoder all that leads to a count is
exact, and needs NumPy alone.

Source: Zhu et al. 2022 (the cascade; its tables are static); Larochelle & Murray 2011 (the hidden vector
that each symbol adds to); Li et al. 2023 (passes over a quadtree).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np

from enfold.entropy.exact import FRACTION_BITS, TOP, Part, Sum, thaw
from enfold.entropy.hyperprior import PASSES
from enfold.entropy.interlaced import Phase

LOOK_RANGE = 4.0            # no number in a table of vectors is larger
LOOK_BITS = 5               # they are multiples of 2^-LOOK_BITS, and fit a byte
BIAS_RANGE = 64.0
_AROUND = tuple((dy, dx) for dy in (-1, 0, 1) for dx in (-1, 0, 1))


@dataclass(frozen=True)
class CascadeConfig:
    """levels: of each, coarse to fine, how many words each codebook has. known: of each, numbers that tell of a
    position. hidden: of each, numbers that make logits. Each level has twice the rows and columns of the one before."""

    levels: tuple[tuple[int, ...], ...]
    known: tuple[int, ...]
    hidden: tuple[int, ...]

    def shape(self, level: int, rows: int, columns: int) -> tuple[int, int]:
        """Of a level's grid where the finest has so many rows and columns."""
        step = 1 << len(self.levels) - 1 - level
        return -(-rows // step), -(-columns // step)

    def features(self, level: int, phase: Phase) -> int:
        """Numbers that the hidden vector of a pass is made of; where nothing is known, one that is zero."""
        return self.known[level] * len(phase.taps) + (self.known[level - 1] * len(_AROUND) if level else 0) or 1

    @cached_property
    def sums(self) -> dict[str, Sum]:
        """Every sum of the prior's exact network, by name."""
        sums = {}
        for level, books in enumerate(self.levels):
            reach = BIAS_RANGE + LOOK_RANGE * len(books)
            for number, phase in enumerate(PASSES):
                part = Part(f"near_{level}_{number}", self.features(level, phase), TOP, FRACTION_BITS)
                sums[f"hidden_{level}_{number}"] = Sum(self.hidden[level], (part,), reach)
            for book, words in enumerate(books):
                part = Part(f"logits_{level}_{book}", self.hidden[level], TOP, FRACTION_BITS)
                sums[f"book_{level}_{book}"] = Sum(words, (part,), BIAS_RANGE)
        return sums

    @cached_property
    def looks(self) -> dict[str, tuple[int, int, int]]:
        """The tables of vectors, (words, hidden + known) each: words, hidden, known."""
        return {f"look_{level}_{book}": (words, self.hidden[level], self.known[level])
                for level, books in enumerate(self.levels) for book, words in enumerate(books)}


class Codes:
    """Where a prior takes codes from and puts them: grids (..., rows, columns, books), coarse to fine.

    given: the grids to code; None where they are to be read. grids: all that was put, int32.
    """

    def __init__(self, config: CascadeConfig, outer: tuple[int, ...], rows: int, columns: int,
                 given: Sequence[Any] | None = None) -> None:
        self._given = given
        self.grids = [np.zeros((*outer, *config.shape(level, rows, columns), len(books)), np.int32)
                      for level, books in enumerate(config.levels)] if given is None else list(given)

    def take(self, level: int, number: int, book: int) -> Any:
        """What a coder is handed for the positions of a pass, (..., n) or None."""
        if self._given is None:
            return None
        cell = self._given[level][cell_of(PASSES[number], book)]
        return cell.reshape(*cell.shape[:-2], -1)

    def put(self, level: int, number: int, book: int, codes: Any) -> None:
        """Takes what a coder returned for it."""
        if self._given is None:
            cell = self.grids[level][cell_of(PASSES[number], book)]
            cell[...] = codes.reshape(cell.shape)


def cell_of(phase: Phase, last: Any = slice(None)) -> tuple[Any, ...]:
    """Index of the positions of a pass in an array (..., rows, columns, n), and of its last axis."""
    return (..., *phase.cell(slice(None))[2:], last)


def code_cascade(coder: Any, density: Any, weights: Mapping[str, Any], biases: Mapping[str, Any],
                 looks: Mapping[str, Any], config: CascadeConfig, outer: tuple[int, ...], rows: int, columns: int,
                 source: Any) -> None:
    """Codes all grids of a cascade whose finest has so many rows and columns.

    coder: Meter, Encoder, Decoder or Quantizer. density: of logits (see `softmax`). weights: of the parts of
    `config.sums`, (features, outputs). biases: of its sums, (..., 1, outputs). looks: by the names of
    `config.looks`. outer: shape of a batch. source: `Codes`, or what has its `take` and `put`.
    """
    above = None
    for level, books in enumerate(config.levels):
        height, width = config.shape(level, rows, columns)
        known = coder.zeros((*outer, height + 2, width + 2, config.known[level]))
        for number, phase in enumerate(PASSES):
            (top, left), step = phase.start, phase.step
            r, c = len(range(top, height, step)), len(range(left, width, step))
            if not r or not c:
                continue
            parts = [known[..., y:y + (r - 1) * step + 1:step, x:x + (c - 1) * step + 1:step, :]
                     for y, x in ((top + dy + 1, left + dx + 1) for dy, dx in phase.taps)]
            if above is not None:
                parts += [above[..., dy + 1:dy + 1 + r, dx + 1:dx + 1 + c, :] for dy, dx in _AROUND]
            near = coder.concat(parts, -1) if parts else coder.zeros((*outer, r, c, 1))
            near = near.reshape(*outer, r * c, near.shape[-1])
            hidden = coder.project(near, weights[f"near_{level}_{number}"]) + biases[f"hidden_{level}_{number}"]
            told = None
            for book in range(len(books)):
                logits = coder.project(coder.rectify(hidden), weights[f"logits_{level}_{book}"])
                logits = logits + biases[f"book_{level}_{book}"]
                codes = coder.code(density, logits, source.take(level, number, book))
                source.put(level, number, book, codes)
                added = coder.look(looks[f"look_{level}_{book}"], codes)
                hidden = hidden + added[..., :config.hidden[level]]
                tells = added[..., config.hidden[level]:]
                told = tells if told is None else told + tells
            known[..., top + 1:height + 1:step, left + 1:width + 1:step, :] = coder.rectify(told).reshape(
                *outer, r, c, config.known[level])
        above = known


def thaw_cascade(arrays: Mapping[str, np.ndarray]) -> tuple[dict[str, np.ndarray], dict[str, np.ndarray],
                                                            dict[str, np.ndarray]]:
    """What `codebook_weights` froze, as `code_cascade` takes it: weights, biases (Q or 1, 1, n), looks."""
    packed = {name.removeprefix("prior."): array for name, array in arrays.items() if name.startswith("prior.")}
    looks = {name: array.astype(np.float32) / np.float32(1 << LOOK_BITS) for name, array in packed.items()
             if name.startswith("look_")}
    weights = thaw({name: array for name, array in packed.items() if not name.startswith("look_")})
    biases = {name.removeprefix("bias."): array.astype(np.float32)[:, None] for name, array in arrays.items()
              if name.startswith("bias.")}
    return {name: np.ascontiguousarray(weight.T) for name, weight in weights.items()}, biases, looks
