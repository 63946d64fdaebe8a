"""The matrix product of exact contexts: small, on one thread, in C where there is a compiler.

A linear-algebra library would do, and does where the C is missing: the sums are exact, so any
order gives the same bits. But its threads cost more than products this small, and get in the way
of those that a data loader or torch already runs.
"""

from __future__ import annotations

import os

import numpy as np

try:
    if os.environ.get("ENFOLD_NO_C"):
        raise ImportError("asked for")
    from enfold.entropy import _linear as _compiled  # type: ignore[attr-defined]
except ImportError:
    _compiled = None


def product(weight: np.ndarray, features: np.ndarray) -> np.ndarray:
    """weight (O, F) times features (..., F, n) → (..., O, n), float32. Exact only if every partial sum is."""
    weight = np.ascontiguousarray(weight, np.float32)
    features = np.ascontiguousarray(features, np.float32)
    if _compiled is None:
        return np.matmul(weight, features)
    (outputs, inputs), (*outer, _, n) = weight.shape, features.shape
    out = np.empty((*outer, outputs, n), np.float32)
    for index in np.ndindex(*outer):
        _compiled.product(weight, features[index], out[index], outputs, inputs, n)
    return out
