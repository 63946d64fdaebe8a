"""Softmax in integers: the probabilities of K symbols, made of logits on the fly, alike on every machine.

A frozen table cannot hold what a network says of a symbol of a large alphabet. So its counts are made
while coding, of logits that an exact network gives (see `exact`), by integer arithmetic alone:

    logit       in doublings, to the nearest sixteenth, halves up; -512 to 512
    weight      2^(20 - (largest - logit)), rounded down: a look-up of the sixteenths, and a shift
    start of k  k + floor(weights before k · ratio / 2^32)     ratio = floor((2^p - K) · 2^32 / all weights)

so every symbol has a count of at least 1, counts sum to 2^p, and no symbol owns them all. A context is a
float32 array (..., K), a value one of 0 … K - 1 for each row of it. With K = 1 nothing is written.

`FrozenSoftmax` is what coders take; there is nothing in it but p, so nothing is saved with weights.
`densities.Softmax` is the same in training, for a `Meter`.

Guarantees: C and NumPy make the same integers, and the stream is that of `rans`, in which these symbols
stand between those of tables. Any bytes may be read: what comes out are symbols or a BitstreamError.
"""

from __future__ import annotations

import os
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from enfold.entropy.tables import as_int32
from enfold.errors import UsageError

if TYPE_CHECKING:
    from enfold.entropy.rans import RansDecoder, RansEncoder

try:
    if os.environ.get("ENFOLD_NO_C"):
        raise ImportError("asked for")
    from enfold.entropy import _softmax as _compiled  # type: ignore[attr-defined]
except ImportError:
    _compiled = None

PRECISION = 16
UNITS = 16                      # steps of a logit for each doubling
FARTHEST = 512 * UNITS
TOP_BITS = 20                   # of the largest weight
# 2^(20 - f / 16), rounded
STEPS = np.array([1048576, 1004120, 961548, 920782, 881744, 844361, 808563, 774282, 741455, 710020, 679917, 651091,
                  623487, 597053, 571740, 547500], np.uint32)
_MOST_SHIFT = 31


@dataclass(frozen=True)
class FrozenSoftmax:
    """A density of the values 0 … K - 1 whose context is their logits, float32 (..., K), in doublings."""

    precision: int = PRECISION

    def __post_init__(self) -> None:
        if not 8 <= self.precision <= 16:
            raise UsageError(f"precision of {self.precision} bits: counts have 8 to 16")

    def intervals(self, context: np.ndarray, values: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """(start, count), uint32 of the shape of `values`: the interval of each, out of 2^precision."""
        rows, values = _rows(context, self.precision), as_int32("values", values)
        if context.shape[:-1] != values.shape:
            raise UsageError(f"values of shape {values.shape} under logits of shape {context.shape}")
        start, count = np.empty(values.shape, np.uint32), np.empty(values.shape, np.uint32)
        if _compiled is not None and rows.shape[1] > 1:
            known = _compiled.intervals(rows, rows.shape[1], STEPS, self.precision, values, start, count)
        else:
            known = not values.size or 0 <= values.min() <= values.max() < rows.shape[1]
            if known:
                edges, flat = _edges(rows, self.precision), values.reshape(-1)
                at = np.arange(len(flat))
                start.reshape(-1)[:] = edges[at, flat]
                count.reshape(-1)[:] = edges[at, flat + 1] - edges[at, flat]
        if not known:
            raise UsageError(f"values from {values.min()} to {values.max()} under {rows.shape[1]} logits: they are "
                             f"numbers from 0 to {rows.shape[1] - 1}")
        return start, count

    def encode(self, coder: RansEncoder, context: np.ndarray, values: np.ndarray) -> None:
        """Writes values of the context's shape less its last axis. Raises UsageError under a sequential coder."""
        start, count = self.intervals(context, values)
        if context.shape[-1] > 1:
            _bulk(coder, "encode_intervals")(start, count, self.precision)

    def decode(self, coder: RansDecoder, context: np.ndarray) -> np.ndarray:
        """Reads int32 values of the context's shape less its last axis."""
        rows = _rows(context, self.precision)
        values = np.zeros(context.shape[:-1], np.int32)
        if rows.shape[1] > 1:
            def read(data: bytes, offset: int, states: np.ndarray) -> int:
                if _compiled is not None:
                    return _compiled.decode(rows, rows.shape[1], STEPS, self.precision, values, data, offset, states)
                return _decode(rows, self.precision, values.reshape(-1), data, offset, states)

            _bulk(coder, "advance")(read)
        return values

    def quantise(self, context: np.ndarray, values: np.ndarray, price: float) -> np.ndarray:
        """For `values` (..., K), what error each symbol would make: those of least error plus price · bits, int32.

        The context's last axis is that of the values; what all of a row's symbols cost alike does not matter.
        """
        if values.shape != context.shape:
            raise UsageError(f"errors of shape {values.shape} under logits of shape {context.shape}")
        return (values - np.float32(price) * context).argmin(-1).astype(np.int32)

    def locate(self, context: np.ndarray) -> tuple[np.ndarray, int]:
        """(units, 0): what of the context counts, int32 of its shape: logits in sixteenths."""
        return _units(context), 0


def _bulk(coder: Any, method: str) -> Any:
    if not hasattr(coder, method):
        raise UsageError(f'{type(coder).__name__} codes by tables alone: use the byte coder "bulk"')
    return getattr(coder, method)


def _rows(context: np.ndarray, precision: int) -> np.ndarray:
    """Logits as contiguous float32 (n, K)."""
    if context.ndim < 1 or not 1 <= context.shape[-1] < 1 << precision:
        raise UsageError(f"logits of shape {context.shape}: the last axis has 1 to {(1 << precision) - 1} symbols")
    return np.ascontiguousarray(context, np.float32).reshape(-1, context.shape[-1])


def _edges(rows: np.ndarray, precision: int) -> np.ndarray:
    """int64 (n, K + 1): where each symbol's interval begins, and 2^precision."""
    symbols = rows.shape[1]
    units = _units(rows)
    less = units.max(1, keepdims=True) - units
    weights = STEPS[less % UNITS] >> np.minimum(less // UNITS, _MOST_SHIFT).astype(np.uint32)
    before = np.zeros((len(rows), symbols + 1), np.uint64)
    np.cumsum(weights, 1, dtype=np.uint64, out=before[:, 1:])
    ratio = np.uint64(((1 << precision) - symbols) << 32) // before[:, -1:]
    edges = np.arange(symbols + 1) + (before * ratio >> np.uint64(32)).astype(np.int64)
    edges[:, -1] = 1 << precision
    return edges


def _decode(rows: np.ndarray, precision: int, values: np.ndarray, data: bytes, offset: int, states: np.ndarray) -> int:
    """As the C kernel's: see `rans` for the stream."""
    from enfold.entropy.loops import EXHAUSTED, FLOOR

    x, edges = states.tolist(), _edges(rows, precision)
    for j, row in enumerate(edges):
        k, slot = j % len(x), x[j % len(x)] & (1 << precision) - 1
        symbol = int(np.searchsorted(row, slot, side="right")) - 1
        start = int(row[symbol])
        x[k] = (int(row[symbol + 1]) - start) * (x[k] >> precision) + slot - start
        if x[k] < FLOOR:
            if offset + 2 <= len(data):
                x[k] = x[k] << 16 | data[offset] | data[offset + 1] << 8
                offset += 2
            elif len(x) > 1:
                return EXHAUSTED
        values[j] = symbol
    states[:] = x
    return offset


def _units(logits: np.ndarray) -> np.ndarray:
    return np.floor(logits * np.float32(UNITS) + np.float32(0.5)).clip(-FARTHEST, FARTHEST).astype(np.int32)
