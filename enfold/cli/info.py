"""`enfold info`: what .enf files say of themselves. Reads no section and imports no torch, but with --rate."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Annotated

import typer

import enfold
from enfold.cli.failures import Failure, conclude
from enfold.cli.files import enf_files, read
from enfold.cli.options import Files, Json, print_json
from enfold.errors import EnfoldError

EXAMPLES = """\b
Examples:
  enfold info photo.enf
  enfold info small/ --json | jq '[.file, .bpp]'

The header's checksum is verified here, those of the sections by `enfold verify`."""


@dataclass(frozen=True)
class Part:
    """A section. bytes: of its data; its head and checksum take 6 more, or a few."""

    kind: str
    start: int
    bytes: int


@dataclass(frozen=True)
class Description:
    """A file. shape and dtype: of the array that it decodes to. bpp: bits a pixel (of a film, a
    pixel of a frame), of the whole file; None where there are no pixels. kbps: of the whole file, of sound.
    parameters: the codec's own."""

    file: str
    bytes: int
    codec: str
    fingerprint: str
    medium: str
    shape: tuple[int, ...]
    dtype: str
    ratio: float
    bpp: float | None
    parameters: str
    header_bytes: int
    sections: tuple[Part, ...]
    kbps: float | None = None

    def __str__(self) -> str:
        rate = "" if self.bpp is None else f", {self.bpp:.3f} bpp"
        rate = rate if self.kbps is None else f", {self.kbps:.1f} kbit/s"
        rows = [("codec", f"{self.codec}, weights {self.fingerprint}, parameters {self.parameters or 'none'}"),
                (self.medium, f"{' × '.join(map(str, self.shape))} {self.dtype}"),
                ("size", f"{self.bytes:,} bytes{rate}, 1:{self.ratio:.1f}"),
                ("header", f"{self.header_bytes:,} bytes")]
        rows += [(part.kind, f"{part.bytes:,} bytes from byte {part.start:,}") for part in self.sections]
        return "\n".join([self.file, *(f"  {name:<10} {text}" for name, text in rows)])


def describe(name: str, data: bytes, *, whole: bool = True) -> Description:
    """What the bytes of a file say. Raises BitstreamError; not whole: of a damaged file its header is enough."""
    from enfold.container import SectionKind, Summary, read_start
    from enfold.geometry import ITEM_BYTES, AudioGeometry, ImageGeometry, VideoGeometry

    header, start, _ = read_start(memoryview(data))
    summary = enfold.info(data) if whole else Summary(header, ())
    geometry = header.geometry
    names = {kind.value: kind.name.lower() for kind in SectionKind}
    pixels = 0
    if isinstance(geometry, ImageGeometry | VideoGeometry):
        pixels = geometry.pixels * (geometry.frames if isinstance(geometry, VideoGeometry) else 1)
    return Description(
        file=name, bytes=len(data), codec=header.codec, fingerprint=header.fingerprint.hex(),
        medium=type(geometry).__name__.removesuffix("Geometry").lower(), shape=geometry.shape, dtype=geometry.dtype,
        ratio=math.prod(geometry.shape) * ITEM_BYTES[geometry.dtype] / len(data),
        bpp=8 * len(data) / pixels if pixels else None,
        parameters=header.parameters.hex(), header_bytes=start,
        sections=tuple(Part(names.get(entry.kind, f"kind {entry.kind}"), entry.data_start,
                            entry.data_end - entry.data_start) for entry in summary.entries),
        kbps=8 * len(data) * geometry.rate_hz / geometry.samples / 1000
        if isinstance(geometry, AudioGeometry) and geometry.samples else None)


def command(files: Files, *, rate: Annotated[bool, typer.Option(
        "--rate", help="What each byte is for, beside the model's own entropy; loads the codec.")] = False,
            json: Json = False) -> None:
    """Show what .enf files say of themselves: codec, size, sections."""
    if rate:
        from enfold.bench.rate import itemise
    paths = enf_files(files)
    failures = []
    for path in paths:
        try:
            description = itemise(read(path)) if rate else describe(str(path), read(path))
        except EnfoldError as error:
            failures.append(Failure.of(path, error))
            if json:
                print_json(failures[-1])
        else:
            print_json(description) if json else print(description)
    conclude(failures, of=len(paths))
