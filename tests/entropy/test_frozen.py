"""Frozen densities: the same table on every machine."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from enfold.entropy.densities import Gaussian
from enfold.entropy.frozen import FrozenIndexed, FrozenLocationScale
from enfold.entropy.tables import Tables
from enfold.errors import UsageError

TWO = Tables(8, [0] * 8, [1] * 8, [255, 1] * 8)
HAND = FrozenLocationScale(TWO, 2, 3, np.array([0, 0, 0, 1, 1]))    # scales from 3/8 on are the second
GAUSSIAN = Gaussian().freeze()


def test_tables_and_offsets_worked_by_hand():
    mean = np.array([3.3, 3.25, 3.13, 3.12, -0.1, -0.2, 3.9], np.float32)
    scale = np.array([0.3, 0.374, 0.375, 99, -1, np.inf, 0], np.float32)
    index, offset = HAND.locate((mean, scale))
    assert offset.tolist() == [3, 3, 3, 3, 0, -1, 4]
    assert index.tolist() == [1, 1, 5, 4, 0, 7, 0]
    assert index.dtype == offset.dtype == np.int32


@given(st.floats(-1000, 1000, width=32), st.floats(0.1015625, 64, width=32))
def test_the_table_is_that_of_the_nearest_scale_and_fraction(mean, scale):
    index, offset = GAUSSIAN.locate((np.float32(mean), np.float32(scale)))
    level, fraction = divmod(int(index), 4)
    assert abs(mean - (offset + fraction / 4)) <= 0.125
    grid, snapped = np.geomspace(0.1, 64, 40), np.floor(scale * 256) / 256
    ratios = np.abs(np.log(grid / (snapped + 1 / 512)))
    assert ratios[level] <= ratios.min() + 1e-9


@given(st.floats(width=32, allow_nan=False), st.floats(width=32, allow_nan=False))
def test_any_context_has_a_table(mean, scale):
    index, _ = GAUSSIAN.locate((np.float32(mean), np.float32(scale)))
    assert 0 <= index < len(GAUSSIAN.tables)


def test_means_and_scales_are_broadcast():
    index, offset = HAND.locate((np.zeros((2, 3), np.float32), np.ones((3,), np.float32)))
    assert index.shape == offset.shape == (2, 3)


@pytest.mark.parametrize("frozen", [HAND, GAUSSIAN, FrozenIndexed(TWO)])
def test_storage_changes_nothing(frozen):
    arrays = frozen.to_arrays("density.")
    again = type(frozen).from_arrays(arrays, "density.")
    assert again.to_arrays("density.").keys() == arrays.keys()
    for name, array in again.to_arrays("density.").items():
        assert np.array_equal(array, arrays[name]) and array.dtype == arrays[name].dtype


@pytest.mark.parametrize(("change", "message"), [
    ({"levels": np.array([0, 2])}, "8 tables where 3 scales and 4 fractions"),
    ({"levels": np.array([0, -1])}, "numbers from 0 on"),
    ({"levels": np.array([0.0, 1.0])}, "float64"),
    ({"levels": None}, "without levels"),
    ({"bits": np.array([2])}, "bits of shape"),
    ({"bits": np.array([2, 99])}, "scale_bits of 99"),
    ({"low": None}, "tables without low"),
])
def test_inconsistent_arrays_are_refused_with_the_reason(change, message):
    arrays = {name: array for name, array in {**HAND.to_arrays(), **change}.items() if array is not None}
    with pytest.raises(UsageError, match=message):
        FrozenLocationScale.from_arrays(arrays)
