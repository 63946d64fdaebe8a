"""Densities: masses that add up, gradients that stay finite, tables that cost what bits() says."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch

from enfold.entropy.coders import Decoder, Encoder
from enfold.entropy.densities import Categorical, Factorized, Gaussian, GaussianScaleMixture, Laplace
from enfold.entropy.meter import Meter

EXTREMES = torch.tensor([0, 0.5, -1.0, 7, -300, 1e5, -1e9, 1e20, -1e30])


@pytest.fixture(autouse=True, scope="module")
def one_thread():
    """Tensors here are small: threads would wait for each other more than they compute."""
    usual = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(usual)


def mixture() -> GaussianScaleMixture:
    density = GaussianScaleMixture(3)
    with torch.no_grad():
        density.logits.copy_(torch.tensor([0.5, 0.0, -2.0]))
    return density


def factorized(channels: int = 4) -> Factorized:
    torch.manual_seed(0)
    density = Factorized(channels)
    with torch.no_grad():
        for factor in density.factors:
            factor.normal_()
    return density


def sample(density, scale: torch.Tensor) -> torch.Tensor:
    if isinstance(density, Laplace):
        return torch.distributions.Laplace(0.0, 1.0).sample(scale.shape) * scale
    if isinstance(density, GaussianScaleMixture):
        component = torch.multinomial(density.logits.softmax(0), len(scale), True)
        scale = scale * density.log_ratios.exp()[component]
    return torch.randn_like(scale) * scale


location_scale = pytest.mark.parametrize("density", [Gaussian(), Laplace(), mixture()], ids=lambda d: type(d).__name__)


@location_scale
@pytest.mark.parametrize("scale", [0.02, 0.1, 1.0, 20.0])
@pytest.mark.parametrize("mean", [0.0, 0.25, -3.5])
def test_masses_of_all_integers_add_up_to_1(density, mean, scale):
    values = torch.arange(-600.0, 601.0)
    bits = density.bits(values, (torch.full_like(values, mean), torch.full_like(values, scale)))
    assert torch.exp2(-bits).sum().item() == pytest.approx(1, abs=2e-5)


@location_scale
def test_bits_worked_by_hand(density):
    half = torch.tensor([0.5])      # midway between two values, and so narrow that they share it
    assert density.bits(torch.zeros(1), (half, 0.02 * torch.ones(1))).item() == pytest.approx(1, abs=1e-5)
    centred = density.bits(torch.zeros(1), (0 * half, torch.ones(1))).item()
    if isinstance(density, Gaussian):
        assert centred == pytest.approx(-math.log2(0.382925), abs=1e-4)         # P(|Z| < 1/2)
    if isinstance(density, Laplace):
        assert centred == pytest.approx(-math.log2(0.393469), abs=1e-4)         # 1 - e^(-1/2)


@location_scale
@pytest.mark.parametrize("scale", [-1.0, 0.0, 1e-6, 0.1, 1.0, 64.0, 1e6])
def test_bits_and_gradients_are_finite_at_extremes(density, scale):
    values = EXTREMES.clone().requires_grad_()
    mean, scales = torch.zeros_like(values).requires_grad_(), torch.full_like(values, scale).requires_grad_()
    bits = density.bits(values, (mean, scales))
    bits.sum().backward()
    assert ((bits >= 0) & (bits <= 30)).all()
    for leaf in (values, mean, scales, *density.parameters()):
        assert leaf.grad is None or leaf.grad.isfinite().all()


@location_scale
@pytest.mark.parametrize(("least", "largest"), [(0.1, 0.5), (0.5, 4.0), (4.0, 60.0)])
def test_files_are_as_long_as_bits_say(density, least, largest):
    torch.manual_seed(1)
    frozen = density.freeze()
    scale = torch.empty(50_000).uniform_(math.log(least), math.log(largest)).exp()
    mean = (torch.randn(50_000) * 40).round() / 4
    with torch.no_grad():
        values = (mean + sample(density, scale)).round()
    context = mean.numpy(), scale.numpy()
    encoder = Encoder()
    encoder.code(frozen, context, values.numpy())
    stream = encoder.finish()
    assert np.array_equal(Decoder(stream).code(frozen, context), values.numpy())
    with torch.no_grad():
        expected = density.bits(values, (mean, scale)).double().sum().item()
        meter = Meter(noisy=False)
        meter.grid((1, 50_000), values[None])
        meter.code(density, (mean[None], scale[None]), values[None])
    assert meter.bits().item() == pytest.approx(expected, rel=1e-4)
    assert encoder.bits == pytest.approx(expected, rel=5e-3)
    assert len(stream) * 8 == pytest.approx(expected, rel=5e-3)


def test_an_unfrozen_scale_grid_is_refused():
    with pytest.raises(ValueError, match=r"0 scales from 0\.1 to 64"):
        Gaussian().freeze(scales=0)


@pytest.mark.parametrize("density", [Gaussian(), Laplace(), mixture(), factorized(), Categorical(3, 5)],
                         ids=lambda d: type(d).__name__)
def test_freezing_is_repeatable_and_changes_nothing(density):
    before = {name: value.clone() for name, value in density.state_dict().items()}
    first, second = density.freeze().to_arrays(), density.freeze().to_arrays()
    assert all(np.array_equal(first[name], second[name]) for name in first)
    for name, value in density.state_dict().items():
        assert torch.equal(value, before[name]) and value.dtype == before[name].dtype


def test_factorized_masses_add_up_to_1_in_each_channel():
    values = torch.arange(-2000.0, 2000.0).expand(4, -1)
    channels = torch.arange(4)[:, None].expand_as(values)
    assert torch.allclose(torch.exp2(-factorized().bits(values, channels)).sum(1), torch.ones(4), atol=2e-5)


def test_factorized_bits_do_not_depend_on_the_order_of_values():
    density, values, channels = factorized(), torch.randn(5, 60) * 9, torch.randint(0, 4, (5, 60))
    together = density.bits(values, channels)
    for k in range(5):
        assert torch.allclose(density.bits(values[k], channels[k]), together[k], atol=1e-5)
    assert density.bits(values[:, :0], channels[:, :0]).shape == (5, 0)


def test_factorized_gradients_are_finite_at_extremes():
    density = factorized()
    values = EXTREMES.repeat(4).requires_grad_()
    bits = density.bits(values, torch.arange(4).repeat_interleave(len(EXTREMES)))
    bits.sum().backward()
    assert ((bits >= 0) & (bits <= 30)).all()
    assert all(leaf.grad.isfinite().all() for leaf in (values, *density.parameters()))


def test_factorized_learns_a_distribution():
    torch.manual_seed(0)
    density = Factorized(2)
    values = torch.stack([torch.randn(1000) * 3 + 20, torch.randn(1000) * 0.5 - 7], 1).round()
    channels = torch.arange(2).expand_as(values)
    optimiser = torch.optim.Adam(density.parameters(), 0.1)
    for _ in range(100):
        optimiser.zero_grad()
        density.bits(values, channels).mean().backward()
        optimiser.step()
    frozen, encoder = density.freeze(), Encoder()
    encoder.code(frozen, channels.numpy(), values.numpy())
    entropy = sum(-(share := np.unique(column, return_counts=True)[1] / 1000) @ np.log2(share) for column in values.T)
    assert encoder.bits / 1000 < entropy + 0.15
    assert encoder.bits == pytest.approx(density.bits(values, channels).sum().item(), rel=5e-3)


@pytest.mark.parametrize("width", [0.01, 1e3, 1e5])
def test_factorized_freezes_however_narrow_or_wide(width):
    torch.manual_seed(0)
    frozen = Factorized(3, width).freeze()
    assert frozen.tables.size.max() <= 2**13


def test_categorical_costs_what_its_tables_do():
    torch.manual_seed(0)
    density = Categorical(3, 6)
    with torch.no_grad():
        density.logits.normal_(0, 2)
    context = torch.randint(0, 3, (20_000,))
    values = torch.multinomial(density.logits.softmax(1)[context].detach(), 1)[:, 0]
    encoder = Encoder()
    encoder.code(density.freeze(), context.numpy(), values.numpy())
    bits = density.bits(values.float(), context).sum()
    bits.backward()
    assert encoder.bits == pytest.approx(bits.item(), rel=5e-3)
    assert density.logits.grad.isfinite().all()
    assert torch.allclose(torch.exp2(-density.bits(torch.arange(6), torch.ones(6))).sum(), torch.tensor(1.0))
