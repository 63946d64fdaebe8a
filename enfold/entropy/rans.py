"""The bulk coder: interleaved rANS, symbols read in the order in which they were handed over.

    stream   head · N states · 16-bit words            all little-endian
    head     1 byte: bits 0-2 log2 N (N in 1, 2, 4, ... 32); bits 3-5 the bytes of a lone state
    states   N > 1: 5 bytes each.  N = 1: the state less 1, in as few bytes as it needs (0 to 5)

A stream whose head is 0 and that ends there is written as no bytes at all.

State x, table cell (count, start), precision p. Symbol j of a call belongs to state j mod N:

    decode   slot = x mod 2^p, the symbol whose cell holds it;  x = count · (x >> p) + slot - start
             then, if x < 2^24, a word w enters:  x = x · 2^16 + w
    encode   the inverse, last symbol of the last call first

An escape is followed, in the same state, by its overshoot (even above the support, odd below)
in LEB128 bytes, each coded as 8 even bits: byte = x mod 256; x = x >> 8; refill as above.
States begin at 2^24, a lone one at 1, and decoding must end there with no byte left over. A
lone state goes below 2^24 when there are no more words: so small streams pay 1 byte and the
rounding of the state to bytes, large ones 3 to 5 bytes a state. N is the largest that keeps
this below 8 bytes + 0.05 % of what the tables say; 40 bits of state keep the rest of the loss
below 0.05 % too, at up to 15 bits of precision.

Guarantees: C and Python write and read the same bytes. Any bytes may be read, with any tables:
what comes out are values or a BitstreamError. Which of the two damage leads to is not promised:
large streams nearly always end in the error, small ones have no bit to spare for it and leave
it to the container's checksum. Arrays must not be changed while a call runs on them.

Source: Duda 2013 (rANS); Giesen 2014 (interleaving, exact reciprocals).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from enfold.entropy.tables import COST_UNITS, Tables, as_int32, interval_cost, payload_bytes, reciprocals
from enfold.errors import BitstreamError, UsageError

try:
    from enfold.entropy import _rans as kernels  # type: ignore[attr-defined]

    HAVE_C = True
except ImportError:
    from enfold.entropy import loops as kernels

    HAVE_C = False

FLOOR = 1 << 24
STATE_BYTES = 5
MOST_STATES = 32
_BAD_INDEX, _EXHAUSTED, _BAD_OVERSHOOT = -1, -2, -3


@dataclass(frozen=True, eq=False)
class _Intervals:
    """Symbols of one call as cells of their own."""

    precision: int
    reciprocals: np.ndarray


class RansEncoder:
    """Collects calls, then writes them at once: `finish` needs the last symbol first.

    bits:   exact cost so far by the tables, escapes' payload included.
    states: N, if it must be known beforehand; None leaves it to the cost.
    """

    def __init__(self, states: int | None = None) -> None:
        if states is not None and states not in (1, 2, 4, 8, 16, 32):
            raise UsageError(f"{states} states: give 1, 2, 4, 8, 16, 32 or None")
        self._states = states
        self._calls: list[tuple[Tables | _Intervals, np.ndarray, np.ndarray]] = []
        self._units = 0

    @property
    def bits(self) -> float:
        return self._units / COST_UNITS

    def encode(self, tables: Tables, index: np.ndarray, values: np.ndarray) -> None:
        """Codes int32 `values` under tables `index`, arrays of one shape. Copies what it keeps."""
        index, values = as_int32("index", index), as_int32("values", values)
        if index.shape != values.shape:
            raise UsageError(f"index of shape {index.shape}, values of {values.shape}: expected one shape")
        cells = np.empty(index.size, np.uint32)
        located = kernels.locate(tables.spans, tables.cell_cost, index, values, cells)
        if located == _BAD_INDEX:
            raise _index_error(tables, index)
        units, overshoot = located[0], np.frombuffer(located[1], np.uint64)
        if len(overshoot):
            units += 8 * int(payload_bytes(overshoot).sum()) * COST_UNITS
        self._units += units
        self._calls.append((tables, cells, overshoot))

    def encode_intervals(self, start: np.ndarray, count: np.ndarray, precision: int) -> None:
        """Codes symbols by their intervals out of 2^precision, integers of one shape, each count below 2^precision."""
        cells = np.arange(count.size, dtype=np.uint32)
        self._units += interval_cost(count, precision)
        self._calls.append((_Intervals(precision, reciprocals(start.reshape(-1), count.reshape(-1), precision)), cells,
                            np.empty(0, np.uint64)))

    def finish(self) -> bytes:
        """The stream of all calls."""
        count = self._states or _state_count(self.bits / 8)
        states = np.full(count, FLOOR if count > 1 else 1, np.uint64)
        words = [kernels.encode(tables.reciprocals, tables.precision, cells, overshoot, states)
                 for tables, cells, overshoot in reversed(self._calls)]
        if count > 1:
            head = count.bit_length() - 1
            parts = [int(x).to_bytes(STATE_BYTES, "little") for x in states]
        else:
            lone = int(states[0]) - 1
            size = (lone.bit_length() + 7) // 8
            head, parts = size << 3, [lone.to_bytes(size, "little")]
        if not head:
            return b""
        return b"".join([bytes([head]), *parts, *reversed(words)])


class RansDecoder:
    """Reads a stream call by call. The tables and indices must be those of the encoder's calls."""

    def __init__(self, data: bytes) -> None:
        self._data = data = bytes(data)
        head = data[0] if data else 0
        count, size = 1 << (head & 7), head >> 3
        if count > MOST_STATES or size > (STATE_BYTES if count == 1 else 0) or data[:1] == b"\0":
            raise BitstreamError(f"an rANS stream cannot begin with byte {head:#04x}")
        size = size if count == 1 else STATE_BYTES
        self._offset = 1 + count * size if data else 0
        if len(data) < self._offset:
            raise BitstreamError(f"an rANS stream of {len(data)} bytes whose states alone take "
                                 f"{self._offset}: it was cut short")
        states = [int.from_bytes(data[1 + k * size:1 + (k + 1) * size], "little") for k in range(count)]
        if count == 1:
            if size and not data[size]:
                raise BitstreamError(f"an rANS state of {size} bytes that {size - 1} would have held")
            states[0] += 1
        elif min(states) < FLOOR:
            raise BitstreamError(f"an rANS state of {min(states)}, where at least 2^24 is due")
        self._states = np.array(states, np.uint64)
        self._end = FLOOR if count > 1 else 1

    def decode(self, tables: Tables, index: np.ndarray) -> np.ndarray:
        """int32 values of the shape of `index`."""
        index = as_int32("index", index)
        values = np.empty(index.shape, np.int32)
        def read(data: bytes, offset: int, states: np.ndarray) -> int:
            return kernels.decode(tables.spans, tables.buckets, tables.shares, tables.precision, index, values, data,
                                  offset, states)

        if self.advance(read) == _BAD_INDEX:
            raise _index_error(tables, index)
        return values

    def advance(self, read: Callable[[bytes, int, np.ndarray], int]) -> int:
        """Has a kernel read on. read: takes data, the offset in it and the states, which it moves on in place; returns
        the offset where the next call begins, or an error, which comes back if it is none of the stream's."""
        offset = read(self._data, self._offset, self._states)
        if offset == _EXHAUSTED:
            raise BitstreamError(f"an rANS stream of {len(self._data)} bytes that ended before its "
                                 "symbols did: it was cut short or damaged")
        if offset == _BAD_OVERSHOOT:
            raise BitstreamError("an escaped value beyond 32 bits in an rANS stream: it is damaged")
        if offset >= 0:
            self._offset = offset
        return offset

    def finish(self) -> None:
        """Checks that the stream was read to its end, and that it is the end of one."""
        left = len(self._data) - self._offset
        if left:
            raise BitstreamError(f"{left} bytes of {len(self._data)} left over after the last symbol of an "
                                 "rANS stream: it is damaged, or was written for other symbols")
        if (self._states != self._end).any():
            raise BitstreamError("an rANS stream whose states do not end where they began: it is "
                                 "damaged, or was written for other symbols")


def _state_count(cost_bytes: float) -> int:
    """The most states whose overhead stays within 8 bytes + 0.05 % of the cost."""
    count = MOST_STATES
    while count > 1 and 1 + STATE_BYTES * count > 8 + cost_bytes / 2000:
        count //= 2
    return count


def _index_error(tables: Tables, index: np.ndarray) -> UsageError:
    return UsageError(f"table indices {index.min()} to {index.max()}: there are {len(tables)} tables")
