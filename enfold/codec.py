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

import warnings
from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np

from enfold.container import Container, Header, Limits, Section, SectionKind, is_enf, pack, unpack
from enfold.errors import BitstreamError, FingerprintError, UsageError
from enfold.geometry import Geometry, ImageGeometry
from enfold.media import Picture, pack_alpha, read_picture, unpack_alpha
from enfold.salvage import DamageWarning, salvage

LOSSLESS = 100              # the quality of files that keep everything


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

    def latent_many(self, containers: Sequence[Container], limits: Limits = Limits()) -> list[Latent]:
        """Those of many files. A codec whose kernels take many at once does better than one by one."""
        return [self.latent(container, limits) for container in containers]

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self.name!r}, fingerprint={self.fingerprint.hex()})"


class Codec(ABC):
    """Media ↔ bytes. Codecs that hold networks are torch Modules as well."""

    name: str
    fingerprint: bytes

    @abstractmethod
    def encode(self, media: Any, *, quality: int | None = None, keep_metadata: bool = False) -> bytes:
        """A complete .enf file."""

    def encode_many(self, media: Sequence[Any], *, quality: int | None = None) -> list[bytes]:
        """The files of many, the same bytes as one by one; faster where a codec's kernels take many at once."""
        return [self.encode(one, quality=quality) for one in media]

    @abstractmethod
    def decode(self, data: bytes, *, limits: Limits = Limits()) -> Any:
        """The media in a file, as it went in. Raises BitstreamError, LimitError, MissingWeightsError."""

    @abstractmethod
    def latents(self, source: Any, *, quality: int | None = None, limits: Limits = Limits()) -> Latent:
        """The latent of a file's bytes, or of media as `encode` would write it."""

    def unpack(self, data: bytes, limits: Limits) -> Container:
        """A file's parts, refused where it was written by another codec or with other weights."""
        return self._ours(unpack(data, limits))

    def _ours(self, container: Container) -> Container:
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

    def write_packets(self, latent: Latent, packets: int) -> tuple[bytes, list[bytes]]:
        """As `write`, a stream for each of so many packets; UsageError where a codec has none."""
        raise UsageError(f"{self.name} writes no packets: leave them out, or take a codec that does, as vqgan-rgb")

    def read_partial(self, container: Container, limits: Limits) -> Latent:
        """As `read`, of a file that lacks some of its packets; UsageError where a codec cannot fill them."""
        raise UsageError(f"{self.name} cannot fill what is missing of a file: decode it without a partial file allowed")

    def search(self, rgb: np.ndarray, latent: Latent, effort: int) -> Latent:
        """A latent of fewer bits or less error for the same picture, found in `effort` steps from this one."""
        raise UsageError(f"{self.name} cannot search for latents, effort is {effort}: leave it at 0")

    def encode(self, media: Any, *, quality: int | None = None, keep_metadata: bool = False, effort: int = 0,
               packets: int = 1) -> bytes:
        """A complete .enf file. effort: steps of `search`. packets: in how many parts it is cut, so that it can be
        decoded without some of them. UsageError where the codec has none of either."""
        picture = read_picture(media, keep_metadata=keep_metadata)
        latent = self._analysed(picture, quality, effort)
        parameters, streams = self.write(latent) if packets == 1 else self.write_packets(latent, packets)
        return self.packed(picture, parameters, streams, keep_metadata=keep_metadata)

    def packed(self, picture: Picture, parameters: bytes, streams: list[bytes], *,
               keep_metadata: bool = False) -> bytes:
        """The file of a picture whose latent was written."""
        sections = [Section(SectionKind.SYMBOLS, stream) for stream in streams]
        if picture.alpha is not None:
            sections.append(Section(SectionKind.ALPHA, pack_alpha(picture.alpha)))
        if picture.icc_profile is not None:
            sections.append(Section(SectionKind.PROFILE, picture.icc_profile))
        if keep_metadata and picture.exif is not None:
            sections.append(Section(SectionKind.METADATA, picture.exif))
        return pack(Header(self.name, self.fingerprint, _geometry(picture), parameters), sections)

    def decode(self, data: bytes, *, limits: Limits = Limits(), allow_partial: bool = False) -> Picture:
        """The picture in a file. allow_partial: packets may be damaged or missing, and are filled, with a
        `DamageWarning`; UsageError where the codec has none."""
        container = self.opened(data, limits, allow_partial=allow_partial)
        return self.rendered(container, (self.read_partial if allow_partial else self.read)(container, limits))

    def opened(self, data: bytes, limits: Limits, *, allow_partial: bool) -> Container:
        """A file's parts, those that are sound, refused where it was written by another codec."""
        if not allow_partial:
            return self.unpack(data, limits)
        saved = salvage(data, limits)
        if saved.damage:
            warnings.warn(f"damaged, and filled as well as can be: {', '.join(saved.damage)}", DamageWarning, 3)
        return self._ours(saved.container)

    def rendered(self, container: Container, latent: Latent) -> Picture:
        """The picture of a latent that is a file's."""
        geometry = container.header.geometry
        if not isinstance(geometry, ImageGeometry) or geometry.dtype != "uint8":
            raise BitstreamError(f"{self.name} holds 8-bit pictures, the file says {geometry}")
        rgb = self.synthesise(latent)
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

    def _analysed(self, picture: Picture, quality: int | None, effort: int = 0) -> Latent:
        quality = self.default_quality if quality is None else quality
        if isinstance(quality, bool) or not isinstance(quality, int | np.integer) or not 1 <= quality <= 100:
            raise UsageError(f"quality is {quality!r}; it is a whole number from 1, smallest, to 100, best")
        if isinstance(effort, bool) or not isinstance(effort, int | np.integer) or effort < 0:
            raise UsageError(f"effort is {effort!r}; it is a whole number of steps, 0 for none")
        rgb = picture.pixels
        if rgb.ndim == 2:
            rgb = np.repeat(rgb[..., None], 3, -1)
        latent = self.analyse(rgb, int(quality), _geometry(picture))
        return self.search(rgb, latent, int(effort)) if effort else latent


class PixelCodec(PictureCodec):
    """A picture codec whose latent is the pixels, (channels, H, W): lossless. Qualities are taken, as everywhere, and
    mean nothing. What it needs is its other half, with `wrap` and `write`."""

    default_quality = LOSSLESS
    lossless = True
    latent_codec: Any

    def analyse(self, rgb: np.ndarray, quality: int, geometry: ImageGeometry) -> Latent:
        planes = rgb[..., :1] if geometry.mode.startswith("L") else rgb
        return self.latent_codec.wrap(np.ascontiguousarray(planes.transpose(2, 0, 1)), geometry)

    def write(self, latent: Latent) -> tuple[bytes, list[bytes]]:
        return self.latent_codec.write(latent.symbols)

    def read(self, container: Container, limits: Limits) -> Latent:
        return self.latent_codec.latent(container, limits)

    def synthesise(self, latent: Latent) -> np.ndarray:
        planes = latent.symbols.transpose(1, 2, 0)
        return np.ascontiguousarray(np.broadcast_to(planes, (*planes.shape[:2], 3)))


def _geometry(picture: Picture) -> ImageGeometry:
    height, width = picture.pixels.shape[:2]
    return ImageGeometry(width, height, picture.mode)


def _maybe_bytes(data: bytes | memoryview | None) -> bytes | None:
    return None if data is None else bytes(data)
