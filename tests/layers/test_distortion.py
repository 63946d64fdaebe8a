"""What codecs are trained for: MS-SSIM as the bench measures it, and differentiable."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from enfold.bench import metrics
from enfold.layers.distortion import WORTH, distortion, ms_ssim


def picture(seed, height, width):
    random = np.random.default_rng(seed)
    waves = np.sin(np.arange(height)[:, None] / 9) * np.cos(np.arange(width) / 14)
    noise = random.normal(0, 8, (height, width, 3))
    return (waves[..., None] * (60, 40, 20) + 128 + noise).clip(0, 255).astype(np.uint8)


def tensor(rgb):
    return torch.from_numpy(rgb.copy()).permute(2, 0, 1)[None].float()


@pytest.mark.parametrize(("height", "width"), [(161, 176), (191, 203), (256, 170)])
@pytest.mark.parametrize("noise", [3, 30])
def test_it_is_the_ms_ssim_of_the_bench(height, width, noise):
    one = picture(0, height, width)
    other = (one + np.random.default_rng(1).normal(0, noise, one.shape)).clip(0, 255).astype(np.uint8)
    assert ms_ssim(tensor(one), tensor(other)).item() == pytest.approx(metrics.ms_ssim(one, other), abs=1e-4)


def test_samples_are_measured_each_by_itself_and_gradients_lead_to_the_original():
    original = torch.cat([tensor(picture(seed, 128, 128)) for seed in range(2)])
    decoded = (original + torch.randn(original.shape) * torch.tensor([2.0, 30.0]).view(2, 1, 1, 1)).requires_grad_()
    error, mse = distortion("ms_ssim", decoded, original)
    assert error.shape == mse.shape == (2,) and error[0] < error[1] and (error < WORTH).all()
    for number in range(2):
        alone, _ = distortion("ms_ssim", decoded[number:number + 1], original[number:number + 1])
        torch.testing.assert_close(alone[0], error[number])
    error.sum().backward()
    with torch.no_grad():
        step = decoded.grad / decoded.grad.square().mean((1, 2, 3), keepdim=True).sqrt()
        after, _ = distortion("ms_ssim", decoded - 0.1 * step, original)
    assert (after < error).all()


def test_equal_pictures_have_no_error_and_no_undefined_gradient():
    flat = torch.full((1, 3, 64, 64), 77.0)
    decoded = flat.clone().requires_grad_()
    error, _ = distortion("ms_ssim", decoded, flat)
    error.sum().backward()
    assert error.item() == pytest.approx(0, abs=1e-2) and torch.isfinite(decoded.grad).all()


def test_what_cannot_be_trained_for_is_refused_in_words():
    small = torch.zeros(1, 3, 8, 8)
    with pytest.raises(ValueError, match="too small for MS-SSIM"):
        ms_ssim(small, small)
    with pytest.raises(ValueError, match="'beauty'"):
        distortion("beauty", small, small)
