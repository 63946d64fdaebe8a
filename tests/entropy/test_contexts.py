"""The arithmetic of contexts: NumPy's numbers, in C as without."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from enfold.entropy import contexts
from enfold.entropy.meter import Meter


@given(st.integers(0, 13), st.integers(0, 40), st.integers(0, 70), st.integers(0, 2**32 - 1))
def test_integers_are_multiplied_exactly(outputs, inputs, n, seed):
    random = np.random.default_rng(seed)
    weight = random.integers(-512, 513, (outputs, inputs))
    features = random.integers(-512, 513, (inputs, n))
    assert np.array_equal(contexts.product(weight, features), weight @ features)


def test_outer_axes_are_kept():
    features = np.arange(2 * 3 * 5 * 7).reshape(2, 3, 5, 7)
    weight = np.arange(20).reshape(4, 5)
    assert np.array_equal(contexts.product(weight, features), weight @ features)


@given(st.lists(st.tuples(st.floats(width=32, allow_nan=False), st.floats(width=32, allow_nan=False)), max_size=50),
       st.integers(0, 6), st.integers(0, 8))
def test_tables_are_selected_alike_in_c_and_in_numpy(pairs, fraction_bits, scale_bits):
    mean, scale = np.array(pairs, np.float32).reshape(-1, 2).T
    levels = np.arange(100, dtype=np.int32) // 7 << fraction_bits
    ours = contexts.select(mean, scale, levels, fraction_bits, scale_bits)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(contexts, "_compiled", None)
        numpys = contexts.select(mean, scale, levels, fraction_bits, scale_bits)
    assert np.array_equal(ours[0], numpys[0]) and np.array_equal(ours[1], numpys[1])


def test_selection_worked_by_hand():
    mean, scale = np.array([[3.3, -0.2, 0.0, 9.99], [0.7, 0.0, 2.5, -1.0]], np.float32)
    index, offset = contexts.select(mean, scale, np.array([0, 10, 20], np.int32), 2, 1)
    assert index.tolist() == [10 + 1, 0 + 3, 20 + 0, 0 + 0]
    assert offset.tolist() == [3, -1, 0, 10]


def test_compiled_code_refuses_buffers_of_other_sizes():
    compiled = contexts._compiled
    if compiled is None:
        pytest.skip("the C extension is not built")
    small = np.zeros(6, np.float32)
    with pytest.raises(ValueError, match="sizes"):
        compiled.product(small, small, None, small, 2, 3, 3)
    with pytest.raises(ValueError, match="sizes"):
        compiled.product(small, small, small[:3], small[:4], 2, 3, 2)
    maps = [np.zeros(size, np.float32) for size in (2, 2, 12, 24)]      # 2 outputs, 1 missed, 6 hidden
    mean, missed, hidden, both = (np.zeros(size, np.float32) for size in (12, 6, 36, 24))
    for wrong in range(4):
        given = [np.zeros(5, np.float32) if number == wrong else part for number, part in enumerate(maps)]
        with pytest.raises(ValueError, match="sizes"):
            compiled.adjust(mean, mean, missed, hidden, *given, 255.0, both, 2, 6)
    with pytest.raises(ValueError, match="sizes"):
        compiled.adjust(mean, mean, missed, hidden, *maps, 255.0, both[:-1], 2, 6)
    for pairs in ([[0, 3]], [[-1, 0]]):                                 # there are three windows
        with pytest.raises(ValueError, match="sizes"):
            compiled.activity(small, np.array(pairs), np.zeros(8, np.float32), 2)


@given(st.integers(1, 9), st.integers(1, 9), st.integers(0, 9), st.integers(1, 70), st.integers(0, 2**32 - 1))
def test_means_and_scales_are_adjusted_alike_in_c_in_numpy_and_in_torch(outputs, known, hidden, n, seed):
    random = np.random.default_rng(seed)

    def some(*shape):
        return (random.integers(-64, 65, shape) / 16).astype(np.float32)

    mean, scale, missed = some(outputs, n), some(outputs, n), some(known, n)
    maps = [some(outputs, known), some(outputs, known),
            some(hidden, 2 * known) if hidden else None, some(2 * outputs, hidden) if hidden else None]
    base = some(hidden or 3, n)             # there may be a hidden layer that nothing is added to
    ours = contexts.adjust(mean, scale, missed, maps, base, 15.9375)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(contexts, "_compiled", None)
        numpys = contexts.adjust(mean, scale, missed, maps, base, 15.9375)
    torchs = Meter(noisy=False).adjust(*(None if x is None else torch.from_numpy(x) for x in (mean, scale, missed)),
                                       [None if x is None else torch.from_numpy(x) for x in maps],
                                       torch.from_numpy(base), 15.9375)
    for one, two, three in zip(ours, numpys, torchs, strict=True):
        assert np.array_equal(one, two) and np.array_equal(one, three.numpy())


@given(st.integers(1, 5), st.integers(1, 40), st.integers(0, 2**32 - 1))
def test_activity_is_alike_in_c_in_numpy_and_in_torch(channels, n, seed):
    near = np.random.default_rng(seed).normal(size=(4 * channels, n)).astype(np.float32)
    pairs = ((0, 3), (1, 2))
    ours = contexts.activity(near, pairs, channels)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(contexts, "_compiled", None)
        assert np.array_equal(ours, contexts.activity(near, pairs, channels))
    assert np.array_equal(ours, Meter().activity(torch.from_numpy(near), pairs, channels).numpy())


@pytest.mark.parametrize("outer", [(), (2, 3)])
def test_a_product_is_added_to_what_was_there(outer):
    random = np.random.default_rng(0)
    weight, features = random.integers(-9, 9, (7, 5)), random.integers(-9, 9, (*outer, 5, 45))
    base = random.integers(-9, 9, (*outer, 7, 45)).astype(np.float32)
    kept = base.copy()
    assert np.array_equal(contexts.product(weight, features, base), base + weight @ features)
    assert np.array_equal(base, kept)


@given(st.integers(1, 3), st.integers(1, 4), st.integers(1, 70), st.integers(1, 4), st.integers(0, 4),
       st.integers(0, 2**32 - 1))
def test_cells_are_settled_alike_in_c_and_in_numpy(channels, rows, columns, step, fraction_bits, seed):
    random = np.random.default_rng(seed)
    values = random.integers(-600, 600, (channels, rows, columns)).astype(np.int32)
    mean = random.normal(0, 300, values.shape).astype(np.float32)
    found = []
    for compiled in (contexts._compiled, None):
        known = np.zeros((channels + 1, rows * step, columns * step), np.float32)
        seen = np.zeros((channels + 1, rows * step + 4, columns * step + 4), np.float32)
        cell = np.s_[1:, ::step, ::step]
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(contexts, "_compiled", compiled)
            error = contexts.settle(values, mean, known[cell], seen[:, 2:-2, 2:-2][cell], fraction_bits, 255.0)
        assert np.array_equal(known[cell], values) and np.abs(seen).max() <= 255
        found.append((error, known, seen))
    for ours, numpys in zip(*found, strict=True):
        assert np.array_equal(ours, numpys)


@pytest.mark.parametrize("outer", [(), (2,), (2, 3)])
def test_windows_are_gathered_one_after_the_other(outer):
    grid = np.random.default_rng(0).normal(size=(*outer, 3, 20, 30)).astype(np.float32)
    windows = [grid[..., y:y + 9:2, x:x + 13:3] for y, x in ((0, 0), (3, 17), (11, 5))]
    expected = np.concatenate(windows, -3).reshape(*outer, 9, -1)
    assert np.array_equal(contexts.gather(windows), expected)


def test_compiled_code_refuses_grids_of_other_shapes():
    compiled = contexts._compiled
    if compiled is None:
        pytest.skip("the C extension is not built")
    grid, small = np.zeros((2, 4, 4), np.float32), np.zeros((2, 4, 3), np.float32)
    values = np.zeros((2, 4, 4), np.int32)
    for grids in ((grid, small), (grid,), (grid, grid, grid)):
        with pytest.raises(ValueError, match="sizes"):
            compiled.gather(grids, np.zeros(64, np.float32))
    for known, seen in ((grid, small), (small, small), (grid, np.zeros((4, 2, 4), np.float32))):
        with pytest.raises(ValueError, match="one size"):
            compiled.settle(values, grid, known, seen, 2, 255.0, grid.copy())
    with pytest.raises(ValueError, match="grid of floats"):
        compiled.gather((grid[0],), np.zeros(16, np.float32))


@given(st.lists(st.floats(-40, 40, width=32), max_size=50), st.sampled_from([15.9375, 255.0]))
def test_what_is_rectified_is_alike_in_c_and_in_numpy(values, top):
    x = np.array(values, np.float32)
    ours = contexts.rectify(x, top)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(contexts, "_compiled", None)
        assert np.array_equal(ours, contexts.rectify(x, top))
    assert np.array_equal(ours * 16, np.rint(ours * 16)) and ((ours >= 0) & (ours <= top)).all()
