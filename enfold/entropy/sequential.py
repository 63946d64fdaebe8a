"""The sequential coder: a range coder, for priors that hand over few symbols at a time.

The same face as `rans`, the same tables, other bytes. A range coder writes in the order in
which it reads, so nothing is collected and a call costs little; symbols cost more, in Python
about a microsecond each where the table changes from one to the next.

    stream   the range coder's 32-bit words, big-endian, without the zero bytes at the end
    call     its symbols in order, then the overshoots of its escapes in LEB128, as even bytes

constriction's models hold 24-bit integers. Given weights that add up to 2^24 less their number,
it gives each symbol its weight and 1 more, without rounding: a count c of 2^p becomes the
weight c · 2^(24 - p) - 1, exact in float32. That this keeps our integers exactly is verified
against constriction 0.5 by a test which looks up the first and the last of all quantiles of a
symbol; were a later version to round otherwise, that test fails and no file is written.

Guarantee: a stream decodes only if it is, byte for byte, what the encoder writes for the values
read (`finish` writes them again to compare).
"""

from __future__ import annotations

from collections.abc import Iterator
from weakref import WeakKeyDictionary

import numpy as np

from enfold.entropy.tables import COST_UNITS, Tables, as_int32, payload_bytes
from enfold.errors import BitstreamError, UsageError

try:
    import constriction
except ImportError as error:
    raise UsageError("the sequential coder needs constriction: pip install constriction") from error

_QUANTILE_BITS = 24
_BYTE = constriction.stream.model.Uniform(256)
_models: WeakKeyDictionary[Tables, dict] = WeakKeyDictionary()


class SequentialEncoder:
    """Writes call after call. bits: exact cost so far by the tables, overshoots included."""

    def __init__(self) -> None:
        self._coder = constriction.stream.queue.RangeEncoder()
        self._units = 0

    @property
    def bits(self) -> float:
        return self._units / COST_UNITS

    def encode(self, tables: Tables, index: np.ndarray, values: np.ndarray) -> None:
        """Codes int32 `values` under tables `index`, arrays of one shape."""
        index, values = as_int32("index", index), as_int32("values", values)
        if index.shape != values.shape:
            raise UsageError(f"index of shape {index.shape}, values of {values.shape}: expected one shape")
        index, values = index.reshape(-1), values.reshape(-1)
        cells, escaped = tables.cells(index, values)
        symbols = (cells - tables.first[index]).astype(np.int32)
        for model, run in _runs(tables, index):
            self._coder.encode(symbols[run], model)
        overshoot = tables.overshoot(index[escaped], values[escaped])
        for far in overshoot.tolist():
            while far > 127:
                self._coder.encode(far & 127 | 128, _BYTE)
                far >>= 7
            self._coder.encode(far, _BYTE)
        self._units += int(tables.cell_cost[cells].sum()) + 8 * COST_UNITS * int(payload_bytes(overshoot).sum())

    def finish(self) -> bytes:
        """The stream of all calls."""
        return self._coder.get_compressed().astype(">u4").tobytes().rstrip(b"\0")


class SequentialDecoder:
    """Reads a stream call by call. The tables and indices must be those of the encoder's calls."""

    def __init__(self, data: bytes) -> None:
        self._data = bytes(data)
        words = np.frombuffer(self._data + bytes(8 - len(self._data) % 4), ">u4")
        self._coder = constriction.stream.queue.RangeDecoder(words.astype(np.uint32))
        self._again = SequentialEncoder()

    def decode(self, tables: Tables, index: np.ndarray) -> np.ndarray:
        """int32 values of the shape of `index`."""
        shape, index = np.shape(index), as_int32("index", index).reshape(-1)
        if index.size and not 0 <= index.min() <= index.max() < len(tables):
            raise UsageError(f"table indices {index.min()} to {index.max()}: there are {len(tables)} tables")
        symbols = np.empty(index.shape, np.int64)
        for model, run in _runs(tables, index):
            symbols[run] = self._read(model, run.stop - run.start)
        values = tables.low[index] + symbols
        for at in np.flatnonzero(symbols == tables.size[index]):
            far = self._overshoot()
            value = int(tables.low[index[at]]) - 1 - (far >> 1) if far & 1 else int(values[at]) + (far >> 1)
            if not -(1 << 31) <= value < 1 << 31:
                raise BitstreamError("an escaped value beyond 32 bits: the stream is damaged")
            values[at] = value
        self._again.encode(tables, index, values)
        return values.astype(np.int32).reshape(shape)

    def finish(self) -> None:
        """Checks that the stream was read to its end, and that it is the end of one."""
        written = self._again.finish()
        if written != self._data:
            raise BitstreamError(f"a range-coded stream of {len(self._data)} bytes, where its own symbols "
                                 f"make others ({len(written)} bytes): it is damaged, cut short or too long")

    def _overshoot(self) -> int:
        far = 0
        for shift in range(0, 35, 7):
            byte = int(self._read(_BYTE, 1)[0])
            far |= (byte & 127) << shift
            if byte < 128:
                return far
        raise BitstreamError("an escaped value beyond 32 bits: the stream is damaged")

    def _read(self, model: object, count: int) -> np.ndarray:
        try:
            return self._coder.decode(model, count)
        except AssertionError as error:     # how constriction reports impossible words
            raise BitstreamError("range-coded words that no encoder writes: the stream is damaged") from error


def _runs(tables: Tables, index: np.ndarray) -> Iterator[tuple[object, slice]]:
    """(model, slice) of each longest run of one table."""
    models = _models.setdefault(tables, {})
    start = 0
    for end in [*(np.flatnonzero(index[1:] != index[:-1]) + 1).tolist(), len(index)] if len(index) else []:
        table = int(index[start])
        if table not in models:
            first = tables.first[table]
            counts = tables.counts[first:first + tables.size[table] + 1].astype(np.int64)
            weights = (counts << _QUANTILE_BITS - tables.precision) - 1
            models[table] = constriction.stream.model.Categorical(weights.astype(np.float32), perfect=False)
        yield models[table], slice(start, end)
        start = end
