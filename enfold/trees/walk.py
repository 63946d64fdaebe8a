"""Coding with a circuit: a walk over its tree that carries what is believed of the hidden states.

                    belief, message                      π(k) ∝ p(state = k, all that is known so far)
    SYMBOL v        π ─ code x under Σ π(k) leaf(k) ─▶ π(k) · leaf(k, x)            so is the message
    DOWN n          π' = π W, message' = 1               a child is entered
    UP n            π(k) · Σ W(k, j) message'(j)         and left; what it saw is known to its parent

A node codes its own variables, then enters its children. Each transition is used twice and each leaf
once, so an image costs as many multiplications as the circuit has transitions, twice, and a few
columns of its leaves: only the cumulative counts on both sides of the value are needed, and eight
more to find it.

Exact in any order, on any machine: all numbers are integers below 2^53 in float64.

    counts of a table     below 2^20, summing to 2^20 for each state
    belief, message       the largest element is brought to 2^25 … 2^26 by a power of two, the others
                          rounded down and 1 added: no state is ever ruled out
    products, sums        of at most 128 states: below 2^(20 + 26 + 7)
    interval of a symbol  cumulative sums, of total T, by the power of two that brings T to 2^31 … 2^32,
                          rounded down; every count is at least 2^11 - 1 of it (`entropy.cumulative`)

That no state is ruled out bounds what rounding can cost: a message from a child is at least 2^-20 of
its largest element, by the tables' own least counts, and 2^-26 of it is what rounding takes.

One description codes in both directions: `walk` asks a coder. The C kernel does the same for sixteen
images in step. Image j of a call belongs to stream j mod n; a stream codes its images one after the
other. NumPy only.

Source of the problem: Liu, Mandt and Van den Broeck 2022, who evaluate parts of the circuit again.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any, Protocol

import numpy as np

from enfold.entropy.cumulative import CumulativeDecoder, CumulativeEncoder, damaged
from enfold.errors import UsageError
from enfold.trees.frozen import FrozenCircuit
from enfold.trees.structure import HiddenTree

try:
    if os.environ.get("ENFOLD_NO_C"):
        raise ImportError("asked for")
    from enfold.trees import _walk as _compiled  # type: ignore[attr-defined]
except ImportError:
    _compiled = None

SYMBOL, DOWN, UP = 0, 1, 2
TOP, TOTAL = 25, 31
STEP = 16                   # images that the kernel takes at once


def schedule(tree: HiddenTree, known: np.ndarray | None = None) -> np.ndarray:
    """(steps, 3) int32: what, the variable or node, the depth of the node that is left or entered from.

    known: (variables,) bool, those to code; None for all. What leads to none of them is left out, and
    so is what comes after the last: the circuit is marginalised.
    """
    known = np.ones(len(tree.owner), bool) if known is None else known
    children: list[list[int]] = [[] for _ in tree.parent]
    inside = np.bincount(tree.owner, known, len(tree.parent)) > 0
    for node in range(len(tree.parent) - 1, 0, -1):
        inside[tree.parent[node]] |= inside[node]
    for node in range(1, len(tree.parent)):
        if inside[node]:
            children[tree.parent[node]].append(node)
    steps: list[tuple[int, int, int]] = []
    waiting = [(DOWN, 0, -1)]
    while waiting:
        what, node, depth = waiting.pop()
        if depth >= 0:
            steps.append((what, node, depth))
        if what == DOWN:
            own = tree.members[tree.first[node]:tree.first[node + 1]]
            steps += [(SYMBOL, variable, depth + 1) for variable in own[known[own]].tolist()]
            for child in reversed(children[node]):
                waiting += [(UP, child, depth + 1), (DOWN, child, depth + 1)]
    while steps and steps[-1][0] != SYMBOL:
        steps.pop()
    return np.array(steps, np.int32).reshape(-1, 3)


class MixtureCoder(Protocol):
    """What `walk` talks to: codes a value for each image under a mixture of a table's columns."""

    def code(self, table: np.ndarray, belief: np.ndarray, values: np.ndarray | None = None) -> np.ndarray:
        """table (values + 1, H) cumulative counts, belief (B, H) → the values (B,), coded."""


def walk(coder: MixtureCoder, circuit: FrozenCircuit, steps: np.ndarray, count: int,
         images: np.ndarray | None = None) -> np.ndarray:
    """Codes `count` images (count, variables), uint8, and returns them; a reading coder is given none."""
    out = np.zeros((count, len(circuit.tree.owner)), np.uint8)
    beliefs = [settle(np.repeat(circuit.root[None].astype(np.float64), count, 0))]
    messages = [np.ones_like(beliefs[0])]
    for what, which, depth in steps.tolist():
        if what == DOWN:
            beliefs.append(settle(beliefs[depth] @ circuit.transition[which].astype(np.float64)))
            messages.append(np.ones_like(beliefs[0]))
            continue
        if what == SYMBOL:
            table = circuit.leaf[which]
            values = coder.code(table, beliefs[depth], None if images is None else images[:, which])
            out[:, which] = values
            factor = (table[values + 1] - table[values]).astype(np.float64)
        else:
            factor = settle(messages.pop() @ circuit.transition[which].T.astype(np.float64))
            beliefs.pop()
        beliefs[depth] = settle(beliefs[depth] * factor)
        messages[depth] = settle(messages[depth] * factor)
    return out


def settle(numbers: np.ndarray) -> np.ndarray:
    """(B, H): each row by a power of two to a largest element of 2^25 … 2^26, rounded down, plus 1."""
    exponent = np.frexp(numbers.max(-1, keepdims=True))[1] - 1
    return np.floor(np.ldexp(numbers, TOP - exponent)) + 1


def cumulative(table: np.ndarray, belief: np.ndarray) -> np.ndarray:
    """(B, values + 1) int64: where the interval of each value begins; the last is the total."""
    sums = belief @ table.T.astype(np.float64)
    exponent = np.frexp(sums[:, -1:])[1] - 1
    return np.floor(np.ldexp(sums, TOTAL - exponent)).astype(np.int64)


class Writing:
    """Writes a stream for each image."""

    def __init__(self, coders: Sequence[CumulativeEncoder]) -> None:
        self.coders = coders

    def code(self, table: np.ndarray, belief: np.ndarray, values: np.ndarray | None = None) -> np.ndarray:
        assert values is not None
        values = values.astype(np.int64)
        rows = np.arange(len(values))
        starts = cumulative(table, belief)
        for coder, start, end, total in zip(self.coders, starts[rows, values].tolist(),
                                            starts[rows, values + 1].tolist(), starts[:, -1].tolist(), strict=True):
            coder.encode(start, end - start, total)
        return values


class Reading:
    """Reads what `Writing` wrote."""

    def __init__(self, coders: Sequence[CumulativeDecoder]) -> None:
        self.coders = coders

    def code(self, table: np.ndarray, belief: np.ndarray, values: np.ndarray | None = None) -> np.ndarray:
        starts = cumulative(table, belief)
        found = np.empty(len(belief), np.int64)
        for row, (coder, start) in enumerate(zip(self.coders, starts, strict=True)):
            found[row] = np.searchsorted(start, coder.wanted(int(start[-1])), side="right") - 1
            coder.take(int(start[found[row]]), int(start[found[row] + 1] - start[found[row]]))
        return found


class Measuring:
    """Adds up what images cost. bits: (B,) float64."""

    def __init__(self, count: int) -> None:
        self.bits = np.zeros(count)

    def code(self, table: np.ndarray, belief: np.ndarray, values: np.ndarray | None = None) -> np.ndarray:
        assert values is not None
        values = values.astype(np.int64)
        rows, starts = np.arange(len(values)), cumulative(table, belief)
        self.bits += np.log2(starts[:, -1]) - np.log2(starts[rows, values + 1] - starts[rows, values])
        return values


def encode(circuit: FrozenCircuit, steps: np.ndarray, images: np.ndarray, streams: int) -> list[bytes]:
    """uint8 (images, variables) → `streams` streams, no more than there are images."""
    images = np.ascontiguousarray(images, np.uint8)
    if images.ndim != 2 or images.shape[1] != len(circuit.tree.owner) or not 1 <= streams <= max(1, len(images)) \
            or images.max(initial=0) >= circuit.values:
        raise UsageError(f"images {images.shape}, up to {images.max(initial=0)}, in {streams} streams: this circuit "
                         f"has {len(circuit.tree.owner)} variables of {circuit.values} values; an image is in one "
                         "stream")

    def some(part: slice) -> list[bytes]:
        near, count = images[_rows(len(images), streams, part)], part.stop - part.start
        if _compiled is not None:
            return _compiled.encode(steps, circuit.leaf, circuit.transition, circuit.root, len(circuit.tree.owner),
                                    circuit.values, near, count)
        coders = [CumulativeEncoder() for _ in range(count)]
        for at in range(0, len(near), count):
            row = near[at:at + count]
            walk(Writing(coders[:len(row)]), circuit, steps, len(row), row)
        return [coder.finish() for coder in coders]

    return [stream for part in _each(some, streams) for stream in part]


def decode(circuit: FrozenCircuit, steps: np.ndarray, streams: Sequence[bytes | memoryview], count: int) -> np.ndarray:
    """The inverse of `encode`: uint8 (count, variables), 0 where nothing was coded. Raises BitstreamError."""
    out = np.zeros((count, len(circuit.tree.owner)), np.uint8)

    def some(part: slice) -> None:
        mine, rows = streams[part], _rows(count, len(streams), part)
        near = np.zeros((len(rows), out.shape[1]), np.uint8)
        if _compiled is not None:
            ends = np.cumsum([len(stream) for stream in mine], dtype=np.int64)
            bounds = np.stack([np.concatenate([[0], ends[:-1]]), ends], 1)
            broken = _compiled.decode(steps, circuit.leaf, circuit.transition, circuit.root, len(circuit.tree.owner),
                                      circuit.values, b"".join(mine), bounds, near)
            if broken >= 0:
                raise damaged(len(mine[broken]))
        else:
            coders = [CumulativeDecoder(bytes(stream)) for stream in mine]
            for at in range(0, len(rows), len(mine)):
                row = near[at:at + len(mine)]
                row[:] = walk(Reading(coders[:len(row)]), circuit, steps, len(row))
            for coder in coders:
                coder.finish()
        out[rows] = near

    _each(some, len(streams))
    return out


def _rows(images: int, streams: int, part: slice) -> np.ndarray:
    """The images of some of the streams, in order."""
    return np.flatnonzero((np.arange(images) % streams >= part.start) & (np.arange(images) % streams < part.stop))


def _each(function: Callable[[slice], Any], streams: int) -> list[Any]:
    """A function's results for sixteen streams at a time, side by side."""
    parts = [slice(at, min(at + STEP, streams)) for at in range(0, streams, STEP)]
    if len(parts) == 1:
        return [function(parts[0])]
    with ThreadPoolExecutor(min(len(parts), os.cpu_count() or 1)) as pool:
        return list(pool.map(function, parts))
