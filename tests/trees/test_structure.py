"""The tree that is learned is the one that the data have."""

from __future__ import annotations

import numpy as np
import pytest

from enfold.errors import UsageError
from enfold.trees.structure import HiddenTree, hidden_tree, mutual_information


def chain(samples: int, length: int, seed: int = 0, flip: float = 0.1) -> np.ndarray:
    """A Markov chain of values 0 to 3."""
    random = np.random.default_rng(seed)
    out = np.empty((samples, length), np.uint8)
    out[:, 0] = random.integers(0, 4, samples)
    for at in range(1, length):
        again = random.random(samples) >= flip
        out[:, at] = np.where(again, out[:, at - 1], random.integers(0, 4, samples))
    return out


def test_information_of_a_copy_is_its_entropy_and_of_a_stranger_none():
    random = np.random.default_rng(0)
    a, b = random.integers(0, 2, (2, 50_000)).astype(np.uint8)
    found = mutual_information(np.stack([a, a, b], 1))
    np.testing.assert_allclose(found[:2, :2], np.log(2), rtol=1e-3)
    np.testing.assert_allclose(found[2, :2], 0, atol=1e-3)
    np.testing.assert_allclose(found, found.T)


def test_values_that_are_rare_do_not_get_bins_of_their_own():
    """What matters of 0, 1 … 255 is found with a few bins, wherever the values lie."""
    random = np.random.default_rng(1)
    a = np.where(random.random(4000) < 0.8, 0, random.integers(1, 256, 4000))
    data = np.stack([a, np.minimum(a + 1, 255), random.permutation(a)], 1).astype(np.uint8)
    found = mutual_information(data, bins=4)
    assert found[0, 1] > 0.6
    assert found[0, 2] < 0.1


def test_a_chain_gives_a_chain_rooted_in_its_middle():
    tree = hidden_tree(mutual_information(chain(20_000, 7)))
    assert len(tree.parent) == 5                                # its ends have no children, hence no node
    assert np.bincount(tree.owner).tolist() == [1, 1, 2, 1, 2] or np.bincount(tree.owner).max() == 2
    assert tree.owner[0] == tree.owner[1] and tree.owner[5] == tree.owner[6] and tree.owner[3] == 0


def test_a_star_has_one_node():
    information = np.zeros((5, 5))
    information[2] = information[:, 2] = 1
    tree = hidden_tree(information)
    assert tree.parent.tolist() == [-1] and tree.owner.tolist() == [0] * 5


def test_constant_variables_hang_on_somewhere():
    data = chain(500, 6)
    data[:, 3] = 0
    tree = hidden_tree(mutual_information(data))
    assert sorted(tree.members.tolist()) == list(range(6)) and tree.first[-1] == 6


@pytest.mark.parametrize("parent, owner", [([0], [0]), ([-1, 1], [0, 1]), ([-1, 2, 0], [0, 1, 2]), ([-1, 0], [0, 0]),
                                           ([-1], [0, 1]), ([], [])])
def test_what_is_no_tree_is_refused(parent, owner):
    with pytest.raises(UsageError, match=r"make no tree|do not belong"):
        HiddenTree(np.array(parent), np.array(owner))
