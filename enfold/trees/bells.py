"""What a scan's model is before it has seen a photograph: bells, levels, and weights that know nothing.

Written by floating point, once, into a model file; see `scan` for what becomes of it.
"""

from __future__ import annotations

import numpy as np

from enfold.trees.scan import CONTEXTS, FAR, LEVELS, PARTS, SCALES, WHOLE
from enfold.trees.surroundings import N

NARROWEST = 0.35            # standard deviation of the narrowest bell, in values; each next one is √2 wider
STEPS_PER_DOUBLING = 3      # of levels of unrest
UNIT = 848                  # of unrest: the weights around a sample, times eighths of a value


def untrained() -> dict[str, np.ndarray]:
    """The arrays of a model file."""
    away = np.arange(-FAR, FAR + 1)[:, None] / 8
    width = NARROWEST * 2 ** (np.arange(SCALES) / 2) * np.sqrt(3) / np.pi
    table = np.rint(65536 / (1 + np.exp(-np.clip(away / width, -60, 60)))).astype(np.int32)
    levels = UNIT * (2.0 ** ((np.arange(1, LEVELS + 1) - 11.5) / STEPS_PER_DOUBLING) - 0.08)
    return {"table": table, "gates": np.full((3, CONTEXTS, PARTS), WHOLE // PARTS, np.int32),
            "levels": np.rint(levels).astype(np.int64), "start": np.zeros((3, N, N + 1), np.int64)}


def learned(counted: np.ndarray, moments: np.ndarray, samples: int, prior: float,
            worth: float) -> tuple[np.ndarray, np.ndarray]:
    """Gates and start, from what `scan.encode` counted over so many samples of a plane.

    prior: samples of a context's plane as a whole that each context is thought to have seen. worth:
    how many samples sums begin with.
    """
    seen = counted / WHOLE
    usual = seen.sum(1, keepdims=True)
    usual /= np.maximum(usual.sum(2, keepdims=True), 1e-9)
    share = seen + prior * usual + 1e-3
    share /= share.sum(2, keepdims=True)
    gates = np.floor(share * WHOLE).astype(np.int32)
    return gates, np.rint(moments * (64 * worth / samples)).astype(np.int64)
