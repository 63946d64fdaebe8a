"""Learning a circuit: expectation–maximisation, its expectations by a pass up and a pass down the tree.

    up      m(k) = Π leaf(k, x) · Π t_child(k)            t(k) = Σ W(k, j) m(j), what a node tells its parent
    down    p(j) = m(j) · Σ r(k) W(k, j)                  r(k) = p_parent(k) / t(k)

p is the posterior of a node's state; r(k) W(k, j) m(j), summed over images, is how often a transition
is taken: its flow, which is also W · ∂ log p / ∂ W. All images of a batch take a node together, as
matrix products; the C kernel takes 32 at a time, so that what they need stays in the cache.

Counts of a mini-batch move mean counts by a rate that falls from one half to about a batch's share of
the data (stepwise EM); probabilities are mean counts plus a prior, normalised. A leaf's prior is twofold:
as if a state had seen `prior` values more, which fall into bins of values as those that it saw, but evenly
within a bin; and `EVEN` more, evenly over all. On images that were not trained on it is worth 0.01
to 0.02 bits a pixel where states have seen some hundreds; an even prior alone would take from what is
certain, a border that is always black, what it gives elsewhere.

Sources: Dempster et al. 1977; Cappé and Moulines 2009 (stepwise EM); Peharz et al. 2020 (flows).
"""

from __future__ import annotations

import os
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from itertools import pairwise

import numpy as np

from enfold.trees.structure import HiddenTree

try:
    if os.environ.get("ENFOLD_NO_C"):
        raise ImportError("asked for")
    from enfold.trees import _flows as _compiled  # type: ignore[attr-defined]
except ImportError:
    _compiled = None

TRANSITION_PRIOR = 0.1      # counts of a state, over all states that follow
EVEN = 0.5                  # counts of a state, over all values
BINS = 8                    # of values, of about equal weight in the data
_NONE = np.empty(0, np.float32)
_TINY = np.float32(1e-12)


@dataclass(frozen=True)
class CircuitPlan:
    """What a circuit is for: the shape of a sample, how many values its elements take; and states of a node."""

    shape: tuple[int, ...]
    values: int
    states: int


class LearnedCircuit:
    """A circuit while it is learned: float32 probabilities, and the mean counts that they are made of.

    root (H,), transition (nodes, H, H), leaf (variables, values, H): probabilities of the last axis but,
    in a leaf, of the one before. counts: of the same shapes, the mean of an image. H is a multiple of 8.
    bins: (values,) the bin of each value, see `structure.bins_of`.
    """

    def __init__(self, tree: HiddenTree, states: int, bins: np.ndarray, seed: int = 0, threads: int = 1) -> None:
        random = np.random.default_rng(seed)
        nodes, variables, values = len(tree.parent), len(tree.owner), len(bins)
        self.tree, self.bins, self._threads = tree, np.ascontiguousarray(bins, np.uint8), threads
        self.root = np.full(states, 1 / states, np.float32)
        self.transition = random.dirichlet(np.ones(states), (nodes, states)).astype(np.float32)
        self.leaf = np.empty((variables, values, states), np.float32)
        for leaf in self.leaf:
            leaf[:] = random.dirichlet(np.ones(values), states).T
        self.counts = {name: np.zeros_like(table) for name, table in self.tables.items()}
        self._flows = [{name: np.zeros_like(table) for name, table in self.tables.items()} for _ in range(threads)]
        self._pool = ThreadPoolExecutor(threads)

    @property
    def tables(self) -> dict[str, np.ndarray]:
        return {"root": self.root, "transition": self.transition, "leaf": self.leaf}

    def log_likelihood(self, images: np.ndarray) -> np.ndarray:
        """uint8 (images, variables) → (images,) float64, natural."""
        parts = np.array_split(images, self._threads)
        return np.concatenate(list(self._pool.map(partial(_flow, self, flows=None), parts)))

    def bits(self, images: np.ndarray) -> float:
        """The mean cost of a variable."""
        return -float(self.log_likelihood(images).mean()) / np.log(2) / len(self.tree.owner)

    def step(self, images: np.ndarray, rate: float, prior: float, samples: int) -> float:
        """One step of EM on a batch; returns what `bits` was before. samples: in the whole data set."""
        parts = np.array_split(images, self._threads)
        found = np.concatenate(list(self._pool.map(partial(_flow, self), parts, self._flows)))
        self._follow(rate, 1 / len(images), prior, samples)
        return -float(found.mean()) / np.log(2) / len(self.tree.owner)

    def follow_counts(self, prior: float, samples: int) -> None:
        """Probabilities from the counts as they are: after these were put back."""
        self._follow(0.0, 0.0, prior, samples)

    def _follow(self, rate: float, scale: float, prior: float, samples: int) -> None:
        variables, values, states = self.leaf.shape
        edges = np.linspace(0, variables, self._threads + 1).astype(int).tolist()
        leaves = tuple(flows["leaf"] for flows in self._flows)
        run = _follow_leaves if _compiled is None else _compiled.follow
        jobs = [self._pool.submit(run, self.counts["leaf"], self.leaf, leaves, self.bins, start, stop, values, states,
                                  rate, scale, prior / samples, EVEN / samples)
                for start, stop in pairwise(edges)]
        for name in ("root", "transition"):
            table, counts = self.tables[name], self.counts[name]
            seen = np.sum([flows[name] for flows in self._flows], 0)
            for flows in self._flows:
                flows[name][...] = 0
            if name == "transition":        # the root's are whole already
                seen *= table
            counts += np.float32(rate) * (seen * np.float32(scale) - counts)
            table[...] = counts + np.float32(TRANSITION_PRIOR / samples / states)
            table /= table.sum(-1, keepdims=True)
        for job in jobs:
            job.result()


def _flow(circuit: LearnedCircuit, images: np.ndarray, flows: dict[str, np.ndarray] | None) -> np.ndarray:
    """Log-likelihoods of images; adds to flows, those of transitions without their factor W."""
    images = np.ascontiguousarray(images, np.uint8)
    if _compiled is None:
        return _flow_slowly(circuit, images, flows)
    out = np.empty(len(images))
    tree = circuit.tree
    to = (_NONE, _NONE, _NONE) if flows is None else (flows["leaf"], flows["transition"], flows["root"])
    _compiled.flows(circuit.leaf, circuit.transition, circuit.root, tree.parent, tree.first, tree.members,
                    circuit.leaf.shape[1], images, out, *to)
    return out


def _flow_slowly(circuit: LearnedCircuit, images: np.ndarray, flows: dict[str, np.ndarray] | None) -> np.ndarray:
    tree, nodes = circuit.tree, len(circuit.tree.parent)
    total, up = np.zeros(len(images)), [np.empty(0)] * nodes
    message = [np.ones((len(images), len(circuit.root))) for _ in range(nodes)]

    def times(node: int, factor: np.ndarray) -> None:
        message[node] *= factor
        largest = message[node].max(1, keepdims=True)
        message[node] /= largest
        total[...] += np.log(largest[:, 0])

    for variable, node in enumerate(tree.owner):
        times(node, circuit.leaf[variable, images[:, variable]].astype(np.float64))
    for node in range(nodes - 1, 0, -1):
        up[node] = message[node] @ circuit.transition[node].T.astype(np.float64)
        times(tree.parent[node], up[node])
    message[0] *= circuit.root
    likelihood = message[0].sum(1, keepdims=True)
    message[0] /= likelihood
    if flows is not None:
        flows["root"] += message[0].sum(0)
        for node in range(1, nodes):
            ratio = message[tree.parent[node]] / up[node]
            flows["transition"][node] += ratio.T @ message[node]
            message[node] *= ratio @ circuit.transition[node]
        for variable, node in enumerate(tree.owner):
            np.add.at(flows["leaf"][variable], images[:, variable], message[node].astype(np.float32))
    return total + np.log(likelihood[:, 0])


def _follow_leaves(counts: np.ndarray, table: np.ndarray, flows: tuple[np.ndarray, ...], bins: np.ndarray, start: int,
                   stop: int, values: int, states: int, rate: float, scale: float, prior: float, even: float) -> None:
    """Mean counts towards those of a batch, whose flows are emptied; the tables follow."""
    member = (np.arange(bins.max() + 1)[:, None] == bins).astype(np.float32)
    for variable in range(start, stop):
        seen = np.sum([flow[variable] for flow in flows], 0)
        own = counts[variable]
        own += np.float32(rate) * (seen * np.float32(scale) - own)
        share = (member @ own + _TINY) / (own.sum(0) + len(member) * _TINY)
        share /= np.maximum(member.sum(1, keepdims=True), 1)
        table[variable] = own + np.float32(prior) * share[bins] + np.float32(even / values)
        table[variable] /= table[variable].sum(0)
        for flow in flows:
            flow[variable] = 0
