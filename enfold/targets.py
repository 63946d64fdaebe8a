"""The quality that meets a target: a rate not exceeded, or a fidelity reached.

A codec's qualities, 1 to 100, are ordered in bytes and, nearly always, in error; so a bisection of
seven encodings finds the best that keeps to a rate, or the least that reaches a fidelity. Rates
count the whole file.
"""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np

from enfold.codec import PictureCodec
from enfold.errors import UsageError
from enfold.media import Picture

LEAST, BEST = 1, 100


def encode_to_bpp(codec: PictureCodec, picture: Picture, bpp: float, *, keep_metadata: bool = False,
                  effort: int = 0) -> bytes:
    """The best file of at most so many bits a pixel. Raises UsageError where the smallest is larger."""
    if not bpp > 0:
        raise UsageError(f"the target is {bpp!r} bits a pixel; it is a number greater than 0")
    pixels = math.prod(picture.pixels.shape[:2])
    encode = _encodings(codec, picture, keep_metadata, effort)
    if (least := 8 * len(encode(LEAST)) / pixels) > bpp:
        raise UsageError(f"{codec.name} needs {least:.4f} bits a pixel at least for this picture, "
                         f"{bpp:g} were asked for")
    return encode(_last(lambda quality: 8 * len(encode(quality)) <= bpp * pixels))


def encode_to_psnr(codec: PictureCodec, picture: Picture, psnr_db: float, *, keep_metadata: bool = False,
                   effort: int = 0) -> bytes:
    """The smallest file whose decoded picture has at least so many decibels, over all its samples.

    Raises UsageError where no quality has.
    """
    if not math.isfinite(psnr_db):
        raise UsageError(f"the target is {psnr_db!r} dB; it is a number")
    encode = _encodings(codec, picture, keep_metadata, effort)
    original = picture.pixels.astype(np.float64)

    def reached(quality: int) -> float:
        error = np.square(codec.decode(encode(quality)).pixels - original).mean()
        return 10 * math.log10(255 ** 2 / error) if error else math.inf

    if (best := reached(BEST)) < psnr_db:
        raise UsageError(f"{codec.name} reaches {best:.2f} dB at best for this picture, {psnr_db:g} were asked for")
    if reached(LEAST) >= psnr_db:
        return encode(LEAST)
    return encode(_last(lambda quality: reached(quality) < psnr_db) + 1)


def _encodings(codec: PictureCodec, picture: Picture, keep_metadata: bool, effort: int) -> Callable[[int], bytes]:
    """Encodes at a quality, once."""
    done: dict[int, bytes] = {}

    def encode(quality: int) -> bytes:
        if quality not in done:
            done[quality] = codec.encode(picture, quality=quality, keep_metadata=keep_metadata, effort=effort)
        return done[quality]

    return encode


def _last(holds: Callable[[int], bool]) -> int:
    """The last quality for which a condition holds that holds for LEAST, and ceases to at most once."""
    low, high = LEAST, BEST + 1
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (middle, high) if holds(middle) else (low, middle)
    return low
