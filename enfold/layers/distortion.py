"""What a picture codec may be trained for: squared error, or structure at several scales.

    mse        grey levels squared
    ms_ssim    1 - MS-SSIM, in the grey levels squared that are worth as much

Structure forgives errors where there is texture and none where a picture is plain; what is trained for it
spends its bits accordingly, and loses a decibel or two of PSNR.

Source: Wang, Simoncelli & Bovik 2003 (MS-SSIM); Begaint et al. 2020, "CompressAI" (what the one is worth in the other).
"""

from __future__ import annotations

from functools import lru_cache

import torch
from torch import Tensor, nn

DISTORTIONS = ("mse", "ms_ssim")
WORTH = 1300.0                      # grey levels squared that an MS-SSIM of 0 counts as
WEIGHTS = (0.0448, 0.2856, 0.3001, 0.2363, 0.1333)      # of the scales, the full one first
WINDOW, SIGMA = 11, 1.5
C1, C2 = (0.01 * 255) ** 2, (0.03 * 255) ** 2
LEAST = 1e-3                        # of a scale's similarity: below, a power has no gradient to speak of


def distortion(kind: str, decoded: Tensor, pixels: Tensor) -> tuple[Tensor, Tensor]:
    """(B, 3, H, W) twice, in 0…255 → (B,) what is to be small, and (B,) the squared error, for people."""
    mse = (decoded - pixels).square().mean((1, 2, 3))
    if kind == "mse":
        return mse, mse
    if kind == "ms_ssim":
        return WORTH * (1 - ms_ssim(decoded, pixels)), mse
    raise ValueError(f"a codec cannot be trained for {kind!r}: give {' or '.join(DISTORTIONS)}")


def ms_ssim(x: Tensor, y: Tensor) -> Tensor:
    """(B, 3, H, W) twice, in 0…255 → (B,), as `bench.metrics.ms_ssim` has it; of as many of the five scales as
    pictures have room for, their weights adding up to 1. Raises ValueError where there is room for none."""
    fitting = sum(-(-min(x.shape[-2:]) >> scale) >= WINDOW for scale in range(len(WEIGHTS)))
    if not fitting:
        raise ValueError(f"crops of {x.shape[-1]}×{x.shape[-2]} pixels are too small for MS-SSIM: make them "
                         f"{WINDOW} or more each way, 161 for all five scales")
    product = torch.ones(())
    for scale, weight in enumerate(WEIGHTS[:fitting]):
        luminance, contrast = _similarity(x, y)
        if scale == fitting - 1:
            contrast = contrast * luminance
        product = product * contrast.mean((2, 3)).clamp_min(LEAST) ** (weight / sum(WEIGHTS[:fitting]))
        x, y = (nn.functional.avg_pool2d(nn.functional.pad(z, (z.shape[3] % 2, 0, z.shape[2] % 2, 0)), 2)
                for z in (x, y))
    return product.mean(1)


def _similarity(x: Tensor, y: Tensor) -> tuple[Tensor, Tensor]:
    """SSIM's two factors wherever the whole window fits, (B, 3, H - 10, W - 10): luminance, contrast with structure."""
    mean_x, mean_y, xx, yy, xy = _blurred(torch.stack([x, y, x * x, y * y, x * y]))
    luminance = (2 * mean_x * mean_y + C1) / (mean_x ** 2 + mean_y ** 2 + C1)
    contrast = (2 * (xy - mean_x * mean_y) + C2) / (xx - mean_x ** 2 + yy - mean_y ** 2 + C2)
    return luminance, contrast


def _blurred(x: Tensor) -> Tensor:
    """(..., H, W) → (..., H - 10, W - 10): the Gaussian window, down and then across, as products with matrices, which
    a CPU does ten times as fast as convolutions of one channel."""
    return _bells(x.shape[-2]).T @ (x @ _bells(x.shape[-1]))


@lru_cache
def _bells(side: int) -> Tensor:
    """(side, side - 10): in each column, the window at one place."""
    bell = torch.exp(-0.5 * ((torch.arange(WINDOW) - WINDOW // 2) / SIGMA) ** 2)
    offset = torch.arange(side)[:, None] - torch.arange(side - WINDOW + 1)
    return torch.where((offset >= 0) & (offset < WINDOW), (bell / bell.sum())[offset.clamp(0, WINDOW - 1)], 0.0)
