"""What all codecs of sound share: reading in stretches, sampling rates, sections side by side, damage, seeking.

    sound ─ resample? ─ cut into sections ─┬─ analyse ─ write ─┐
                                           ├─ analyse ─ write ─┼─ container
                                           └─ …                ┘
    file ─ its sections ─ read ─ synthesise ─ fade into one another ─ resample? ─ sound

A codec of sound says how one section becomes latents (`analyse`) and sound again (`synthesise`); its `SectionLatents`
say what a section is and how it is coded.

Guarantees: what comes back has the rate, the length, the channels and the dtype of what went in; memory follows the
sections under way, not the length, but for what the caller asks for; a section is decoded without the others, so the
same samples come out whichever part of a file is asked for, and whatever happened to the rest of it.
"""

from __future__ import annotations

import os
import warnings
from abc import abstractmethod
from collections import deque
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from threading import Barrier
from typing import Any

import numpy as np

from enfold.codec import Codec, Latent
from enfold.container import Header, Limits, Section, SectionKind, is_enf, pack
from enfold.errors import FingerprintError, MediaError, UsageError
from enfold.geometry import AudioGeometry
from enfold.salvage import DamageWarning, salvage
from enfold.sections import OVERLAP, QUARTER, Part, SectionLatents, level_of, number_of
from enfold.sounds import Resampled, Sound, Source, as_dtype, open_sound

MOST_WORKERS = 4                # sections coded at once; each takes some tens of MB


class ResamplingWarning(UserWarning):
    """A sound is coded at another sampling rate than its own."""


class SoundCodec(Codec):
    """A codec of sounds: three members make a whole one.

    usual: the loudness (root mean square, in units of 16 bits) up to which quiet sections are amplified.
    """

    default_quality: int
    latent_codec: SectionLatents
    usual: float

    @abstractmethod
    def analyse(self, units: np.ndarray, quality: int) -> np.ndarray:
        """One section, float32 (channels, columns · block) in units of 16 bits → symbols (C, columns)."""

    @abstractmethod
    def synthesise(self, symbols: np.ndarray, quality: int) -> np.ndarray:
        """The way back: float32 (sides, columns · block)."""

    @abstractmethod
    def restored(self, values: np.ndarray, quality: int) -> np.ndarray:
        """Dequantised latents, float32 (C, columns), of a section at its level → float32 (sides, columns · block)."""

    def encode(self, media: Any, *, quality: int | None = None, keep_metadata: bool = False) -> bytes:
        source, quality = self._opened(media), self._checked(quality)
        half = self.latent_codec
        written = _ordered(lambda part: half.write(part, quality), self._parts(source, quality))
        sections = [Section(SectionKind.SYMBOLS, data) for data in written]
        return pack(Header(self.name, self.fingerprint, _geometry(source), bytes([quality])), sections)

    def decode(self, data: bytes, *, limits: Limits = Limits(), start_s: float = 0.0, stop_s: float | None = None,
               allow_partial: bool = False) -> Sound:
        """The sound in a file, or a part of it.

        start_s, stop_s: what is wanted, in seconds; only its sections are decoded. allow_partial: damaged sections
        become silence, with a `DamageWarning` that names them; else they raise BitstreamError.
        """
        source = self.opened(data, limits=limits, start_s=start_s, stop_s=stop_s, allow_partial=allow_partial)
        return Sound(source.read(0, source.count), source.rate_hz)

    def opened(self, data: bytes, *, limits: Limits = Limits(), start_s: float = 0.0, stop_s: float | None = None,
               allow_partial: bool = False) -> Source:
        """As `decode`, but a source, decoded while it is read: `enfold.sounds.write_sound` takes it."""
        half = self.latent_codec
        if allow_partial:
            saved = salvage(data, limits)
            self._refuse_others(saved.header)
            geometry, quality, sections = half.check(saved.container, limits)
            streams: list[Any] = [None] * len(sections)
            for section in saved.container.sections:
                if section.kind == SectionKind.SYMBOLS:
                    number, _ = number_of(section.data)
                    if number < len(sections):
                        streams[number] = section.data
            _warn_of(streams, saved.damage, half, geometry)
        else:
            container = self.unpack(data, limits)
            geometry, quality, sections = half.check(container, limits)
            streams = list(half.streams(container, sections))
        start, stop = _span(start_s, stop_s, geometry)
        return _AsItWas(Decoded(self, geometry, quality, sections, streams), geometry, start, stop)

    def sound_of(self, latent: Latent) -> Sound:
        """What a latent's `values` sound like, whoever made them: a file's, or a learner's.

        Raises UsageError, FingerprintError for latents of another codec or other weights.
        """
        if latent.codec != self.name or not isinstance(latent.geometry, AudioGeometry):
            raise UsageError(f"a latent of {latent.codec!r}, and this is {self.name!r}: use enfold.load(latent.codec)")
        if latent.fingerprint != self.fingerprint:
            raise FingerprintError(self.name, latent.fingerprint, self.fingerprint)
        geometry = latent.geometry
        decoded = FromValues(self, geometry, latent.quality, latent.values)
        source = _AsItWas(decoded, geometry, 0, geometry.samples)
        return Sound(source.read(0, source.count), source.rate_hz)

    def latents(self, source: Any, *, quality: int | None = None, limits: Limits = Limits()) -> Latent:
        half = self.latent_codec
        if isinstance(source, bytes | bytearray | memoryview) and is_enf(source):
            return half.latent(self.unpack(bytes(source), limits), limits)
        opened, quality = self._opened(source), self._checked(quality)
        return half.joined(self._parts(opened, quality), quality, _geometry(opened))

    def _parts(self, source: Source, quality: int) -> Iterator[Part]:
        """The sections of a sound, analysed side by side, in order."""
        half = self.latent_codec
        geometry = _geometry(source)
        coded = half.coded_hz(source.rate_hz)
        if coded != source.rate_hz:
            warnings.warn(ResamplingWarning(
                f"{self.name} codes {half.rates_hz[0]} to {half.rates_hz[1]} Hz as they are; this sound of "
                f"{source.rate_hz} Hz is resampled to {coded} Hz, and back when it is decoded"), stacklevel=4)
            source = Resampled(source, coded)

        def stretches() -> Iterator[tuple[int, np.ndarray]]:
            for number, columns in enumerate(half.sections(half.total_columns(geometry))):
                start, stop = columns.start * half.block, columns.stop * half.block
                units = source.units(start, min(stop, source.count))
                yield number, np.pad(units, ((0, 0), (0, stop - start - units.shape[1])), mode="edge" if
                                     units.shape[1] else "constant")

        def analysed(stretch: tuple[int, np.ndarray]) -> Part:
            number, units = stretch
            level = level_of(units, self.usual)
            part = Part(number, level, np.empty((half.channels, 0), np.int16))
            return Part(number, level, self.analyse(units * np.float32(part.gain), quality))

        return _ordered(analysed, stretches())

    def _opened(self, media: Any) -> Source:
        source = open_sound(media)
        if source.channels > self.latent_codec.sound_channels:
            most = self.latent_codec.sound_channels
            raise MediaError(f"the sound has {source.channels} channels, and {self.name} codes {most} at most: "
                             f"mix them, or encode {'pairs' if most == 2 else 'each'} as a file of its own")
        return source

    def _checked(self, quality: int | None) -> int:
        quality = self.default_quality if quality is None else quality
        if isinstance(quality, bool) or not isinstance(quality, int | np.integer) or not 1 <= quality <= 100:
            raise UsageError(f"quality is {quality!r}; it is a whole number from 1, smallest, to 100, best")
        return int(quality)

    def _refuse_others(self, header: Header) -> None:
        if header.codec != self.name:
            raise UsageError(f"the file was written by {header.codec!r} and this is {self.name!r}: use enfold.decode")
        if header.fingerprint != self.fingerprint:
            raise FingerprintError(self.name, header.fingerprint, self.fingerprint)


class Decoded(Source):
    """The samples of a file at the rate at which they are coded; sections are decoded ahead, side by side."""

    dtype = "float32"

    def __init__(self, codec: SoundCodec, geometry: AudioGeometry, quality: int, sections: list[slice],
                 streams: list[Any]) -> None:
        half = codec.latent_codec
        self.count, self.channels = half.coded_count(geometry), geometry.channels
        self.rate_hz = half.coded_hz(geometry.rate_hz)
        self._codec, self._quality, self._sections, self._streams = codec, quality, sections, streams
        self._block = half.block
        self._made: dict[int, Future[np.ndarray]] = {}
        self._pool = _pool()

    def read(self, start: int, stop: int) -> np.ndarray:
        return self.units(start, stop).T / np.float32(2.0**15)

    def units(self, start: int, stop: int) -> np.ndarray:
        stop = min(stop, self.count)
        out = np.zeros((self.channels, max(0, stop - start)), np.float32)
        touched = [number for number, columns in enumerate(self._sections)
                   if columns.start * self._block < stop and columns.stop * self._block > start]
        for number in touched:
            for ahead in range(number, min(touched[-1] + 1, number + _workers())):
                if ahead not in self._made:
                    self._made[ahead] = self._pool.submit(self._section, ahead)
            units, at = self._made[number].result(), self._sections[number].start * self._block
            first, last = max(start, at), min(stop, at + units.shape[1])
            out[:, first - start:last - start] += units[:, first - at:last - at]
            for gone in [k for k in self._made if k < number or self._sections[k].stop * self._block <= start]:
                del self._made[gone]
        return out

    def _section(self, number: int) -> np.ndarray:
        """One section, fading in and out where it overlaps others; silence for one that is lost."""
        units = self._restored(number)
        if units is None:
            columns = self._sections[number]
            return np.zeros((self.channels, (columns.stop - columns.start) * self._block), np.float32)
        units = units.mean(0, keepdims=True) if self.channels < len(units) else units
        fade = OVERLAP * self._block
        ramp = (np.arange(fade, dtype=np.float32) + np.float32(0.5)) / np.float32(fade)
        if number:
            units[:, :fade] *= ramp
        if number + 1 < len(self._sections):
            units[:, -fade:] *= ramp[::-1]
        return units


    def _restored(self, number: int) -> np.ndarray | None:
        """Samples (sides, n) of a section; None for one that is lost."""
        columns, stream = self._sections[number], self._streams[number]
        if stream is None:
            return None
        part = self._codec.latent_codec.read(stream, self._quality, number, columns.stop - columns.start)
        return self._codec.synthesise(part.symbols, self._quality) / np.float32(part.gain)


class FromValues(Decoded):
    """The samples of dequantised latents (C, T), at the level at which they would be coded."""

    def __init__(self, codec: SoundCodec, geometry: AudioGeometry, quality: int, values: np.ndarray) -> None:
        half = codec.latent_codec
        sections = half.sections(half.total_columns(geometry))
        due = half.channels, sections[-1].stop
        if values.shape != due:
            raise UsageError(f"latents of shape {values.shape}, where a sound of {geometry} has {due}")
        super().__init__(codec, geometry, quality, sections, [None] * len(sections))
        self._values = values

    def _restored(self, number: int) -> np.ndarray:
        values = self._values[:, self._sections[number]]
        power = np.square(values, dtype=np.float64).sum() / max(1, values.shape[1] * self._block * self.channels)
        gain = np.float32(2.0 ** (level_of(np.full((1, 1), power**0.5, np.float32), self._codec.usual) / QUARTER))
        return self._codec.restored(values * gain, self._quality) / gain


class _AsItWas(Source):
    """A decoded sound, or a part of it, at its own rate and in its own dtype."""

    def __init__(self, decoded: Source, geometry: AudioGeometry, start: int, stop: int) -> None:
        self.count, self.channels = stop - start, geometry.channels
        self.rate_hz, self.dtype, self._start = geometry.rate_hz, geometry.dtype, start
        self._decoded = decoded if decoded.rate_hz == geometry.rate_hz else Resampled(decoded, geometry.rate_hz)

    def read(self, start: int, stop: int) -> np.ndarray:
        stop, step = min(stop, self.count), 1 << 20
        out = np.empty((max(0, stop - start), self.channels), self.dtype)
        for at in range(start, stop, step):
            upto = min(at + step, stop)
            units = self._decoded.units(self._start + at, self._start + upto)
            out[at - start:upto - start] = as_dtype(units, self.dtype)
        return out


def _warn_of(streams: list[Any], damage: tuple[str, ...], half: SectionLatents, geometry: AudioGeometry) -> None:
    """Says which part of a sound is lost."""
    hz = half.coded_hz(geometry.rate_hz)
    lost = [(columns.start * half.block / hz, min(columns.stop * half.block, half.coded_count(geometry)) / hz)
            for columns, stream in zip(half.sections(half.total_columns(geometry)), streams, strict=True)
            if stream is None]
    if lost or damage:
        spans = ", ".join(f"{start:.2f} to {stop:.2f} s" for start, stop in lost) or "nothing"
        warnings.warn(DamageWarning(f"{len(lost)} of {len(streams)} sections are lost: silence at {spans} "
                                    f"({'; '.join(damage)})"), stacklevel=4)


def _ordered(function: Any, items: Iterator[Any]) -> Iterator[Any]:
    """A function's results in order, a few worked out at once."""
    waiting: deque[Future[Any]] = deque()
    with _pool() as pool:
        for item in items:
            waiting.append(pool.submit(function, item))
            if len(waiting) > _workers():
                yield waiting.popleft().result()
        while waiting:
            yield waiting.popleft().result()


def _workers() -> int:
    import torch

    return min(MOST_WORKERS, os.cpu_count() or 1, torch.get_num_threads())


def _pool() -> ThreadPoolExecutor:
    """Workers on each of which torch keeps to one thread: sections are enough to share."""
    import torch

    count, usual = _workers(), torch.get_num_threads()
    pool, together = ThreadPoolExecutor(count), Barrier(count)

    def begin(_: int) -> None:
        torch.set_num_threads(1)
        together.wait()

    list(pool.map(begin, range(count)))
    torch.set_num_threads(usual)        # for threads yet to come: it is theirs to inherit
    return pool


def _geometry(source: Source) -> AudioGeometry:
    return AudioGeometry(source.count, source.channels, source.rate_hz, source.dtype)


def _span(start_s: float, stop_s: float | None, geometry: AudioGeometry) -> tuple[int, int]:
    """The samples from one second to another."""
    places = []
    for name, seconds in (("start_s", start_s), ("stop_s", stop_s)):
        try:
            place = geometry.samples if seconds is None else round(seconds * geometry.rate_hz)
        except (TypeError, ValueError, OverflowError):
            raise UsageError(f"{name} is {seconds!r}; it must be a number of seconds") from None
        if place < 0:
            raise UsageError(f"{name} is {seconds!r}; it must be 0 or more")
        places.append(min(place, geometry.samples))
    if places[0] > places[1]:
        raise UsageError(f"start_s is {start_s!r} and stop_s {stop_s!r}: the first must not be the later one")
    return places[0], places[1]
