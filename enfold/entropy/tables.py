"""Frozen integer tables: what an entropy coder is allowed to know of a probability.

A `Tables` is a set of T tables. Each gives every integer of its support a count out of
2^precision, and one count more, the last, to an escape:

    value     low   low+1   ...   low+size-1   escape
    count      c0      c1   ...     c[size-1]   c[size]      summing to 2^precision

What it guarantees:

1. Every in-support value has a count of at least 1, so it can be coded.
2. A value out of support is coded through the escape, which has a count of at least 1 and is
   followed by the overshoot itself (8 bits for every 7 of it): nothing is clipped.
3. The counts of a table sum to exactly 2^precision.
4. No table is degenerate: no symbol owns the whole range, so no count exceeds 2^precision - 1.

They hold however a `Tables` was made, from probabilities or from a file. Tables are made once,
when a model is frozen, and saved with its weights; nothing rebuilds them from floats.
NumPy only.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property, lru_cache

import numpy as np

from enfold.errors import UsageError

PRECISION = 14
COST_UNITS = 1 << 30            # costs are summed as integers, in units of 2^-30 bit
BUCKET = 4                      # slots that share an entry of the look-up that decodes
NEVER = 2**16 - 1               # a slot that no slot exceeds
RECIPROCAL = np.dtype([("reciprocal", "<u8"), ("bias", "<u4"), ("count", "<u2"), ("rest", "<u2")])


@dataclass(frozen=True, eq=False)
class Tables:
    """T tables of one precision.

    precision:  bits; every table sums to 2^precision. 8 to 16.
    low:        (T,) int32, the smallest in-support value of each table.
    size:       (T,) int32, how many values are in support, at least 1.
    counts:     (sum(size + 1),) uint16, the tables' counts one after the other, escapes last.
    Raises UsageError where one of the module's four guarantees would not hold.
    """

    precision: int
    low: np.ndarray
    size: np.ndarray
    counts: np.ndarray

    def __post_init__(self) -> None:
        precision = int(self.precision)
        if not 8 <= precision <= 16:
            raise UsageError(f"precision of {precision} bits: tables have 8 to 16")
        low, size = _integers("low", self.low, np.int32), _integers("size", self.size, np.int32)
        counts = _integers("counts", self.counts, np.uint16)
        if not len(low) or len(low) != len(size):
            raise UsageError(f"{len(low)} lows and {len(size)} sizes: each table, of at least one, "
                             "has one of both")
        if size.min() < 1 or size.max() >= 1 << precision:
            raise UsageError(f"tables of {size.min()} to {size.max()} values: {precision} bits allow "
                             f"1 to {(1 << precision) - 1}")
        if (low.astype(np.int64) + size > 1 << 31).any():
            raise UsageError("a table's support ends beyond the largest 32-bit integer")
        first = np.concatenate([[0], np.cumsum(size + np.int64(1))])
        if first[-1] != len(counts) or first[-1] >= 1 << 31:
            raise UsageError(f"{len(counts)} counts: the sizes, with an escape each, ask for {first[-1]}")
        if counts.min() < 1:
            raise UsageError("a count of 0: every value in support, and the escape, needs at least 1")
        sums = np.add.reduceat(counts, first[:-1], dtype=np.int64)
        if (sums != 1 << precision).any():
            bad = int(np.flatnonzero(sums != 1 << precision)[0])
            raise UsageError(f"counts of table {bad} sum to {sums[bad]} and not to 2^{precision}")
        for name, value in (("precision", precision), ("low", low), ("size", size), ("counts", counts)):
            object.__setattr__(self, name, value)

    def __len__(self) -> int:
        return len(self.low)

    @classmethod
    def from_probabilities(cls, probabilities: Sequence[np.ndarray], lows: Sequence[int],
                           precision: int = PRECISION) -> Tables:
        """Tables nearest to given distributions, in Kullback-Leibler divergence.

        probabilities: one array for each table, of the values low, low + 1, ...; what a sum
        lacks to 1 is the escape's. Deterministic: equal cells get the odd count in order.
        """
        if len(probabilities) != len(lows):
            raise UsageError(f"{len(probabilities)} distributions and {len(lows)} lows: give one each")
        rows = [_with_escape(np.asarray(row, np.float64), number, precision)
                for number, row in enumerate(probabilities)]
        counts = [_nearest_counts(row, 1 << precision) for row in rows]
        return cls(precision, np.asarray(lows), np.array([len(row) - 1 for row in rows]),
                   np.concatenate(counts) if counts else np.zeros(0, np.uint16))

    # --- cost ---------------------------------------------------------------------------------

    @property
    def entropy_bits(self) -> np.ndarray:
        """(T,) float64: the mean cost of symbols drawn from each table, escapes' payload excluded."""
        share = self.counts / (1 << self.precision)
        return np.add.reduceat(share * self.cell_cost / COST_UNITS, self.first)

    def cost_bits(self, index: np.ndarray, values: np.ndarray) -> np.ndarray:
        """Exact cost in bits, float64, of each of `values` under the tables `index`, payload included."""
        index, values = np.broadcast_arrays(index, values)
        cells, escaped = self.cells(index, values)
        payload = 8 * payload_bytes(self.overshoot(index, values))
        return self.cell_cost[cells] / COST_UNITS + np.where(escaped, payload, 0)

    def cells(self, index: np.ndarray, values: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Position in `counts` of each value's symbol, and a mask of those that are escapes."""
        if index.size and not 0 <= index.min() <= index.max() < len(self):
            raise UsageError(f"table indices {index.min()} to {index.max()}: there are {len(self)} tables")
        symbol, size = values.astype(np.int64) - self.low[index], self.size[index]
        escaped = (symbol < 0) | (symbol >= size)
        return self.first[index] + np.where(escaped, size, symbol), escaped

    def overshoot(self, index: np.ndarray, values: np.ndarray) -> np.ndarray:
        """How far values are out of support: even numbers above (0, 2, ...), odd ones below (1, 3, ...)."""
        symbol, size = values.astype(np.int64) - self.low[index], self.size[index]
        return np.where(symbol < 0, -2 * symbol - 1, 2 * (symbol - size)).astype(np.uint64)

    # --- what the coders look up, made once ---------------------------------------------------

    @cached_property
    def first(self) -> np.ndarray:
        """(T,) int64: where each table begins in `counts`."""
        return np.concatenate([[0], np.cumsum(self.size + np.int64(1))[:-1]])

    @cached_property
    def start(self) -> np.ndarray:
        """(cells,) int64: cumulative count before each cell, from 0 in every table."""
        total = np.cumsum(self.counts, dtype=np.int64) - self.counts
        return total - np.arange(len(self)).repeat(self.size + 1) * (1 << self.precision)

    @cached_property
    def cell_cost(self) -> np.ndarray:
        """(cells,) uint64: -log2 of each cell's probability, in units of 2^-30 bit."""
        return np.rint((self.precision - np.log2(self.counts, dtype=np.float64)) * COST_UNITS).astype(np.uint64)

    @cached_property
    def spans(self) -> np.ndarray:
        """(T, 4) int32: low, first, size, and where the table begins in `shares`."""
        share = self.first + (BUCKET - 1) * np.arange(len(self))
        return np.stack([self.low, self.first, self.size, share], 1).astype(np.int32)

    @cached_property
    def buckets(self) -> np.ndarray:
        """(T · 2^precision / 4,) uint16: the symbol that owns the first of every 4 slots.

        To decode: a slot's own symbol is at most 3 further. One entry a slot would be quicker as
        long as the cache held them; 160 tables of 14 bits would take 5 MB.
        """
        symbol = np.arange(len(self.counts)) - self.first.repeat(self.size + 1)
        return np.ascontiguousarray(symbol.astype(np.uint16).repeat(self.counts)[::BUCKET])

    @cached_property
    def shares(self) -> np.ndarray:
        """(cells + 3 T, 2) uint16: count, and the last slot before the cell, modulo 2^16. To decode.

        After each table come 3 cells that no slot exceeds, so that a search needs no other end.
        """
        shares = np.full((len(self.counts) + (BUCKET - 1) * len(self), 2), NEVER, np.uint16)
        cells = np.arange(len(self.counts)) + (BUCKET - 1) * np.arange(len(self)).repeat(self.size + 1)
        shares[cells] = np.stack([self.counts, (self.start - 1).astype(np.uint16)], 1)
        return shares

    @cached_property
    def reciprocals(self) -> np.ndarray:
        """(cells,) records for the encoder: see the function of this name."""
        return reciprocals(self.start, self.counts, self.precision)

    # --- storage ------------------------------------------------------------------------------

    def to_arrays(self, prefix: str = "") -> dict[str, np.ndarray]:
        """Plain arrays, for safetensors or npz."""
        return {f"{prefix}precision": np.array([self.precision], np.uint8), f"{prefix}low": self.low,
                f"{prefix}size": self.size, f"{prefix}counts": self.counts}

    @classmethod
    def from_arrays(cls, arrays: Mapping[str, np.ndarray], prefix: str = "") -> Tables:
        """The inverse of `to_arrays`. Raises UsageError on anything inconsistent."""
        names = [prefix + name for name in ("precision", "low", "size", "counts")]
        missing = [name for name in names if name not in arrays]
        if missing:
            raise UsageError(f"tables without {', '.join(missing)}: found {', '.join(sorted(arrays)) or 'nothing'}")
        precision, low, size, counts = (np.asarray(arrays[name]) for name in names)
        if precision.size != 1 or precision.dtype.kind not in "iu":
            raise UsageError(f"{names[0]} of shape {precision.shape}, {precision.dtype}: expected one integer")
        return cls(int(precision.reshape(())), low, size, counts)


def reciprocals(start: np.ndarray, count: np.ndarray, precision: int) -> np.ndarray:
    """(cells,) records that turn the encoder's division into a multiplication, of cells out of 2^precision.

    x // count == x * reciprocal >> 64 for x < 2^40, as reciprocal = ceil(2^64 / count) is
    less than 1 too large and count < 2^16. A count of 1 would need 2^64: it gets 2^64 - 1,
    hence a quotient that is 1 too small (x > 0 always), and a bias that makes up for it.
    """
    cells = np.zeros(len(count), RECIPROCAL)
    rest = (1 << precision) - count.astype(np.int64)
    largest = np.uint64(2**64 - 1)
    single = count == 1
    cells["reciprocal"] = np.where(single, largest, largest // count.astype(np.uint64) + np.uint64(1))
    cells["bias"] = start + np.where(single, rest, 0)
    cells["count"], cells["rest"] = count, rest
    return cells


def payload_bytes(overshoot: np.ndarray) -> np.ndarray:
    """Bytes that follow an escape: one for every 7 bits of the overshoot, at least one."""
    more = [overshoot >= np.uint64(1 << bits) for bits in (7, 14, 21, 28)]
    return 1 + np.sum(more, 0, dtype=np.int64)


def as_int32(name: str, array: np.ndarray) -> np.ndarray:
    """`array` as contiguous, aligned int32, not copied if it is that. Raises UsageError if it cannot be."""
    array = np.asarray(array)
    if array.dtype == np.int32 and array.flags.carray:
        return array
    if array.size and not np.can_cast(array.dtype, np.int32):
        _check_range(name, array, np.int32)
    return np.require(array, np.int32, ["C", "A"])


def _integers(name: str, array: np.ndarray, dtype: type) -> np.ndarray:
    """A private, read-only, one-dimensional copy, refused if `dtype` cannot hold it."""
    array = np.asarray(array)
    if array.ndim != 1:
        raise UsageError(f"{name} of shape {array.shape}: expected one row")
    if array.size:
        _check_range(name, array, dtype)
    array = array.astype(dtype)
    array.setflags(write=False)
    return array


def _check_range(name: str, array: np.ndarray, dtype: type) -> None:
    limits: np.iinfo = np.iinfo(dtype)
    if array.dtype.kind not in "iu":
        raise UsageError(f"{name} of dtype {array.dtype}: expected integers")
    if not limits.min <= int(array.min()) <= int(array.max()) <= limits.max:
        raise UsageError(f"{name} from {array.min()} to {array.max()}: expected {limits.min} to {limits.max}")


def _with_escape(row: np.ndarray, number: int, precision: int) -> np.ndarray:
    if row.ndim != 1 or not 1 <= len(row) < 1 << precision:
        raise UsageError(f"distribution {number} of shape {row.shape}: {precision} bits allow a row of "
                         f"1 to {(1 << precision) - 1} probabilities")
    total = row.sum()
    if not np.isfinite(total) or row.min() < 0 or total > 1 + 1e-6:
        raise UsageError(f"distribution {number} sums to {total}, its least value is {row.min()}: "
                         "probabilities are at least 0 and sum to at most 1")
    return np.append(row, max(0.0, 1.0 - total))


def _nearest_counts(row: np.ndarray, total: int) -> np.ndarray:
    """Counts of at least 1 that sum to `total` and minimise the cost -sum(row * log(counts)).

    A count is worth raising from c - 1 to c while that gains row * log(c / (c - 1)) >= price, so
    at a given price each count is known; bisect the price, then give what ties left over.
    """
    row = np.maximum(row, 1e-300)

    def counts_at(price: float) -> np.ndarray:
        return np.maximum(np.floor(1 / -np.expm1(-price / row)), 1).astype(np.int64)

    dear, cheap = 1.0, 0.25 / total
    for _ in range(60):
        price = (dear * cheap) ** 0.5
        if counts_at(price).sum() > total:
            cheap = price
        else:
            dear = price
    counts = counts_at(dear)
    gain = row * np.log1p(1 / counts)
    counts[np.argsort(-gain, kind="stable")[:total - counts.sum()]] += 1
    return counts.astype(np.uint16)


def interval_cost(count: np.ndarray, precision: int) -> int:
    """What intervals of such counts out of 2^precision cost, in units of 2^-30 bit."""
    return int(_costs()[count].sum()) + (precision - 16) * COST_UNITS * count.size


@lru_cache(maxsize=1)
def _costs() -> np.ndarray:
    """(2^16 + 1,) int64: -log2(count / 2^16), in units of 2^-30 bit; of estimates alone."""
    count = np.arange(1, (1 << 16) + 1, dtype=np.float64)
    return np.concatenate([[0], np.rint((16 - np.log2(count)) * COST_UNITS)]).astype(np.int64)
