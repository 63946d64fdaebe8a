"""One row a sample: what a pack keeps of an .enf file, and what its samples share.

    .enf file   magic · header: codec, fingerprint, geometry, parameters · sections, each with a checksum
                             └── shared: PackInfo ──┘ └─────────── Row ──────────────────┘

`split` takes a file apart into a row, `join` puts the very same bytes together again. The columns
are those of `docs/packs.md`. A row's CRC32C covers its geometry and all its bytes, so a damaged
row is told from an undamaged one by itself, in whatever table it lies by then. Only rows of one
short stream go without: see `Row.tiny`.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property, lru_cache
from typing import Any

import google_crc32c
import numpy as np

from enfold.container import Container, Header, Section, SectionKind, pack
from enfold.errors import BitstreamError, UnsupportedVersionError, UsageError
from enfold.geometry import ImageGeometry
from enfold.learners.coding import CODINGS, StaticCoding

FORMAT = 1
METADATA = b"enfold"        # the key under which a shard's schema carries its PackInfo
TINY = 1024                 # bytes of a stream
_APART = (SectionKind.ALPHA, SectionKind.PROFILE)       # sections with columns of their own


@dataclass(frozen=True)
class Row:
    """One sample.

    key: where it came from, unique in the pack. label: its class, None if it has none.
    parameters: the codec's own, b"" under static coding. grid: (h, w) of the latent under static
    coding, else None. stream: coded symbols; under coding "codec" all sections but those that have
    a column, each with its head, or, where patches are b"", the data of the one section of symbols alone.
    patches: else see `StaticCoding`. alpha, profile: the data of those sections.
    """

    key: str
    label: int | None
    geometry: ImageGeometry
    parameters: bytes
    grid: tuple[int, int] | None
    stream: bytes
    patches: bytes | None = None
    alpha: bytes | None = None
    profile: bytes | None = None

    @property
    def tiny(self) -> bool:
        """Whether four bytes more would count: then only the pages of its shard have checksums."""
        return self.grid is None and self.patches == b"" and len(self.stream) < TINY

    @cached_property
    def crc32c(self) -> int:
        running = google_crc32c.extend(shape_crc(self.geometry, self.grid, self.parameters), self.stream)
        for part in (self.patches, self.alpha, self.profile):
            if part is not None:
                running = google_crc32c.extend(running, part)
        return running


@dataclass(frozen=True, eq=False)
class PackInfo:
    """What all samples of a pack share; JSON in the metadata of every shard.

    fingerprint: 4 bytes. quality: None where the codec's parameters, row by row, say it.
    label_names: of labels 0, 1, …; None where the source's labels were numbers, or none.
    """

    codec: str
    fingerprint: bytes
    quality: int
    coding: str
    label_names: tuple[str, ...] | None = None
    static: StaticCoding | None = None

    def __post_init__(self) -> None:
        if self.coding not in CODINGS or (self.coding == "static") != (self.static is not None):
            raise UsageError(f"coding is {self.coding!r}; it is one of {', '.join(CODINGS)}, and static with tables")

    def to_json(self) -> str:
        return json.dumps({"format": FORMAT, "codec": self.codec, "fingerprint": self.fingerprint.hex(),
                           "quality": self.quality, "coding": self.coding,
                           "label_names": None if self.label_names is None else list(self.label_names),
                           "static": None if self.static is None else self.static.to_json()}, ensure_ascii=False)

    @classmethod
    def from_json(cls, text: str | bytes) -> PackInfo:
        """Raises BitstreamError where the text is none, UnsupportedVersionError where it is newer."""
        try:
            made = json.loads(text)
            if made["format"] != FORMAT:
                raise UnsupportedVersionError(f"a pack of format {made['format']}, this enfold reads {FORMAT}: "
                                              "update enfold")
            names, static = made["label_names"], made["static"]
            return cls(str(made["codec"]), bytes.fromhex(made["fingerprint"]), int(made["quality"]),
                       str(made["coding"]), None if names is None else tuple(map(str, names)),
                       None if static is None else StaticCoding.from_json(static))
        except (KeyError, TypeError, ValueError) as error:      # UsageError is a ValueError
            raise BitstreamError(f"metadata that no enfold writes ({error}): the pack is damaged") from None


@lru_cache(maxsize=4096)
def shape_crc(geometry: ImageGeometry, grid: tuple[int, int] | None, parameters: bytes) -> int:
    """The running CRC32C of a row before its bytes."""
    text = f"{geometry.width} {geometry.height} {geometry.mode} {geometry.dtype} {grid or ''} {parameters.hex()}"
    return google_crc32c.value(text.encode())


def split(container: Container, key: str, label: int | None) -> Row:
    """A row, under coding "codec", of a file's parts. Raises UsageError for media other than pictures."""
    header = container.header
    if not isinstance(header.geometry, ImageGeometry):
        raise UsageError(f"{key} is no picture but {header.geometry}: packs hold pictures")
    own = {kind: container.find(kind) for kind in _APART}
    alpha, profile = (None if (data := own[kind]) is None else bytes(data) for kind in _APART)
    rest = [section for section in container.sections if section.kind not in _APART]
    if [section.kind for section in rest] == [SectionKind.SYMBOLS]:
        return Row(key, label, header.geometry, header.parameters, None, bytes(rest[0].data), b"", alpha, profile)
    stream = b"".join(bytes([section.kind]) + len(section.data).to_bytes(4, "little") + bytes(section.data)
                      for section in rest)
    return Row(key, label, header.geometry, header.parameters, None, stream, None, alpha, profile)


def join(info: PackInfo, row: Row, codec: Any = None) -> bytes:
    """The .enf file of a row, as the codec wrote it or would have.

    codec: the loaded codec; needed under static coding, whose symbols it codes again.
    """
    if info.static is None:
        sections, parameters = [Section(kind, data) for kind, data in _sections(row)], row.parameters
    else:
        parameters, streams = codec.write(static_latent(info, row))
        sections = [Section(SectionKind.SYMBOLS, stream) for stream in streams]
    for kind, data in zip(_APART, (row.alpha, row.profile), strict=True):
        if data is not None:
            sections.append(Section(kind, data))
    return pack(Header(info.codec, info.fingerprint, row.geometry, parameters), sections)


def static_latent(info: PackInfo, row: Row) -> Any:
    """The `Latent` of a row under static coding."""
    from enfold.codec import Latent

    if info.static is None or row.grid is None:
        raise UsageError("a row that is not under static coding: read it with `join`")
    static, shape, bounds = info.static, (info.static.channels, *row.grid), np.array([[0, len(row.stream)]])

    def read(symbols: bool) -> np.ndarray:
        return static.decode(row.stream, bounds, shape, patches=[row.patches], symbols=symbols)[0]

    symbols = read(True)
    if np.abs(symbols).max(initial=0) <= np.iinfo(np.int16).max:
        symbols = symbols.astype(np.int16)
    return Latent(symbols, lambda _: read(False), info.codec, info.fingerprint, info.quality, row.geometry)


def _sections(row: Row) -> Iterator[tuple[SectionKind, bytes]]:
    at, data = 0, row.stream
    if row.patches is not None:
        yield SectionKind.SYMBOLS, data
        return
    while at < len(data):
        end = at + 5 + int.from_bytes(data[at + 1:at + 5], "little")
        if end > len(data) or data[at] not in set(SectionKind):
            raise BitstreamError(f"the stream of {row.key!r} does not divide into sections: it is damaged", offset=at)
        yield SectionKind(data[at]), data[at + 5:end]
        at = end
