"""The range coder by cumulative counts: worked by hand, any totals, carries, ends, damage."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from enfold.entropy.cumulative import CumulativeDecoder, CumulativeEncoder
from enfold.errors import BitstreamError

TOTALS = st.one_of(st.integers(1, 300), st.integers(1, 2**32 - 1))


def written(intervals: list[tuple[int, int, int]]) -> bytes:
    coder = CumulativeEncoder()
    for interval in intervals:
        coder.encode(*interval)
    return coder.finish()


def read(data: bytes, intervals: list[tuple[int, int, int]]) -> bool:
    coder = CumulativeDecoder(data)
    for start, count, total in intervals:
        if not start <= coder.wanted(total) < start + count:
            return False
        coder.take(start, count)
    coder.finish()
    return True


def test_worked_by_hand():
    """One of 256 equal symbols is its own byte; halves are bits; what is certain costs nothing."""
    assert written([(0x41, 1, 256)]) == b"\x41"
    assert written([(1, 1, 2), (0, 1, 2), (1, 1, 2)]) == b"\xa0"
    assert written([(0, 7, 7)] * 100) == b""
    assert written([]) == b""


@st.composite
def sequences(draw):
    rows = []
    for _ in range(draw(st.integers(0, 60))):
        total = draw(TOTALS)
        start = draw(st.one_of(st.just(0), st.just(total - 1), st.integers(0, total - 1)))
        rows.append((start, draw(st.one_of(st.just(1), st.just(total - start), st.integers(1, total - start))), total))
    return rows


@given(sequences())
def test_what_was_written_is_read(intervals):
    data = written(intervals)
    assert read(data, intervals)
    bits = sum(math.log2(total / count) for _, count, total in intervals)
    assert 8 * len(data) <= bits + 8 + len(intervals) * 2**-14
    assert data[-1:] != b"\0"


def test_carries_go_all_the_way_back():
    """Symbols at the very top of the range, again and again, then one that pushes it over."""
    for length in range(1, 40):
        intervals = [(254, 1, 255)] * length + [(2**31, 2**31 - 1, 2**32 - 1)]
        assert read(written(intervals), intervals)


def test_many_symbols_cost_what_they_should():
    random = np.random.default_rng(0)
    counts = np.array([1, 10, 100, 889])
    symbols = random.choice(4, 20_000, p=counts / 1000)
    starts = np.concatenate([[0], np.cumsum(counts)])
    data = written([(int(starts[s]), int(counts[s]), 1000) for s in symbols])
    assert 8 * len(data) < 1.0001 * -np.log2(counts[symbols] / 1000).sum() + 8


def test_bytes_that_are_left_over_and_zeros_at_the_end_are_refused():
    intervals = [(3, 1, 10)] * 20
    data = written(intervals)
    for wrong in (data + b"\0", data + b"\1" * 9, data + b"\0" * 9):
        with pytest.raises(BitstreamError, match=f"of {len(wrong)} bytes that no encoder writes"):
            read(wrong, intervals)
    with pytest.raises(BitstreamError, match="that no encoder writes"):
        CumulativeDecoder(b"\xff" * 8)


def test_a_code_beyond_the_last_interval_is_refused():
    """What rounding leaves over at the top of the range belongs to no symbol."""
    coder = CumulativeDecoder(b"\xff" * 6 + b"\xfe")
    with pytest.raises(BitstreamError, match="that no encoder writes"):
        coder.wanted(2**32 - 1)
