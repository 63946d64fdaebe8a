"""Small circuits that tests take, and a choice between the C kernels and Python."""

from __future__ import annotations

import numpy as np
import pytest

from enfold.trees import flows, walk
from enfold.trees.frozen import FrozenCircuit, freeze
from enfold.trees.hats import hats_of
from enfold.trees.structure import HiddenTree

# node 0 has variables 0, 1; its children are 1 (variable 2, child 2 with 3 and 4) and 3 (variable 5)
TREE = HiddenTree(np.array([-1, 0, 1, 0]), np.array([0, 0, 1, 2, 2, 3]))


def random_circuit(seed: int = 0, values: int = 5, states: int = 8, concentration: float = 0.3) -> FrozenCircuit:
    random = np.random.default_rng(seed)
    nodes, variables = len(TREE.parent), len(TREE.owner)
    return FrozenCircuit.from_arrays(freeze(
        TREE, hats_of(np.arange(values), values, values), random.dirichlet(np.ones(states)),
        random.dirichlet(np.full(states, concentration), (nodes, states)),
        random.dirichlet(np.full(values, concentration), (variables, states)).transpose(0, 2, 1)))


@pytest.fixture(params=["C", "Python"])
def kernel(request, monkeypatch):
    for module in (flows, walk):
        if request.param == "Python":
            monkeypatch.setattr(module, "_compiled", None)
        elif module._compiled is None:
            pytest.skip("the C extension is not built")


@pytest.fixture
def circuit():
    return random_circuit()
