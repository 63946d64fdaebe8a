"""Packets in one dimension: nothing is lost, bands lie by frequency, and C computes what tensors do."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from enfold.layers import waves


def noise(*shape: int) -> torch.Tensor:
    return torch.from_numpy(np.random.default_rng(sum(shape)).normal(0, 1, shape).astype(np.float32))


@pytest.mark.parametrize(("levels", "blocks"), [(1, 1), (3, 1), (3, 5), (7, 2), (8, 1), (8, 3)])
def test_synthesis_undoes_analysis(levels, blocks):
    x = noise(2, blocks << levels)
    bands = waves.analysis(x, levels)
    assert bands.shape == (2, 1 << levels, blocks)
    torch.testing.assert_close(waves.synthesis(bands), x, atol=1e-5, rtol=0)


@pytest.mark.parametrize("levels", [1, 4, 8])
def test_both_ways_of_computing_agree(levels):
    if waves._compiled is None:
        pytest.skip("the C extension is not built")
    x = noise(3, 7 << levels)
    bands = waves.analysis(x.clone().requires_grad_(), levels)
    torch.testing.assert_close(bands.detach(), waves.analysis(x, levels), atol=2e-5, rtol=0)
    torch.testing.assert_close(waves.synthesis(bands).detach(), waves.synthesis(bands.detach()), atol=2e-5, rtol=0)


def test_a_tone_is_in_the_band_of_its_frequency():
    levels, bands, n = 5, 32, 32 * 64
    for band in (0, 3, 10, 17, 30):
        tone = torch.sin(torch.pi * (band + 0.5) / bands * torch.arange(n))
        power = waves.analysis(tone, levels)[:, 8:-8].square().mean(-1)
        assert int(power.argmax()) == band


def test_overlap_tells_the_energy_of_samples():
    overlap = waves.overlap(4)
    bands = torch.zeros(16, 33)
    bands[:, 16] = noise(16)
    energy = waves.synthesis(bands).double().square().sum()
    assert energy.item() == pytest.approx((bands[:, 16].double() @ overlap @ bands[:, 16].double()).item(), rel=1e-5)
    assert overlap.diagonal().min() > 0.4 and overlap.diagonal().max() < 2.5


@pytest.mark.parametrize("n", [0, 100, 255])
def test_lengths_that_are_no_multiple_are_refused(n):
    with pytest.raises(ValueError, match=f"length {n} is not a positive multiple of 256"):
        waves.analysis(torch.zeros(n), 8)


def test_gradients_are_those_of_the_inverse_transposed():
    x = noise(64).requires_grad_()
    (waves.analysis(x, 3) * (target := noise(8, 8))).sum().backward()
    y = noise(8, 8)
    inner = (waves.analysis(waves.synthesis(y), 3) * target).sum()
    assert (x.grad * waves.synthesis(y)).sum().item() == pytest.approx(inner.item(), rel=1e-4)
