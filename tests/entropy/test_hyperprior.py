"""The hyperprior: one body under three coders, causal, exact."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from enfold.entropy.coders import Decoder, Encoder
from enfold.entropy.densities import Factorized, GaussianScaleMixture, Leveled
from enfold.entropy.exact import freeze, row_bits, thaw
from enfold.entropy.hyperprior import PASSES, HyperpriorConfig, code_hyperprior
from enfold.entropy.meter import Meter

CONFIG = HyperpriorConfig(groups=(2, 3, 5), hyper=4, features=6, hidden=12, group_hidden=7)
CHANNELS = CONFIG.channels


@pytest.fixture(scope="module")
def densities():
    torch.manual_seed(0)
    return Leveled(GaussianScaleMixture(2), 48, 0.08, 96.0), Factorized(CONFIG.hyper, width=4.0)


@pytest.fixture(scope="module")
def frozen(densities):
    return tuple(density.freeze() for density in densities)


@pytest.fixture(scope="module")
def weights():
    """Random, dyadic, packed and unpacked again."""
    random = np.random.default_rng(0)
    raw, bits = {}, {}
    for name, total in CONFIG.sums.items():
        length = np.full(total.outputs, total.bias)
        for part in total.parts:
            typical = 0.1 if name.startswith("level") else 0.7      # scales stay near those of `latent`
            raw[part.name] = random.normal(0, typical / part.features ** 0.5 / max(1, part.largest / 16),
                                           (total.outputs, part.features))
            length += part.largest * np.abs(raw[part.name]).sum(1)
        bits[name] = row_bits(length, max(part.fraction_bits for part in total.parts))
        for part in total.parts:
            unit = 2.0 ** -bits[name][:, None]
            raw[part.name] = np.round(raw[part.name] / unit) * unit
    return thaw(freeze(CONFIG.sums, raw, bits))


@pytest.fixture(scope="module")
def biases():
    random = np.random.default_rng(1)
    made = {name: np.round(random.normal(0.5, 0.5, (total.outputs, 1)) * 16).astype(np.float32) / 16
            for name, total in CONFIG.sums.items()}
    levels = np.round(16 * np.log(np.array([12, 6, 3, 1, 1, .5, .5, .2, .2, .2]) / 0.08) / np.log(1200) * 47 / 8) / 16
    for order, start, size in ((0, 0, 2), (1, 2, 3), (2, 5, 5)):
        made[f"level_{order}"] += levels[start:start + size, None].astype(np.float32)
    return made


def latent(height, width, seed=0):
    random = np.random.default_rng([seed, height, width])
    spread = np.array([12, 6, 3, 1, 1, .5, .5, .2, .2, .2])[:, None, None]
    hyper = np.rint(random.laplace(0, 2, CONFIG.hyper_shape((CHANNELS, height, width))))
    return np.rint(random.laplace(0, spread, (CHANNELS, height, width))).astype(np.int16), hyper.astype(np.int32)


def run(coder, frozen, weights, biases, shape, *given):
    return code_hyperprior(coder, *frozen, weights, biases, CONFIG, shape, *given)


def encoded(frozen, weights, biases, values, hyper, coder=None):
    coder = coder or Encoder()
    run(coder, frozen, weights, biases, values.shape, values, hyper)
    return coder.finish()


def test_passes_cover_every_position_once_and_see_only_the_past():
    order = np.full((32, 32), -1)
    for number, phase in enumerate(PASSES):
        assert (order[phase.cell(slice(None))[2:]] == -1).all()
        order[phase.cell(slice(None))[2:]] = number
    assert (order >= 0).all()
    for number, phase in enumerate(PASSES):
        y, x = phase.start[0] + 16, phase.start[1] + 16
        assert all(order[y + dy, x + dx] < number for dy, dx in phase.taps)


@pytest.mark.parametrize("size", [(1, 1), (1, 5), (3, 2), (4, 4), (13, 22)])
def test_decoder_returns_what_the_encoder_was_given(frozen, weights, biases, size):
    values, hyper = latent(*size)
    coder = Decoder(encoded(frozen, weights, biases, values, hyper))
    np.testing.assert_array_equal(run(coder, frozen, weights, biases, values.shape), values)
    coder.finish()


def test_values_far_outside_the_tables_come_back(frozen, weights, biases):
    values, hyper = latent(9, 9)
    values[0, 4, 4], values[9, 8, 8], hyper[0, 0, 0] = 30000, -30000, 1 << 20
    coder = Decoder(encoded(frozen, weights, biases, values, hyper))
    np.testing.assert_array_equal(run(coder, frozen, weights, biases, values.shape), values)


def typical(frozen, weights, biases, shape):
    """Latents and hyper-latents drawn from the model itself: what it reads in random bytes."""
    class Watched(Decoder):
        def code(self, density, context, values=None):
            read.append(super().code(density, context, values))
            return read[-1]

    read: list = []
    random = np.random.default_rng(5)
    states = b"".join(int(state).to_bytes(5, "little") for state in random.integers(1 << 24, 1 << 40, 8))
    stream = bytes([3]) + states + random.bytes(1 << 20)        # the head of a stream of eight states
    return run(Watched(stream), frozen, weights, biases, shape), read[0]


def test_meter_estimates_what_the_encoder_writes(densities, frozen, weights, biases):
    values, hyper = typical(frozen, weights, biases, (CHANNELS, 64, 64))
    assert values.std(axis=(1, 2)).min() > 0.05
    meter = Meter(noisy=False)
    run(meter, densities, {k: torch.from_numpy(v) for k, v in weights.items()},
        {k: torch.from_numpy(v) for k, v in biases.items()}, (1, *values.shape),
        torch.from_numpy(values).float()[None], torch.from_numpy(hyper).float()[None])
    written = 8 * len(encoded(frozen, weights, biases, values, hyper))
    assert abs(meter.bits().item() - written) < 0.005 * written + 64


def test_contexts_are_the_same_in_any_precision_and_order(frozen, weights, biases):
    """The proof's consequence: float64, and features summed in another order, change no bit."""
    class Wide(Encoder):
        def linear(self, weight, features):
            order = np.random.default_rng(0).permutation(weight.shape[1])
            return weight[:, order].astype(np.float64) @ features[..., order, :].astype(np.float64)

    values, hyper = latent(33, 29)
    values *= 20
    assert encoded(frozen, weights, biases, values, hyper, Wide()) == encoded(frozen, weights, biases, values, hyper)


def test_a_batch_is_coded_as_its_samples_are(densities, weights, biases):
    torch_weights = {k: torch.from_numpy(v) for k, v in weights.items()}
    torch_biases = {k: torch.from_numpy(v) for k, v in biases.items()}
    pairs = [latent(8, 12, s) for s in range(3)]
    batch, hyper = (torch.from_numpy(np.stack(part)).float() for part in zip(*pairs, strict=True))
    together = Meter(noisy=False)
    run(together, densities, torch_weights, torch_biases, tuple(batch.shape), batch, hyper)
    for sample, side, bits in zip(batch, hyper, together.bits(), strict=True):
        alone = Meter(noisy=False)
        run(alone, densities, torch_weights, torch_biases, (1, *sample.shape), sample[None], side[None])
        torch.testing.assert_close(alone.bits()[0], bits, rtol=1e-4, atol=1e-2)


def test_known_neighbours_change_what_is_expected(frozen, weights, biases):
    """Every pass but the first reads its neighbours: other values there, other bits here."""
    class Watched(Encoder):
        def code(self, density, context, values=None):
            seen.append(context)
            return super().code(density, context, values)

    values, hyper = latent(8, 8)
    changed = values.copy()
    changed[:, ::2, ::2] += 3                       # the first pass
    runs = []
    for version in (values, changed):
        seen: list = []
        encoded(frozen, weights, biases, version, hyper, Watched())
        runs.append(seen)
    steps = len(CONFIG.groups)
    first, *others = (slice(1 + steps * number, 1 + steps * (number + 1)) for number in range(len(PASSES)))
    np.testing.assert_array_equal(runs[0][first][0][0], runs[1][first][0][0])
    assert all(any((a[0] != b[0]).any() for a, b in zip(runs[0][part], runs[1][part], strict=True)) for part in others)


def test_gradients_reach_everything(densities):
    torch.manual_seed(3)
    weights = {part.name: (torch.randn(total.outputs, part.features) * 0.05).requires_grad_()
               for total in CONFIG.sums.values() for part in total.parts}
    biases = {name: torch.full((2, total.outputs, 1), 0.5, requires_grad=True) for name, total in CONFIG.sums.items()}
    values = (torch.randn(2, CHANNELS, 12, 12) * 3).requires_grad_()
    hyper = torch.randn(2, CONFIG.hyper, 3, 3, requires_grad=True)
    meter = Meter()
    run(meter, densities, weights, biases, tuple(values.shape), values, hyper)
    meter.bits().sum().backward()
    for name, tensor in {**weights, **biases, "values": values, "hyper": hyper}.items():
        assert tensor.grad is not None and torch.isfinite(tensor.grad).all() and tensor.grad.abs().sum() > 0, name
