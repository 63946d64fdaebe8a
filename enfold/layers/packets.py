"""Wavelet packets: CDF 9/7 applied to every band again, `levels` times, on both axes.

A packet transform of a length-n signal is a banded n×n matrix, the same in every window
but the first and the last:

    x   |----32----|--------64--------|----32----|
                   |  64 coefficients |              one window: (64 × 128) · x

so the transform is a handful of matrix products, forward, backward and in training alike.
The matrices are built once, in float64, from the filters that PyWavelets ships. Signals are
extended by whole-sample symmetry at each level, as JPEG 2000 does: no wrap-around at the
borders, n coefficients for n samples, and the inverse of the matrix is the inverse transform.

Output order on an axis: block by block, in each block its 2^levels bands from low to high in
the order of the filter path. Guarantee: synthesis(analysis(x)) = x to float rounding, for every
length that is a positive multiple of 2^levels.

Source: Antonini et al. 1992 (the filters); Jacobellis & Yadwadkar 2024 (packets for learning).
"""

from __future__ import annotations

from functools import lru_cache

import numpy as np
import torch
from torch import Tensor, nn

WAVELET = "bior4.4"


def _filters() -> tuple[dict[int, float], dict[int, float]]:
    """Analysis taps by offset: low-pass around the even sample, high-pass around the odd one."""
    import pywt

    wavelet = pywt.Wavelet(WAVELET)
    low = {t - 5: v for t, v in enumerate(wavelet.dec_lo) if v}
    high = {t - 5: v for t, v in enumerate(wavelet.dec_hi) if v}
    # centre both on their middle tap: they are symmetric and of odd length
    low_middle = (min(low) + max(low)) // 2
    high_middle = (min(high) + max(high)) // 2
    return ({t - low_middle: v for t, v in low.items()},
            {t - high_middle: v for t, v in high.items()})


def _one_level(n: int) -> np.ndarray:
    """(n, n) matrix of one level: n/2 low-pass rows, then n/2 high-pass rows."""
    matrix = np.zeros((n, n))
    period = 2 * n - 2
    for first, taps in ((0, _filters()[0]), (1, _filters()[1])):
        for k in range(n // 2):
            for offset, value in taps.items():
                at = (2 * k + first + offset) % period
                matrix[first * n // 2 + k, min(at, period - at)] += value
    return matrix


@lru_cache(maxsize=64)
def packet_matrix(n: int, levels: int) -> np.ndarray:
    """Analysis matrix (n, n) in float64; row b·2^levels + band is block b's coefficient `band`.

    Raises ValueError where n is not a positive multiple of 2^levels.
    """
    if n <= 0 or n % (1 << levels):
        raise ValueError(f"length {n} is not a positive multiple of {1 << levels}")
    matrix = np.eye(n)
    bands = 1
    for _ in range(levels):
        split = _one_level(n // bands)
        matrix = (split @ matrix.reshape(bands, n // bands, n)).reshape(n, n)
        bands *= 2
    return matrix.reshape(bands, n // bands, n).transpose(1, 0, 2).reshape(n, n).copy()


class _Banded:
    """One direction of the transform as three windows: first, inner, last."""

    def __init__(self, matrix: np.ndarray, window: int, reach: int) -> None:
        self.matrix, self.window, self.reach = matrix, window, reach
        self.inner = _tensor(matrix[window:2 * window, window - reach:2 * window + reach])
        self.first = _tensor(matrix[:window, :window + reach])

    @lru_cache(maxsize=16)  # noqa: B019 - instances live as long as the process
    def last(self, m: int) -> Tensor:
        return _tensor(self.matrix[-m:, -(m + self.reach):])

    def _pieces(self, n: int) -> list[tuple[slice, Tensor]]:
        """What each window of a signal of length n ≥ 3 windows reads, and its matrix."""
        window, reach = self.window, self.reach
        count = n // window - 1                        # the last window takes what is left over
        tail = n - count * window
        return [(slice(0, window + reach), self.first),
                *((slice(k * window - reach, (k + 1) * window + reach), self.inner) for k in range(1, count)),
                (slice(n - tail - reach, n), self.last(tail))]

    def rows(self, x: Tensor) -> Tensor:
        """Applies the transform along axis -2 of x (B, n, width)."""
        return torch.cat([_left(matrix, x[:, inputs]) for inputs, matrix in self._pieces(x.shape[1])], 1)

    def columns(self, x: Tensor) -> Tensor:
        """Applies the transform along axis -1 of x (rows, n)."""
        return torch.cat([x[:, inputs] @ matrix.to(x).T for inputs, matrix in self._pieces(x.shape[-1])], -1)


def _left(matrix: Tensor, x: Tensor) -> Tensor:
    """matrix (m, n) times each of x (B, n, width); `@` would transpose x and back."""
    return torch.bmm(matrix.to(x).expand(len(x), -1, -1), x)


@lru_cache(maxsize=8)
def _banded(levels: int, inverse: bool) -> _Banded:
    block = 1 << levels
    window = 8 * block
    reach = 4 * block                                 # 9/7 reaches 4·(2^levels − 1) samples
    matrix = packet_matrix(4 * window, levels)
    return _Banded(np.linalg.inv(matrix) if inverse else matrix, window, reach)


@lru_cache(maxsize=64)
def _dense(n: int, levels: int, inverse: bool) -> Tensor:
    matrix = packet_matrix(n, levels)
    return _tensor(np.linalg.inv(matrix) if inverse else matrix)


@torch.inference_mode(False)    # kept for all that comes, so it must not be an inference tensor
def _tensor(part: np.ndarray) -> Tensor:
    return torch.from_numpy(np.ascontiguousarray(part, dtype=np.float32))


class WaveletPackets(nn.Module):
    """The 2-D packet transform: (B, C, H, W) ↔ (B, C·4^levels, H/2^levels, W/2^levels).

    Channel order of the coefficients: colour, then vertical band, then horizontal band.
    """

    def __init__(self, levels: int) -> None:
        super().__init__()
        self.levels = levels
        self.block = 1 << levels

    def extra_repr(self) -> str:
        return f"levels={self.levels}, wavelet={WAVELET!r}"

    def _apply_axes(self, x: Tensor, inverse: bool) -> Tensor:
        """Both axes of x (B, H, C, W): colours lie row by row, so that each axis is one product a window."""
        few = 3 * 8 * self.block                       # below three windows: one dense matrix
        batch, height, colours, width = x.shape
        x = x.reshape(-1, width)
        right, left = (_dense(n, self.levels, inverse) if n < few else None for n in (width, height))
        x = _banded(self.levels, inverse).columns(x) if right is None else x @ right.to(x).T
        x = x.view(batch, height, colours * width)
        x = _banded(self.levels, inverse).rows(x) if left is None else _left(left, x)
        return x.view(batch, height, colours, width)

    def analysis(self, x: Tensor) -> Tensor:
        """Samples (B, C, H, W) → coefficients (B, C·4^levels, h, w), channels last in memory."""
        batch, colours, height, width = x.shape
        block, h, w = self.block, height // self.block, width // self.block
        split = self._apply_axes(x.transpose(1, 2), inverse=False).view(batch, h, block, colours, w, block)
        blocks = split.permute(0, 1, 4, 3, 2, 5).reshape(batch, h, w, colours * block * block)
        return blocks.permute(0, 3, 1, 2)

    def synthesis(self, coefficients: Tensor) -> Tensor:
        """Coefficients (B, C·4^levels, h, w) → samples (B, C, H, W), colours row by row in memory."""
        batch, channels, h, w = coefficients.shape
        block, colours = self.block, channels // self.block ** 2
        split = coefficients.permute(0, 2, 3, 1).reshape(batch, h, w, colours, block, block)
        rows = split.permute(0, 1, 4, 3, 2, 5).reshape(batch, h * block, colours, w * block)
        return self._apply_axes(rows, inverse=True).transpose(1, 2)
