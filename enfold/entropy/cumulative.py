"""A range coder by cumulative counts: for probabilities that are made on the fly, symbol by symbol.

Where a prior has no table, because a symbol's probabilities depend on all that was decoded before, it
says of each symbol an interval of integers [start, start + count) out of a total that may be another
for each. Beside kernels in C that hold the same coder in their inner loop, this is its statement:

    low, range   begin as 0 and 2^56 - 1
    a symbol     unit = range // total;  low += unit · start;  range = unit · count
                 while range < 2^48: the top byte of low's 56 bits is written, both are shifted by 8
    the end      the fewest bytes that lie in the interval that is left, whatever zeros follow;
                 zeros at the end are left out

Totals are below 2^32, so that a unit is at least 2^16 and the loss below 2^-16 of a symbol's cost.

Guarantees: any bytes may be read; what comes out are symbols or a BitstreamError. No stream ends in
a zero byte, and a reader must have seen all of it: `finish` checks both.

Source: Martin 1979; Schindler 1998 (bytewise carry).
"""

from __future__ import annotations

from enfold.errors import BitstreamError

WHOLE = 1 << 56
LEAST = 1 << 48


class CumulativeEncoder:
    """Writes interval after interval."""

    def __init__(self) -> None:
        self._low, self._range, self._digits = 0, WHOLE - 1, 0

    def encode(self, start: int, count: int, total: int) -> None:
        """0 <= start, 1 <= count, start + count <= total < 2^32."""
        unit = self._range // total
        self._low += unit * start       # all digits in one number: a carry finds its way by itself
        self._range = unit * count
        while self._range < LEAST:
            self._low, self._range, self._digits = self._low << 8, self._range << 8, self._digits + 1

    def finish(self) -> bytes:
        """The stream of all intervals."""
        for kept in range(8):
            mask = (WHOLE >> 8 * kept) - 1
            code = (self._low + mask) & ~mask
            if code - self._low < self._range:
                break
        return code.to_bytes(self._digits + 7, "big").rstrip(b"\0")


class CumulativeDecoder:
    """Reads a stream interval by interval: `wanted` says where the code lies, `take` moves on."""

    def __init__(self, data: bytes) -> None:
        self._data, self._at = bytes(data), 0
        self._code, self._range, self._unit = 0, WHOLE - 1, 0
        for _ in range(7):
            self._next()
        if self._code >= self._range:
            raise damaged(len(data))

    def wanted(self, total: int) -> int:
        """A number below total: the symbol is the one whose interval holds it."""
        self._unit = self._range // total
        wanted = self._code // self._unit
        if wanted >= total:
            raise damaged(len(self._data))
        return wanted

    def take(self, start: int, count: int) -> None:
        """The interval that held what was wanted."""
        self._code -= self._unit * start
        self._range = self._unit * count
        while self._range < LEAST:
            self._range <<= 8
            self._next()

    def finish(self) -> None:
        """Checks that the stream was read to its end, and ends as one does."""
        if self._at < len(self._data) or self._data[-1:] == b"\0":
            raise damaged(len(self._data))

    def _next(self) -> None:
        self._code = self._code << 8 | (self._data[self._at] if self._at < len(self._data) else 0)
        self._at += 1


def damaged(length: int) -> BitstreamError:
    """What is raised for a stream of so many bytes that is none."""
    return BitstreamError(f"a range-coded stream of {length} bytes that no encoder writes: it is damaged, or was "
                          "written for other symbols")
