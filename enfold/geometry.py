"""What the original was, so that decoding returns it as it went in.

One frozen dataclass per medium. `shape` is the shape of its array, `pixels` what one picture or one
frame has. A value that cannot be raises `UsageError` when the geometry is made, so every geometry
that exists can be written to a file.
"""

from __future__ import annotations

from dataclasses import dataclass
from fractions import Fraction

from enfold.errors import UsageError

MODES = ("L", "LA", "RGB", "RGBA")  # the place in these three lists is part of the file format
DTYPES = ("uint8", "uint16", "float16", "float32", "int8", "int16", "int32", "int64",
          "float64", "bfloat16", "bool", "uint32", "uint64")
PICTURE_DTYPES = DTYPES[:8]
ITEM_BYTES = dict(zip(DTYPES, (1, 2, 2, 4, 1, 2, 4, 8, 8, 2, 1, 4, 8), strict=True))


@dataclass(frozen=True)
class ImageGeometry:
    """One picture; its array has shape (height, width) or (height, width, channels)."""

    width: int
    height: int
    mode: str = "RGB"
    dtype: str = "uint8"

    def __post_init__(self):
        _whole(self, width=1, height=1)
        _one_of(self, mode=MODES, dtype=PICTURE_DTYPES)

    @property
    def shape(self) -> tuple[int, ...]:
        return (self.height, self.width) + ((len(self.mode),) if len(self.mode) > 1 else ())

    @property
    def pixels(self) -> int:
        return self.width * self.height


@dataclass(frozen=True)
class AudioGeometry:
    """A recording; its array has shape (samples, channels)."""

    samples: int
    channels: int
    rate_hz: int
    dtype: str = "int16"

    def __post_init__(self):
        _whole(self, samples=0, channels=1, rate_hz=1)
        _one_of(self, dtype=DTYPES)

    @property
    def shape(self) -> tuple[int, ...]:
        return (self.samples, self.channels)


@dataclass(frozen=True)
class VideoGeometry:
    """A film; its array has shape (frames, height, width) or (frames, height, width, channels)."""

    frames: int
    width: int
    height: int
    frame_rate: Fraction
    mode: str = "RGB"
    dtype: str = "uint8"

    def __post_init__(self):
        _whole(self, frames=1, width=1, height=1)
        _one_of(self, mode=MODES, dtype=PICTURE_DTYPES)
        rate = self.frame_rate
        if not isinstance(rate, Fraction) or not (_is_whole(rate.numerator, 1) and _is_whole(rate.denominator, 1)):
            raise UsageError(f"frame_rate is {rate!r}; it must be a Fraction above 0, such as Fraction(30000, 1001)")

    @property
    def shape(self) -> tuple[int, ...]:
        return (self.frames, self.height, self.width) + ((len(self.mode),) if len(self.mode) > 1 else ())

    @property
    def pixels(self) -> int:
        return self.width * self.height


@dataclass(frozen=True)
class TensorGeometry:
    """Feature maps, or any array."""

    shape: tuple[int, ...]
    dtype: str = "float32"

    def __post_init__(self):
        if not isinstance(self.shape, tuple) or len(self.shape) > 32 or not all(_is_whole(n) for n in self.shape):
            raise UsageError(f"shape is {self.shape!r}; it must be a tuple of at most 32 whole numbers from 0 on")
        _one_of(self, dtype=DTYPES)


Geometry = ImageGeometry | AudioGeometry | VideoGeometry | TensorGeometry


def _is_whole(value: object, least: int = 0) -> bool:
    return isinstance(value, int) and least <= value < 2**63


def _whole(geometry: object, **least: int) -> None:
    for name, low in least.items():
        value = getattr(geometry, name)
        if not _is_whole(value, low):
            raise UsageError(f"{name} is {value!r}; it must be a whole number (int), {low} or more")


def _one_of(geometry: object, **allowed: tuple[str, ...]) -> None:
    for name, choices in allowed.items():
        if getattr(geometry, name) not in choices:
            raise UsageError(f"{name} is {getattr(geometry, name)!r}; it must be one of {', '.join(choices)}")
