"""The .enf file: bytes ↔ a header and sections, checked.

    ┌───────┬─────────┬────────┬──────────────────────────────────┬───────┐
    │ magic │ version │ length │ codec │ fingerprint │ geometry │ … │ check │   header
    ├───────┴┬────────┼────────┴──────────────────────────┬───────┴───┬───┘
    │  kind  │ length │ data                              │  CRC32C   │       section 1
    ├────────┼────────┼───────────────────────────────────┼───────────┤
    │   …                                                             │       the last one says so

One CRC32C runs over the whole file, its own stored values left out. Its low 16 bits follow the
header, all 32 follow each section: so each section's checksum also covers everything before it,
and sections cannot be swapped, dropped or moved between files. `docs/format.md` is the whole
format, byte by byte.

Guarantees:
- what `pack` wrote, `unpack` returns; a codec's 20 kB picture costs 39 bytes more than its
  symbols, a 100-byte one 37;
- any damage to the file (a flip, a cut, bytes added, swapped) raises `BitstreamError`, which
  says where; nothing is interpreted before its checksum held;
- memory follows the length of the file, never a number written in it; section data are views;
- what an intact file asks for stays within `Limits`, or raises `LimitError`.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from enum import IntEnum
from fractions import Fraction
from math import prod
from typing import NoReturn

import google_crc32c

from enfold.errors import BitstreamError, LimitError, UnsupportedVersionError, UsageError
from enfold.geometry import (
    DTYPES,
    ITEM_BYTES,
    MODES,
    PICTURE_DTYPES,
    AudioGeometry,
    Geometry,
    ImageGeometry,
    TensorGeometry,
    VideoGeometry,
)

MAGIC = b"\x9enf"  # the first byte is no ASCII and starts no UTF-8: never mistaken for text
VERSION = 1
HEADER = "header"
CRC_SLICE = 1 << 16


class SectionKind(IntEnum):
    """What a section holds. A reader refuses a kind it does not know, unless bit 6 is set."""

    SYMBOLS = 0x01  # entropy-coded symbols: the codec's own
    SIDE = 0x02  # what the codec must read before its symbols
    ALPHA = 0x03  # the alpha plane, lossless
    PROFILE = 0x41  # ICC colour profile
    METADATA = 0x42  # the medium's own metadata; for pictures the EXIF block


_KNOWN = {kind.value: kind for kind in SectionKind}


@dataclass(frozen=True)
class Limits:
    """The most that a file may ask for; None lifts a limit."""

    max_bytes: int | None = 2**32  # of the file; of the original it decodes to
    max_pixels: int | None = 2**28  # in a picture, or in one frame
    max_symbols: int | None = 2**30  # in a codec's latent; the codec checks it
    max_sections: int | None = 4096

    def check(self, limit: str, value: int) -> None:
        """Raises LimitError if `value` is above the limit of that name."""
        allowed = getattr(self, limit)
        if allowed is not None and value > allowed:
            raise LimitError(limit, value, allowed)

    def admit(self, geometry: Geometry) -> None:
        """Raises LimitError if the original is larger than allowed."""
        if isinstance(geometry, ImageGeometry | VideoGeometry):
            self.check("max_pixels", geometry.pixels)
        items = prod(max(1, n) for n in geometry.shape)  # an empty array with a huge side is no smaller
        self.check("max_bytes", items * ITEM_BYTES[geometry.dtype])


@dataclass(frozen=True)
class Header:
    """Who wrote the file, and from what.

    codec: name, of a-z 0-9 . - (never a position in a list).
    fingerprint: 4 bytes that tell the codec's weights apart; zeros if it has none.
    geometry: of the original.
    parameters: the codec's own, as short as it can make them.
    """

    codec: str
    fingerprint: bytes
    geometry: Geometry
    parameters: bytes = b""

    def __post_init__(self):
        if not isinstance(self.codec, str) or not re.fullmatch(r"[a-z0-9.-]+", self.codec):
            raise UsageError(f"codec is {self.codec!r}; a name is made of a-z, 0-9, '.' and '-'")
        if not isinstance(self.fingerprint, bytes) or len(self.fingerprint) != 4:
            raise UsageError(f"fingerprint is {self.fingerprint!r}; it must be 4 bytes")
        if not isinstance(self.geometry, Geometry):
            raise UsageError(f"geometry is {self.geometry!r}; it must be an Image-, Audio-, Video- or TensorGeometry")
        if not isinstance(self.parameters, bytes):
            raise UsageError(f"parameters are {self.parameters!r}; they must be bytes")


@dataclass(frozen=True)
class Section:
    """One part of a file: any bytes-like data going in, a view into the file coming out."""

    kind: SectionKind
    data: bytes | memoryview

    def __post_init__(self):
        if self.kind not in _KNOWN:
            raise UsageError(f"section kind {self.kind!r} is not one of {', '.join(k.name for k in SectionKind)}")


@dataclass(frozen=True)
class Entry:
    """Where section `number` (from 1) lies: its head at `start`, its data up to `data_end`."""

    number: int
    kind: int
    start: int
    data_start: int
    data_end: int

    @property
    def name(self) -> str:
        kind = _KNOWN[self.kind].name.lower() if self.kind in _KNOWN else f"kind {self.kind}"
        return f"section {self.number} ({kind})"


@dataclass(frozen=True)
class Summary:
    """What `peek` finds: everything but the data."""

    header: Header
    entries: tuple[Entry, ...]


@dataclass(frozen=True)
class Container:
    """A whole file, verified."""

    header: Header
    sections: tuple[Section, ...]

    def find(self, kind: SectionKind) -> bytes | memoryview | None:
        """The data of the first section of that kind, None if there is none."""
        return next((section.data for section in self.sections if section.kind == kind), None)

    def need(self, kind: SectionKind) -> bytes | memoryview:
        """The data of the first section of that kind; raises BitstreamError if there is none."""
        data = self.find(kind)
        if data is None:
            raise BitstreamError(f"{self.header.codec} needs a section of kind {kind.name.lower()}, the file has none")
        return data


def is_enf(data: bytes | bytearray | memoryview) -> bool:
    """Whether the first three bytes are those of an .enf file."""
    return bytes(data[: len(MAGIC)]) == MAGIC


def pack(header: Header, sections: Iterable[Section]) -> bytes:
    """The file, complete. At least one section; any bytes-like data."""
    sections = tuple(sections)
    if not sections:
        raise UsageError("no sections: a file holds at least one, if only an empty SYMBOLS")
    body = _shared_part(header) + _sample_part(header)
    parts: list[bytes | memoryview] = [MAGIC, bytes([VERSION]), _varint(len(body)), body]
    running = _crc(0, b"".join(parts))
    parts.append((running & 0xFFFF).to_bytes(2, "little"))
    for number, section in enumerate(sections, 1):
        data = _bytes_view(section.data)
        last = 0x80 if number == len(sections) else 0
        head = bytes([section.kind | last]) + _varint(len(data))
        running = _crc(_crc(running, head), data)
        parts += [head, data, running.to_bytes(4, "little")]
    return b"".join(parts)


def unpack(data: bytes | bytearray | memoryview, limits: Limits = Limits()) -> Container:
    """Read a whole file and verify every byte of it.

    Section data are views into `data`. Sections of unknown kinds are left out where the format
    allows it. Raises BitstreamError (damaged, or no .enf file), UnsupportedVersionError (newer
    than this reader), LimitError.
    """
    view = _bytes_view(data)
    limits.check("max_bytes", len(view))
    header, at, running = read_start(view)
    sections = []
    for entry in _entries(view, at, limits):
        running = _crc(running, view[entry.start : entry.data_end])
        if running != int.from_bytes(view[entry.data_end : entry.data_end + 4], "little"):
            _damaged(entry.name, entry.start, entry.data_end + 3)
        if entry.kind in _KNOWN:
            sections.append(Section(_KNOWN[entry.kind], view[entry.data_start : entry.data_end]))
        elif not entry.kind & 0x40:
            what = "a kind of section that this enfold does not know, and must: update enfold"
            raise UnsupportedVersionError(what, offset=entry.start, section=entry.name)
    limits.admit(header.geometry)  # last: a damaged file is damaged, whatever its numbers say
    return Container(header, tuple(sections))


def peek(data: bytes | bytearray | memoryview, limits: Limits = Limits()) -> Summary:
    """The header (verified) and where the sections lie (not verified): no section's data is read."""
    view = _bytes_view(data)
    header, at, _ = read_start(view)
    return Summary(header, tuple(_entries(view, at, limits)))


# Writing the header. What samples of one data set share comes first, so that a pack of many can
# say it once.


def _shared_part(header: Header) -> bytes:
    name = bytearray(header.codec, "ascii")
    name[-1] |= 0x80  # marks the end: no length needed
    return bytes(name) + header.fingerprint


def _sample_part(header: Header) -> bytes:
    match header.geometry:
        case ImageGeometry(width, height, mode, dtype):
            kind, detail, numbers = 0, MODES.index(mode) | DTYPES.index(dtype) << 2, [width, height]
        case AudioGeometry(samples, channels, rate_hz, dtype):
            kind, detail, numbers = 1, DTYPES.index(dtype), [samples, channels, rate_hz]
        case VideoGeometry(frames, width, height, rate, mode, dtype):
            kind, detail = 2, MODES.index(mode) | DTYPES.index(dtype) << 2
            numbers = [frames, width, height, rate.numerator, rate.denominator]
        case TensorGeometry(shape, dtype):
            kind, detail, numbers = 3, DTYPES.index(dtype), [len(shape), *shape]
    return bytes([kind | detail << 3]) + b"".join(map(_varint, numbers)) + header.parameters


# Reading it.


def read_start(view: memoryview) -> tuple[Header, int, int]:
    """Header, where the first section starts, and the CRC up to there."""
    if not is_enf(view):
        raise BitstreamError(_foreign(bytes(view[:16])), offset=0, section=HEADER)
    reader = _Reader(view, len(MAGIC), len(view), HEADER)
    version, length = reader.byte(), reader.varint()
    start, end = reader.at, reader.at + length
    if end + 2 > len(view):
        reader.cut(end + 2)
    running = _crc(0, view[:end])
    if running & 0xFFFF != int.from_bytes(view[end : end + 2], "little"):
        _damaged(HEADER, 0, end + 1)
    if version != VERSION:
        what = f"format version {version}, this enfold reads version {VERSION}: update enfold"
        raise UnsupportedVersionError(what, offset=3, section=HEADER)
    reader = _Reader(view, start, end, HEADER)
    try:
        header = Header(reader.name(), reader.take(4), _read_geometry(reader), reader.take(end - reader.at))
    except UsageError as error:  # intact, so written wrong
        raise BitstreamError(f"its writer was wrong: {error}", offset=start, section=HEADER) from None
    return header, end + 2, running


def _read_geometry(reader: _Reader) -> Geometry:
    head = reader.byte()
    kind, detail = head & 7, head >> 3
    if kind > 3 or (kind in (1, 3) and detail >= len(DTYPES)):
        what = f"geometry byte {head:#04x}, of a kind that this enfold does not know: update enfold"
        raise UnsupportedVersionError(what, offset=reader.at - 1, section=HEADER)
    number = reader.varint
    if kind == 1:
        return AudioGeometry(number(), number(), number(), DTYPES[detail])
    if kind == 3:
        return TensorGeometry(tuple(number() for _ in range(min(number(), 33))), DTYPES[detail])
    mode, dtype = MODES[detail & 3], PICTURE_DTYPES[detail >> 2]
    if kind == 0:
        return ImageGeometry(number(), number(), mode, dtype)
    frames, width, height, over, under = (number() for _ in range(5))
    rate = Fraction(over, under or 1)
    if (rate.numerator, rate.denominator) != (over, under):
        raise UsageError(f"frame rate {over}/{under} is not in lowest terms")
    return VideoGeometry(frames, width, height, rate, mode, dtype)


def _entries(view: memoryview, at: int, limits: Limits) -> Iterator[Entry]:
    """Walk the sections, touching their heads only. Stops at the first that the file cannot hold."""
    number, last = 0, False
    while not last:
        number += 1
        limits.check("max_sections", number)
        reader = _Reader(view, at, len(view), f"section {number}")
        if at + 6 > len(view):  # kind, length and checksum take six bytes
            reader.cut(at + 6)
        head, length = reader.byte(), reader.varint()
        last = head >= 0x80
        entry = Entry(number, head & 0x7F, at, reader.at, reader.at + length)
        at = entry.data_end + 4
        if at > len(view):
            reader.section = entry.name
            reader.cut(at)
        yield entry
    if at < len(view):
        what = f"{len(view) - at} bytes follow the last section: cut them off, or fetch the file again"
        raise BitstreamError(what, offset=at)


class _Reader:
    """A place in the file, the end that reading must not pass, and the name of what is read."""

    def __init__(self, view: memoryview, at: int, end: int, section: str):
        self.view, self.at, self.end, self.section = view, at, end, section

    def cut(self, end: int) -> NoReturn:
        """Refuse, because bytes up to `end` would be needed."""
        what = f"cut short: {end - self.end} bytes are missing at least, or a length is damaged; fetch the file again"
        raise BitstreamError(what, offset=self.end, section=self.section)

    def take(self, count: int) -> bytes:
        if self.at + count > self.end:
            self.cut(self.at + count)
        self.at += count
        return bytes(self.view[self.at - count : self.at])

    def byte(self) -> int:
        return self.take(1)[0]

    def varint(self) -> int:
        start, value = self.at, 0
        for shift in range(0, 63, 7):
            byte = self.byte()
            value |= (byte & 0x7F) << shift
            if byte < 0x80 and (byte or not shift):
                return value
            if byte == 0:
                break
        raise BitstreamError("a number with needless or too many bytes", offset=start, section=self.section)

    def name(self) -> str:
        name = bytearray(self.take(1))
        while name[-1] < 0x80:
            name += self.take(1)
        name[-1] &= 0x7F
        return name.decode("ascii")


def _damaged(section: str, start: int, end: int) -> NoReturn:
    raise BitstreamError("checksum mismatch: damaged; fetch the file again", offset=start, end=end, section=section)


def _foreign(start: bytes) -> str:
    """What a file that is no .enf file seems to be."""
    if not start:
        return "the file is empty"
    if MAGIC.startswith(start):
        return "cut short: the file ends within its first bytes; fetch it again"
    signatures = {b"\x89PNG": "a PNG picture", b"\xff\xd8\xff": "a JPEG picture", b"RIFF": "a WebP, WAV or AVI file",
                  b"PK\x03\x04": "a zip archive", b"fLaC": "a FLAC recording", b"\x1f\x8b": "a gzip file"}
    kind = next((kind for signature, kind in signatures.items() if start.startswith(signature)), None)
    if start[4:8] == b"ftyp":
        kind = "an AVIF or MP4 file"
    if all(32 <= byte < 127 or byte in b"\t\r\n" for byte in start):
        kind = kind or "text"
    seen = f"it begins with {start[:4].hex(' ')}, an .enf file with {MAGIC.hex(' ')}"
    return f"this is {kind}, not an .enf file; {seen}" if kind else f"not an .enf file, or damaged: {seen}"


def _varint(value: int) -> bytes:
    """LEB128: 7 bits a byte, lowest first, bit 7 set on all but the last."""
    out = bytearray()
    while value > 0x7F:
        out.append(value & 0x7F | 0x80)
        value >>= 7
    out.append(value)
    return bytes(out)


def _crc(running: int, data: bytes | memoryview) -> int:
    for start in range(0, len(data), CRC_SLICE):  # in slices: it takes bytes alone, and they are copies
        running = google_crc32c.extend(running, bytes(data[start : start + CRC_SLICE]))
    return running


def _bytes_view(data: bytes | bytearray | memoryview) -> memoryview:
    try:
        view = memoryview(data)
        return view.cast("B").toreadonly() if view.nbytes else memoryview(b"")
    except TypeError:
        raise UsageError(f"expected bytes, got {type(data).__name__}; read the file first") from None
