"""Photographs, lossless: a circuit that the surroundings of each sample place, and that goes on learning.

    pixels ── bands of rows ── green, red - green, blue - green ── scan, sample by sample ── bytes

No transform but the difference to green, which is reversible as it stands. The prior does the work: four
experts guess each sample by least squares over what was decoded nearby, a sum node over 48 bells around
their guesses says how likely each value is (`trees.scan`). All in integers.

Guarantees: `decode(encode(x))` is x, whatever x is and whatever the quality; a picture takes little more
than its pixels at worst.

Sources: `trees.surroundings`, `trees.scan`.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from enfold.codec import PixelCodec
from enfold.codecs.circuit_photo_latents import CircuitPhotoLatents


class CircuitPhoto(PixelCodec):
    """Lossless: qualities are taken, as everywhere, and mean nothing."""

    sequential = True           # without the C extension it takes a good part of a millisecond a sample

    def __init__(self, name: str, weights: Mapping[str, np.ndarray], fingerprint: bytes) -> None:
        self.name, self.fingerprint = name, fingerprint
        self.latent_codec = CircuitPhotoLatents(name, weights, fingerprint)

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self.name!r}, fingerprint={self.fingerprint.hex()})"
