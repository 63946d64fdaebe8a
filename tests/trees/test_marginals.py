"""Answers of a circuit against the sum over all that it could have been."""

from __future__ import annotations

import itertools

import numpy as np

from enfold.trees.marginals import conditionals, expected, log2_likelihood, most_probable, sample
from tests.trees.conftest import TREE, random_circuit

ALL = np.array(list(itertools.product(range(3), repeat=6)))
CIRCUIT = random_circuit(2, values=3)
JOINT = 2 ** log2_likelihood(CIRCUIT, ALL)


def test_probabilities_of_all_images_sum_to_one():
    np.testing.assert_allclose(JOINT.sum(), 1, rtol=1e-6)


def test_unknown_pixels_are_summed_over():
    known = np.array([1, 0, 0, 1, 0, 1], bool)
    for image in ALL[::100]:
        alike = (ALL[:, known] == image[known]).all(1)
        np.testing.assert_allclose(2 ** log2_likelihood(CIRCUIT, image, known), JOINT[alike].sum(), rtol=1e-6)


def test_conditionals_are_shares_of_the_joint_probability():
    known = np.array([0, 1, 0, 1, 0, 0], bool)
    image = ALL[333]
    alike = (ALL[:, known] == image[known]).all(1)
    found = conditionals(CIRCUIT, image, known)[0]
    for variable in range(6):
        for value in range(3):
            share = JOINT[alike & (ALL[:, variable] == value)].sum() / JOINT[alike].sum()
            np.testing.assert_allclose(found[variable, value], share, rtol=1e-6, atol=1e-9)


def test_means_are_those_of_the_joint_probability():
    np.testing.assert_allclose(expected(CIRCUIT), JOINT @ ALL, rtol=1e-6)


def test_samples_keep_what_is_known_and_follow_the_rest():
    known = np.array([0, 0, 1, 0, 0, 0], bool)
    images = sample(CIRCUIT, np.full((20_000, 6), 1), known, seed=3)
    assert (images[:, 2] == 1).all()
    alike = ALL[:, 2] == 1
    for a, b in ((0, 3), (4, 5)):
        share = JOINT[alike & (ALL[:, a] == 2) & (ALL[:, b] == 0)].sum() / JOINT[alike].sum()
        assert abs(((images[:, a] == 2) & (images[:, b] == 0)).mean() - share) < 0.015
    assert np.array_equal(images, sample(CIRCUIT, np.full((20_000, 6), 1), known, seed=3))


def test_the_most_probable_has_the_likeliest_states():
    """Of values and states together, found by trying all of them."""
    known = np.array([1, 1, 0, 1, 1, 1], bool)
    image = ALL[500]
    leaf = np.diff(CIRCUIT.leaf.astype(np.float64), axis=1) / 2**20
    transition, root = CIRCUIT.transition / 2.0**20, CIRCUIT.root / 2.0**20
    best, values = -1.0, -1
    for states in itertools.product(range(8), repeat=4):
        p = root[states[0]] * np.prod([transition[n, states[TREE.parent[n]], states[n]] for n in range(1, 4)])
        p *= np.prod([leaf[v, image[v], states[TREE.owner[v]]] for v in range(6) if known[v]])
        row = p * leaf[2, :, states[TREE.owner[2]]]
        if row.max() > best:
            best, values = row.max(), int(row.argmax())
    found = most_probable(CIRCUIT, image, known)[0]
    assert np.array_equal(found[known], image[known]) and found[2] == values
