"""The small matrix product: NumPy's numbers on integers, in C as without."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from enfold.entropy import linear


@given(st.integers(0, 13), st.integers(0, 40), st.integers(0, 70), st.integers(0, 2**32 - 1))
def test_integers_are_multiplied_exactly(outputs, inputs, n, seed):
    random = np.random.default_rng(seed)
    weight = random.integers(-512, 513, (outputs, inputs))
    features = random.integers(-512, 513, (inputs, n))
    assert np.array_equal(linear.product(weight, features), weight @ features)


def test_outer_axes_are_kept():
    features = np.arange(2 * 3 * 5 * 7).reshape(2, 3, 5, 7)
    weight = np.arange(20).reshape(4, 5)
    assert np.array_equal(linear.product(weight, features), weight @ features)


def test_compiled_code_refuses_buffers_of_other_sizes():
    compiled = linear._compiled
    if compiled is None:
        pytest.skip("the C extension is not built")
    small = np.zeros(6, np.float32)
    with pytest.raises(ValueError, match="sizes"):
        compiled.product(small, small, small, 2, 3, 3)
