"""Quantizers: integers near what they are given, cheaper than the nearest, the same under NumPy and torch."""

import numpy as np
import pytest
import torch

from enfold.entropy import meter
from enfold.entropy.coders import Chooser, Encoder, Quantizer
from enfold.entropy.densities import Factorized, Gaussian, Leveled, Softmax
from enfold.entropy.frozen import FARTHEST_SHIFT
from enfold.errors import UsageError

PRICE = 0.05


@pytest.fixture(scope="module")
def density():
    return Leveled(Gaussian(), 24, 0.1, 30.0)


@pytest.fixture(scope="module")
def drawn(density):
    """Means on the grid of quarters, levels in the middle of theirs, and values as the density has them."""
    random = np.random.default_rng(3)
    mean = np.round(random.normal(0, 9, 40_000) * 4).astype(np.float32) / 4
    level = random.integers(0, 24, mean.shape).astype(np.float32) + np.float32(0.5)
    scale = 0.1 * 300 ** ((level - 0.5) / 23)
    return mean, level, (mean + scale * random.normal(size=mean.shape)).astype(np.float32)


def test_what_is_chosen_is_the_nearest_or_the_next_towards_the_mean(density, drawn):
    mean, level, values = drawn
    chosen = Quantizer(PRICE).code(density.freeze(), (mean, level), values)
    assert chosen.dtype == np.int32
    assert np.abs(chosen - values).max() <= 0.5 + FARTHEST_SHIFT + 1e-4
    kept = chosen == np.rint(values)
    assert 0.5 < kept.mean() < 1
    assert (np.abs(chosen - mean)[~kept] < np.abs(np.rint(values) - mean)[~kept]).all()


def test_rate_and_distortion_together_are_less_than_those_of_the_nearest(density, drawn):
    """Of bits at twice the price, which is what a threshold between two integers means."""
    mean, level, values = drawn
    cost = []
    for price in (0.0, PRICE, 4 * PRICE):
        coder = Encoder()
        chosen = coder.code(density.freeze(), (mean, level),
                            Quantizer(price).code(density.freeze(), (mean, level), values))
        cost.append(np.square(chosen - values, dtype=np.float64).sum() + 2 * PRICE * coder.bits)
    assert cost[1] < 0.995 * cost[0]
    assert cost[1] < cost[2]


def test_no_price_is_rounding(density, drawn):
    mean, level, values = drawn
    np.testing.assert_array_equal(Quantizer(0.0).code(density.freeze(), (mean, level), values),
                                  np.rint(values))


def test_training_chooses_as_the_encoder_does(density, drawn):
    """But for the tables' own roundings."""
    mean, level, values = drawn
    context = torch.from_numpy(mean), torch.from_numpy(level)
    trained = meter.Quantizer(PRICE).code(density, context, torch.from_numpy(values))
    frozen = Quantizer(PRICE).code(density.freeze(), (mean, level), values)
    assert (trained.numpy() != frozen).mean() < 2e-3


def test_each_sample_has_its_own_price(density):
    values = torch.full((2, 3, 4), 1.6)
    context = torch.zeros(2, 3, 4), torch.full((2, 3, 4), 6.0)
    chosen = meter.Quantizer(torch.tensor([0.0, 0.1])).code(density, context, values)
    assert (chosen[0] == 2).all()
    assert (chosen[1] == 1).all()


def test_tables_without_a_mean_round(density):
    frozen = Factorized(3).freeze()
    values = np.array([0.4, -1.6, 2.5001], np.float32)
    assert Quantizer(PRICE).code(frozen, np.arange(3), values).tolist() == [0, -2, 3]


def test_nothing_to_round_is_said(density):
    with pytest.raises(UsageError, match="Quantizer without a latent"):
        Quantizer(PRICE).code(density.freeze(), (np.zeros(3, np.float32),) * 2)


def test_a_chooser_is_a_quantizer_and_an_encoder_in_one(density, drawn):
    mean, level, values = drawn
    frozen = density.freeze()
    chooser, encoder = Chooser(PRICE), Encoder()
    chosen = chooser.code(frozen, (mean, level), values)
    np.testing.assert_array_equal(chosen, Quantizer(PRICE).code(frozen, (mean, level), values))
    encoder.code(frozen, (mean, level), chosen)
    assert chooser.finish() == encoder.finish()
    with pytest.raises(UsageError, match="without a latent"):
        chooser.code(frozen, (mean, level))


def test_a_symbol_is_chosen_by_its_error_and_its_logit():
    logits = np.array([[0.0, 3.0, -1.0], [0.0, 0.0, 0.0]], np.float32)
    errors = np.array([[1.0, 2.0, 0.5], [4.0, 2.0, 3.0]], np.float32)
    for density, turned in ((Softmax().freeze(), lambda x: x), (Softmax(), torch.from_numpy)):
        for price, expected in ((0.0, [2, 1]), (1.0, [1, 1]), (0.3, [0, 1])):
            chosen = density.quantise(turned(logits), turned(errors), price)
            at = np.argmin(errors - price * logits, 1)
            assert np.asarray(chosen).astype(int).tolist() == at.tolist() and (price == 0.3 or at.tolist() == expected)
