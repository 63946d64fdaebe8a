"""What a circuit answers beside coding: likelihoods, marginals and conditionals, samples, the most probable.

All of it of images any of whose pixels may be unknown, and all of it exact but for float64's rounding:
an unknown variable is a factor of 1 in the same pass up and down the tree that learning takes. These
are answers to people, not to a decoder: no file depends on them. NumPy only.

    images    (B, variables) integers; what stands where nothing is known does not matter
    known     (variables,) or (B, variables) bool
"""

from __future__ import annotations

import numpy as np

from enfold.trees.frozen import FrozenCircuit


def log2_likelihood(circuit: FrozenCircuit, images: np.ndarray, known: np.ndarray | bool = True) -> np.ndarray:
    """(B,) float64: log2 of the probability of what is known. Its negative is the bits that coding takes."""
    return _upward(circuit, images, known, np.sum)[0]


def conditionals(circuit: FrozenCircuit, images: np.ndarray, known: np.ndarray | bool = True) -> np.ndarray:
    """(B, variables, values) float64: the distribution of every variable given all that is known.

    That of a known variable is given the others too: it is all on its value.
    """
    images, known = _shaped(circuit, images, known)
    _, message, up = _upward(circuit, images, known, np.sum)
    tree = circuit.tree
    out = np.zeros((*images.shape, circuit.values))
    belief = message.copy()
    for node in range(len(tree.parent)):
        if node:
            ratio = belief[tree.parent[node]] / np.maximum(up[node], 1e-300)
            belief[node] *= ratio @ _transition(circuit, node)
        belief[node] /= belief[node].sum(1, keepdims=True)
    for variable, node in enumerate(tree.owner):
        out[:, variable] = belief[node] @ _leaf(circuit, variable).T
        seen = np.flatnonzero(known[:, variable])
        out[seen, variable] = 0
        out[seen, variable, images[seen, variable]] = 1
    return out


def expected(circuit: FrozenCircuit) -> np.ndarray:
    """(variables,) float64: the mean of each variable."""
    nothing = np.zeros((1, len(circuit.tree.owner)), np.int64)
    return conditionals(circuit, nothing, False)[0] @ np.arange(circuit.values)


def sample(circuit: FrozenCircuit, images: np.ndarray, known: np.ndarray | bool = False, seed: int = 0) -> np.ndarray:
    """uint8 (B, variables): what is known, and the rest drawn jointly given it."""
    random = np.random.default_rng(seed)

    def draw(weights: np.ndarray) -> np.ndarray:
        edges = np.cumsum(weights, 1)
        return (edges < random.random((len(weights), 1)) * edges[:, -1:]).sum(1)

    return _filled(circuit, images, known, np.sum, draw)


def most_probable(circuit: FrozenCircuit, images: np.ndarray, known: np.ndarray | bool = False) -> np.ndarray:
    """uint8 (B, variables): what is known, and the rest as the likeliest values and states together have it."""
    return _filled(circuit, images, known, np.max, lambda weights: weights.argmax(1))


def _filled(circuit, images, known, reduce, choose) -> np.ndarray:
    """Values from the root down: a state for each node, then its unknown variables given that."""
    images, known = _shaped(circuit, images, known)
    _, message, _ = _upward(circuit, images, known, reduce)
    tree, out = circuit.tree, images.astype(np.uint8)
    state = np.empty((len(tree.parent), len(images)), np.int64)
    for node in range(len(tree.parent)):
        row = _transition(circuit, node)[state[tree.parent[node]]] if node else 1.0
        state[node] = choose(message[node] * row)
    for variable, node in enumerate(tree.owner):
        free = np.flatnonzero(~known[:, variable])
        if free.size:
            out[free, variable] = choose(_leaf(circuit, variable).T[state[node][free]])
    return out


def _upward(circuit, images, known, reduce) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """(log2 of the likelihood (B,), messages (nodes, B, H), what each node tells its parent).

    reduce: np.sum, or np.max for the likeliest states. The root's message has its own probabilities in it.
    """
    images, known = _shaped(circuit, images, known)
    tree = circuit.tree
    message = np.ones((len(tree.parent), len(images), circuit.states))
    up = np.ones_like(message)
    total = np.zeros(len(images))

    def times(node: int, factor: np.ndarray, rows: np.ndarray | slice = slice(None)) -> None:
        message[node, rows] *= factor
        largest = message[node].max(1, keepdims=True)
        message[node] /= largest
        total[...] += np.log2(largest[:, 0])

    for variable, node in enumerate(tree.owner):
        leaf, rows = _leaf(circuit, variable), np.flatnonzero(known[:, variable])
        if rows.size:
            times(node, leaf[images[rows, variable]], rows)
        if reduce is np.max and rows.size < len(images):
            times(node, leaf.max(0), np.flatnonzero(~known[:, variable]))
    for node in range(len(tree.parent) - 1, 0, -1):
        weights = _transition(circuit, node)
        up[node] = message[node] @ weights.T if reduce is np.sum else \
            np.stack([(row * message[node]).max(1) for row in weights], 1)
        times(tree.parent[node], up[node])
    message[0] *= circuit.root / circuit.root.sum(dtype=np.float64)
    return total + np.log2(reduce(message[0], 1)), message, up


def _shaped(circuit: FrozenCircuit, images: np.ndarray, known: np.ndarray | bool) -> tuple[np.ndarray, np.ndarray]:
    images = np.asarray(images).reshape(-1, len(circuit.tree.owner))
    return images, np.broadcast_to(np.asarray(known, bool), images.shape)


def _leaf(circuit: FrozenCircuit, variable: int) -> np.ndarray:
    """(values, H) float64."""
    table = circuit.leaf[variable].astype(np.float64)
    return np.diff(table, axis=0) / table[-1]


def _transition(circuit: FrozenCircuit, node: int) -> np.ndarray:
    """(H, H) float64: from the parent's state to the node's."""
    counts = circuit.transition[node].astype(np.float64)
    return counts / counts.sum(1, keepdims=True)
