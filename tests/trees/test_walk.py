"""The walk: the same bytes from C and Python, for any images, with any pixels left out, near the entropy."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from enfold.errors import BitstreamError, UsageError
from enfold.trees import walk
from enfold.trees.frozen import FrozenCircuit
from enfold.trees.marginals import sample
from enfold.trees.walk import Measuring, cumulative, decode, encode, schedule, settle
from tests.trees.conftest import TREE, random_circuit

needs_c = pytest.mark.skipif(walk._compiled is None, reason="the C extension is not built")


class PartialEvaluation:
    """Conditionals as the literature computes them: after each value, the nodes on its way to the root again."""

    def __init__(self, circuit: FrozenCircuit) -> None:
        self.circuit = circuit
        self.leaf = [np.ones(circuit.states) for _ in TREE.owner]
        self.message = [np.ones(circuit.states) for _ in TREE.parent]

    def likelihood(self, node: int = 0) -> float:
        return float((self.message[0] * self.circuit.root).sum() / self.circuit.root.sum())

    def settle(self, variable: int, value: int | None) -> None:
        table = self.circuit.leaf[variable].astype(np.float64)
        self.leaf[variable] = np.ones(self.circuit.states)
        if value is not None:
            self.leaf[variable] = np.diff(table, axis=0)[value] / table[-1]
        node = int(TREE.owner[variable])
        while node >= 0:
            own = np.prod([self.leaf[v] for v in np.flatnonzero(TREE.owner == node)], 0)
            for child in np.flatnonzero(TREE.parent == node):
                own = own * (self.circuit.transition[child].astype(np.float64) / 2**20 @ self.message[child])
            self.message[node] = own
            node = int(TREE.parent[node])


class Watching(Measuring):
    """Keeps the probabilities that a walk would code with."""

    def __init__(self, count: int) -> None:
        super().__init__(count)
        self.seen: list[np.ndarray] = []

    def code(self, table, belief, values=None):
        starts = cumulative(table, belief)
        self.seen.append(np.diff(starts, axis=1)[0] / starts[0, -1])
        return super().code(table, belief, values)


def images(count: int, seed: int = 0, values: int = 5) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, values, (count, 6)).astype(np.uint8)


def test_conditionals_are_those_of_partial_evaluation(circuit):
    steps = schedule(TREE)
    for image in images(5):
        reference, watching = PartialEvaluation(circuit), Watching(1)
        walk.walk(watching, circuit, steps, 1, image[None])
        for variable, seen in zip(steps[steps[:, 0] == walk.SYMBOL, 1], watching.seen, strict=True):
            each = []
            for value in range(circuit.values):
                reference.settle(variable, value)
                each.append(reference.likelihood())
            reference.settle(variable, None)
            np.testing.assert_allclose(seen, np.array(each) / reference.likelihood(), rtol=1e-5, atol=1e-7)
            reference.settle(variable, int(image[variable]))


@pytest.mark.parametrize("count, streams", [(1, 1), (3, 1), (5, 5), (7, 3), (21, 4), (40, 17), (65, 33)])
def test_images_come_back(kernel, circuit, count, streams):
    steps, given_ = schedule(TREE), images(count)
    coded = encode(circuit, steps, given_, streams)
    assert len(coded) == streams
    np.testing.assert_array_equal(decode(circuit, steps, coded, count), given_)


@needs_c
@pytest.mark.parametrize("states", [8, 24, 64, 128])
def test_c_and_python_write_the_same_bytes(states, monkeypatch):
    circuit, steps, given_ = random_circuit(states, 256, states), schedule(TREE), images(30, values=256)
    fast = [encode(circuit, steps, given_, streams) for streams in (1, 3, 30)]
    monkeypatch.setattr(walk, "_compiled", None)
    assert [encode(circuit, steps, given_, streams) for streams in (1, 3, 30)] == fast
    np.testing.assert_array_equal(decode(circuit, steps, fast[1], 30), given_)


def test_an_image_costs_the_same_bytes_alone_and_among_others(kernel, circuit):
    steps, given_ = schedule(TREE), images(20)
    together = encode(circuit, steps, given_, 20)
    assert [encode(circuit, steps, image[None], 1)[0] for image in given_] == together


@settings(deadline=None, max_examples=40)
@given(st.integers(0, 2**32), st.lists(st.integers(0, 4), min_size=6, max_size=6), st.integers(0, 63))
def test_any_image_any_circuit_any_pixels_left_out(seed, image, mask):
    circuit = random_circuit(seed, concentration=0.02)
    known = np.array([mask >> bit & 1 for bit in range(6)], bool)
    steps, image = schedule(TREE, known), np.array([image], np.uint8)
    coded = encode(circuit, steps, image, 1)
    np.testing.assert_array_equal(decode(circuit, steps, coded, 1), np.where(known, image, 0))


def test_bytes_are_the_bits_that_the_circuit_says(kernel):
    """Of images drawn from it, many in a stream: to a thousandth. And left-out pixels cost nothing."""
    circuit = random_circuit(3)
    for known in (np.ones(6, bool), np.array([1, 0, 0, 1, 0, 1], bool)):
        steps, given_ = schedule(TREE, known), sample(circuit, np.zeros((2000, 6), np.uint8), False)
        coder = Measuring(2000)
        walk.walk(coder, circuit, steps, 2000, given_)
        written = 8 * len(encode(circuit, steps, given_, 1)[0])
        assert abs(written - coder.bits.sum()) < 0.001 * coder.bits.sum() + 8
        from enfold.trees.marginals import log2_likelihood

        np.testing.assert_allclose(coder.bits, -log2_likelihood(circuit, given_, known), rtol=1e-3, atol=1e-3)


def test_nothing_is_left_of_a_walk_without_pixels(circuit):
    assert schedule(TREE, np.zeros(6, bool)).shape == (0, 3)
    assert schedule(TREE)[-1, 0] == walk.SYMBOL


def test_beliefs_stay_where_doubles_are_exact():
    """The largest that can meet: 128 states, counts of 2^20, elements of 2^26."""
    numbers = settle(np.array([[1.0, 2**52, 3], [2**53 - 1, 1, 1], [1, 1, 1]]))
    assert numbers.min() >= 1 and numbers.max() <= 2**26
    assert numbers[0].tolist() == [1, 2**25 + 1, 1]
    assert 128 * 2.0**26 * 2.0**20 <= 2.0**53


def test_damage_is_an_error_or_other_images_and_never_a_crash(kernel, circuit):
    steps, random = schedule(TREE), np.random.default_rng(0)
    coded = encode(circuit, steps, images(40), 2)
    with pytest.raises(BitstreamError, match="that no encoder writes"):
        decode(circuit, steps, [coded[0] + b"\1\2\3\4\5\6\7\1", coded[1]], 40)
    with pytest.raises(BitstreamError, match="that no encoder writes"):
        decode(circuit, steps, [coded[0], b"\xff" * 20], 40)
    for _ in range(50):
        streams = [random.bytes(int(random.integers(0, 60))) for _ in range(2)]
        try:
            found = decode(circuit, steps, streams, 40)
        except BitstreamError:
            continue
        assert found.max() < circuit.values


@needs_c
def test_damage_is_seen_alike_by_c_and_python(circuit, monkeypatch):
    steps, random = schedule(TREE), np.random.default_rng(1)
    streams = [random.bytes(int(random.integers(0, 40))) for _ in range(60)]

    def seen(stream):
        try:
            return decode(circuit, steps, [stream], 9).tolist()
        except BitstreamError:
            return None

    fast = [seen(stream) for stream in streams]
    monkeypatch.setattr(walk, "_compiled", None)
    assert [seen(stream) for stream in streams] == fast and None in fast


@pytest.mark.parametrize("wrong, streams", [(np.full((2, 6), 5), 1), (np.zeros((2, 7)), 1), (np.zeros((2, 6)), 3),
                                            (np.zeros((2, 6)), 0)])
def test_what_cannot_be_coded_is_refused(circuit, wrong, streams):
    with pytest.raises(UsageError, match="6 variables of 5 values"):
        encode(circuit, schedule(TREE), wrong.astype(np.uint8), streams)
