"""How far a decoded picture is from its original: PSNR and MS-SSIM.

Both take uint8 RGB pictures of one shape (height, width, 3). PSNR is over all three channels at
once. MS-SSIM weighs structure at five scales, each half as large as the one before; it is worked
out for each channel and averaged, with the borders and odd sizes treated as in the package
`pytorch-msssim`, so that its figures can be set beside published ones.

Guarantees: symmetric in the two pictures; 1 (and infinite PSNR) for equal pictures; float64
throughout.

Source: Wang, Simoncelli & Bovik 2003, "Multiscale structural similarity for image quality
assessment".
"""

from __future__ import annotations

import math

import numpy as np
from numpy.lib.stride_tricks import sliding_window_view

from enfold.errors import UsageError

WEIGHTS = (0.0448, 0.2856, 0.3001, 0.2363, 0.1333)      # of the scales, the full one first
WINDOW, SIGMA = 11, 1.5
_BELL = np.exp(-0.5 * ((np.arange(WINDOW) - WINDOW // 2) / SIGMA) ** 2)
GAUSSIAN = _BELL / _BELL.sum()
LEAST_SIDE = (WINDOW - 1 << len(WEIGHTS) - 1) + 1       # the window must fit into the smallest scale
C1, C2 = (0.01 * 255) ** 2, (0.03 * 255) ** 2


def psnr_db(a: np.ndarray, b: np.ndarray) -> float:
    """Peak signal-to-noise ratio in dB, over all channels; infinite for equal pictures."""
    check_pair(a, b)
    mse = np.mean(np.square(a.astype(np.float64) - b))
    return math.inf if mse == 0 else float(10 * np.log10(255**2 / mse))


def ms_ssim(a: np.ndarray, b: np.ndarray) -> float:
    """Multi-scale structural similarity, 0 to 1. Raises UsageError for a side below 161 pixels."""
    check_pair(a, b)
    if min(a.shape[:2]) < LEAST_SIDE:
        raise UsageError(f"the picture has {a.shape[1]}×{a.shape[0]} pixels; MS-SSIM needs {LEAST_SIDE} or more "
                         "each way, for five scales: use psnr_db for smaller ones")
    x, y = (picture.transpose(2, 0, 1).astype(np.float64) for picture in (a, b))
    product = np.ones(3)
    for scale, weight in enumerate(WEIGHTS):
        luminance, contrast = _similarity(x, y)
        if scale == len(WEIGHTS) - 1:
            contrast *= luminance
        product *= contrast.mean((1, 2)).clip(0) ** weight
        x, y = _halved(x), _halved(y)
    return float(product.mean())


def _similarity(x: np.ndarray, y: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """SSIM's two factors wherever the whole window fits: luminance, and contrast with structure."""
    mean_x, mean_y, xx, yy, xy = (_blurred(moment) for moment in (x, y, x * x, y * y, x * y))
    luminance = (2 * mean_x * mean_y + C1) / (mean_x**2 + mean_y**2 + C1)
    contrast = (2 * (xy - mean_x * mean_y) + C2) / (xx - mean_x**2 + yy - mean_y**2 + C2)
    return luminance, contrast


def _blurred(x: np.ndarray) -> np.ndarray:
    """(C, H, W) → (C, H - 10, W - 10): the Gaussian window, down and then across."""
    return sliding_window_view(sliding_window_view(x, WINDOW, 1) @ GAUSSIAN, WINDOW, 2) @ GAUSSIAN


def _halved(x: np.ndarray) -> np.ndarray:
    """Means of 2×2; an odd side gets a row of zeros before the first."""
    x = np.pad(x, [(0, 0), *((side % 2, 0) for side in x.shape[1:])])
    return (x[:, ::2, ::2] + x[:, 1::2, ::2] + x[:, ::2, 1::2] + x[:, 1::2, 1::2]) / 4


def check_pair(a: np.ndarray, b: np.ndarray) -> None:
    """Raises UsageError where these are not two uint8 RGB pictures of one shape."""
    for picture in (a, b):
        if picture.dtype != np.uint8 or picture.ndim != 3 or picture.shape[2] != 3 or not picture.size:
            raise UsageError(f"a picture is {picture.dtype} of shape {picture.shape}; "
                             "both must be uint8 of shape (height, width, 3)")
    if a.shape != b.shape:
        raise UsageError(f"the pictures have shapes {a.shape} and {b.shape}: compare pictures of one size")
