"""Learning a circuit: expectation–maximisation, its expectations by a pass up and a pass down the tree.

    up      m(k) = Π leaf(k, x) · Π t_child(k)            t(k) = Σ W(k, j) m(j), what a node tells its parent
    down    p(j) = m(j) · Σ r(k) W(k, j)                  r(k) = p_parent(k) / t(k)

p is the posterior of a node's state; r(k) W(k, j) m(j), summed over images, is how often a transition
is taken: its flow, which is also W · ∂ log p / ∂ W. All images of a batch take a node together, as
matrix products; the C kernel takes 32 at a time, so that what they need stays in the cache.

Counts of a mini-batch move mean counts by a rate that falls from one half to about a batch's share of
the data (stepwise EM); probabilities are mean counts plus a small even prior, normalised. A leaf is a
mixture of hats (see `hats`): what is counted is how often each hat was the one that a value came from,
and the probabilities of values follow.

Sources: Dempster et al. 1977; Cappé and Moulines 2009 (stepwise EM); Peharz et al. 2020 (flows).
"""

from __future__ import annotations

import os
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from itertools import pairwise

import numpy as np

from enfold.trees.hats import HATS, Hats
from enfold.trees.structure import HiddenTree

try:
    if os.environ.get("ENFOLD_NO_C"):
        raise ImportError("asked for")
    from enfold.trees import _flows as _compiled  # type: ignore[attr-defined]
except ImportError:
    _compiled = None

TRANSITION_PRIOR = 0.1      # counts of a state, over all states that follow
_NONE = np.empty(0, np.float32)
_TINY = np.float32(1e-30)


@dataclass(frozen=True)
class CircuitPlan:
    """What a circuit is for: the shape of a sample, how many values its elements take; states of a node; see `hats`."""

    shape: tuple[int, ...]
    values: int
    states: int
    hats: int = HATS


class LearnedCircuit:
    """A circuit while it is learned: float32 probabilities, and the mean counts that they are made of.

    root (H,), transition (nodes, H, H), leaf (variables, values, H): probabilities of the last axis but,
    in a leaf, of the one before. mixture (variables, hats, H): how much of each hat. counts: of root,
    transition and mixture, the mean of an image. H is a multiple of 8.
    """

    def __init__(self, tree: HiddenTree, states: int, hats: Hats, seed: int = 0, threads: int = 1) -> None:
        random = np.random.default_rng(seed)
        nodes, variables = len(tree.parent), len(tree.owner)
        self.tree, self.hats, self._threads = tree, hats, threads
        self.root = np.full(states, 1 / states, np.float32)
        self.transition = random.dirichlet(np.ones(states), (nodes, states)).astype(np.float32)
        self.mixture = random.dirichlet(np.ones(hats.size), (variables, states)).astype(np.float32)
        self.mixture = np.ascontiguousarray(self.mixture.transpose(0, 2, 1))
        near, beyond = hats.shares
        self.leaf = np.ascontiguousarray(near[:, None] * self.mixture[:, hats.first]
                                         + beyond[:, None] * self.mixture[:, hats.second])
        self.counts = {"root": np.zeros_like(self.root), "transition": np.zeros_like(self.transition),
                       "mixture": np.zeros_like(self.mixture)}
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
        hats, (near, beyond) = self.hats, self.hats.shares
        jobs = [self._pool.submit(run, self.counts["mixture"], self.mixture, self.leaf, leaves, hats.first, hats.second,
                                  near, beyond, start, stop, values, hats.size, states, rate, scale, prior / samples)
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


def _follow_leaves(counts: np.ndarray, mixture: np.ndarray, table: np.ndarray, flows: tuple[np.ndarray, ...],
                   first: np.ndarray, second: np.ndarray, near: np.ndarray, beyond: np.ndarray, start: int, stop: int,
                   values: int, size: int, states: int, rate: float, scale: float, prior: float) -> None:
    """Mean counts of hats towards those of a batch, whose flows are emptied; mixtures and leaves follow."""
    for variable in range(start, stop):
        own, share = counts[variable], mixture[variable]
        ratio = np.sum([flow[variable] for flow in flows], 0) / (table[variable] + _TINY)
        seen = np.zeros_like(own)
        np.add.at(seen, first, near[:, None] * ratio)
        np.add.at(seen, second, beyond[:, None] * ratio)
        own += np.float32(rate) * (seen * share * np.float32(scale) - own)
        share[...] = own + np.float32(prior / size)
        share /= share.sum(0)
        table[variable] = near[:, None] * share[first] + beyond[:, None] * share[second]
        for flow in flows:
            flow[variable] = 0
