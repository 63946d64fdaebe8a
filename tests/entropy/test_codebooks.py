"""The prior of codebook indices: one body for three coders, estimates that are bytes, every size, what it may know."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from enfold.entropy.codebook_weights import CascadeWeights
from enfold.entropy.codebooks import CascadeConfig, Codes, cell_of, code_cascade, thaw_cascade
from enfold.entropy.coders import Decoder, Encoder, Quantizer
from enfold.entropy.densities import Softmax
from enfold.entropy.hyperprior import PASSES
from enfold.entropy.meter import Meter
from enfold.entropy.softmax import FrozenSoftmax
from enfold.errors import BitstreamError

CONFIG = CascadeConfig(((7,), (5, 9), (20, 3, 11)), (8, 8, 12), (16, 16, 24))


@pytest.fixture(scope="module")
def model():
    """Not trained, but nothing in it is zero."""
    torch.manual_seed(0)
    made = CascadeWeights(CONFIG)
    with torch.no_grad():
        for parameter in made.parameters():
            parameter.add_(0.2 * torch.randn(parameter.shape))
    return made


@pytest.fixture(scope="module")
def frozen(model):
    return thaw_cascade(model.frozen(torch.linspace(0, 1, 5)))


def drawn(rows, columns, seed=0, outer=()):
    random = np.random.default_rng(seed)
    return [np.stack([random.integers(0, words, (*outer, *CONFIG.shape(level, rows, columns))) for words in books], -1)
            for level, books in enumerate(CONFIG.levels)]


def run(coder, frozen, source, rows, columns, place=2, outer=()):
    weights, biases, looks = frozen
    biases = {name: bias[min(place, len(bias) - 1)] for name, bias in biases.items()}
    code_cascade(coder, FrozenSoftmax(), weights, biases, looks, CONFIG, outer, rows, columns, source)


@pytest.mark.parametrize("rows, columns", [(1, 1), (1, 7), (2, 3), (5, 4), (17, 13)])
def test_codes_come_back_at_every_size(frozen, rows, columns):
    grids, encoder = drawn(rows, columns), Encoder()
    run(encoder, frozen, Codes(CONFIG, (), rows, columns, grids), rows, columns)
    decoder, read = Decoder(encoder.finish()), Codes(CONFIG, (), rows, columns)
    run(decoder, frozen, read, rows, columns)
    decoder.finish()
    for given, found in zip(grids, read.grids, strict=True):
        np.testing.assert_array_equal(found, given)


@pytest.mark.parametrize("place", [0, 2, 4])
def test_what_training_says_is_what_is_written(model, frozen, place):
    grids, encoder = drawn(17, 13), Encoder()
    run(encoder, frozen, Codes(CONFIG, (), 17, 13, grids), 17, 13, place)
    meter = Meter(noisy=False)
    weights, biases, looks = model(torch.tensor([place / 4]))
    given = [torch.from_numpy(grid)[None].float() for grid in grids]
    code_cascade(meter, Softmax(), weights, biases, looks, CONFIG, (1,), 17, 13, Codes(CONFIG, (1,), 17, 13, given))
    assert meter.bits().item() == pytest.approx(encoder.bits, rel=0.005)
    assert 8 * len(encoder.finish()) == pytest.approx(encoder.bits, rel=0.005, abs=40)


def test_a_batch_is_told_what_each_of_it_is_told_alone(frozen):
    class Watched(Encoder):
        def __init__(self):
            super().__init__()
            self.seen = []

        def code(self, density, context, values=None):
            self.seen.append(context)
            return super().code(density, context, values)

    grids, together = drawn(6, 9, outer=(4,)), Watched()
    run(together, frozen, Codes(CONFIG, (4,), 6, 9, grids), 6, 9, outer=(4,))
    for number in range(4):
        alone = Watched()
        run(alone, frozen, Codes(CONFIG, (), 6, 9, [grid[number] for grid in grids]), 6, 9)
        for mine, theirs in zip(alone.seen, together.seen, strict=True):
            np.testing.assert_array_equal(mine, theirs[number])


def test_a_code_is_told_of_the_level_above_and_of_none_after(frozen):
    """Changing the last code of all changes no logits; changing the first of a level changes those of the next."""
    class Logits(Encoder):
        def __init__(self):
            super().__init__()
            self.seen = []

        def code(self, density, context, values=None):
            self.seen.append(context)
            return super().code(density, context, values)

    def logits(grids):
        coder = Logits()
        run(coder, frozen, Codes(CONFIG, (), 8, 8, grids), 8, 8)
        return coder.seen

    grids = drawn(8, 8)
    plain = logits(grids)
    last = [grid.copy() for grid in grids]
    last[-1][cell_of(PASSES[3], 2)] = (last[-1][cell_of(PASSES[3], 2)] + 1) % 11
    assert all(np.array_equal(a, b) for a, b in zip(plain, logits(last), strict=True))
    for level, (first, last_of_next) in enumerate(((0, 4 + 7), (4, 4 + 8 + 2))):
        moved = [grid.copy() for grid in grids]
        moved[level][0, 0, 0] = (moved[level][0, 0, 0] + 1) % CONFIG.levels[level][0]
        changed = [not np.array_equal(a, b) for a, b in zip(plain, logits(moved), strict=True)]
        assert not any(changed[:first + 1]) and changed[last_of_next]


def test_contexts_are_worth_bits_once_learned():
    """Where a book repeats the one before it and its neighbours, learning finds out."""
    torch.manual_seed(0)
    config = CascadeConfig(((4,), (4, 4)), (4, 8), (8, 16))
    model, optimiser = CascadeWeights(config), None
    random = np.random.default_rng(0)

    def batch():
        coarse = random.integers(0, 4, (8, 4, 4, 1))
        fine = coarse.repeat(2, 1).repeat(2, 2)
        return [torch.from_numpy(grid).float() for grid in (coarse, np.concatenate([fine, (fine + 1) % 4], -1))]

    optimiser = torch.optim.Adam(model.parameters(), 0.03)
    for _ in range(60):
        meter = Meter(noisy=False)
        code_cascade(meter, Softmax(), *model(torch.zeros(8)), config, (8,), 8, 8, Codes(config, (8,), 8, 8, batch()))
        bits = meter.bits().mean()
        optimiser.zero_grad()
        bits.backward()
        optimiser.step()
    assert bits.item() < 1.5 * 16 * 2          # 16 coarse codes of 2 bits; 128 fine ones follow from them


def test_frozen_weights_are_bytes_and_come_back(model):
    arrays = model.frozen(torch.linspace(0, 1, 5))
    assert {array.dtype for name, array in arrays.items() if name.startswith("prior.") and not name.endswith(".bits")} \
        == {np.dtype(np.int8)}
    other = CascadeWeights(CONFIG)
    other.load(arrays)
    for name, array in other.frozen(torch.linspace(0, 1, 5)).items():
        difference = np.abs(array.astype(float) - arrays[name])
        assert (difference > 0).mean() < 0.2, name


def test_a_quantizer_weighs_errors_against_bits(frozen):
    class Errors(Codes):
        """Every word is as wrong as its number is far from 2."""

        def take(self, level, number, book):
            n = self.grids[level][cell_of(PASSES[number], book)].size
            return np.tile(np.square(np.arange(CONFIG.levels[level][book], dtype=np.float32) - 2), (n, 1))

    free, dear = Errors(CONFIG, (), 6, 6), Errors(CONFIG, (), 6, 6)
    run(Quantizer(0.0), frozen, free, 6, 6)
    run(Quantizer(1e6), frozen, dear, 6, 6)
    assert all((grid == 2).all() for grid in free.grids)

    def bits(grids):
        coder = Encoder()
        run(coder, frozen, Codes(CONFIG, (), 6, 6, grids), 6, 6)
        return coder.bits

    assert bits(dear.grids) < bits(free.grids)


def test_damage_is_named_or_gives_codes(frozen):
    encoder = Encoder()
    run(encoder, frozen, Codes(CONFIG, (), 30, 30, drawn(30, 30)), 30, 30)
    data = encoder.finish()
    for broken in (b"", data[:50], data[:-3], bytes(len(data)), data[:100] + b"\xff" * 20 + data[120:]):
        source = Codes(CONFIG, (), 30, 30)
        try:
            decoder = Decoder(broken)
            run(decoder, frozen, source, 30, 30)
            decoder.finish()
        except BitstreamError:
            continue
        for level, books in enumerate(CONFIG.levels):
            assert (source.grids[level] < np.array(books)).all()


def test_sums_in_float64_and_in_another_order_give_the_same_bytes(frozen, monkeypatch):
    from enfold.entropy import coders

    def written():
        encoder = Encoder()
        run(encoder, frozen, Codes(CONFIG, (), 17, 13, drawn(17, 13)), 17, 13)
        return encoder.finish()

    plain = written()
    order = np.random.default_rng(0)

    def other(weight, features):
        shuffled = order.permutation(weight.shape[1])
        return (weight[:, shuffled].astype(np.float64) @ features[shuffled].astype(np.float64)).astype(np.float32)

    monkeypatch.setattr(coders, "product", other)
    assert written() == plain
