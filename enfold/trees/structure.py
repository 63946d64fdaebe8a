"""The shape of a hidden Chow–Liu tree: which variables hang together, learned from data.

    Chow–Liu tree of the variables          the hidden tree over them
          a                                     Z₀ ── a
        ╱ │ ╲                                  ╱  ╲╲
       b  c  d          ──▶                  Z₁    b, d
          │                                  │ ╲
          e                                  c   e

The spanning tree of greatest mutual information is rooted at its centre. Each variable that has
children gets a node with H hidden states, on which it and those of its children that have none
themselves depend. So siblings, and whole subtrees, still know of each other through the states.

Any array of small integers will do: only the number of a variable counts, not where it stands.

Sources: Chow and Liu 1968; Liu and Van den Broeck 2021 (hidden Chow–Liu trees).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from enfold.errors import UsageError

PSEUDOCOUNT = 0.1
BINS = 6


@dataclass(frozen=True, eq=False)
class HiddenTree:
    """Nodes in depth-first order, the root first.

    parent:   (nodes,) int32, the number of each node's parent, -1 for the root; less than its own.
    owner:    (variables,) int32, the node on which each variable depends.
    Raises UsageError where this is no such tree, or a node has no variable.
    """

    parent: np.ndarray
    owner: np.ndarray

    def __post_init__(self) -> None:
        parent, owner = (np.ascontiguousarray(array, np.int32) for array in (self.parent, self.owner))
        if parent.ndim != 1 or owner.ndim != 1 or not len(parent) or parent[0] != -1 \
                or (parent[1:] < 0).any() or (parent >= np.arange(len(parent))).any():
            raise UsageError("parents that make no tree: the first is -1, each other one a node before its child")
        if not np.array_equal(np.unique(owner), np.arange(len(parent))):
            raise UsageError(f"variables that do not belong to all of {len(parent)} nodes: each has at least one")
        object.__setattr__(self, "parent", parent)
        object.__setattr__(self, "owner", owner)

    @property
    def members(self) -> np.ndarray:
        """(variables,) int32: all variables, node by node."""
        return np.argsort(self.owner, kind="stable").astype(np.int32)

    @property
    def first(self) -> np.ndarray:
        """(nodes + 1,) int32: where each node's variables begin in `members`, and their end."""
        return np.searchsorted(np.sort(self.owner), np.arange(len(self.parent) + 1)).astype(np.int32)

    def to_arrays(self) -> dict[str, np.ndarray]:
        return {"parent": self.parent, "owner": self.owner}

    @classmethod
    def from_arrays(cls, arrays: Mapping[str, np.ndarray]) -> HiddenTree:
        return cls(arrays["parent"], arrays["owner"])


def hidden_tree(information: np.ndarray) -> HiddenTree:
    """The tree for variables of this mutual information (variables, variables)."""
    return _hidden(_rooted(_spanning(information)))


def mutual_information(data: np.ndarray, bins: int = BINS) -> np.ndarray:
    """uint8 (samples, variables) → (variables, variables) float64, in nats.

    Values are put into `bins` of about equal weight, the same for all variables.
    """
    lot = bins_of(data, bins)[data]
    samples, variables = lot.shape
    count = int(lot.max()) + 1
    hot = np.empty((count, variables, samples), np.float32)
    for number in range(count):
        hot[number] = number == lot.T
    total = samples + PSEUDOCOUNT * count * count
    share = [(rows.sum(1, dtype=np.float64) + PSEUDOCOUNT * count) / total for rows in hot]
    information = np.zeros((variables, variables))
    for a in range(count):
        for b in range(a, count):
            joint = ((hot[a] @ hot[b].T).astype(np.float64) + PSEUDOCOUNT) / total
            part = joint * np.log(joint / np.outer(share[a], share[b]))
            information += part if a == b else part + part.T
    return information


def bins_of(data: np.ndarray, bins: int) -> np.ndarray:
    """(256,) uint8: the bin of each value, from 0 on: each takes its share of what those before it left."""
    counts = np.bincount(data.reshape(-1))
    edges: list[int] = []
    start = 0
    for left in range(bins, 1, -1):
        rest = counts[start:].sum()
        if not rest:
            break
        edge = start + int(np.searchsorted(np.cumsum(counts[start:]), rest / left))
        if edge >= len(counts) - 1:
            break
        edges.append(edge)
        start = edge + 1
    return np.searchsorted(np.array(edges), np.arange(256), side="left").astype(np.uint8)


def _spanning(information: np.ndarray) -> list[list[int]]:
    """Neighbours of each variable in the spanning tree of greatest total (Prim)."""
    count = len(information)
    near: list[list[int]] = [[] for _ in range(count)]
    best, by = information[0].copy(), np.zeros(count, int)
    best[0] = -np.inf
    for _ in range(count - 1):
        new = int(best.argmax())
        near[new].append(int(by[new]))
        near[by[new]].append(new)
        closer = (information[new] > best) & np.isfinite(best)
        best[closer], by[closer] = information[new][closer], new
        best[new] = -np.inf
    return near


def _rooted(near: list[list[int]]) -> tuple[int, list[list[int]]]:
    """(root, children of each variable), rooted at the middle of the longest path."""
    def farthest(start: int) -> list[int]:
        before, last = {start: start}, start
        row = [start]
        while row:
            last = row[-1]
            following = []
            for here in row:
                for other in near[here]:
                    if other not in before:
                        before[other] = here
                        following.append(other)
            row = following
        path = [last]
        while path[-1] != start:
            path.append(before[path[-1]])
        return path

    path = farthest(farthest(0)[0])
    root = path[len(path) // 2]
    children: list[list[int]] = [[] for _ in near]
    waiting = [(root, -1)]
    while waiting:
        here, above = waiting.pop()
        children[here] = sorted(other for other in near[here] if other != above)
        waiting += [(other, here) for other in children[here]]
    return root, children


def _hidden(rooted: tuple[int, list[list[int]]]) -> HiddenTree:
    """Nodes for variables with children, depth first, the smaller subtrees first."""
    root, children = rooted
    size = np.ones(len(children), int)
    order = [root]
    for here in order:
        order += children[here]
    for here in reversed(order):
        size[here] += sum(size[child] for child in children[here])
    parent: list[int] = []
    owner = np.zeros(len(children), np.int32)
    waiting = [(root, -1)]
    while waiting:
        here, above = waiting.pop()
        number = len(parent)
        parent.append(above)
        owner[here] = number
        inner = sorted((child for child in children[here] if children[child]), key=lambda child: (size[child], child))
        owner[[child for child in children[here] if not children[child]]] = number
        waiting += [(child, number) for child in reversed(inner)]
    return HiddenTree(np.array(parent), owner)
