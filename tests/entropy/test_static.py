"""Static tables: many streams in one call, the same in C and in Python."""

from __future__ import annotations

import numpy as np
import pytest

from enfold.entropy import static
from enfold.entropy.rans import RansEncoder
from enfold.entropy.static import StaticTables
from enfold.errors import BitstreamError, UsageError

needs_c = pytest.mark.skipif(static._compiled is None, reason="the C extension is not built")


def grids(count: int, shape: tuple[int, ...] = (3, 5, 7), seed: int = 0) -> np.ndarray:
    random = np.random.default_rng(seed)
    scale = np.array([0.3, 4.0, 20.0]).reshape(-1, *[1] * (len(shape) - 1))
    return np.rint(random.laplace(0, 1, (count, *shape)) * scale).astype(np.int16)


def laid_out(streams: list[bytes]) -> tuple[bytes, np.ndarray]:
    ends = np.cumsum([len(stream) for stream in streams])
    return b"".join(streams), np.stack([ends - [len(stream) for stream in streams], ends], 1)


@pytest.fixture(params=["C", "Python"])
def kernel(request, monkeypatch):
    if request.param == "Python":
        monkeypatch.setattr(static, "_compiled", None)
    elif static._compiled is None:
        pytest.skip("the C extension is not built")


@pytest.mark.parametrize("count", [0, 1, 3, 4, 7, 8, 13, 16, 21])
def test_every_stream_of_a_call_comes_back(kernel, count):
    all_of = grids(21)
    tables = StaticTables.of(all_of)
    data, bounds = laid_out([tables.encode(grid) for grid in all_of[:count]])
    assert np.array_equal(tables.decode(data, bounds, (3, 5, 7), tables.symbols()), all_of[:count])


def test_words_stand_for_symbols(kernel):
    all_of = grids(5)
    tables = StaticTables.of(all_of)
    data, bounds = laid_out([tables.encode(grid) for grid in all_of])
    words = np.sqrt(np.abs(tables.symbols())).astype(np.float32)
    found = tables.decode(data, bounds, (3, 5, 7), words)
    assert found.dtype == np.float32 and np.array_equal(found, np.sqrt(np.abs(all_of)).astype(np.float32))


def test_streams_are_those_of_the_bulk_coder_with_one_state():
    grid = grids(1)[0]
    tables = StaticTables.of([grid])
    coder = RansEncoder(states=1)
    coder.encode(tables.tables, np.repeat(np.arange(3, dtype=np.int32), 35).reshape(3, 5, 7), grid)
    assert tables.encode(grid) == coder.finish()


def test_streams_of_one_value_take_no_bytes_worth_speaking_of(kernel):
    flat = np.zeros((9, 3, 5, 7), np.int16)
    tables = StaticTables.of(flat)
    data, bounds = laid_out([tables.encode(grid) for grid in flat])
    assert len(data) <= 9 * 4
    assert not tables.decode(data, bounds, (3, 5, 7), tables.symbols()).any()


def test_what_is_beyond_the_tables_is_said():
    tables = StaticTables.of(grids(4))
    loud = grids(1)[0]
    loud[0, 0, 0], loud[2, 4, 6] = 300, -3000
    clipped, out = tables.clip(loud)
    assert out.tolist() == [0, 104]
    assert clipped[0, 0, 0] == tables.tables.low[0] + tables.tables.size[0] - 1
    assert clipped[2, 4, 6] == tables.tables.low[2]
    restored = clipped.ravel()
    restored[out] = loud.ravel()[out]
    assert np.array_equal(restored.reshape(loud.shape), loud)


def test_wild_values_do_not_use_up_the_table():
    wild = np.array([[[0] * 100 + [30000, -30000]]])
    tables = StaticTables.of([wild])
    assert tables.tables.size[0] == static.MOST_VALUES
    assert tables.clip(wild)[1].tolist() == [100, 101]


def test_any_bytes_are_refused_or_read_and_alike_in_c_and_python(monkeypatch):
    if static._compiled is None:
        pytest.skip("the C extension is not built")
    grid = grids(1)[0]
    tables = StaticTables.of(grids(3))
    data = tables.encode(tables.clip(grid)[0])
    random = np.random.default_rng(1)
    refused = 0
    for _ in range(300):
        broken = bytearray(data)
        for _ in range(random.integers(1, 4)):
            broken[random.integers(len(broken))] = random.integers(256)
        broken = bytes(broken[:random.integers(len(broken) + 1)])
        found = []
        for kernel in (static._compiled, None):
            with monkeypatch.context() as patch:
                patch.setattr(static, "_compiled", kernel)
                try:
                    found.append(tables.decode(broken, np.array([[0, len(broken)]]), (3, 5, 7), tables.symbols()))
                except BitstreamError:
                    found.append(None)
        if found[1] is None:
            refused += 1        # Python also refuses values that no table holds
        else:
            assert np.array_equal(found[0], found[1])
    assert refused > 200


def test_the_broken_stream_of_many_is_named(kernel):
    all_of = grids(11)
    tables = StaticTables.of(all_of)
    streams = [tables.encode(grid) for grid in all_of]
    streams[6] = streams[6][:-6]
    data, bounds = laid_out(streams)
    with pytest.raises(BitstreamError) as caught:
        tables.decode(data, bounds, (3, 5, 7), tables.symbols())
    assert caught.value.offset == bounds[6, 0]


@needs_c
def test_bounds_beyond_the_data_are_refused():
    tables = StaticTables.of(grids(1))
    for bounds in ([[0, 9]], [[-1, 2]], [[3, 2]]):
        with pytest.raises(ValueError, match="do not fit"):
            tables.decode(b"12345", np.array(bounds), (3, 5, 7), tables.symbols())


def test_grids_of_other_shapes_are_refused():
    tables = StaticTables.of(grids(1))
    with pytest.raises(UsageError, match="3 tables"):
        tables.decode(b"", np.zeros((0, 2)), (4, 5, 7), tables.symbols())
    with pytest.raises(UsageError, match="3 and of 2 channels"):
        StaticTables.of([np.zeros((3, 2, 2), int), np.zeros((2, 2, 2), int)])
    with pytest.raises(UsageError, match="no grid"):
        StaticTables.of([])
