"""A circuit's tables: integers, made once, saved with the model.

    in a model file    a byte for each probability, of a state or of a hat (`hats`): its level, -12 log2 p to the
                       nearest whole number; and what weight each of the 256 levels stands for
    in memory          counts that add up to 2^20 for each state, none of them 0, in float32, which holds
                       them exactly; a leaf's cumulated over its values, from 0

Counts follow from weights by integer arithmetic alone: 1 + weight · (2^20 - size) // sum, and what is
then left to 2^20 goes to the largest weight, the first of equals. A level is 6 % wide: that costs
0.0002 bits a symbol.

A circuit is a distribution over an array of small integers (see `structure`): a hidden state at each
node, drawn given its parent's; and each variable drawn given the state of the node that owns it.
NumPy only.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from enfold.errors import UsageError
from enfold.trees.hats import PRECISION as HAT_PRECISION
from enfold.trees.hats import Hats
from enfold.trees.structure import HiddenTree

PRECISION = 20              # bits: counts of a state sum to 2^20
LEVELS_PER_BIT = 12
WEIGHT = 30                 # bits of the weight of a probability of 1
LEAF_BITS = 4               # of a leaf's weights below those of its mixture: their sum is below 2^43
MOST_STATES = 128           # for which sums of counts times beliefs stay below 2^53
STATES_MULTIPLE = 8


@dataclass(frozen=True, eq=False)
class FrozenCircuit:
    """tree: who depends on whom. All else float32, integers.

    root:        (H,) counts of the root's states.
    transition:  (nodes, H, H) counts of a node's state (last) given its parent's; [0] is not used.
    leaf:        (variables, values + 1, H) cumulative counts: [v, x, k] is that of all values below x.
    hats:        how many numbers a leaf's distribution is made of, given a state.
    """

    tree: HiddenTree
    root: np.ndarray
    transition: np.ndarray
    leaf: np.ndarray
    hats: int

    @property
    def states(self) -> int:
        return len(self.root)

    @property
    def values(self) -> int:
        return self.leaf.shape[1] - 1

    @property
    def parameters(self) -> int:
        """Independent probabilities, as the literature counts them."""
        nodes, variables, states = len(self.tree.parent), len(self.tree.owner), self.states
        return variables * states * (self.hats - 1) + (nodes - 1) * states * (states - 1) + states - 1

    @classmethod
    def from_arrays(cls, arrays: Mapping[str, np.ndarray]) -> FrozenCircuit:
        """From a model file's arrays, see `freeze`. Raises UsageError on anything inconsistent."""
        tree, hats = HiddenTree.from_arrays(arrays), Hats.from_arrays(arrays)
        weights, levels = arrays["weights"], {name: arrays[name] for name in ("root", "transition", "leaf")}
        (states,), nodes, variables = levels["root"].shape, len(tree.parent), len(tree.owner)
        if weights.shape != (256,) or weights.dtype != np.uint32 or weights.max() > 1 << WEIGHT \
                or any(a.dtype != np.uint8 for a in levels.values()) \
                or levels["leaf"].shape != (variables, hats.size, states) \
                or levels["transition"].shape != (nodes, states, states) \
                or states % STATES_MULTIPLE or not states <= MOST_STATES:
            raise UsageError("arrays of a circuit that do not fit together: "
                             + ", ".join(f"{name} {a.dtype}{a.shape}" for name, a in levels.items()))
        leaf = np.zeros((variables, len(hats.first) + 1, states), np.float32)
        near, beyond = hats.near.astype(np.uint64)[:, None], hats.beyond.astype(np.uint64)[:, None]
        for number, rows in enumerate(levels["leaf"]):
            share = weights[rows].astype(np.uint64)
            mixed = near * share[hats.first] + beyond * share[hats.second] >> np.uint64(HAT_PRECISION - LEAF_BITS)
            np.cumsum(_counts(mixed.T).T, 0, out=leaf[number, 1:])
        transition = np.stack([_counts(weights[rows]) for rows in levels["transition"]]).astype(np.float32)
        return cls(tree, _counts(weights[levels["root"]][None])[0].astype(np.float32), transition, leaf, hats.size)


def freeze(tree: HiddenTree, hats: Hats, root: np.ndarray, transition: np.ndarray,
           mixture: np.ndarray) -> dict[str, np.ndarray]:
    """The arrays of a model file: probabilities root (H,), transition (nodes, H, H), mixture (variables, hats, H)."""
    weights = np.floor(2.0 ** (WEIGHT - np.arange(256) / LEVELS_PER_BIT))
    weights[255] = 0
    return {**tree.to_arrays(), **hats.to_arrays(), "weights": weights.astype(np.uint32), "root": _levels(root),
            "transition": _levels(transition), "leaf": _levels(mixture)}


def _levels(probabilities: np.ndarray) -> np.ndarray:
    with np.errstate(divide="ignore"):
        return np.clip(np.rint(-LEVELS_PER_BIT * np.log2(probabilities)), 0, 255).astype(np.uint8)


def _counts(weights: np.ndarray) -> np.ndarray:
    """Weights (rows, size) → counts of at least 1, each row summing to 2^20. Exact integers."""
    weights = weights.astype(np.uint64)
    total = np.maximum(weights.sum(1, keepdims=True), np.uint64(1))
    counts = 1 + weights * np.uint64((1 << PRECISION) - weights.shape[1]) // total
    rest = np.uint64(1 << PRECISION) - counts.sum(1)
    counts[np.arange(len(counts)), weights.argmax(1)] += rest
    return counts
