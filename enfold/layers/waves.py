"""Wavelet packets in one dimension: samples of a sound ↔ 2^levels bands of frequency, each as long as it can be.

    samples (n)  ──level──▶  low, high (n/2)  ──level──▶  four bands (n/4)  ─ … ─▶  2^levels bands (n/2^levels)

Every band is split again, by lifting with the CDF 9/7 filters, extended by whole-sample symmetry at either end:
n coefficients for n samples, no wrap-around. Bands come in the order of their frequencies. Without gradients it runs
in C; with them, or without a compiler, on tensors.

Guarantees: synthesis(analysis(x)) = x to float rounding for every length that is a positive multiple of 2^levels; both
ways of computing agree to float rounding.

Source: Daubechies & Sweldens 1998; Jacobellis & Yadwadkar 2024 (packets for learning).
"""

from __future__ import annotations

import os
from functools import lru_cache

import torch
from torch import Tensor

try:
    if os.environ.get("ENFOLD_NO_C"):
        raise ImportError("asked for")
    from enfold.layers import _waves as _compiled  # type: ignore[attr-defined]
except ImportError:
    _compiled = None

STEPS = (-1.586134342059924, -0.052980118572961, 0.882911075530934, 0.443506852043971)
LOW, HIGH = 2**0.5 / 1.230174104914001, -1.230174104914001 / 2**0.5


def analysis(samples: Tensor, levels: int) -> Tensor:
    """float32 (..., n) → (..., 2^levels, n / 2^levels). Raises ValueError where 2^levels does not divide n."""
    *outer, n = samples.shape
    if n <= 0 or n % (1 << levels):
        raise ValueError(f"length {n} is not a positive multiple of {1 << levels}")
    if _compiled is not None and not samples.requires_grad:
        flat = samples.reshape(-1, n).contiguous()
        bands = torch.empty_like(flat)
        if len(flat):
            _compiled.analyse(flat.detach().numpy(), len(flat), n, levels, bands.numpy())
        return bands.view(*outer, 1 << levels, n >> levels)
    bands = samples.unsqueeze(-2)
    for _ in range(levels):
        low, high = _split(bands)
        bands = torch.stack([low, high], -2)
        bands = torch.where(_turned(bands.shape[-3]), bands.flip(-2), bands).flatten(-3, -2)
    return bands


def synthesis(bands: Tensor) -> Tensor:
    """The inverse: float32 (..., 2^levels, m) → (..., 2^levels · m)."""
    *outer, count, m = bands.shape
    if _compiled is not None and not bands.requires_grad:
        flat = bands.reshape(-1, count * m).contiguous()
        samples = torch.empty_like(flat)
        if len(flat):
            _compiled.synthesise(flat.detach().numpy(), len(flat), count * m, count.bit_length() - 1, samples.numpy())
        return samples.view(*outer, count * m)
    while bands.shape[-2] > 1:
        pairs = bands.unflatten(-2, (-1, 2))
        low, high = torch.where(_turned(pairs.shape[-3]), pairs.flip(-2), pairs).unbind(-2)
        bands = _merge(low, high)
    return bands.squeeze(-2)


@lru_cache(maxsize=4)
def overlap(levels: int) -> Tensor:
    """Inner products (2^levels, 2^levels) of what the bands of one moment become, away from either end, in float64.

    The 9/7 packets are not orthogonal: e · overlap · e is the energy of samples whose bands are e, but for what
    neighbouring moments share.
    """
    bands = 1 << levels
    alone = torch.zeros(bands, bands, 33)
    alone[range(bands), range(bands), 16] = 1
    waves = synthesis(alone).double()
    return waves @ waves.T


def _turned(bands: int) -> Tensor:
    """Whose halves come in reverse: (bands, 1, 1)."""
    return (torch.arange(bands) % 2 == 1)[:, None, None]


def _after(x: Tensor) -> Tensor:
    return torch.cat([x[..., 1:], x[..., -1:]], -1)


def _before(x: Tensor) -> Tensor:
    return torch.cat([x[..., :1], x[..., :-1]], -1)


def _split(x: Tensor) -> tuple[Tensor, Tensor]:
    even, odd = x[..., 0::2], x[..., 1::2]
    odd = odd + STEPS[0] * (even + _after(even))
    even = even + STEPS[1] * (odd + _before(odd))
    odd = odd + STEPS[2] * (even + _after(even))
    even = even + STEPS[3] * (odd + _before(odd))
    return even * LOW, odd * HIGH


def _merge(low: Tensor, high: Tensor) -> Tensor:
    even, odd = low / LOW, high / HIGH
    even = even - STEPS[3] * (odd + _before(odd))
    odd = odd - STEPS[2] * (even + _after(even))
    even = even - STEPS[1] * (odd + _before(odd))
    odd = odd - STEPS[0] * (even + _after(even))
    return torch.stack([even, odd], -1).flatten(-2)
