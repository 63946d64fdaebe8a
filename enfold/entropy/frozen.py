"""Frozen densities: from a context to an integer table, in steps that no machine can disagree on.

A density's `freeze()` makes one of these; a prior hands it to `coder.code` with a context, and
the coder asks it to

    index, offset = frozen.locate(context)      the value is coded as value - offset, by table index

Guarantees: contexts select tables by floors, clips and look-ups of float32 numbers alone; what
is looked up was computed once, is integer, and is saved with the tables. NumPy only.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np

from enfold.entropy.contexts import choose, select
from enfold.entropy.tables import Tables, as_int32
from enfold.errors import UsageError

FARTHEST_SHIFT = 0.5        # of a threshold between two integers, in steps, whatever it saves
REACH = 15                  # values further than this from a mean are rounded as if they were this far


class _Tabled(ABC):
    """What densities of frozen tables share: a coder is told the table of each value, and what to take from it."""

    tables: Tables

    @abstractmethod
    def locate(self, context: Any) -> tuple[np.ndarray, np.ndarray | int]:
        """The table of each value, and the integer to take from it first."""

    def encode(self, coder: Any, context: Any, values: np.ndarray) -> None:
        """Hands int32 values of the context's shape to a byte coder."""
        index, offset = self.locate(context)
        if values.shape != index.shape:
            raise UsageError(f"values of shape {values.shape} in a context of shape {index.shape}")
        coder.encode(self.tables, index, np.subtract(values, offset, dtype=np.int32))

    def decode(self, coder: Any, context: Any) -> np.ndarray:
        """Reads int32 values of the context's shape from a byte coder."""
        index, offset = self.locate(context)
        return np.add(coder.decode(self.tables, index), offset, dtype=np.int32)


@dataclass(frozen=True, eq=False)
class FrozenIndexed(_Tabled):
    """One table for each index; the context is the index, an integer array of any shape."""

    tables: Tables

    def locate(self, context: np.ndarray) -> tuple[np.ndarray, int]:
        """(index, offset): int32 table indices of the context's shape, and 0."""
        return as_int32("context", context), 0

    def quantise(self, context: np.ndarray, values: np.ndarray, price: float) -> np.ndarray:
        """values, real, to the nearest integers, whatever the price: these tables know no mean."""
        return np.rint(values).astype(np.int32)

    def to_arrays(self, prefix: str = "") -> dict[str, np.ndarray]:
        """Plain arrays, for safetensors or npz."""
        return self.tables.to_arrays(prefix)

    @classmethod
    def from_arrays(cls, arrays: Mapping[str, np.ndarray], prefix: str = "") -> FrozenIndexed:
        """The inverse of `to_arrays`. Raises UsageError on anything inconsistent."""
        return cls(Tables.from_arrays(arrays, prefix))


@dataclass(frozen=True, eq=False)
class FrozenLocationScale(_Tabled):
    """A family of tables for each scale and each fraction of the mean; the context is (mean, scale).

        mean 3.3 ─ to quarters ─> 3.25 = 3 + 1/4         offset 3, fraction 1
        scale 0.7 ─ down to 2^-8 ─> 179/256 ─ levels ─> scale 11      index 11 · 4 + 1

    tables:         (scales · 2^fraction_bits), scale by scale, fraction by fraction.
    fraction_bits:  means are rounded to multiples of 2^-fraction_bits.
    scale_bits:     scales are rounded down to multiples of 2^-scale_bits.
    levels:         (n,) integers: the scale's number, by its multiple; larger ones are clipped.
    """

    tables: Tables
    fraction_bits: int
    scale_bits: int
    levels: np.ndarray

    def __post_init__(self) -> None:
        for name in ("fraction_bits", "scale_bits"):
            if not 0 <= getattr(self, name) <= 16:
                raise UsageError(f"{name} of {getattr(self, name)}: expected 0 to 16")
        levels = as_int32("levels", self.levels)
        if levels.ndim != 1 or not levels.size or levels.min() < 0:
            raise UsageError(f"levels of shape {levels.shape}: expected a row of numbers from 0 on")
        if (int(levels.max()) + 1) << self.fraction_bits != len(self.tables):
            raise UsageError(f"{len(self.tables)} tables where {int(levels.max()) + 1} scales and "
                             f"{1 << self.fraction_bits} fractions need their product")

    def locate(self, context: tuple[np.ndarray, np.ndarray]) -> tuple[np.ndarray, np.ndarray]:
        """(index, offset): int32 arrays of the shape of mean and scale, float32, broadcast."""
        return select(*context, self._first_index, self.fraction_bits, self.scale_bits)

    def quantise(self, context: tuple[np.ndarray, np.ndarray], values: np.ndarray, price: float) -> np.ndarray:
        """values, real, to the nearest integers or the next towards the mean, bits at `price`, as int32."""
        index, offset = self.locate(context)
        shift = (np.float32(price) * self._saved_bits).clip(-1, FARTHEST_SHIFT)
        return choose(values, index, offset, shift, self.fraction_bits)

    @cached_property
    def _saved_bits(self) -> np.ndarray:
        """(tables, 2·REACH + 1) float32: what values from -REACH to REACH cost more than the next towards the mean."""
        fraction = np.arange(len(self.tables)) % (1 << self.fraction_bits) / (1 << self.fraction_bits)
        values, index = np.arange(-REACH, REACH + 1), np.arange(len(self.tables))[:, None]
        nearer = values - np.sign(values - fraction[:, None]).astype(int)
        return (self.tables.cost_bits(index, values) - self.tables.cost_bits(index, nearer)).astype(np.float32)

    @cached_property
    def _first_index(self) -> np.ndarray:
        return np.ascontiguousarray(self.levels, np.int32) << self.fraction_bits

    def to_arrays(self, prefix: str = "") -> dict[str, np.ndarray]:
        """Plain arrays, for safetensors or npz."""
        return {**self.tables.to_arrays(prefix), f"{prefix}levels": self.levels.astype(np.uint16),
                f"{prefix}bits": np.array([self.fraction_bits, self.scale_bits], np.uint8)}

    @classmethod
    def from_arrays(cls, arrays: Mapping[str, np.ndarray], prefix: str = "") -> FrozenLocationScale:
        """The inverse of `to_arrays`. Raises UsageError on anything inconsistent."""
        tables = Tables.from_arrays(arrays, prefix)
        missing = [prefix + name for name in ("levels", "bits") if prefix + name not in arrays]
        if missing:
            raise UsageError(f"a frozen density of location and scale without {', '.join(missing)}")
        bits = as_int32(f"{prefix}bits", arrays[f"{prefix}bits"])
        if bits.shape != (2,):
            raise UsageError(f"{prefix}bits of shape {bits.shape}: expected two numbers")
        return cls(tables, int(bits[0]), int(bits[1]), arrays[f"{prefix}levels"])
