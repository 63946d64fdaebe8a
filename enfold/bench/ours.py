"""enfold's own codecs as the bench sees them.

    walloc-rgb-16x      encoded as `enfold encode` does
    walloc-rgb-16x@20   with --effort 20
"""

from __future__ import annotations

import warnings
from collections.abc import Callable
from typing import Any

import numpy as np

from enfold.bench.running import Coder
from enfold.errors import UsageError

QUALITIES = (5.0, 20.0, 35.0, 50.0, 65.0, 80.0, 90.0, 97.0)


def split(name: str) -> tuple[str, int]:
    """The codec's own name, and the effort. Raises UsageError."""
    codec, at, effort = name.partition("@")
    if at and not effort.isdecimal():
        raise UsageError(f"{name!r}: after the @ comes the effort, a whole number, as in {codec}@20")
    return codec, int(effort or 0)


def our_coder(name: str, media: Callable[[np.ndarray, bytes], Any] = lambda array, data: array) -> Coder:
    """name: see the module. media: what was decoded, as the bench compares it; given the array and the file that it
    came from.

    Raises UsageError, MissingWeightsError.
    """
    import enfold

    own, effort = split(name)
    codec: Any = enfold.load(own)
    options = {"effort": effort} if effort else {}

    def encode(given: Any, quality: float) -> bytes:
        with warnings.catch_warnings():         # that a sound is resampled, as it is for the others
            warnings.simplefilter("ignore", UserWarning)
            return codec.encode(given, quality=round(quality), **options)

    def decode(data: bytes) -> Any:
        return media(np.asarray(codec.decode(data)), data)

    version = f"enfold {enfold.__version__}, weights {codec.fingerprint.hex()}"
    if getattr(codec, "lossless", False):           # every quality is the same file
        return Coder(name, name, version, "lossless", (100.0,), encode, decode, ours=True)
    return Coder(name, name, version, "quality", QUALITIES, encode, decode, ours=True)
