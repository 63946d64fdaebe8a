"""What every byte coder promises: the bulk one in C, the same in Python, the sequential one."""

from __future__ import annotations

import hashlib
from concurrent.futures import ThreadPoolExecutor
from functools import cache
from itertools import pairwise

import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from enfold.entropy import loops, rans
from enfold.entropy.rans import RansDecoder, RansEncoder
from enfold.entropy.sequential import SequentialDecoder, SequentialEncoder
from enfold.entropy.tables import Tables
from enfold.errors import BitstreamError, UsageError

KERNELS = [loops]
if rans.HAVE_C:
    from enfold.entropy import _rans

    KERNELS.append(_rans)
HAND = Tables(8, [-1], [3], [64, 128, 32, 32])
needs_c = pytest.mark.skipif(not rans.HAVE_C, reason="the C extension was not built")


@pytest.fixture(params=[*(kernels.__name__.rpartition(".")[2] for kernels in KERNELS), "sequential"], scope="module")
def byte_coder(request):
    """(encoder class, decoder class)"""
    if request.param == "sequential":
        yield SequentialEncoder, SequentialDecoder
        return
    usual, rans.kernels = rans.kernels, next(k for k in KERNELS if k.__name__.endswith(request.param))
    yield RansEncoder, RansDecoder
    rans.kernels = usual


@cache
def make_tables(seed: int, count: int = 3, precision: int | None = None, lopsided: float = 0.3) -> Tables:
    random = np.random.default_rng(seed)
    rows = [random.dirichlet(np.full(random.integers(1, 12), lopsided)) * 0.999 for _ in range(count)]
    return Tables.from_probabilities(rows, random.integers(-9, 9, count), precision or int(random.integers(8, 17)))


@st.composite
def calls(draw):
    """[(tables, index, values)]: several groups, several Tables, escapes as far as they go."""
    value = st.one_of(st.integers(-12, 12), st.integers(-2**31, 2**31 - 1), st.sampled_from([-2**31, 2**31 - 1]))
    found = []
    for _ in range(draw(st.integers(0, 4))):
        tables = make_tables(draw(st.integers(0, 50)))
        size = draw(st.integers(0, 40))
        index = draw(st.lists(st.integers(0, 2), min_size=size, max_size=size))
        values = draw(st.lists(value, min_size=size, max_size=size))
        found.append((tables, np.array(index, np.int32), np.array(values, np.int32)))
    return found


def write(encoder, calls) -> bytes:
    for call in calls:
        encoder.encode(*call)
    return encoder.finish()


def read(decoder, calls) -> list[np.ndarray]:
    found = [decoder.decode(tables, index) for tables, index, _ in calls]
    decoder.finish()
    return found


@given(calls=calls())
def test_every_value_comes_back_and_costs_what_the_tables_say(byte_coder, calls):
    encoder = byte_coder[0]()
    data = write(encoder, calls)
    for found, (_, _, values) in zip(read(byte_coder[1](data), calls), calls, strict=True):
        assert found.dtype == np.int32 and np.array_equal(found, values)
    cost = sum(tables.cost_bits(index, values).sum() for tables, index, values in calls)
    assert encoder.bits == pytest.approx(cost, abs=1e-6)
    assert len(data) <= cost / 8 * 1.001 + 8


@given(states=st.sampled_from([1, 2, 4, 8, 16, 32]), calls=calls())
def test_any_number_of_states_gives_the_values_back(byte_coder, states, calls):
    if byte_coder[0] is RansEncoder:
        data = write(RansEncoder(states), calls)
        for found, (_, _, values) in zip(read(RansDecoder(data), calls), calls, strict=True):
            assert np.array_equal(found, values)


@needs_c
@given(states=st.sampled_from([None, 1, 2, 4, 8, 16, 32]), calls=calls())
def test_c_and_python_write_the_same_bytes(states, calls):
    usual, streams = rans.kernels, []
    for rans.kernels in KERNELS:
        streams.append(write(RansEncoder(states), calls))
    rans.kernels = usual
    assert streams[0] == streams[1]


@needs_c
@pytest.mark.parametrize(("counts", "value"), [
    ([65535, 1], 0),                    # all one symbol, at next to no cost
    ([1, 65534, 1], 1),                 # the same, where the state grows by more than it should
    ([32767, 32768, 1], 1),
    ([1, 1], 0),
    ([1, 65535], 1),                    # all escapes
    ([40000, 25535, 1], None),          # a mixture
])
@pytest.mark.parametrize("size", [1, 7, 1000, 1_000_000])
def test_size_stays_within_a_thousandth_and_8_bytes_of_the_tables(counts, value, size):
    counts = [2**15, 2**15] if counts == [1, 1] else counts
    tables = Tables(16, [0], [len(counts) - 1], counts)
    values = np.random.default_rng(0).integers(0, 2, size) if value is None else np.full(size, value)
    encoder = RansEncoder()
    call = (tables, np.zeros(size, np.int32), values.astype(np.int32))
    data = write(encoder, [call])
    assert len(data) <= encoder.bits / 8 * 1.001 + 8
    assert np.array_equal(read(RansDecoder(data), [call])[0], values)


@needs_c
def test_a_million_values_of_many_tables_come_back():
    random = np.random.default_rng(3)
    tables = make_tables(1, 64, 14, 2.0)
    index = random.integers(0, 64, 1_000_000).astype(np.int32)
    values = random.integers(-12, 15, 1_000_000).astype(np.int32)
    encoder = RansEncoder()
    data = write(encoder, [(tables, index, values)])
    assert data[0] == 5 and len(data) <= encoder.bits / 8 * 1.001 + 8       # 32 states pay here
    assert np.array_equal(RansDecoder(data).decode(tables, index), values)


def test_no_symbols_take_no_bytes(byte_coder):
    nothing = (HAND, np.zeros((3, 0), np.int32), np.zeros((3, 0), np.int32))
    data = write(byte_coder[0](), [nothing, nothing])
    assert data == b"" == byte_coder[0]().finish()
    assert read(byte_coder[1](data), [nothing])[0].shape == (3, 0)


def test_tables_reach_to_both_ends_of_int32(byte_coder):
    ends = np.array([-2**31, 2**31 - 1])
    tables = Tables(8, ends, [1, 1], [200, 56, 200, 56])
    call = (tables, np.array([0, 0, 1, 1], np.int32), np.array([*ends, *ends], np.int32))
    assert np.array_equal(read(byte_coder[1](write(byte_coder[0](), [call])), [call])[0], call[2])


def test_values_keep_the_shape_of_the_index(byte_coder):
    index, values = np.zeros((2, 3, 4), np.int64), np.arange(24).reshape(2, 3, 4) - 8
    data = write(byte_coder[0](), [(HAND, index[:, ::2], values[:, ::2])])
    assert np.array_equal(byte_coder[1](data).decode(HAND, index[:, ::2]), values[:, ::2])


def test_arrays_may_change_after_they_were_encoded(byte_coder):
    values = np.zeros(9, np.int32)
    encoder = byte_coder[0]()
    encoder.encode(HAND, np.zeros(9, np.int32), values)
    values[:] = 1
    assert not byte_coder[1](encoder.finish()).decode(HAND, np.zeros(9, np.int32)).any()


def test_a_stream_worked_by_hand():
    #   symbol -1, last: x = 1 -> 1 // 64 · 256 + 1 % 64 + 0 = 1.  symbol 0: 1 % 128 + 64 = 65
    call = (HAND, np.zeros(2, np.int32), np.array([0, -1], np.int32))
    assert write(RansEncoder(), [call]) == bytes([1 << 3, 65 - 1])
    # an escape, one above: its byte 2 enters first, x = 1 · 256 + 2 = 258, then the escape's cell:
    #   258 // 32 · 256 + 258 % 32 + 224 = 2274
    call = (HAND, np.zeros(1, np.int32), np.array([3], np.int32))
    assert write(RansEncoder(), [call]) == bytes([2 << 3, *(2274 - 1).to_bytes(2, "little")])


@pytest.mark.parametrize(("states", "digest"), [
    (1, "f2e1c882e6f7d2ca"), (8, "8387c439ea6902d9"), (32, "56421efe8cfc51c2"),
])
def test_streams_of_before_are_written_and_read_for_ever(states, digest):
    j = np.arange(5000)
    tables = Tables(14, [-2, 0], [4, 2], [100, 8000, 8000, 280, 4, 16000, 380, 4])
    call = (tables, (j % 2).astype(np.int32), (j * j % 7 % 5 - 2 + (j % 97 == 0) * j * 1000).astype(np.int32))
    data = write(RansEncoder(states), [call])
    assert hashlib.sha256(data).hexdigest()[:16] == digest
    assert np.array_equal(read(RansDecoder(data), [call])[0], call[2])


@given(data=st.binary(max_size=200), seed=st.integers(0, 9),
       head=st.sampled_from([None, 0, 1, 2, 3, 4, 5, 8, 16, 24, 32, 40]))
def test_random_bytes_give_values_or_a_bitstream_error(byte_coder, data, head, seed):
    tables = make_tables(seed)
    index = np.arange(100, dtype=np.int32) % 3
    try:
        decoder = byte_coder[1](data if head is None else bytes([head]) + data)
        assert decoder.decode(tables, index).shape == index.shape
        decoder.finish()
    except BitstreamError as error:
        assert str(error)


@given(seed=st.integers(0, 50), size=st.integers(1, 3000), data=st.data())
def test_damaged_streams_give_values_or_a_bitstream_error(byte_coder, seed, size, data):
    random = np.random.default_rng(seed)
    tables = make_tables(seed)
    call = (tables, random.integers(0, 3, size).astype(np.int32), random.integers(-14, 14, size).astype(np.int32))
    intact = write(byte_coder[0](), [call])
    assume(intact)
    damaged = bytearray(intact)
    if data.draw(st.booleans()):
        damaged[data.draw(st.integers(0, len(damaged) - 1))] ^= data.draw(st.integers(1, 255))
    else:
        del damaged[data.draw(st.integers(0, len(damaged) - 1)):]
    try:
        found = read(byte_coder[1](bytes(damaged)), [call])[0]
        assert not np.array_equal(found, call[2])       # no two streams mean the same
    except BitstreamError as error:
        assert str(error)


def test_bytes_left_over_are_noticed(byte_coder):
    call = (HAND, np.zeros(500, np.int32), np.arange(500, dtype=np.int32) % 3 - 1)
    data = write(byte_coder[0](), [call])
    for extra in (b"\0", b"\1", b"\0\0\0\0", b"\5\6\7\x08"):
        with pytest.raises(BitstreamError, match="damaged"):
            read(byte_coder[1](data + extra), [call])


def test_a_stream_that_ends_early_says_so():
    call = (HAND, np.zeros(500, np.int32), np.arange(500, dtype=np.int32) % 3 - 1)
    data = write(RansEncoder(4), [call])
    with pytest.raises(BitstreamError, match="ended before its symbols did"):
        RansDecoder(data[:-10]).decode(*call[:2])
    with pytest.raises(BitstreamError, match="an rANS stream of 20 bytes whose states alone take 21"):
        RansDecoder(data[:20])
    with pytest.raises(BitstreamError, match="cannot begin with byte 0x06"):
        RansDecoder(b"\6" + data[1:])


def test_misuse_is_told_apart_from_damage(byte_coder):
    encoder, index = byte_coder[0](), np.zeros(3, np.int32)
    for bad, message in (([0, 1, 0], "there are 1 tables"), ([0, -1, 0], "there are 1 tables"),
                         ([0, 2**40, 0], "index from 0 to 1099511627776"), ([0.0, 1.0, 0.0], "float64"),
                         ([0, 0], "expected one shape")):
        with pytest.raises(UsageError, match=message):
            encoder.encode(HAND, np.array(bad), index)
    with pytest.raises(UsageError, match="there are 1 tables"):
        byte_coder[1](b"").decode(HAND, index + 1)
    with pytest.raises(UsageError, match="3 states: give 1, 2, 4"):
        RansEncoder(3)


def test_two_threads_decode_side_by_side():
    random = np.random.default_rng(5)

    def whole_trip(seed: int) -> bool:
        tables = make_tables(seed, 3, 14)
        index = random.integers(0, 3, 100_000 if rans.HAVE_C else 1000).astype(np.int32)
        values = random.integers(-5, 5, len(index)).astype(np.int32)
        data = write(RansEncoder(), [(tables, index, values)])
        return all(np.array_equal(RansDecoder(data).decode(tables, index), values) for _ in range(10))

    with ThreadPoolExecutor(2) as pool:
        assert all(pool.map(whole_trip, range(8)))


@settings(max_examples=20)
@given(st.integers(0, 10_000))
def test_the_sequential_coder_keeps_the_integers_of_the_tables(seed):
    """The first and the last quantile of each symbol, in a stream made to hold just that."""
    tables = make_tables(seed, 1)
    edges = np.append(tables.start, 1 << tables.precision) << 24 - tables.precision
    for symbol, (first, end) in enumerate(pairwise(edges)):
        if symbol < tables.size[0]:
            for quantile in (int(first), int(end) - 1):
                point = quantile * ((2**64 - 1) >> 24) + (1 << 38)
                decoder = SequentialDecoder(point.to_bytes(8, "big"))
                assert decoder.decode(tables, np.zeros(1, np.int32))[0] == tables.low[0] + symbol
