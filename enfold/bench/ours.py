"""enfold's own codecs as the bench sees them."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from typing import Any

import numpy as np

from enfold.bench.running import Coder

QUALITIES = (5.0, 20.0, 35.0, 50.0, 65.0, 80.0, 90.0, 97.0)


def our_coder(name: str, media: Callable[[np.ndarray, bytes], Any] = lambda array, data: array) -> Coder:
    """media: what was decoded, as the bench compares it; given the array and the file that it came from.

    Raises UsageError, MissingWeightsError.
    """
    import enfold

    codec: Any = enfold.load(name)

    def encode(given: Any, quality: float) -> bytes:
        with warnings.catch_warnings():         # that a sound is resampled, as it is for the others
            warnings.simplefilter("ignore", UserWarning)
            return codec.encode(given, quality=round(quality))

    def decode(data: bytes) -> Any:
        return media(np.asarray(codec.decode(data)), data)

    version = f"enfold {enfold.__version__}, weights {codec.fingerprint.hex()}"
    return Coder(name, name, version, "quality", QUALITIES, encode, decode, ours=True)
