"""How loud each band is at each moment: what an ear, and a log-mel spectrum, keep of latents of sound.

    symbols (C, T) ─ squares ─ means with neighbours, in frequency and in time ─ decibels ─▶ (C, T)

A latent of sound swings about zero, and its sign says as little of a word as the sign of a sample: networks learn
signs by heart. Power alone is told here, smoothed over the 3 × 3 latents about each, since one latent of a tone may
be zero where its neighbour is not. The unit is a step of the codec: below one all is rounded away, and 1/12 is the
power of what rounding loses, so that is what silence is given. Nothing is learnt, and no synthesis is run: symbols are
what the entropy decoder reads.
"""

from __future__ import annotations

import numpy as np

LOST = 1 / 12               # squared steps: the error of rounding
BELL = (0.25, 0.5, 0.25)


def loudness_db(symbols: np.ndarray) -> np.ndarray:
    """Integers (C, T), C from low to high frequencies → float32 (C, T), dB of a step; silence is 10 log10 LOST."""
    power = np.square(symbols.astype(np.float64))
    for axis in (0, 1):
        sides = np.pad(power, [(1, 1) if axis == each else (0, 0) for each in (0, 1)], "edge")
        count = power.shape[axis]
        power = np.sum([weight * np.take(sides, range(at, at + count), axis) for at, weight in enumerate(BELL)], 0)
    return (10 * np.log10(power + LOST)).astype(np.float32)


def silence_db(channels: int) -> np.ndarray:
    """(C,): `loudness_db` of nothing."""
    return np.full(channels, 10 * np.log10(LOST), np.float32)
