"""Wavelet packets by lifting: from a picture's bytes to the few sums of them that an encoder keeps, and back to bytes.

The packets that `packets.WaveletPackets` computes as matrix products, where gradients are needed,
take four sweeps a level by lifting, in place. An encoder needs no more than some tens of linear
combinations of each block's 192 coefficients, so these are all that leaves this module; the scaling
of each level is folded into their weights. A decoder has all coefficients and wants bytes. In C;
without a compiler, `HAVE_C` is false and the matrices serve.

Guarantee: `project(pixels, prepare(weights))` and `restore(coefficients)` are what the matrices
give, to float rounding.

Source: Daubechies & Sweldens 1998.
"""

from __future__ import annotations

import os

import numpy as np

try:
    if os.environ.get("ENFOLD_NO_C"):
        raise ImportError("asked for")
    from enfold.layers import _lifting as _compiled  # type: ignore[attr-defined]
except ImportError:
    _compiled = None

HAVE_C = _compiled is not None
LEVELS = 3
BLOCK = 1 << LEVELS
BANDS = 3 * BLOCK**2
_LOW, _HIGH = 2**0.5 / 1.230174104914001, -1.230174104914001 / 2**0.5   # what lifting leaves to scale by, each level


_SAMPLE = np.arange(BLOCK)
_BITS = _SAMPLE[:, None] >> np.arange(LEVELS) & 1               # lifting leaves band b where b's bits, reversed, say
_BAND = _BITS @ (1 << np.arange(LEVELS)[::-1])
_GAIN = np.where(_BITS, _HIGH, _LOW).prod(1)


def prepare(weight: np.ndarray) -> np.ndarray:
    """(O, 192), bands in the order of `WaveletPackets` → (O, 8, 3, 8) float32 as `project` takes them."""
    by_colour = weight.astype(np.float64).reshape(-1, 3, BLOCK, BLOCK)[:, :, _BAND][..., _BAND]
    return np.ascontiguousarray((by_colour * _GAIN[:, None] * _GAIN).transpose(0, 2, 1, 3), np.float32)


def project(pixels: np.ndarray, prepared: np.ndarray) -> np.ndarray:
    """uint8 (H, W, 3), H and W multiples of 8 → float32 (O, H/8, W/8): packets of grey levels less 128, combined."""
    if _compiled is None:
        raise RuntimeError("the C extension is not built: use layers.packets")
    height, width = pixels.shape[0] // BLOCK, pixels.shape[1] // BLOCK
    out = np.empty((len(prepared), height, width), np.float32)
    _compiled.project(np.ascontiguousarray(pixels), height, width, prepared, len(prepared), out)
    return out


def restore(coefficients: np.ndarray) -> np.ndarray:
    """float32 (h, w, 192), packets of grey levels less 128, bands as `WaveletPackets` has them → uint8 (8h, 8w, 3)."""
    if _compiled is None:
        raise RuntimeError("the C extension is not built: use layers.packets")
    height, width, _ = coefficients.shape
    out = np.empty((height * BLOCK, width * BLOCK, 3), np.uint8)
    coefficients = np.ascontiguousarray(coefficients, np.float32)
    _compiled.restore(coefficients, (1 / _GAIN).astype(np.float32), height, width, out)
    return out
