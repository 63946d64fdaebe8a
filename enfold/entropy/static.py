"""Grids under static tables: one table for each channel, nothing that looks at neighbours.

What a prior saves in bytes it costs in time: it has to work out, symbol by symbol, which table is
meant. Where many grids of one kind lie together and are read again and again, as in a data set
to train on, tables that they all share cost some bytes more and are read many times faster:

    stream      of `rans`, with one state; channel by channel, row by row, each under its table
    words       what each cell of the tables stands for: the symbol, or already its dequantised value

Many streams of one shape are decoded in one call, eight in step. Values beyond a table's support
are the caller's to keep (`clip` says which they are): the stream holds the nearest that is in it.

Guarantees: C and Python read the same. Any bytes may be read: what comes out are words or a
BitstreamError. Which of the two damage leads to is not promised: a checksum has to tell.

Source: Duda 2013 (rANS); Giesen 2014 (interleaving).
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np

from enfold.entropy.rans import RansDecoder, RansEncoder
from enfold.entropy.tables import Tables
from enfold.errors import BitstreamError, UsageError

try:
    if os.environ.get("ENFOLD_NO_C"):
        raise ImportError("asked for")
    from enfold.entropy import _static as _compiled  # type: ignore[attr-defined]
except ImportError:
    _compiled = None

PRECISION = 11              # bits: 16 kB of look-up a table, which the nearest cache holds
MOST_VALUES = 1 << 10       # in a table's support: half of its slots
SLOT = np.dtype([("count", "<u2"), ("rest", "<u2"), ("word", "<u4")])


@dataclass(frozen=True, eq=False)
class StaticTables:
    """tables: one for each channel, in order; escapes are never written."""

    tables: Tables

    @classmethod
    def of(cls, grids: Iterable[np.ndarray]) -> StaticTables:
        """Tables for grids (C, h, w) like those given, integers. Raises UsageError where C differs."""
        lows: list[int] = []
        counts: list[np.ndarray] = []
        for grid in grids:
            if not counts:
                lows, counts = [0] * len(grid), [np.zeros(1, np.int64) for _ in grid]
            if len(grid) != len(counts):
                raise UsageError(f"grids of {len(counts)} and of {len(grid)} channels: static tables need one number")
            for channel, values in enumerate(grid.reshape(len(grid), -1).astype(np.int64)):
                lows[channel], counts[channel] = _tally(lows[channel], counts[channel], values)
        if not counts:
            raise UsageError("no grid to make static tables of: give at least one")
        for channel, row in enumerate(counts):
            if len(row) > MOST_VALUES:      # the middle of what was seen
                cut = min(max(0, int((row.cumsum() < row.sum() / 2).sum()) - MOST_VALUES // 2), len(row) - MOST_VALUES)
                lows[channel], counts[channel] = lows[channel] + cut, row[cut:cut + MOST_VALUES]
        return cls(Tables.from_probabilities([(row + 1e-9) / (row + 1e-9).sum() for row in counts], lows, PRECISION))

    def clip(self, symbols: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """(what a stream of these symbols (C, h, w) holds, flat positions where that differs)."""
        low = self.tables.low.reshape(-1, *[1] * (symbols.ndim - 1))
        size = self.tables.size.reshape(low.shape)
        clipped = np.clip(symbols, low, low + size - 1).astype(np.int32)
        return clipped, np.flatnonzero(clipped != symbols)

    def encode(self, symbols: np.ndarray) -> bytes:
        """The stream of symbols (C, h, w), each in its table's support."""
        coder = RansEncoder(states=1)
        coder.encode(self.tables, self._index(symbols.shape), symbols)
        return coder.finish()

    def decode(self, data: bytes | memoryview | np.ndarray, bounds: np.ndarray, shape: tuple[int, ...],
               words: np.ndarray) -> np.ndarray:
        """Many streams → (B, *shape) of the dtype of `words`.

        data: where the streams lie; bounds: (B, 2), start and end of each in it; shape: (C, h, w)
        of every one; words: (cells,) int32 or float32, see `words`. Raises BitstreamError, whose
        `offset` is that of the stream in `data`.
        """
        if len(shape) < 2 or shape[0] != len(self.tables) or words.shape != (len(self.tables.counts),) \
                or words.dtype.itemsize != 4:
            raise UsageError(f"grids of shape {shape} and {len(words)} words for {len(self.tables)} tables of "
                             f"{len(self.tables.counts)} cells in all")
        bounds = np.ascontiguousarray(bounds, np.int64)
        out = np.empty((len(bounds), *shape), words.dtype)
        if _compiled is None:
            self._decode_slowly(data, bounds, words, out)
            return out
        broken = _compiled.decode(self._slots_of(words), self.tables.precision, data, bounds, out)
        if broken >= 0:
            _refuse(bounds[broken])
        return out

    def symbols(self) -> np.ndarray:
        """(cells,) int32: the symbol of each cell; as `words`, they decode to symbols."""
        place = np.arange(len(self.tables.counts)) - self.tables.first.repeat(self.tables.size + 1)
        return (place + self.tables.low.repeat(self.tables.size + 1)).astype(np.int32)

    @cached_property
    def slots(self) -> np.ndarray:
        """(C << precision,) records: of each slot, what moves a state on, and its cell."""
        counts = self.tables.counts.astype(np.int64)
        cell = np.arange(len(counts)).repeat(counts)
        slots = np.empty(len(cell), SLOT)
        slots["count"], slots["word"] = counts[cell], cell
        slots["rest"] = np.arange(len(cell)) % (1 << self.tables.precision) - self.tables.start[cell]
        return slots

    def _slots_of(self, words: np.ndarray) -> np.ndarray:
        """`slots` with what each cell stands for in the place of its number; those of the last words are kept."""
        known = self._made.get(words.dtype.char)
        if known is None or known[0] is not words:
            slots = self.slots.copy()
            slots["word"] = np.ascontiguousarray(words).view(np.uint32)[self.slots["word"]]
            known = self._made[words.dtype.char] = (words, slots)
        return known[1]

    @cached_property
    def _made(self) -> dict[str, tuple[np.ndarray, np.ndarray]]:
        return {}

    def _index(self, shape: Sequence[int]) -> np.ndarray:
        channels = np.arange(shape[0], dtype=np.int32).reshape(-1, *[1] * (len(shape) - 1))
        return np.ascontiguousarray(np.broadcast_to(channels, shape))

    def _decode_slowly(self, data: bytes | memoryview | np.ndarray, bounds: np.ndarray, words: np.ndarray,
                       out: np.ndarray) -> None:
        view, index = np.frombuffer(data, np.uint8), self._index(out.shape[1:])
        first, low = self.tables.first[index], self.tables.low[index]
        for number, (start, end) in enumerate(bounds):
            stream = view[start:end].tobytes()
            if stream and stream[0] & 7:
                _refuse(bounds[number])
            try:
                coder = RansDecoder(stream)
                place = coder.decode(self.tables, index) - low
                coder.finish()
            except BitstreamError:
                _refuse(bounds[number])
            if place.min(initial=0) < 0 or (place >= self.tables.size[index]).any():
                _refuse(bounds[number])
            out[number] = words[first + place]


def _refuse(bounds: np.ndarray) -> None:
    raise BitstreamError(f"a stream of {bounds[1] - bounds[0]} bytes that holds no grid of this shape under these "
                         "tables: it is damaged", offset=int(bounds[0]))


def _tally(low: int, counts: np.ndarray, values: np.ndarray) -> tuple[int, np.ndarray]:
    """Adds values to counts of low, low + 1, …, which grow to hold them."""
    least, most = min(low, int(values.min(initial=low))), max(low + len(counts), int(values.max(initial=low)) + 1)
    grown = np.zeros(most - least, np.int64)
    grown[low - least:low - least + len(counts)] = counts
    return least, grown + np.bincount(values - least, minlength=most - least)
