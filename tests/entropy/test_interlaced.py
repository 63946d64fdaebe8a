"""The grid prior: one body under three coders, causal, exact."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from enfold.entropy.coders import Decoder, Encoder
from enfold.entropy.densities import GaussianScaleMixture
from enfold.entropy.interlaced import CLIP, FRACTION_BITS, OCTAVES, code_grid, freeze, schedule, thaw, weight_shapes
from enfold.entropy.meter import Meter

CHANNELS, GROUPS, HIDDEN = 6, (1, 2, 3), 5


@pytest.fixture(scope="module")
def density():
    return GaussianScaleMixture()


@pytest.fixture(scope="module")
def frozen_density(density):
    return density.freeze()


@pytest.fixture(scope="module")
def weights():
    random = np.random.default_rng(0)
    return thaw(freeze({name: random.uniform(0, 1, shape) / shape[1] if name.startswith("scale")
                   else random.normal(0, 0.3, shape) / shape[1]
                   for name, shape in weight_shapes(CHANNELS, GROUPS, hidden=HIDDEN).items()}))


FLOOR = np.array([8, 4, 2, 1, 0.5, 0.25], np.float32)[:, None]


def latent(height, width, seed=0):
    random = np.random.default_rng([seed, height, width])
    spread = np.array([12, 6, 3, 1, 0.5, 0.2])[:, None, None]
    return np.rint(random.laplace(0, spread, (CHANNELS, height, width))).astype(np.int16)


def encoded(density, weights, values):
    coder = Encoder()
    code_grid(coder, density, weights, FLOOR, GROUPS, values.shape, values)
    return coder.finish()


@pytest.mark.parametrize("octaves", range(4))
def test_phases_cover_every_position_once(octaves):
    count = np.zeros((67, 80), int)
    for phase in schedule(octaves):
        count[phase.cell(slice(None))[2:]] += 1
    assert (count == 1).all()


@pytest.mark.parametrize("octaves", range(4))
def test_taps_of_a_phase_lie_in_phases_before_it(octaves):
    order = np.empty((256, 256), int)
    for number, phase in enumerate(schedule(octaves)):
        order[phase.cell(slice(None))[2:]] = number
    for number, phase in enumerate(schedule(octaves)):
        y, x = phase.start[0] + 128, phase.start[1] + 128
        assert all(order[y + dy, x + dx] < number for dy, dx in phase.taps)
        assert len(phase.taps) == len(set(phase.taps))
        assert phase.taps or phase.number == 0


def test_more_octaves_are_the_same_phases_and_coarser_ones_before_them():
    for octaves in range(3):
        fewer, more = schedule(octaves), schedule(octaves + 1)
        assert fewer[1:] == more[4:]
        assert [phase.number for phase in more[1:4]] == [3 * octaves + 7 + k for k in range(3)]
        assert {**weight_shapes(4, (4,), octaves)}.items() <= weight_shapes(4, (4,), octaves + 1).items()


def test_weights_say_how_many_octaves_there_are(frozen_density, weights):
    fewer = {name: weight for name, weight in weights.items() if name in weight_shapes(CHANNELS, GROUPS, 0)}
    assert len(fewer) < len(weights) and OCTAVES > 0
    values = latent(40, 30)
    data = encoded(frozen_density, fewer, values)
    assert data != encoded(frozen_density, weights, values)
    np.testing.assert_array_equal(
        code_grid(Decoder(data), frozen_density, fewer, FLOOR, GROUPS, values.shape), values)


@pytest.mark.parametrize("size", [(1, 1), (1, 5), (3, 2), (4, 4), (13, 22)])
def test_decoder_returns_what_the_encoder_was_given(frozen_density, weights, size):
    values = latent(*size)
    coder = Decoder(encoded(frozen_density, weights, values))
    decoded = code_grid(coder, frozen_density, weights, FLOOR, GROUPS, values.shape)
    coder.finish()
    np.testing.assert_array_equal(decoded, values)


def test_values_far_outside_the_tables_come_back(frozen_density, weights):
    values = latent(9, 9)
    values[0, 4, 4], values[5, 8, 8] = 30000, -30000
    coder = Decoder(encoded(frozen_density, weights, values))
    np.testing.assert_array_equal(
        code_grid(coder, frozen_density, weights, FLOOR, GROUPS, values.shape), values)


def test_meter_estimates_what_the_encoder_writes(density, frozen_density, weights):
    values = latent(64, 64)
    meter = Meter(noisy=False)
    code_grid(meter, density, {k: torch.from_numpy(v) for k, v in weights.items()}, torch.from_numpy(FLOOR),
              GROUPS, (1, *values.shape), torch.from_numpy(values).float()[None])
    written = 8 * len(encoded(frozen_density, weights, values))
    assert abs(meter.bits().item() - written) < 0.005 * written + 64


def test_contexts_are_the_same_in_any_precision_and_order(frozen_density, weights):
    """The proof's consequence: float64, and features summed in another order, change no bit."""
    seen = []

    class Wide(Encoder):
        def linear(self, weight, features, base=None):
            order = np.random.default_rng(0).permutation(weight.shape[1])
            exact = weight[:, order].astype(np.float64) @ features[..., order, :].astype(np.float64)
            narrow = super().linear(weight, features)
            seen.append(np.array_equal(exact, narrow))
            return exact.astype(np.float32) if base is None else base + exact.astype(np.float32)

        def adjust(self, mean, scale, missed, maps, hidden, top):
            to_mean, to_scale, to_hidden, out = maps
            size, outputs = np.abs(missed), len(mean)
            mean, scale = self.linear(to_mean, missed, mean), self.linear(to_scale, size, scale)
            if hidden is not None:
                felt = self.rectify(self.linear(to_hidden, np.concatenate([missed, size]), hidden), top)
                mean, scale = self.linear(out[:outputs], felt, mean), self.linear(out[outputs:], felt, scale)
            return mean, scale

    values = latent(33, 29) * 20
    coder = Wide()
    code_grid(coder, frozen_density, weights, FLOOR, GROUPS, values.shape, values)
    assert seen and all(seen)
    assert coder.finish() == encoded(frozen_density, weights, values)


def bits_of(row):
    return next(b for b in range(13) if np.array_equal(np.round(row * 2.0**b), row * 2.0**b))


def test_bound_holds_at_the_largest_features():
    weights = np.random.default_rng(1).normal(0, 0.2, (5, 96)) * np.array([0.1, 1, 0.1, 10, 0.1])[:, None]
    frozen = thaw(freeze({"mean_1": weights}))["mean_1"].astype(np.float64)
    for row, exact in zip(frozen, weights, strict=True):
        worst, bits = 2 * CLIP * np.abs(row).sum(), bits_of(row)
        assert worst * 2.0 ** (bits + FRACTION_BITS) < 2**24
        assert np.abs(row - exact).max() <= 2.0 ** -(bits + 1)
    assert bits_of(frozen[3]) < bits_of(frozen[1]) < bits_of(frozen[0]) == 12     # no row pays for another


def test_a_row_too_large_to_add_exactly_is_found_among_others():
    with pytest.raises(ValueError, match="'mean_3' are too large"):
        freeze({"mean_3": np.stack([np.full(50, 0.1), np.full(50, 100.0)])})


def test_weights_are_kept_in_half_where_that_is_exact():
    fine, coarse = np.full((1, 2), 1 + 2.0 ** -12), np.full((1, 2), 1 + 2.0 ** -10)
    frozen = freeze({"mean_1": fine, "mean_2": coarse})
    assert (frozen["mean_1"].dtype, frozen["mean_2"].dtype) == (np.float32, np.float16)
    for name, weight in (("mean_1", fine), ("mean_2", coarse)):
        np.testing.assert_array_equal(thaw(frozen)[name], weight)


def test_a_batch_is_coded_as_its_samples_are(density, weights):
    torch_weights = {k: torch.from_numpy(v) for k, v in weights.items()}
    batch = torch.from_numpy(np.stack([latent(8, 12, s) for s in range(3)])).float()
    together = Meter(noisy=False)
    code_grid(together, density, torch_weights, torch.from_numpy(FLOOR), GROUPS, tuple(batch.shape), batch)
    for sample, bits in zip(batch, together.bits(), strict=True):
        alone = Meter(noisy=False)
        code_grid(alone, density, torch_weights, torch.from_numpy(FLOOR), GROUPS, (1, *sample.shape), sample[None])
        torch.testing.assert_close(alone.bits()[0], bits, rtol=1e-4, atol=1e-2)


def test_gradients_reach_latents_weights_and_floor(density):
    parameters = {name: torch.full(shape, 0.01, requires_grad=True)
                  for name, shape in weight_shapes(CHANNELS, GROUPS, hidden=HIDDEN).items()}
    floor = torch.full((2, CHANNELS, 1), 0.5, requires_grad=True)
    values = torch.randn(2, CHANNELS, 40, 40, requires_grad=True)
    meter = Meter()
    code_grid(meter, density, parameters, floor, GROUPS, tuple(values.shape), values)
    meter.bits().sum().backward()
    for tensor in (*parameters.values(), floor, values):
        assert tensor.grad is not None and torch.isfinite(tensor.grad).all() and tensor.grad.abs().sum() > 0
