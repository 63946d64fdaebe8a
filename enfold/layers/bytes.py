"""Weights of networks as bytes: eight bits each, and a scale for each output.

Networks that run in bfloat16 keep eight significant bits of a weight. In a model file such weights may as
well be bytes, each row (what leads to one output) with a scale of its own, `NAME` int8 and `NAME.scale` float32.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

_SCALE = ".scale"


def packed(name: str, weight: np.ndarray) -> dict[str, np.ndarray]:
    """A weight (O, …) as the two arrays of a model file."""
    scale = np.abs(weight.reshape(len(weight), -1)).max(1) / 127
    scale = np.maximum(scale, 1e-12).astype(np.float32)
    return {name: np.rint(weight / scale.reshape(-1, *[1] * (weight.ndim - 1))).astype(np.int8), name + _SCALE: scale}


def unpacked(arrays: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
    """The arrays of a model file, those that `packed` made as float32 again."""
    names = set(arrays)
    return {name: array if name + _SCALE not in names else
            array.astype(np.float32) * arrays[name + _SCALE].reshape(-1, *[1] * (array.ndim - 1))
            for name, array in ((name, arrays[name]) for name in arrays if not name.endswith(_SCALE))}
