"""One masked network codes and fills: what its order, its exactness and its coders promise."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from enfold.entropy.coders import Decoder, Encoder, Guesser, Quantizer
from enfold.entropy.densities import Softmax
from enfold.entropy.exact import thaw
from enfold.entropy.exact_weights import ExactWeights
from enfold.entropy.masked import MaskedConfig, WordSoftmax, cells, code_cells, empty, features_of, put
from enfold.entropy.meter import Meter

CONFIG = MaskedConfig(sizes=(4, 16), dimensions=3, hidden=12, aim=5)
SIZE, SHAPE = 16, (13, 21)


class Constant(torch.nn.Module):
    def __init__(self, count):
        super().__init__()
        self.values = torch.nn.Parameter(torch.randn(1, count) * 0.3)

    def forward(self, position):
        return self.values.expand(len(position), -1)


@pytest.fixture(scope="module")
def network():
    """Weights and biases as frozen, and what contexts see of 16 words; random, so that everything counts."""
    torch.manual_seed(3)
    exact = ExactWeights(CONFIG.sums, Constant, ())
    with torch.no_grad():
        for name, raw in exact.raw.items():
            if name.startswith(("aim", "words", "direct", "window")):
                raw.mul_(4)
    arrays = exact.frozen(torch.zeros(1))
    weights = thaw({name[6:]: array for name, array in arrays.items() if name.startswith("prior.")})
    biases = {name[5:]: array[0].astype(np.float32)[:, None] for name, array in arrays.items() if name[:5] == "bias."}
    return weights, biases, features_of(np.random.default_rng(1).normal(size=(SIZE, 3)))


def coded(network, coder, groups, given=None, known=None, size=SIZE, density=None):
    weights, biases, features = network
    known = empty(CONFIG, *SHAPE) if known is None else known
    return code_cells(coder, density or WordSoftmax(), weights, biases, CONFIG, size, known, groups,
                      features.__getitem__, given)


def indices(seed=0, size=SIZE):
    return np.random.default_rng(seed).integers(size, size=SHAPE).astype(np.int32)


@pytest.mark.parametrize("packets", [1, 2, 3, 8, 64])
@pytest.mark.parametrize("shape", [(1, 1), (5, 1), SHAPE])
def test_every_cell_is_in_one_group_of_one_packet(shape, packets):
    seen = np.zeros(shape, int)
    groups = [group for some in cells(*shape, packets) for group in some]
    for group in groups:
        np.add.at(seen, group, 1)
    assert (seen == 1).all()
    assert all(len(rows) for rows, _ in groups)


@pytest.mark.parametrize("packets", [4, 8, 16])
def test_a_lost_packet_leaves_each_of_its_cells_most_neighbours(packets):
    for some in cells(32, 48, packets):
        lost = np.zeros((34, 50), bool)
        for rows, columns in some:
            lost[rows + 1, columns + 1] = True
        near = sum(np.roll(lost, shift, axis) for axis in (0, 1) for shift in (-1, 1))
        assert near[lost].max() <= 1


def test_what_is_decoded_is_what_was_encoded(network):
    grid = indices()
    (groups,) = cells(*SHAPE)
    encoder = Encoder()
    coded(network, encoder, groups, grid.__getitem__)
    decoder, found = Decoder(encoder.finish()), np.zeros(SHAPE, int)
    for group, values in zip(groups, coded(network, decoder, groups), strict=True):
        found[group] = values
    decoder.finish()
    np.testing.assert_array_equal(found, grid)


def test_training_meters_the_bits_that_are_written(network):
    weights, biases, features = network
    grid = indices(2)
    (groups,) = cells(*SHAPE)
    encoder, meter = Encoder(), Meter(noisy=False)
    coded(network, encoder, groups, grid.__getitem__)
    tensors = torch.from_numpy(features)
    code_cells(meter, Softmax(), {k: torch.from_numpy(v) for k, v in weights.items()},
               {k: torch.from_numpy(v) for k, v in biases.items()}, CONFIG, SIZE,
               torch.from_numpy(empty(CONFIG, *SHAPE))[None], groups, lambda values: tensors[values.long()],
               lambda part: torch.from_numpy(grid[part]).float()[None])
    assert meter.bits().item() == pytest.approx(encoder.bits, rel=2e-3)


def test_sums_in_another_order_and_precision_give_the_same_bytes(network, monkeypatch):
    """Shuffled and in float64: exact sums know no order."""
    grid = indices(4)
    (groups,) = cells(*SHAPE)
    encoder = Encoder()
    coded(network, encoder, groups, grid.__getitem__)

    class Shuffled(Encoder):
        def linear(self, weight, features):
            order = np.random.default_rng(0).permutation(weight.shape[1])
            return np.matmul(weight[:, order].astype(np.float64), features[order].astype(np.float64)).astype(np.float32)

    other = Shuffled()
    coded(network, other, groups, grid.__getitem__)
    assert other.finish() == encoder.finish()


def test_logits_cut_into_chunks_give_the_same_bytes(network, monkeypatch):
    grid = indices(5)
    (groups,) = cells(*SHAPE)
    whole, parts = Encoder(), Encoder()
    coded(network, whole, groups, grid.__getitem__)
    monkeypatch.setattr("enfold.entropy.masked.CHUNK", 7 * 200)
    coded(network, parts, groups, grid.__getitem__)
    assert parts.finish() == whole.finish()


def test_bits_depend_on_what_is_known_around(network):
    """The same words cost otherwise beside other words: the context is read."""
    grid, other = indices(6), indices(6)
    (groups,) = cells(*SHAPE)
    other[groups[0]] = (other[groups[0]] + 5) % SIZE
    costs = []
    for given in (grid, other):
        known, encoder = empty(CONFIG, *SHAPE), Encoder()
        put(known, groups[0], network[2][given[groups[0]]])
        coded(network, encoder, groups[1:], grid.__getitem__, known)
        costs.append(encoder.bits)
    assert abs(costs[0] - costs[1]) > 1


def test_a_quantizer_takes_the_nearest_word_for_nothing_and_a_cheaper_one_for_a_price(network):
    points = np.random.default_rng(7).normal(size=(*SHAPE, 3)).astype(np.float32)
    words = network[2][:, :3]
    table = np.square(points[:, :, None] - words).sum(-1)
    (groups,) = cells(*SHAPE)
    bits, errors = [], []
    for price in (0.0, 0.3, 2.0):
        chosen = np.zeros(SHAPE, np.int32)
        for group, values in zip(groups, coded(network, Quantizer(price), groups, table.__getitem__), strict=True):
            chosen[group] = values
        if not price:
            np.testing.assert_array_equal(chosen, table.argmin(-1))
        encoder = Encoder()
        coded(network, encoder, groups, chosen.__getitem__)
        bits.append(encoder.bits)
        errors.append(np.take_along_axis(table, chosen[..., None], -1).sum())
    assert bits[0] > bits[1] > bits[2]
    assert errors[0] < errors[1] < errors[2]


def test_a_guesser_names_the_word_that_costs_least(network):
    (groups,) = cells(*SHAPE)
    known = empty(CONFIG, *SHAPE)
    put(known, groups[0], network[2][indices(8)[groups[0]]])
    (guess,) = coded(network, Guesser(), groups[1:2], known=known.copy())
    costs = []
    for word in range(SIZE):
        encoder = Encoder()
        one = (groups[1][0][:1], groups[1][1][:1])
        coded(network, encoder, [one], lambda part, word=word: np.array([word], np.int32), known.copy())
        costs.append(encoder.bits)
    assert guess[0] == int(np.argmin(costs))
