"""What the metrics promise, and that they are the ones that everybody means."""

from __future__ import annotations

import math

import numpy as np
import pytest
from skimage.metrics import peak_signal_noise_ratio, structural_similarity

from enfold.bench import metrics
from enfold.errors import UsageError


def noisy(picture: np.ndarray, sigma: float) -> np.ndarray:
    noise = np.random.default_rng(1).normal(0, sigma, picture.shape)
    return (picture + noise).clip(0, 255).round().astype(np.uint8)


@pytest.fixture(scope="module")
def picture() -> np.ndarray:
    """A smooth, coloured 200×230 picture with an edge in it."""
    y, x = np.mgrid[:200, :230]
    planes = [127 + 90 * np.sin(x / (9 + 4 * c)) * np.cos(y / 14) + 30 * (x > y) for c in range(3)]
    return np.stack(planes, -1).clip(0, 255).astype(np.uint8)


def test_equal_pictures_score_one_and_infinity(picture):
    assert metrics.ms_ssim(picture, picture) == pytest.approx(1, abs=1e-12)
    assert metrics.psnr_db(picture, picture) == math.inf


def test_order_of_the_pictures_does_not_matter(picture):
    other = noisy(picture, 8)
    assert metrics.ms_ssim(picture, other) == pytest.approx(metrics.ms_ssim(other, picture), abs=1e-12)
    assert metrics.psnr_db(picture, other) == metrics.psnr_db(other, picture)


def test_more_noise_scores_lower(picture):
    copies = [noisy(picture, sigma) for sigma in (2, 6, 18, 54)]
    for metric in (metrics.ms_ssim, metrics.psnr_db):
        scores = [metric(picture, copy) for copy in copies]
        assert scores == sorted(scores, reverse=True)
        assert scores[0] > scores[-1]


def test_psnr_of_a_constant_error_is_worked_by_hand(picture):
    # every value off by 5: 10·log10(255² / 25) = 34.1514 dB
    low = picture.clip(0, 250)
    assert metrics.psnr_db(low, low + np.uint8(5)) == pytest.approx(34.1514, abs=1e-4)


def test_psnr_is_the_one_of_scikit_image(picture):
    other = noisy(picture, 8)
    assert metrics.psnr_db(picture, other) == pytest.approx(peak_signal_noise_ratio(picture, other), abs=1e-9)


def test_constant_pictures_score_as_worked_by_hand():
    # no contrast at any scale: all that is left is luminance at the coarsest, to the power 0.1333
    a, b = np.full((176, 176, 3), 100, np.uint8), np.full((176, 176, 3), 120, np.uint8)
    luminance = (2 * 100 * 120 + 6.5025) / (100**2 + 120**2 + 6.5025)
    assert metrics.ms_ssim(a, b) == pytest.approx(luminance**0.1333, abs=1e-6)


def test_single_scale_is_the_ssim_of_scikit_image(picture, monkeypatch):
    monkeypatch.setattr(metrics, "WEIGHTS", (1.0,))
    other = noisy(picture, 8)
    _, per_pixel = structural_similarity(
        picture, other, channel_axis=2, data_range=255, gaussian_weights=True, sigma=1.5, use_sample_covariance=False,
        full=True)
    inside = per_pixel[5:-5, 5:-5].mean()           # where the whole window lies in the picture
    assert metrics.ms_ssim(picture, other) == pytest.approx(inside, abs=1e-6)


def test_picture_too_small_for_five_scales_is_refused_in_words():
    small = np.zeros((160, 300, 3), np.uint8)
    with pytest.raises(UsageError, match="300×160 pixels; MS-SSIM needs 161"):
        metrics.ms_ssim(small, small)
    metrics.ms_ssim(np.zeros((161, 161, 3), np.uint8), np.zeros((161, 161, 3), np.uint8))


@pytest.mark.parametrize("other", [np.zeros((200, 230, 3)), np.zeros((200, 230), np.uint8),
                                   np.zeros((200, 231, 3), np.uint8)])
def test_pictures_that_cannot_be_compared_are_refused(picture, other):
    for metric in (metrics.psnr_db, metrics.ms_ssim):
        with pytest.raises(UsageError, match=r"must be uint8|one size"):
            metric(picture, other)
