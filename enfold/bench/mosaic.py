"""Our prior against the obvious alternative: the latents as a grey picture, in lossless WebP.

    symbols (C, h, w) ─→ C tiles in a nearly square mosaic, +128, as uint8 ─→ WebP, lossless, at its strongest

Symbols below -128 or above 127 are clipped before WebP sees them, which spares it their cost; how
many there were is said. Ours are the bytes of the symbols' sections; WebP's those of its file.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from io import BytesIO
from pathlib import Path

import numpy as np
from PIL import Image

import enfold
from enfold.bench.images import PACKAGES, load_rgb, medium
from enfold.bench.machine import Machine, this_machine
from enfold.bench.running import find
from enfold.container import SectionKind, unpack
from enfold.errors import UsageError

QUALITIES = (10, 30, 50, 75, 95)


@dataclass(frozen=True)
class MosaicRow:
    """One codec at one quality, summed over the pictures. ratio: ours over WebP's."""

    codec: str
    quality: int
    symbols: int
    clipped: int
    our_bytes: int
    webp_bytes: int
    ratio: float


@dataclass(frozen=True)
class MosaicResults:
    data: str
    pictures: int
    rows: tuple[MosaicRow, ...]
    machine: Machine
    command: str
    date: str


def bench_mosaic(folder: Path, codecs: Sequence[str], qualities: Sequence[int] = QUALITIES, *, limit: int = 0,
                 command: str = "", date: str = "",
                 begin: Callable[[int], Callable[[], None]] = lambda count: lambda: None) -> MosaicResults:
    """Raises UsageError, MediaError, MissingWeightsError."""
    pictures = list(find(folder, medium(), limit)[0])
    advance = begin(len(pictures) * len(codecs) * len(qualities))
    rows = []
    for codec in codecs:
        for quality in qualities:
            counts = np.zeros(4, np.int64)
            for path in pictures:
                counts += compare(enfold.load(codec).encode(load_rgb(path), quality=quality))
                advance()
            symbols, clipped, ours, webp = counts.tolist()
            rows.append(MosaicRow(codec, quality, symbols, clipped, ours, webp, ours / webp))
    return MosaicResults(folder.resolve().name, len(pictures), tuple(rows),
                         this_machine(("enfold", "numpy", *PACKAGES)), command, date)


def compare(data: bytes) -> tuple[int, int, int, int]:
    """Of one file: symbols, those clipped, the bytes they take in it, and in a mosaic."""
    symbols = enfold.latents(data).symbols
    ours = sum(len(section.data) for section in unpack(data).sections if section.kind == SectionKind.SYMBOLS)
    clipped = int(((symbols < -128) | (symbols > 127)).sum())
    return symbols.size, clipped, ours, len(webp(mosaic(symbols)))


def mosaic(symbols: np.ndarray) -> np.ndarray:
    """Integers (C, h, w) → uint8, the channels side by side, row by row; unused tiles are grey."""
    if symbols.ndim != 3:
        raise UsageError(f"symbols of shape {symbols.shape}: a mosaic is made of (channels, height, width)")
    channels, height, width = symbols.shape
    across = min(channels, max(1, round(math.sqrt(channels * height / width))))
    down = -(-channels // across)
    tiles = np.full((down * across, height, width), 128, np.uint8)
    tiles[:channels] = symbols.clip(-128, 127) + 128
    return tiles.reshape(down, across, height, width).swapaxes(1, 2).reshape(down * height, across * width)


def webp(grey: np.ndarray) -> bytes:
    out = BytesIO()
    Image.fromarray(grey).convert("RGB").save(out, "WEBP", lossless=True, quality=100, method=6)
    return out.getvalue()
