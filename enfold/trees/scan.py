"""Coding pictures sample by sample with a circuit whose leaves are placed by what surrounds each sample.

    surroundings ── four experts ──┬── centres: the best of all four, expert 3, expert 0
                                   │        ╲
    unrest, texture, other planes ─┴─ gate ── sum node: 3 centres × 16 widths, each a bell over the values
                                        ▲                                │
                                        └── posterior of the parts ──────┴── interval ── range coder

The model of a sample is a shallow circuit: one sum node over 48 leaves. A leaf is a bell (logistic, 16
widths from 0.35 to 63) around a guess of `surroundings`; the sum node's weights are those of the sample's
context, one of 256: how wrong guesses were around, whether they agree, whether there is an edge, how wrong
the guess was for the planes before at the very place. Weights begin as they were learned from
photographs by EM and go on learning as the picture is coded: each moves by a sixteenth towards the
posterior of its part. It is this, and the weights of the experts, that adapts; the circuit gives what a
mixture gives and no single table has: a distribution that is exact, cheap to sum up to any value, and
learned by counting.

Planes come one after the other: green, red less green, blue less green, so the bounds of the latter two
at a sample are known from the first, and nothing is spent beyond them.

Exact: all numbers are integers (see `surroundings` for the experts).

    table     bells cumulated at eighths of a value, 0 … 2^16
    weights   below 2^22 for all parts together; >> 8 and + 1 in the interval
    interval  sums of weight · table, below 2^31, and 2^8 for each value: none costs more than 23 bits

One description codes in both directions: `_plane` asks a coder. The C kernel does the same, a thousand
times faster. NumPy only.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Protocol

import numpy as np

from enfold.entropy.cumulative import CumulativeDecoder, CumulativeEncoder, damaged
from enfold.errors import UsageError
from enfold.trees.surroundings import BLOCK, EXPERTS, PAD, N, Sums, taps

try:
    if os.environ.get("ENFOLD_NO_C"):
        raise ImportError("asked for")
    from enfold.trees import _scan as _compiled  # type: ignore[attr-defined]
except ImportError:
    _compiled = None

SCALES, CENTRES, FAR = 16, 3, 2048
PARTS, CONTEXTS, LEVELS, BIASES = SCALES * CENTRES, 256, 31, 704
WHOLE = 1 << 22             # weights of a context
FLOOR, RATE, FINAL = 256, 4, EXPERTS
NEAR = ((0, -1, 4), (-1, 0, 4), (-1, 1, 2), (-1, -1, 2), (0, -2, 2), (-2, 0, 2), (-1, 2, 1), (-1, -2, 1))
AROUND = ((0, -1, 20), (-1, 0, 20), (-1, 1, 12), (-1, -1, 12), (0, -2, 10), (-2, 0, 10), (-1, 2, 6), (-1, -2, 6),
          (-2, 1, 5), (-2, -1, 5))
_SHAPES = {"table": ((2 * FAR + 1, SCALES), np.int32), "gates": ((3, CONTEXTS, PARTS), np.int32),
           "levels": ((LEVELS,), np.int64), "start": ((3, N, N + 1), np.int64)}


@dataclass(frozen=True, eq=False)
class ScanModel:
    """table: of the bells. gates: each plane's contexts' weights. levels: of unrest, ascending. start: of the sums."""

    table: np.ndarray
    gates: np.ndarray
    levels: np.ndarray
    start: np.ndarray

    @classmethod
    def from_arrays(cls, arrays: Mapping[str, np.ndarray]) -> ScanModel:
        """From a model file's arrays. Raises UsageError on anything that the arithmetic has no room for."""
        found = {name: np.ascontiguousarray(arrays[name]) for name in _SHAPES}
        for name, (shape, dtype) in _SHAPES.items():
            if found[name].shape != shape or found[name].dtype != dtype:
                raise UsageError(f"{name} of a scan is {found[name].dtype}{found[name].shape}, not {dtype}{shape}")
        table, gates, start = found["table"], found["gates"], found["start"]
        if table.min() < 0 or table.max() > 1 << 16 or (np.diff(table, axis=0) < 0).any() or gates.min() < 0 \
                or gates.sum(2).max() > WHOLE + PARTS or (np.diff(found["levels"]) < 0).any() \
                or np.abs(start).max() > 1 << 40 or start.diagonal(axis1=1, axis2=2).min() < 0:
            raise UsageError("tables of a scan that are out of bounds: bells ascend from 0 to 2^16, a context's "
                             "weights sum to 2^22, levels ascend, sums begin below 2^40")
        return cls(**found)

    @property
    def _arrays(self) -> tuple[np.ndarray, ...]:
        return self.table, self.gates, self.levels, self.start


def encode(model: ScanModel, samples: np.ndarray, counted: np.ndarray | None = None,
           moments: np.ndarray | None = None) -> bytes:
    """uint8 (1 or 3, H, W), green first, → a stream.

    counted, moments: for learning, int64 of the shapes of gates and start: posteriors and sums are added to them.
    """
    samples = np.ascontiguousarray(samples, np.uint8)
    if samples.ndim != 3 or samples.shape[0] not in (1, 3) or not samples.size:
        raise UsageError(f"samples of shape {samples.shape}: they are (1 or 3, H, W)")
    if _compiled is not None:
        none = np.empty(0, np.int64)
        return _compiled.encode(*model._arrays, samples, *samples.shape, none if counted is None else counted,
                                none if moments is None else moments)
    if counted is not None:
        raise UsageError("learning needs the C extension: install enfold with a compiler at hand")
    coder = CumulativeEncoder()
    _scan(model, Writing(coder), samples.shape, samples)
    return coder.finish()


def decode(model: ScanModel, stream: bytes, shape: tuple[int, int, int]) -> np.ndarray:
    """The inverse of `encode`. Raises BitstreamError."""
    if _compiled is not None:
        out = np.zeros(shape, np.uint8)
        if not _compiled.decode(*model._arrays, stream, out, *shape):
            raise damaged(len(stream))
        return out
    coder = CumulativeDecoder(stream)
    out = _scan(model, Reading(coder), shape)
    coder.finish()
    return out


class ValueCoder(Protocol):
    """What a plane talks to: codes a value from low to high whose cumulative counts `below` gives."""

    def code(self, below: Below, value: int | None) -> int: ...


class Below:
    """Cumulative counts of a sample: `below(x)` is that of all values from low to x - 1."""

    def __init__(self, table: np.ndarray, gate: np.ndarray, centres: list[int], low: int, high: int) -> None:
        self.low, self.high = low, high
        self.weight = ((gate >> 8) + 1).reshape(CENTRES, SCALES).astype(np.int64)
        self._table, self._offset = table, FAR - 4 - np.array(centres)
        self._first = self._sum(low)
        self.guess = min(max(centres[0] + 4 >> 3, low), high)

    def __call__(self, value: int) -> int:
        return self._sum(value) - self._first + FLOOR * (value - self.low)

    def rows(self, value: int) -> np.ndarray:
        """(CENTRES, SCALES) the bells up to a value."""
        return self._table[8 * value + self._offset]

    def _sum(self, value: int) -> int:
        return int((self.weight * self.rows(value)).sum())


class Writing:
    def __init__(self, coder: CumulativeEncoder) -> None:
        self._coder = coder

    def code(self, below: Below, value: int | None) -> int:
        assert value is not None
        start = below(value)
        self._coder.encode(start, below(value + 1) - start, below(below.high + 1))
        return value


class Reading:
    def __init__(self, coder: CumulativeDecoder) -> None:
        self._coder = coder

    def code(self, below: Below, value: int | None) -> int:
        total = below(below.high + 1)
        wanted = self._coder.wanted(total)
        least, beyond, start, end = below.low, below.high + 1, 0, total
        probe, step = below.guess, 1
        while beyond - least > 1:               # outwards from the guess, then by halves
            probe = min(max(probe, least + 1), beyond - 1)
            here = below(probe)
            if here <= wanted:
                least, start = probe, here
                probe = probe + step if beyond > below.high else (least + beyond) // 2
            else:
                beyond, end = probe, here
                probe = probe - step if least == below.low else (least + beyond) // 2
            step *= 2
        self._coder.take(start, end - start)
        return least


def _scan(model: ScanModel, coder: ValueCoder, shape: tuple[int, ...], samples: np.ndarray | None = None) -> np.ndarray:
    channels, height, width = shape
    planes = np.zeros((channels, height + 2 * PAD, width + 2 * PAD), np.int64)
    errors = np.zeros((channels, height + 2 * PAD, width + 2 * PAD, EXPERTS + 1), np.int64)
    inner = np.s_[PAD:PAD + height, PAD:PAD + width]
    for p in range(channels):
        values = None if samples is None else samples[p].astype(np.int64) - (planes[0][inner] if p else 0)
        _plane(model, coder, p, planes, errors, values)
    out = planes[(slice(None), *inner)].copy()
    out[1:] += out[:1]
    return out.astype(np.uint8)


def _edge(plane: np.ndarray, y: int) -> None:
    """Beside a row stands what the row above it ends in."""
    plane[y, :PAD], plane[y, -PAD:] = plane[y - 1, PAD], plane[y - 1, -PAD - 1]


def _plane(model: ScanModel, coder: ValueCoder, p: int, planes: np.ndarray, errors: np.ndarray,
           values: np.ndarray | None) -> None:
    """Codes plane p, writing it into `planes`, and what guesses missed, in eighths, into `errors`."""
    plane, missed = planes[p], errors[p]
    height, width = plane.shape[0] - 2 * PAD, plane.shape[1] - 2 * PAD
    of, down, right = np.array(taps(p)).T
    sums = Sums(len(of), -(-width // BLOCK), model.start[p])
    gates = model.gates[p].astype(np.int64)
    bias, biased = [0] * BIASES, [0] * BIASES
    near, around = np.array(NEAR), np.array(AROUND)
    plane[:PAD] = 0 if p else 128
    for y in range(PAD, PAD + height):
        _edge(plane, y)
        for x in range(PAD, PAD + width):
            block, column = divmod(x - PAD, BLOCK)
            if not column:
                weights = sums.weights(y - PAD, block)
                now = np.zeros((2, len(of), len(of) + 1), np.int64)
            low = -int(planes[0, y, x]) if p else 0
            high, base = low + 255, int(plane[y, x - 1])
            tap = np.clip(planes[of, y + down, x + right] - planes[of, y, x - 1], -511, 511)
            odd = (x - PAD) % 2
            guess = np.clip(8 * base + (weights[[0, 1, 2, 3 + odd]] @ tap >> 13), 8 * low, 8 * high).tolist()
            # experts by how they fared around here
            wrong = (64 + (missed[y + near[:, 0], x + near[:, 1], :EXPERTS] ** 2 * near[:, 2:]).sum(0)).tolist()
            trust = [((min(wrong) << 12) // one) ** 2 for one in wrong]
            middle = sum(t * (g + 4096) for t, g in zip(trust, guess, strict=True)) // sum(trust) - 4096
            unrest = int(np.abs(missed[y + around[:, 0], x + around[:, 1], FINAL]) @ around[:, 2])
            unrest += 21 * sum(abs(g - middle) for g in guess)
            level = int(np.searchsorted(model.levels, unrest, side="right"))
            north, corner, east = (int(plane[y - 1, x + k]) for k in (0, -1, 1))
            context = level * 8 + (848 * (abs(base - corner) + abs(north - corner)) > unrest + 1696)
            if p:
                before = abs(int(errors[0, y, x, FINAL]))
                before = (before * 13 >> 6) + abs(int(errors[1, y, x, FINAL])) if p > 1 else before
                context += 2 * ((before >= 5) + (before >= 12) + (before >= 30))
            signs = (8 * base > middle, 8 * north > middle, 8 * east > middle, 8 * corner > middle,
                     missed[y, x - 1, FINAL] > 0, missed[y - 1, x, FINAL] > 0)
            slant = level // 3 * 64 + sum(int(sign) << k for k, sign in enumerate(signs))
            mean = abs(bias[slant]) // (biased[slant] + 8) * (1 if bias[slant] > 0 else -1)
            best = min(max(middle + mean, 8 * low), 8 * high)
            below = Below(model.table, gates[context], [best, guess[3], guess[0]], low, high)
            value = coder.code(below, None if values is None else int(values[y - PAD, x - PAD]))
            _learn(gates[context], below, value)
            plane[y, x] = value
            missed[y, x, :EXPERTS], missed[y, x, FINAL] = 8 * value - np.array(guess), 8 * value - best
            bias[slant] += 8 * value - middle
            biased[slant] += 1
            if biased[slant] > 64:
                bias[slant], biased[slant] = bias[slant] >> 1, biased[slant] >> 1
            quiet = unrest * unrest + 7191040
            worth = min(max((230113280 + quiet // 2) // quiet, 1), 32)
            now[odd] += worth * np.outer(tap, np.append(tap, value - base))
            if column == BLOCK - 1 or x == PAD + width - 1:
                sums.follow(y - PAD, block, now)
    for y in range(PAD + height, PAD + height + 2):     # other planes look a row ahead
        _edge(plane, y)
        plane[y, PAD:-PAD] = plane[PAD + height - 1, PAD:-PAD]


def _learn(gate: np.ndarray, below: Below, value: int) -> None:
    """A context's weights move towards what the value says of its parts."""
    seen = (below.weight * (below.rows(value + 1) - below.rows(value))).reshape(-1)
    total = int(seen.sum())
    if total:
        gate += ((seen * ((1 << 47) // total) >> 25) - gate) >> RATE
