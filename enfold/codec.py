"""What every codec is: media ↔ bytes, and bytes → latents.

    media ──analysis──▶ latent ──prior + coder──▶ sections ──container──▶ bytes
                          │
                          └─ what a learner eats; reading it needs no synthesis

A codec has two halves. A `LatentCodec` turns bytes into latents and back; where its prior holds
no network it needs NumPy and the entropy coder alone, so a data loader never imports torch. A
`Codec` owns the transforms as well. `PictureCodec` does what all picture codecs share: reading
media, grey and alpha, colour profiles, the container.

Guarantees: `decode(encode(x))` has the size, mode and profile of x; `latents(x)` of a picture
and of its file are the same integers; nothing that `encode` means depends on mutable state.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np

from enfold.container import Container, Header, Limits, Section, SectionKind, is_enf, pack, unpack
from enfold.errors import BitstreamError, FingerprintError, UsageError
from enfold.geometry import Geometry, ImageGeometry
from enfold.media import Picture, pack_alpha, read_picture, unpack_alpha


@dataclass(frozen=True, eq=False)
class Latent:
    """A latent as it was coded.

    symbols: integers (C, h, w), what the entropy coder saw. dequantise: makes `values` of symbols.
    quality and geometry: of the file. A learner refuses a fingerprint other than the one it was
    fitted on.
    """

    symbols: np.ndarray
    dequantise: Callable[[np.ndarray], np.ndarray]
    codec: str
    fingerprint: bytes
    quality: int
    geometry: Geometry

    @cached_property
    def values(self) -> np.ndarray:
        """float32 of the shape of `symbols`: what a learner eats; NumPy takes the latent as this array."""
        return self.dequantise(self.symbols)

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> np.ndarray:
        return np.array(self.values, dtype=dtype, copy=True if copy is None else copy)

    def __repr__(self) -> str:
        return (f"Latent({self.codec!r}, shape={self.symbols.shape}, quality={self.quality}, "
                f"fingerprint={self.fingerprint.hex()})")


class LatentCodec(ABC):
    """Bytes ↔ latents. Made from a codec's name, its weights' arrays and their fingerprint."""

    name: str
    fingerprint: bytes

    @abstractmethod
    def latent(self, container: Container, limits: Limits = Limits()) -> Latent:
        """The latent in a file. Raises BitstreamError, LimitError."""

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self.name!r}, fingerprint={self.fingerprint.hex()})"


class Codec(ABC):
    """Media ↔ bytes. Codecs that hold networks are torch Modules as well."""

    name: str
    fingerprint: bytes

    @abstractmethod
    def encode(self, media: Any, *, quality: int | None = None, keep_metadata: bool = False) -> bytes:
        """A complete .enf file."""

    @abstractmethod
    def decode(self, data: bytes, *, limits: Limits = Limits()) -> Any:
        """The media in a file, as it went in. Raises BitstreamError, LimitError, MissingWeightsError."""

    @abstractmethod
    def latents(self, source: Any, *, quality: int | None = None, limits: Limits = Limits()) -> Latent:
        """The latent of a file's bytes, or of media as `encode` would write it."""

    def unpack(self, data: bytes, limits: Limits) -> Container:
        """A file's parts, refused where it was written by another codec or with other weights."""
        container = unpack(data, limits)
        header = container.header
        if header.codec != self.name:
            raise UsageError(f"the file was written by {header.codec!r} and this is {self.name!r}: "
                             f"use enfold.decode, or enfold.load({header.codec!r})")
        if header.fingerprint != self.fingerprint:
            raise FingerprintError(self.name, header.fingerprint, self.fingerprint)
        return container


class PictureCodec(Codec):
    """A codec of pictures: three methods on RGB arrays make a whole one."""

    default_quality: int

    @abstractmethod
    def analyse(self, rgb: np.ndarray, quality: int, geometry: ImageGeometry) -> Latent:
        """uint8 (H, W, 3) → latent."""

    @abstractmethod
    def write(self, latent: Latent) -> tuple[bytes, list[bytes]]:
        """Latent → the header's parameters and the streams of the SYMBOLS sections."""

    @abstractmethod
    def read(self, container: Container, limits: Limits) -> Latent:
        """The inverse of `write`."""

    @abstractmethod
    def synthesise(self, latent: Latent) -> np.ndarray:
        """Latent → uint8 (H, W, 3)."""

    def encode(self, media: Any, *, quality: int | None = None, keep_metadata: bool = False) -> bytes:
        picture = read_picture(media, keep_metadata=keep_metadata)
        parameters, streams = self.write(self._analysed(picture, quality))
        sections = [Section(SectionKind.SYMBOLS, stream) for stream in streams]
        if picture.alpha is not None:
            sections.append(Section(SectionKind.ALPHA, pack_alpha(picture.alpha)))
        if picture.icc_profile is not None:
            sections.append(Section(SectionKind.PROFILE, picture.icc_profile))
        if keep_metadata and picture.exif is not None:
            sections.append(Section(SectionKind.METADATA, picture.exif))
        return pack(Header(self.name, self.fingerprint, _geometry(picture), parameters), sections)

    def decode(self, data: bytes, *, limits: Limits = Limits()) -> Picture:
        container = self.unpack(data, limits)
        geometry = container.header.geometry
        if not isinstance(geometry, ImageGeometry) or geometry.dtype != "uint8":
            raise BitstreamError(f"{self.name} holds 8-bit pictures, the file says {geometry}")
        rgb = self.synthesise(self.read(container, limits))
        grey = geometry.mode.startswith("L")
        pixels = rgb.mean(-1).round().astype(np.uint8) if grey else rgb
        alpha = None
        if geometry.mode.endswith("A"):
            alpha = unpack_alpha(container.need(SectionKind.ALPHA), geometry.width, geometry.height)
        return Picture(pixels, alpha, _maybe_bytes(container.find(SectionKind.PROFILE)),
                       _maybe_bytes(container.find(SectionKind.METADATA)))

    def latents(self, source: Any, *, quality: int | None = None, limits: Limits = Limits()) -> Latent:
        if isinstance(source, bytes | bytearray | memoryview) and is_enf(source):
            return self.read(self.unpack(bytes(source), limits), limits)
        return self._analysed(read_picture(source), quality)

    def _analysed(self, picture: Picture, quality: int | None) -> Latent:
        quality = self.default_quality if quality is None else quality
        if isinstance(quality, bool) or not isinstance(quality, int | np.integer) or not 1 <= quality <= 100:
            raise UsageError(f"quality is {quality!r}; it is a whole number from 1, smallest, to 100, best")
        rgb = picture.pixels
        if rgb.ndim == 2:
            rgb = np.repeat(rgb[..., None], 3, -1)
        return self.analyse(rgb, int(quality), _geometry(picture))


def _geometry(picture: Picture) -> ImageGeometry:
    height, width = picture.pixels.shape[:2]
    return ImageGeometry(width, height, picture.mode)


def _maybe_bytes(data: bytes | memoryview | None) -> bytes | None:
    return None if data is None else bytes(data)
