"""A prior of indices on a grid that answers for any of them, given any others: it codes, and it fills gaps.

    known   3 . 7 . 1      around each index, a window of 7×7: the words that are known there, as
            . ? . 2 .      vectors, and where there are some
            5 . . ? 4        │ window         one hidden layer, and another
                             │ inner
                             │ aim            a point among the words' own vectors
                             ▼ words          logits of the K words of a codebook ─> `softmax`

One network for all codebooks: words are told to it as vectors, so what it learns of 4,096 words it knows of
8 as well; of its own each codebook has biases, and the vectors by which its words are found again.

Coding. Indices come in groups, each given the groups before, none given any of its own: a fixed order that
spreads each group over the grid. They may be cut into packets first, each of which knows itself alone: then
whatever is lost, all other packets are read.

Filling. A `Guesser` stands in an Encoder's place and names the likeliest word of each gap, gap by gap in the
same groups. So the function that codes is the one that conceals.

Guarantee: everything that leads to a logit is exact (`exact`), on NumPy alone; order and packets follow from
height, width and their number, by integers.

Source: Chang et al. 2022 (masked prediction of tokens); Mentzer et al. 2023 (fixed groups do as well as
others); Wang et al. 2025 (one masked model to code and to conceal). Roberts 2018 (the order).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np

from enfold.entropy.exact import FRACTION_BITS, TOP, Part, Sum
from enfold.entropy.softmax import FrozenSoftmax

MARGIN = 3                  # positions that the window reaches
TAPS = tuple((dy, dx) for dy in range(-MARGIN, MARGIN + 1) for dx in range(-MARGIN, MARGIN + 1) if dy or dx)
WORD_TOP = 3.875            # the largest number in a word's vector, as contexts see it
WORD_BITS = 3               # these are multiples of 2^-WORD_BITS
BIAS_RANGE = 32.0
SHARES = (1, 1, 1, 1, 2, 2, 2, 2, 2, 2)     # sixteenths of a packet that its groups hold
STEP_Y, STEP_X = 0x91E10DA5, 0xC13FA9A9     # 2^32 times powers of the plastic ratio's inverse: see `cells`
CHUNK = 1 << 22             # logits that are worked out at once

Cells = tuple[np.ndarray, ...]              # rows and columns, int64 (n,) each


@dataclass(frozen=True)
class MaskedConfig:
    """sizes: of the codebooks, in words; dimensions: of a word; hidden, aim: of the network's layers."""

    sizes: tuple[int, ...]
    dimensions: int
    hidden: int
    aim: int

    @property
    def features(self) -> int:
        """Numbers that tell of a position: a word's, and whether one is known."""
        return self.dimensions + 1

    @cached_property
    def sums(self) -> dict[str, Sum]:
        """Every sum of the network, by name."""
        def window(name: str) -> Part:
            return Part(name, len(TAPS) * self.features, WORD_TOP, WORD_BITS)

        def rectified(name: str) -> Part:
            return Part(name, self.hidden, TOP, FRACTION_BITS)

        sums = {"window": Sum(self.hidden, (window("window"),), BIAS_RANGE),
                "inner": Sum(self.hidden, (rectified("inner"),), BIAS_RANGE),
                "aim": Sum(self.aim, (rectified("aim"), window("direct")), BIAS_RANGE)}
        for size in self.sizes:
            sums[f"words_{size}"] = Sum(size, (Part(f"words_{size}", self.aim, TOP, FRACTION_BITS),
                                               Part(f"usual_{size}", 1, 1.0, 0)), 0.0)
        return sums


class WordSoftmax(FrozenSoftmax):
    """FrozenSoftmax that chooses among words: to a Quantizer, values are squared distances (n, K)."""

    def quantise(self, context: np.ndarray, values: np.ndarray, price: float) -> np.ndarray:
        """The word (n,) with the least sum of distance and bits at `price`."""
        largest = context.max(-1, keepdims=True)
        bits = np.log2(np.exp2(context - largest).sum(-1, keepdims=True)) + largest - context
        return (values + np.float32(price) * bits).argmin(-1).astype(np.int32)

    def likeliest(self, context: np.ndarray) -> np.ndarray:
        """The word (n,) with the largest logit."""
        return context.argmax(-1).astype(np.int32)


def cells(height: int, width: int, packets: int = 1) -> list[list[Cells]]:
    """For each packet, its groups, those that hold any.

    A cell's number is (y · STEP_Y + x · STEP_X) mod 2^32, by two irrational steps whose multiples spread evenly
    over the plane; its packet is the leading digit of it to the base `packets`, and what follows names its group.
    So the cells of a packet, and those of its first groups, lie apart.
    """
    rows, columns = np.mgrid[:height, :width].astype(np.uint64)
    number = (rows * np.uint64(STEP_Y) + columns * np.uint64(STEP_X) & np.uint64(0xFFFFFFFF)) * np.uint64(packets)
    packet = number >> np.uint64(32)
    sixteenth = (number & np.uint64(0xFFFFFFFF)) >> np.uint64(28)
    group = np.searchsorted(np.cumsum(SHARES), sixteenth.astype(np.int64), side="right")
    order = packet.astype(np.int64) * len(SHARES) + group
    groups = [[np.nonzero(order == which * len(SHARES) + step) for step in range(len(SHARES))]
              for which in range(packets)]
    return [[group for group in some if len(group[0])] for some in groups]


def empty(config: MaskedConfig, height: int, width: int) -> np.ndarray:
    """What is known of a grid before anything is: float32 (features, height + 2 MARGIN, width + 2 MARGIN)."""
    return np.zeros((config.features, height + 2 * MARGIN, width + 2 * MARGIN), np.float32)


def code_cells(coder: Any, density: Any, weights: Mapping[str, Any], biases: Mapping[str, Any], config: MaskedConfig,
               size: int, known: Any, groups: list[Cells], describe: Callable[[Any], Any],
               given: Callable[[Cells], Any] | None = None) -> list[Any]:
    """Codes the indices of some cells, group by group; returns them, each group's (..., n).

    coder: Meter, Encoder, Decoder, Quantizer or Guesser. size: of the codebook. weights, biases: of the parts of
    `config.sums`, biases (..., n, 1) of this codebook. known: (..., features, h, w) as of `empty`, to which what
    is coded is added. describe: makes features (..., n, features) of indices (..., n). given: what to code in
    some cells, None where it is to be read.
    """
    coded = []
    for group in groups:
        parts = []
        for part in _chunks(group, CHUNK // max(size, known.shape[-3] * len(TAPS))):
            logits = _logits(coder, weights, biases, size, known, part)
            parts.append(coder.code(density, logits, None if given is None else given(part)))
        values = parts[0] if len(parts) == 1 else coder.concat(parts, -1)
        put(known, group, describe(values))
        coded.append(values)
    return coded


def put(known: Any, group: Cells, features: Any) -> None:
    """Notes features (..., n, F) of some cells in what is known."""
    known[..., group[0] + MARGIN, group[1] + MARGIN] = features.swapaxes(-1, -2)


def _logits(coder: Any, weights: Mapping[str, Any], biases: Mapping[str, Any], size: int, known: Any,
            group: Cells) -> Any:
    """(..., n, size), in doublings."""
    rows = np.stack([group[0] + dy + MARGIN for dy, _ in TAPS])
    columns = np.stack([group[1] + dx + MARGIN for _, dx in TAPS])
    near = known[..., rows, columns]
    near = near.reshape(*near.shape[:-3], -1, near.shape[-1])
    hidden = coder.rectify(coder.linear(weights["window"], near) + biases["window"])
    hidden = coder.rectify(coder.linear(weights["inner"], hidden) + biases["inner"])
    aim = coder.linear(weights["aim"], hidden) + coder.linear(weights["direct"], near) + biases["aim"]
    aim = coder.limit(coder.snap(aim, FRACTION_BITS), -TOP, TOP)
    return (coder.linear(weights[f"words_{size}"], aim) + weights[f"usual_{size}"]).swapaxes(-1, -2)


def _chunks(group: Cells, most: int) -> list[Cells]:
    most = max(1, most)
    return [(group[0][at:at + most], group[1][at:at + most]) for at in range(0, len(group[0]), most)]


def features_of(words: np.ndarray) -> np.ndarray:
    """Words (K, D) → what contexts see of them, float32 (K, D + 1): multiples of 2^-WORD_BITS, and a one."""
    fine = np.float32(1 << WORD_BITS)
    seen = np.floor(words.astype(np.float32) * fine + np.float32(0.5)) / fine
    return np.concatenate([seen.clip(-WORD_TOP, WORD_TOP), np.ones((len(words), 1))], 1).astype(np.float32)
