"""The arithmetic of contexts: NumPy's numbers, in C as without."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from enfold.entropy import contexts


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
        compiled.product(small, small, small, 2, 3, 3)
