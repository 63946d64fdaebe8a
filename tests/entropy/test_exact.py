"""Exact networks: look-ups that no machine can disagree on, bounds that hold, weights that come back."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import nn

from enfold.entropy.coders import Encoder
from enfold.entropy.exact import (
    FRACTION_BITS,
    LOGARITHM_RANGE,
    LOGARITHMS,
    MOST_BITS,
    TOP,
    Part,
    Sum,
    freeze,
    row_bits,
    thaw,
)
from enfold.entropy.exact_weights import ExactWeights
from enfold.entropy.meter import Meter, clip_through

SUMS = {"hidden": Sum(5, (Part("near", 12, 8.0, 4), Part("known", 6, 255.0, 0)), 64.0)}


class Constant(nn.Module):
    def __init__(self, channels):
        super().__init__()
        self.value = nn.Parameter(torch.linspace(-1, 1, channels))

    def forward(self, position):
        return self.value.expand(len(position), -1)


def trained(scale=1.0, seed=0):
    torch.manual_seed(seed)
    weights = ExactWeights(SUMS, Constant, ())
    with torch.no_grad():
        for raw in weights.raw.values():
            raw.mul_(scale)
    return weights


def test_no_logarithm_lies_where_machines_could_round_it_differently():
    exact = 16 * np.log2(1 + np.arange(LOGARITHM_RANGE + 1) / 4)
    to_a_tie = np.abs(exact - np.floor(exact) - 0.5)
    assert to_a_tie.min() > 1e-5
    assert LOGARITHMS[4] == 1.0 and LOGARITHMS[12] == 2.0 and LOGARITHMS[1020] == 8.0    # worked by hand


def test_coders_apply_the_same_maps_as_the_meter():
    x = np.arange(-1020, 1021, dtype=np.float32) / 4
    meter, coder = Meter(), Encoder()
    np.testing.assert_array_equal(meter.logarithm(torch.from_numpy(x)).numpy(), coder.logarithm(x))
    y = np.linspace(-3, 20, 5000, dtype=np.float32)
    np.testing.assert_array_equal(meter.rectify(torch.from_numpy(y)).numpy(), coder.rectify(y))
    np.testing.assert_array_equal(meter.limit(torch.from_numpy(y), 0, 9.5).numpy(), coder.limit(y, 0, 9.5))


def test_maps_stay_in_their_range_and_on_their_grid():
    x = np.array([-255, -0.25, 0, 0.25, 3, 255], np.float32)
    for mapped in (Encoder().logarithm(x), Encoder().rectify(x * 9)):
        assert np.abs(mapped).max() <= TOP
        np.testing.assert_array_equal(mapped * 2**FRACTION_BITS, np.round(mapped * 2**FRACTION_BITS))
    assert Encoder().logarithm(np.array([-3], np.float32))[0] == -2


def test_a_clip_lets_gradients_back_in_and_none_out():
    x = torch.tensor([-1.0, 0.5, 2.0], requires_grad=True)
    clip_through(x, 0, 1).sum().backward()
    assert x.grad.tolist() == [0, 1, 1]         # a descent step would push -1 further out, and 2 back in
    x.grad = None
    (-clip_through(x, 0, 1)).sum().backward()
    assert x.grad.tolist() == [-1, -1, 0]


@pytest.mark.parametrize("scale", [1e-3, 1.0, 30.0])
def test_training_and_coding_use_the_same_weights(scale):
    weights = trained(scale)
    frozen = weights.frozen(torch.zeros(1))
    back = thaw({name.removeprefix("prior."): array for name, array in frozen.items() if name.startswith("prior.")})
    for name, weight in weights().items():
        np.testing.assert_array_equal(back[name], weight.detach().numpy())
    bias = weights.biases_at(torch.zeros(1))["hidden"]
    np.testing.assert_array_equal(frozen["bias.hidden"][0].astype(np.float32), bias[0, :, 0].detach().numpy())


@pytest.mark.parametrize("scale", [1.0, 20.0, 100.0])
def test_the_largest_features_add_up_without_rounding(scale):
    """The worst case of the bound: every feature at its limit, with the sign of its weight."""
    weights = {name: weight.detach().numpy() for name, weight in trained(scale)().items()}
    for row in range(5):
        near = np.sign(weights["near"][row]) * np.float32(8.0 - 1 / 16)
        known = np.sign(weights["known"][row]) * np.float32(255)
        narrow = np.cumsum(np.concatenate([weights["near"][row] * near, weights["known"][row] * known]),
                           dtype=np.float32)[-1]
        wide = weights["near"][row].astype(np.float64) @ near + weights["known"][row].astype(np.float64) @ known
        assert narrow == wide


def test_rows_get_the_finest_bits_that_the_bound_allows():
    bits = row_bits(np.array([1.0, 100.0, 1000.0, 1e5, 1e9]), 4)
    assert bits.tolist() == [MOST_BITS, MOST_BITS, 10, 3, 0]
    assert np.all(np.array([1000.0, 1e5]) * 1.02 * 2.0 ** (bits[2:4] + 4) <= 2**24)


def test_weights_too_large_to_add_exactly_are_refused():
    with pytest.raises(ValueError, match=r"'hidden' reaches .* train with a smaller step"):
        trained(3000.0).frozen(torch.zeros(1))


def test_weights_that_are_not_dyadic_are_refused():
    weights = {"near": np.full((5, 12), 1 / 3), "known": np.zeros((5, 6))}
    with pytest.raises(ValueError, match="'near' are not 16-bit multiples"):
        freeze(SUMS, weights, {"hidden": np.full(5, 8)})


def test_gradients_pass_through_the_rounding():
    weights = trained()
    features = torch.ones(12)
    (weights()["near"] @ features).sum().backward()
    assert torch.equal(weights.raw["near"].grad, torch.ones(5, 12))
