"""Latents of a sound as columns in time, cut into sections: what codecs of sound with such latents share.

A column of C latents stands for `block` samples. Every ten seconds or so make a section of their own, which is coded
without the others: so sections are coded side by side, an hour takes no more memory than a minute, damage loses one of
them, and a reader begins wherever it likes. Neighbours overlap by two columns, across which a decoder fades:

    columns   0 ............................ S S+1
    section 1                                S S+1 ............................ 2S 2S+1
    section 2                                                                   2S 2S+1 ...

The cut follows from the length alone. A section is a SYMBOLS section of the file:

    varint   number, from 0 on
    byte     level: by how much a quiet section was amplified, in quarters of a doubling
    …        the entropy coder's stream

NumPy only.
"""

from __future__ import annotations

import math
import os
from abc import abstractmethod
from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np

from enfold.codec import Latent, LatentCodec
from enfold.container import Container, Limits, SectionKind
from enfold.entropy.coders import Decoder, Encoder
from enfold.errors import BitstreamError, UsageError
from enfold.geometry import AudioGeometry

MOST_WORKERS = 4                # sections read at once
OVERLAP = 2                     # columns that a section shares with the next
MOST = np.iinfo(np.int16).max
MOST_LEVEL = 48                 # a section is amplified by 2^12 at most
QUARTER = 4                     # levels a doubling


@dataclass(frozen=True, eq=False)
class Part:
    """One section, read. symbols: int16 (C, columns)."""

    number: int
    level: int
    symbols: np.ndarray

    @property
    def gain(self) -> float:
        """What the samples were multiplied by before they were coded."""
        return 2.0 ** (self.level / QUARTER)


class SectionLatents(LatentCodec):
    """A LatentCodec of sounds: `prior` and `values` make a whole one.

    block:      samples that a column stands for.
    channels:   latents in a column.
    columns:    how many a section has before the next begins.
    sound_channels: the most channels a sound may have.
    rates_hz:   the lowest and the highest sampling rate that is coded as it is, and what others are resampled to.
    """

    block: int
    channels: int
    columns: int
    sound_channels: int
    rates_hz: tuple[int, int, int]

    @abstractmethod
    def prior(self, coder: Any, quality: int, columns: int, symbols: np.ndarray | None = None) -> np.ndarray:
        """Codes one section's symbols (C, columns) and returns them."""

    @abstractmethod
    def values(self, symbols: np.ndarray, quality: int) -> np.ndarray:
        """Dequantised latents, float32 (C, T), of a section at its level."""

    def coded_hz(self, rate_hz: int) -> int:
        """The sampling rate at which a sound is coded."""
        least, greatest, usual = self.rates_hz
        return rate_hz if least <= rate_hz <= greatest else usual

    def coded_count(self, geometry: AudioGeometry) -> int:
        """Samples at that rate."""
        return -(-geometry.samples * self.coded_hz(geometry.rate_hz) // geometry.rate_hz)

    def total_columns(self, geometry: AudioGeometry) -> int:
        """Columns that cover a sound."""
        return -(-self.coded_count(geometry) // self.block)

    def sections(self, total: int) -> list[slice]:
        """The columns of each section of `total`; at least one."""
        count = max(1, -(-(total - OVERLAP) // self.columns))
        return [slice(k * self.columns, min((k + 1) * self.columns + OVERLAP, total)) for k in range(count)]

    def write(self, part: Part, quality: int) -> bytes:
        """One section's data."""
        coder = Encoder()
        self.prior(coder, quality, part.symbols.shape[1], part.symbols)
        return _varint(part.number) + bytes([part.level]) + coder.finish()

    def cost_bits(self, part: Part, quality: int) -> float:
        """What the tables say that symbols cost, before the byte coder adds its own."""
        coder = Encoder()
        self.prior(coder, quality, part.symbols.shape[1], part.symbols)
        return coder.bits

    def read(self, data: bytes | memoryview, quality: int, number: int, columns: int) -> Part:
        """The inverse of `write`. Raises BitstreamError."""
        found, at = number_of(data)
        if found != number:
            raise BitstreamError(f"section {found} of the sound where {number} is due", section="symbols")
        if at >= len(data) or data[at] > MOST_LEVEL:
            raise BitstreamError("a section of a sound without a level that an encoder writes", section="symbols")
        coder = Decoder(bytes(data[at + 1:]))
        symbols = self.prior(coder, quality, columns)
        coder.finish()
        if np.abs(symbols).max(initial=0) > MOST:
            raise BitstreamError("a symbol is larger than any encoder writes", section="symbols")
        return Part(number, data[at], symbols.astype(np.int16))

    def check(self, container: Container, limits: Limits) -> tuple[AudioGeometry, int, list[slice]]:
        """(geometry, quality, columns of each section) of a file. Raises BitstreamError, LimitError."""
        geometry, parameters = container.header.geometry, container.header.parameters
        if not isinstance(geometry, AudioGeometry):
            raise BitstreamError(f"{self.name} holds sounds, the file says {geometry}", section="header")
        if geometry.channels > self.sound_channels:
            raise BitstreamError(f"{self.name} holds {self.sound_channels} channels at most, the file says "
                                 f"{geometry.channels}", section="header")
        if len(parameters) != 1 or not 1 <= parameters[0] <= 100:
            raise BitstreamError(f"parameters {parameters.hex()!r} where one byte of quality is due", section="header")
        total = self.total_columns(geometry)
        limits.check("max_symbols", self.channels * total)
        return geometry, parameters[0], self.sections(total)

    def streams(self, container: Container, sections: list[slice]) -> list[memoryview | bytes]:
        """The data of each section of a whole file."""
        found = [section.data for section in container.sections if section.kind == SectionKind.SYMBOLS]
        if len(found) != len(sections):
            raise BitstreamError(f"{sections[-1].stop} columns are {len(sections)} sections, the file has {len(found)}")
        return found

    def latent(self, container: Container, limits: Limits = Limits()) -> Latent:
        geometry, quality, sections = self.check(container, limits)
        streams = self.streams(container, sections)

        def one(number: int) -> Part:
            return self.read(streams[number], quality, number, sections[number].stop - sections[number].start)

        if len(sections) == 1:
            return self.joined([one(0)], quality, geometry)
        with ThreadPoolExecutor(min(MOST_WORKERS, os.cpu_count() or 1)) as pool:
            return self.joined(pool.map(one, range(len(sections))), quality, geometry)

    def joined(self, parts: Iterable[Part], quality: int, geometry: AudioGeometry) -> Latent:
        """All columns (C, T) of a sound; of those that two sections share, the earlier one's."""
        total = self.total_columns(geometry)
        sections = self.sections(total)
        symbols = np.zeros((self.channels, total), np.int16)
        gains = np.ones(total, np.float32)
        for part in parts:
            columns = sections[part.number]
            first = columns.start + (OVERLAP if part.number else 0)
            symbols[:, first:columns.stop] = part.symbols[:, first - columns.start:]
            gains[first:columns.stop] = part.gain
        return Latent(symbols, partial(self._values, quality=quality, gains=gains), self.name, self.fingerprint,
                      quality, geometry)

    def _values(self, symbols: np.ndarray, quality: int, gains: np.ndarray) -> np.ndarray:
        return self.values(symbols, quality) / gains


def level_of(units: np.ndarray, usual: float) -> int:
    """By how much a section, float32 in units of 16 bits, is amplified: up to the usual loudness, never down."""
    power = float(np.square(units, dtype=np.float64).mean()) if units.size else 0.0
    if not power or power >= usual**2:
        return 0
    return min(MOST_LEVEL, int(QUARTER * math.log2(usual / math.sqrt(power))))


def number_of(data: bytes | memoryview) -> tuple[int, int]:
    """(number, where it ends) at the start of a section's data. Raises BitstreamError."""
    value = 0
    for at, byte in enumerate(bytes(data[:5])):
        value |= (byte & 0x7F) << 7 * at
        if byte < 0x80:
            return value, at + 1
    raise BitstreamError("a section of a sound without a number", section="symbols")


def _varint(value: int) -> bytes:
    if not 0 <= value < 1 << 35:
        raise UsageError(f"section number {value}: expected 0 to 2^35")
    out = bytearray()
    while value > 0x7F:
        out.append(value & 0x7F | 0x80)
        value >>= 7
    return bytes([*out, value])
