"""What `_rans.c` does, in Python: the same bytes, about a hundred times slower.

Here for machines without a C compiler, and as the readable statement of the stream that the
tests hold the C to. Names, arguments and results are those of the C module; see `rans`.
"""

from __future__ import annotations

import numpy as np

from enfold.entropy.tables import BUCKET

BAD_INDEX, EXHAUSTED, BAD_OVERSHOOT = -1, -2, -3
FLOOR = 1 << 24
ESCAPE = 1 << 31


def locate(spans: np.ndarray, costs: np.ndarray, index: np.ndarray, values: np.ndarray,
           cells: np.ndarray) -> tuple[int, bytes] | int:
    """Writes each value's cell, escapes marked. Returns (cost in units, overshoots), or an error."""
    index = index.reshape(-1)
    if index.size and not 0 <= index.min() <= index.max() < len(spans):
        return BAD_INDEX
    low, first, size, _ = spans[index].T
    symbol = values.reshape(-1).astype(np.int64) - low
    escaped = (symbol < 0) | (symbol >= size)
    at = first + np.where(escaped, size, symbol)
    cells[:] = at | escaped * ESCAPE
    far = np.where(symbol < 0, -2 * symbol - 1, 2 * (symbol - size))[escaped]
    return int(costs[at].sum()), far.astype(np.uint64).tobytes()


def encode(reciprocals: np.ndarray, precision: int, cells: np.ndarray, overshoot: np.ndarray,
           states: np.ndarray) -> bytes:
    """The words of one call, whose states move on in place. Last symbol first."""
    count, rest, bias = (reciprocals[name].tolist() for name in ("count", "rest", "bias"))
    x, far, words = states.tolist(), overshoot.tolist(), []
    for j in range(len(cells) - 1, -1, -1):
        k, cell = j % len(x), int(cells[j])
        if cell & ESCAPE:
            for byte in reversed(_leb128(far.pop())):
                if x[k] >> 32:
                    words.append(x[k] & 0xFFFF)
                    x[k] >>= 16
                x[k] = x[k] << 8 | byte
            cell &= ESCAPE - 1
        if x[k] >= count[cell] << 40 - precision:
            words.append(x[k] & 0xFFFF)
            x[k] >>= 16
        start = bias[cell] - (rest[cell] if count[cell] == 1 else 0)
        x[k] = (x[k] // count[cell] << precision) + x[k] % count[cell] + start
    states[:] = x
    return np.array(words[::-1], "<u2").tobytes()


def decode(spans: np.ndarray, buckets: np.ndarray, shares: np.ndarray, precision: int,
           index: np.ndarray, values: np.ndarray, data: bytes, offset: int, states: np.ndarray) -> int:
    """Fills `values`. Returns the offset in `data` where the next call begins, or an error."""
    bucket, share = buckets.data, shares.data           # quicker to index than arrays
    x, out = states.tolist(), values.reshape(-1)

    def refill(k: int) -> bool:
        nonlocal offset
        if x[k] < FLOOR and offset + 2 <= len(data):
            x[k] = x[k] << 16 | data[offset] | data[offset + 1] << 8
            offset += 2
        return x[k] >= FLOOR or len(x) == 1

    for j, table in enumerate(index.reshape(-1).tolist()):
        if not 0 <= table < len(spans):
            return BAD_INDEX
        k, slot = j % len(x), x[j % len(x)] & (1 << precision) - 1
        low, _, size, first = spans[table].tolist()
        symbol = bucket[(table << precision | slot) // BUCKET]
        while slot > share[first + symbol + 1, 1]:
            symbol += 1
        count, before = share[first + symbol, 0], share[first + symbol, 1]
        x[k] = count * (x[k] >> precision) + (slot - before - 1) % (1 << 16)
        if not refill(k):
            return EXHAUSTED
        value = low + symbol
        if symbol == size:
            far, shift, byte = 0, 0, 128
            while byte & 128:
                if shift == 35:
                    return BAD_OVERSHOOT
                byte = x[k] & 255
                x[k] >>= 8
                if not refill(k):
                    return EXHAUSTED
                far |= (byte & 127) << shift
                shift += 7
            value = low - 1 - (far >> 1) if far & 1 else low + size + (far >> 1)
            if not -(1 << 31) <= value < 1 << 31:
                return BAD_OVERSHOOT
        out[j] = value
    states[:] = x
    return offset


def _leb128(value: int) -> list[int]:
    """Seven bits a byte, lowest first; bit 7 says that another byte follows."""
    found = [value & 127]
    while value := value >> 7:
        found[-1] |= 128
        found.append(value & 127)
    return found
