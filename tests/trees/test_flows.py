"""Expectations are those of the sum over all states; EM never makes the data less likely."""

from __future__ import annotations

import itertools

import numpy as np
import pytest

from enfold.trees import flows
from enfold.trees.flows import LearnedCircuit
from enfold.trees.hats import hats_of
from tests.trees.conftest import TREE

VALUES = 3


def learned(seed: int = 0, threads: int = 1, states: int = 8) -> LearnedCircuit:
    return LearnedCircuit(TREE, states, hats_of(np.arange(VALUES), VALUES), seed, threads)


def by_enumeration(circuit: LearnedCircuit, image: np.ndarray) -> float:
    """The probability of an image, state by state."""
    total = 0.0
    for states in itertools.product(range(8), repeat=len(TREE.parent)):
        p = float(circuit.root[states[0]])
        for node in range(1, len(states)):
            p *= circuit.transition[node, states[TREE.parent[node]], states[node]]
        for variable, value in enumerate(image):
            p *= circuit.leaf[variable, value, states[TREE.owner[variable]]]
        total += p
    return total


@pytest.fixture
def images():
    return np.random.default_rng(5).integers(0, VALUES, (70, 6)).astype(np.uint8)


def test_likelihoods_are_sums_over_all_states(kernel, images):
    circuit = learned()
    found = circuit.log_likelihood(images[:3])
    np.testing.assert_allclose(np.exp(found), [by_enumeration(circuit, image) for image in images[:3]], rtol=1e-4)


@pytest.mark.parametrize("states", [8, 16, 24, 32, 64])
def test_c_and_python_learn_the_same(images, states, monkeypatch):
    if flows._compiled is None:
        pytest.skip("the C extension is not built")
    fast, slow = learned(states=states, threads=2), learned(states=states)
    bits = [fast.step(images, 0.5, 1.0, 100) for _ in range(3)]
    monkeypatch.setattr(flows, "_compiled", None)
    np.testing.assert_allclose(bits, [slow.step(images, 0.5, 1.0, 100) for _ in range(3)], rtol=1e-5)
    for name in fast.tables:
        np.testing.assert_allclose(fast.tables[name], slow.tables[name], rtol=1e-3, atol=1e-6)


def test_counts_of_a_whole_step_add_up_to_the_images(kernel, images):
    circuit = learned()
    circuit.step(images, 1.0, 1.0, len(images))
    np.testing.assert_allclose(circuit.counts["root"].sum(), 1, rtol=1e-5)
    np.testing.assert_allclose(circuit.counts["transition"][1:].sum((1, 2)), 1, rtol=1e-5)
    np.testing.assert_allclose(circuit.counts["mixture"].sum(2), [[(column == value).mean() for value in range(VALUES)]
                                                                  for column in images.T], rtol=1e-5)


def test_full_steps_never_lose(kernel, images):
    circuit = learned()
    bits = [circuit.step(images, 1.0, 0.0, 10**6) for _ in range(12)]
    assert all(after <= before + 1e-6 for before, after in itertools.pairwise(bits))
    assert bits[-1] < 0.9 * bits[0]


def test_values_of_a_hat_keep_its_shape(kernel):
    """Ten values under three hats: leaves stay mixtures of them, and EM finds the mixture that data were drawn from."""
    hats = hats_of(np.repeat(np.arange(10), 9), 10, 3)
    near, beyond = hats.shares
    random = np.random.default_rng(0)
    wanted = random.dirichlet(np.ones(3), 6)
    leaf = near * wanted[:, hats.first] + beyond * wanted[:, hats.second]
    images = np.stack([random.choice(10, 4000, p=row / row.sum()) for row in leaf], 1).astype(np.uint8)
    circuit = LearnedCircuit(TREE, 8, hats)
    for _ in range(30):
        circuit.step(images, 1.0, 0.0, len(images))
    found = (circuit.counts["mixture"]).sum(2)
    np.testing.assert_allclose(found, wanted, atol=0.08)
    np.testing.assert_allclose(circuit.leaf, near[:, None] * circuit.mixture[:, hats.first]
                               + beyond[:, None] * circuit.mixture[:, hats.second], rtol=1e-4, atol=1e-7)


def test_hundreds_of_bits_are_none_too_small(kernel):
    """600 variables on one node, all but impossible: the likelihood is far below what a float holds."""
    from enfold.trees.structure import HiddenTree

    circuit = LearnedCircuit(HiddenTree(np.array([-1]), np.zeros(600)), 8, hats_of(np.arange(2), 2))
    circuit.leaf[:, 0], circuit.leaf[:, 1] = 1 - 1e-6, 1e-6
    found = circuit.log_likelihood(np.ones((2, 600), np.uint8))
    np.testing.assert_allclose(found, 600 * np.log(1e-6), rtol=1e-4)


def test_counts_that_are_put_back_give_the_same_probabilities(kernel, images):
    circuit, again = learned(), learned(seed=7)
    circuit.step(images, 0.4, 2.0, 100)
    for name, counts in again.counts.items():
        counts[...] = circuit.counts[name]
    again.follow_counts(2.0, 100)
    for name, table in circuit.tables.items():
        np.testing.assert_allclose(again.tables[name], table, rtol=1e-5)
