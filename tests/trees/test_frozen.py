"""Tables are integers that add up, and nearly the probabilities that they were made of."""

from __future__ import annotations

import numpy as np
import pytest

from enfold.errors import UsageError
from enfold.trees.frozen import PRECISION, FrozenCircuit, _counts, freeze
from enfold.trees.hats import hats_of
from tests.trees.conftest import TREE, random_circuit


def test_counts_by_hand():
    """To 16 in four: 1 + w · 12 // 6, and the one that is left to the first of the largest."""
    counts = _counts(np.array([[3, 0, 3, 0], [0, 0, 0, 0], [5, 1, 0, 0]]))
    whole = 1 << PRECISION
    assert counts.sum(1).tolist() == [whole] * 3
    assert counts[0].tolist() == [whole // 2 - 1, 1, whole // 2 - 1, 1]
    assert counts[1].tolist() == [whole - 3, 1, 1, 1]
    assert counts[2, 1] == 1 + (whole - 4) // 6 and counts[2, 0] == whole - 2 - counts[2, 1]


def test_every_row_sums_to_the_whole_and_nothing_is_impossible(circuit):
    whole = 1 << PRECISION
    assert circuit.root.sum() == whole and circuit.root.min() >= 1
    assert (circuit.transition.sum(2) == whole).all() and circuit.transition.min() >= 1
    assert (circuit.leaf[:, 0] == 0).all() and (circuit.leaf[:, -1] == whole).all()
    assert np.diff(circuit.leaf, axis=1).min() >= 1


def test_levels_cost_less_than_a_thousandth_of_a_bit():
    random = np.random.default_rng(0)
    leaf = random.dirichlet(np.full(256, 0.2), (6, 8)).transpose(0, 2, 1)
    circuit = FrozenCircuit.from_arrays(freeze(
        TREE, hats_of(np.arange(256), 256, 256), np.full(8, 1 / 8), random.dirichlet(np.ones(8), (4, 8)), leaf))
    near = np.diff(circuit.leaf, axis=1) / (1 << PRECISION)
    assert (leaf * np.log2(np.maximum(leaf, 1e-30) / near)).sum(1).max() < 1e-3


def test_arrays_of_other_shapes_are_refused():
    arrays = freeze(TREE, hats_of(np.arange(5), 5), np.full(8, 1 / 8), np.full((4, 8, 8), 1 / 8),
                    np.full((6, 5, 8), 1 / 5))
    assert FrozenCircuit.from_arrays(arrays).values == 5
    for name, wrong in (("leaf", arrays["leaf"][1:]), ("root", arrays["root"][1:]), ("weights", arrays["weights"][1:]),
                        ("transition", arrays["transition"].astype(np.int32))):
        with pytest.raises(UsageError, match="do not fit together"):
            FrozenCircuit.from_arrays({**arrays, name: wrong})


def test_a_model_without_hats_has_one_for_each_value():
    """As models had them that were written first: the same tables."""
    arrays = freeze(TREE, hats_of(np.arange(5), 5), np.full(8, 1 / 8), np.full((4, 8, 8), 1 / 8),
                    np.random.default_rng(1).dirichlet(np.ones(5), (6, 8)).transpose(0, 2, 1))
    first = {name: array for name, array in arrays.items() if name not in ("hat", "near", "beyond")}
    np.testing.assert_array_equal(FrozenCircuit.from_arrays(first).leaf, FrozenCircuit.from_arrays(arrays).leaf)


def test_parameters_are_counted_as_the_literature_does():
    assert random_circuit(values=5, states=8).parameters == 6 * 8 * 4 + 3 * 8 * 7 + 7
