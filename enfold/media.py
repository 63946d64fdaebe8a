"""Media files ↔ arrays, without losing anything on the way.

A `Picture` is what codecs of still images take and give back: 8-bit grey or RGB, alpha apart,
with its colour profile.

Guarantees:
- a picture read is exactly what its file holds, turned the way its EXIF says; what 8-bit grey, RGB
  and alpha cannot hold exactly (16 bit, CMYK, animations, ...) is refused with the reason, never
  silently reduced;
- a broken or cut file raises `MediaError`; what is too large for `max_pixels`, `LimitError`,
  before any pixel is decoded;
- a file being written appears whole or not at all.
"""

from __future__ import annotations

import lzma
import os
import secrets
import threading
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass, replace
from io import BytesIO
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
from PIL import Image, ImageOps

from enfold.errors import BitstreamError, LimitError, MediaError, UsageError

READS = ("PNG", "JPEG", "WEBP", "AVIF", "TIFF", "BMP", "GIF", "PPM")  # formats whose depth is known to be kept
WRITES = {".png": "PNG", ".webp": "WEBP", ".tif": "TIFF", ".tiff": "TIFF", ".jpg": "JPEG", ".jpeg": "JPEG"}
_SAVE: dict[str, dict[str, Any]] = {
    "PNG": {},
    "WEBP": {"lossless": True, "exact": True},  # exact: the colour of transparent pixels too
    "TIFF": {"compression": "tiff_adobe_deflate"},
    "JPEG": {"quality": 95, "subsampling": 0},
}
_LZMA2: list[dict[str, Any]] = [{"id": lzma.FILTER_LZMA2, "dict_size": 2**20}]  # part of the file format
_ORIENTATION = 0x0112
_guard = threading.Lock()


@dataclass(frozen=True, eq=False)
class Picture:
    """A still picture; NumPy takes it as an array.

    pixels: uint8, (height, width) grey or (height, width, 3) RGB.
    alpha: uint8, (height, width), or None.
    icc_profile: the colour profile, or None (then sRGB is meant).
    exif: the EXIF block (a TIFF structure), or None.
    """

    pixels: np.ndarray
    alpha: np.ndarray | None = None
    icc_profile: bytes | None = None
    exif: bytes | None = None

    def __post_init__(self):
        shape = self.pixels.shape
        if self.pixels.dtype != np.uint8 or 0 in shape or not (len(shape) == 2 or (len(shape) == 3 and shape[2] == 3)):
            raise UsageError(
                f"pixels are {self.pixels.dtype} of shape {shape}; they must be uint8 of shape (H, W) or (H, W, 3)"
            )
        if self.alpha is not None and (self.alpha.dtype != np.uint8 or self.alpha.shape != shape[:2]):
            raise UsageError(
                f"alpha is {self.alpha.dtype} of shape {self.alpha.shape}; beside these pixels it must be uint8 "
                f"of shape {shape[:2]}"
            )

    @property
    def width(self) -> int:
        return self.pixels.shape[1]

    @property
    def height(self) -> int:
        return self.pixels.shape[0]

    @property
    def mode(self) -> str:
        """L, LA, RGB or RGBA."""
        return ("L" if self.pixels.ndim == 2 else "RGB") + ("" if self.alpha is None else "A")

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> np.ndarray:
        """(height, width), or (height, width, channels) for LA, RGB and RGBA."""
        joined = self.pixels if self.alpha is None else np.dstack((self.pixels, self.alpha))
        array = joined.astype(dtype or np.uint8, copy=bool(copy) and joined is self.pixels)
        if copy is False and array is not self.pixels:
            raise ValueError(f"a {self.mode} picture as {array.dtype} cannot be had without a copy")
        return array

    def to_pil(self) -> Image.Image:
        image = Image.fromarray(np.asarray(self))
        if self.icc_profile is not None:
            image.info["icc_profile"] = self.icc_profile
        if self.exif is not None:
            image.info["exif"] = b"Exif\0\0" + self.exif
        return image


def read_picture(source: Any, *, keep_metadata: bool = False, max_pixels: int | None = 2**28) -> Picture:
    """A picture from a path, bytes, a binary file, a PIL image or a uint8 array.

    Palettes and one-bit pictures are widened; EXIF orientation is applied to the pixels. The EXIF
    block is kept only on request (not from TIFF), without its orientation. Of a JPEG that holds
    several pictures (previews, gain maps) the main one is read, as viewers do.

    Raises MediaError (unreadable, or a kind that cannot be kept exactly), LimitError, UsageError.
    """
    if isinstance(source, Picture):
        return source if keep_metadata else replace(source, exif=None)
    if isinstance(source, Image.Image):
        return _from_pil(source, "the picture", keep_metadata, max_pixels)
    if isinstance(source, (bytes, bytearray, memoryview)):
        return _from_file(bytes(source), "the picture", keep_metadata, max_pixels)
    if isinstance(source, (str, os.PathLike)):
        try:
            data = Path(source).read_bytes()
        except OSError as error:
            raise MediaError(f"{source}: cannot be read: {error.strerror}; check the path") from error
        return _from_file(data, str(source), keep_metadata, max_pixels)
    if hasattr(source, "read"):
        data = source.read()
        if not isinstance(data, bytes):
            raise UsageError(f"the file object gives {type(data).__name__}, not bytes: open it with mode 'rb'")
        return _from_file(data, "the picture", keep_metadata, max_pixels)
    if hasattr(source, "__array__"):
        return _from_array(np.asarray(source))
    raise UsageError(f"a picture is a path, bytes, a binary file, a PIL image or an array, not {type(source).__name__}")


def write_picture(picture: Picture, target: str | os.PathLike[str] | BinaryIO, format: str | None = None) -> None:
    """Write PNG, WebP (lossless), TIFF or JPEG (quality 95), by the path's suffix unless `format` says.

    Profile and EXIF go along. Raises MediaError where the format cannot hold the picture.
    """
    path = Path(target) if isinstance(target, (str, os.PathLike)) else None
    name = (format or (WRITES.get(path.suffix.lower()) if path else None) or "").upper()
    if name not in _SAVE:
        raise UsageError(
            f"format {format!r} for {path or 'a file object'}: name one of {', '.join(_SAVE)}, "
            f"or a path that ends in {', '.join(WRITES)}"
        )
    if name == "JPEG" and picture.alpha is not None:
        raise MediaError("JPEG holds no alpha: write PNG or WebP, or drop it with Picture(picture.pixels)")
    image, out = picture.to_pil(), BytesIO()
    extras = {key: image.info[key] for key in ("icc_profile", "exif") if key in image.info}
    try:
        image.save(out, name, **_SAVE[name], **extras)
    except Exception as error:
        raise MediaError(f"{name} cannot hold this {image.width}×{image.height} picture: {error}; try PNG") from error
    if path is None:
        target.write(out.getvalue())  # type: ignore[union-attr]
    else:
        replace_file(path, out.getvalue())


def replace_file(path: str | os.PathLike[str], data: bytes) -> None:
    """Write a file so that it appears whole or not at all: beside its place first, then renamed."""
    path = Path(path)
    part = path.with_name(f".{path.name}.{secrets.token_hex(4)}.part")
    try:
        try:
            part.write_bytes(data)
            os.replace(part, path)
        finally:
            part.unlink(missing_ok=True)
    except OSError as error:
        raise MediaError(f"{path}: cannot be written: {error.strerror}") from error


# Alpha. One byte says along which axes neighbours were subtracted (bit 0: the row above, bit 1: the
# column before), LZMA2 follows; a plane of one value is that byte alone. On soft edges a half of PNG.


def pack_alpha(alpha: np.ndarray) -> bytes:
    """An alpha plane, uint8 (height, width), in few bytes and without loss."""
    if alpha.min() == alpha.max():
        return bytes([alpha[0, 0]])
    residuals = []
    for axes in range(4):
        residual = alpha
        for axis in (0, 1):
            if axes >> axis & 1:
                residual = np.diff(residual, axis=axis, prepend=np.uint8(0))  # uint8 wraps around, and back
        residuals.append(residual.tobytes())
    axes = min(range(4), key=lambda axes: len(_lzma(residuals[axes], preset=0)))
    return bytes([axes]) + _lzma(residuals[axes], preset=6 | lzma.PRESET_EXTREME if alpha.size < 2**22 else 4)


def unpack_alpha(data: bytes | memoryview, width: int, height: int) -> np.ndarray:
    """What `pack_alpha` packed; the size must be known, and admitted, before."""
    if len(data) == 1:
        return np.full((height, width), data[0], np.uint8)
    if not len(data) or data[0] > 3:
        raise BitstreamError("the alpha plane does not begin with 0..3", section="alpha")
    try:
        unpacker = lzma.LZMADecompressor(lzma.FORMAT_RAW, filters=_LZMA2)
        raw = unpacker.decompress(data[1:], width * height + 1)  # grows with what is there, up to that
    except (lzma.LZMAError, EOFError) as error:
        raise BitstreamError(f"the alpha plane is damaged: {error}", section="alpha") from None
    if len(raw) != width * height or not unpacker.eof or unpacker.unused_data:
        raise BitstreamError(f"the alpha plane does not hold {width}×{height} values", section="alpha")
    alpha = np.frombuffer(raw, np.uint8).reshape(height, width)
    for axis in (0, 1):
        if data[0] >> axis & 1:
            alpha = np.cumsum(alpha, axis=axis, dtype=np.uint8)
    return alpha if data[0] else alpha.copy()


def _lzma(data: bytes, preset: int) -> bytes:
    return lzma.compress(data, lzma.FORMAT_RAW, filters=[_LZMA2[0] | {"preset": preset, "lc": 0, "pb": 0}])


def pad_to_multiple(array: np.ndarray, multiple: int) -> np.ndarray:
    """(height, width, ...) with the last row and column repeated until both divide by `multiple`; an array that may be
    written to, so that torch takes it, and `array` itself where it will do."""
    if not any(n % multiple for n in array.shape[:2]):
        return array if array.flags.writeable else array.copy()
    extra = [(0, -n % multiple) for n in array.shape[:2]] + [(0, 0)] * (array.ndim - 2)
    return np.pad(array, extra, mode="edge")


def crop(array: np.ndarray, height: int, width: int) -> np.ndarray:
    """The upper left part: undoes `pad_to_multiple`."""
    return array[:height, :width]


# Reading.


def _from_array(array: np.ndarray) -> Picture:
    if array.ndim == 3 and array.shape[2] in (2, 4):
        pixels = array[..., 0] if array.shape[2] == 2 else array[..., :3]
        return Picture(np.ascontiguousarray(pixels), np.ascontiguousarray(array[..., -1]))
    return Picture(array)


def _from_file(data: bytes, name: str, keep_metadata: bool, max_pixels: int | None) -> Picture:
    try:
        with _our_guard():
            image = Image.open(BytesIO(data), formats=READS)
            if image.format == "PNG":  # decoding looks at no chunk's checksum
                Image.open(BytesIO(data), formats=["PNG"]).verify()
    except Exception as error:
        raise MediaError(
            f"{name}: not a readable picture in one of the formats {', '.join(READS)} "
            f"(it begins with {data[:4].hex(' ') or 'nothing'})"
        ) from error
    with image:
        return _from_pil(image, name, keep_metadata, max_pixels)


@contextmanager
def _our_guard() -> Iterator[None]:
    """Ours in the place of Pillow's guard against bombs, which is one number for the whole process."""
    with _guard:
        theirs, Image.MAX_IMAGE_PIXELS = Image.MAX_IMAGE_PIXELS, None
        try:
            yield
        finally:
            Image.MAX_IMAGE_PIXELS = theirs


def _from_pil(image: Image.Image, name: str, keep_metadata: bool, max_pixels: int | None) -> Picture:
    if max_pixels is not None and image.width * image.height > max_pixels:
        raise LimitError("max_pixels", image.width * image.height, max_pixels, "max_pixels=...")
    try:
        reason = _refusal(image)
        key = _transparent_grey(image)
        if reason is None:
            with _our_guard() if image.format == "TIFF" else nullcontext():  # TIFF asks Pillow's once more
                image.load()
    except Exception as error:
        raise MediaError(f"{name}: damaged or cut short: {error}; fetch it again") from error
    if reason is not None:
        raise MediaError(f"{name}: {reason}")
    if image.mode in ("P", "PA"):
        image = image.convert("RGBA" if image.has_transparency_data else "RGB")
        key = None
    elif image.mode == "1":
        image = image.convert("L")
    if _orientation(image) != 1:
        image = ImageOps.exif_transpose(image)
    picture = _from_array(np.array(image))
    if key is not None:
        hit = picture.pixels == np.asarray(key)
        hit = hit if picture.pixels.ndim == 2 else hit.all(axis=2)
        picture = replace(picture, alpha=np.where(hit, 0, 255).astype(np.uint8))
    exif = image.info.get("exif") if keep_metadata else None
    return replace(picture, icc_profile=image.info.get("icc_profile"), exif=exif and exif.removeprefix(b"Exif\0\0"))


def _refusal(image: Any) -> str | None:
    """Why this picture, not loaded yet, could not be kept exactly; None where it can."""
    if getattr(image, "is_animated", False) and image.format != "MPO":
        return f"{image.format} with {image.n_frames} frames: pass one of them, as image.seek(k); image.copy()"
    if image.mode not in ("1", "L", "LA", "P", "PA", "RGB", "RGBA"):
        return f"Pillow's mode {image.mode} is neither 8-bit grey nor RGB: convert it first, how is yours to choose"
    if _more_than_8_bits(image):
        return f"{image.format} with more than 8 bits a channel: convert it to 8 first, how is yours to choose"
    tags = getattr(image, "tag_v2", {})
    if tags.get(277, 1) != len(image.getbands()) and image.format == "TIFF":
        return f"TIFF with {tags.get(277, 1)} channels, of which {image.mode} would keep {len(image.getbands())}"
    if 1 in tags.get(338, ()):
        return "TIFF with premultiplied alpha, which cannot be undone exactly: save it with straight alpha"
    return None


def _more_than_8_bits(image: Any) -> bool:
    """Where Pillow would hand over 8 bits of more, without a word."""
    if not getattr(image, "tile", None):  # loaded before it came to us
        return False
    codec, *_, args = image.tile[0]
    match image.format:
        case "PNG":
            return "16" in (args if isinstance(args, str) else args[0])
        case "PPM":
            return codec.startswith("ppm") and args[1] > 255
        case "TIFF":
            tags = image.tag_v2
            palette = any(entry % 257 and entry % 256 for entry in tags.get(320, ()))
            return palette or max(tags.get(258, (1,))) > 8 or tags.get(339, (1,))[0] != 1
        case "AVIF":
            image.fp.seek(0)
            return _deep_avif(image.fp.read())
    return False


def _deep_avif(data: bytes) -> bool:
    """Whether an AV1 configuration record in the file's index says 10 or 12 bits."""
    at = 0
    while at + 16 <= len(data):
        size = int.from_bytes(data[at : at + 4], "big")
        size = {0: len(data) - at, 1: int.from_bytes(data[at + 8 : at + 16], "big")}.get(size, size)
        index, record = data[at : at + size], -1
        if index[4:8] in (b"meta", b"moov"):
            while (record := index.find(b"av1C", record + 1)) >= 0:
                if index[record + 6] & 0x40:  # high_bitdepth
                    return True
        at += max(size, 8)
    return False


def _transparent_grey(image: Any) -> Any:
    """The one grey or colour that a PNG declares transparent, in the units of the pixels; or None."""
    key = image.info.get("transparency") if image.mode in ("1", "L", "RGB") else None
    if key is not None and image.format == "PNG" and getattr(image, "tile", None):
        key = key * {"L;2": 85, "L;4": 17}.get(image.tile[0][-1], 1)  # Pillow widens the pixels, not the key
    return key


def _orientation(image: Image.Image) -> int:
    """1 where EXIF is absent, or broken so that nobody could read the orientation."""
    try:
        return image.getexif().get(_ORIENTATION, 1)
    except Exception:
        return 1
