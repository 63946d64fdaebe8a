"""Sound files ↔ samples, without losing anything on the way, a stretch at a time.

A `Sound` is what codecs of sound take and give back: samples as they are, and their rate. A `Source` is a sound that
need not be in memory at once: an hour is read, coded and written ten seconds at a time.

Files are read by libsndfile (WAV, FLAC, Ogg, MP3, AIFF, ...), what it does not know by FFmpeg, where PyAV is installed.

Guarantees:
- samples are exactly what the file holds: 8 and 16 bits as int16, 24 and 32 bits as int32 (24 bits in the upper
  three bytes), floats as float32 or float64; lossy files, which hold no samples, as float32;
- full scale is 2^15 of int16, 2^31 of int32 and 1 of floats; floats may go beyond;
- a file that cannot be read, or ends before it says, raises `MediaError`; so do samples that are no numbers.
"""

from __future__ import annotations

import math
import os
import secrets
from abc import ABC, abstractmethod
from dataclasses import dataclass
from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np

from enfold.errors import MediaError, UsageError

READS = (".wav", ".flac", ".ogg", ".oga", ".opus", ".mp3", ".aif", ".aiff", ".au", ".caf", ".w64", ".rf64")
BY_FFMPEG = (".m4a", ".aac", ".mka", ".wma", ".ac3", ".webm", ".mp4")
WRITES = {".wav": "WAV", ".flac": "FLAC"}
FULL_SCALE = {"int16": 2.0**15, "int32": 2.0**31, "float32": 1.0, "float64": 1.0}
STRETCH = 1 << 18               # samples read and written at once
_SUBTYPES = {"WAV": {"int16": "PCM_16", "int32": "PCM_32", "float32": "FLOAT", "float64": "DOUBLE"},
             "FLAC": {"int16": "PCM_16", "int32": "PCM_24"}}
_DTYPES = {"PCM_S8": "int16", "PCM_U8": "int16", "PCM_16": "int16", "PCM_24": "int32", "PCM_32": "int32",
           "DOUBLE": "float64"}
HINT = "pip install 'enfold[audio]'"


@dataclass(frozen=True, eq=False)
class Sound:
    """A sound in memory; NumPy takes it as its array.

    samples: (samples, channels), int16, int32, float32 or float64; see the module for full scale.
    """

    samples: np.ndarray
    rate_hz: int

    def __post_init__(self) -> None:
        samples = self.samples
        if not isinstance(samples, np.ndarray) or samples.ndim != 2 or not samples.shape[1] or \
                samples.dtype.name not in FULL_SCALE:
            about = f"{samples.dtype} of shape {samples.shape}" if isinstance(samples, np.ndarray) else repr(samples)
            raise UsageError(f"samples are {about}; they must be {', '.join(FULL_SCALE)} of shape (samples, channels)")
        if isinstance(self.rate_hz, bool) or not isinstance(self.rate_hz, int | np.integer) or self.rate_hz < 1:
            raise UsageError(f"rate_hz is {self.rate_hz!r}; it must be a whole number, 1 or more")

    @property
    def seconds(self) -> float:
        return len(self.samples) / self.rate_hz

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> np.ndarray:
        return np.array(self.samples, dtype=dtype, copy=True) if copy or dtype else self.samples


class Source(ABC):
    """A sound that is read from its beginning to its end, in stretches."""

    count: int
    channels: int
    rate_hz: int
    dtype: str

    @abstractmethod
    def read(self, start: int, stop: int) -> np.ndarray:
        """Samples start ≤ n < stop, (n, channels) of `dtype`. Neither bound may fall from one call to the next."""

    def units(self, start: int, stop: int) -> np.ndarray:
        """The same as float32 (channels, n), in units of 16 bits. Raises MediaError for what is no number."""
        samples = self.read(start, stop).T
        out = np.multiply(samples, 2.0**15 / FULL_SCALE[self.dtype], dtype=np.float32)
        if not np.isfinite(out).all():
            raise MediaError(f"samples {start} to {stop} hold infinities or what is no number: mend the sound first")
        return out


def as_dtype(units: np.ndarray, dtype: str) -> np.ndarray:
    """float32 (channels, n) in units of 16 bits → (n, channels) of a sound's dtype; whole numbers are clipped."""
    scale = FULL_SCALE[dtype] / 2.0**15
    if dtype.startswith("float"):
        return np.multiply(units.T, scale, dtype=np.dtype(dtype))
    top = FULL_SCALE[dtype]
    return np.rint(np.multiply(units.T, scale, dtype=np.float64)).clip(-top, top - 1).astype(dtype)


class InMemory(Source):
    """A `Sound` as a source."""

    def __init__(self, sound: Sound) -> None:
        self.samples, self.rate_hz = sound.samples, int(sound.rate_hz)
        (self.count, self.channels), self.dtype = sound.samples.shape, sound.samples.dtype.name

    def read(self, start: int, stop: int) -> np.ndarray:
        return self.samples[start:stop]


class InFile(Source):
    """A sound file, read once from its beginning to its end; what two stretches share is kept between them."""

    def __init__(self, file: Any, name: str) -> None:
        soundfile = _soundfile()
        self.name = name
        try:
            self._file = soundfile.SoundFile(file)
        except soundfile.LibsndfileError as error:
            raise MediaError(f"{name}: not a sound that can be read: {error.error_string}") from error
        self.count, self.channels, self.rate_hz = self._file.frames, self._file.channels, self._file.samplerate
        self.dtype = _DTYPES.get(self._file.subtype, "float32")
        self._kept, self._start = np.empty((0, self.channels), self.dtype), 0

    def read(self, start: int, stop: int) -> np.ndarray:
        soundfile, stop = _soundfile(), min(stop, self.count)
        self._forget(start)
        while (at := self._start + len(self._kept)) < stop:
            try:
                part = self._file.read(min(STRETCH, self.count - at), self.dtype, always_2d=True)
            except soundfile.LibsndfileError as error:
                raise MediaError(f"{self.name}: damaged near sample {at:,}: {error.error_string}") from error
            if not len(part):
                raise MediaError(f"{self.name}: cut short: {at:,} samples of the {self.count:,} that it says it has")
            self._kept = np.concatenate([self._kept, part])
            self._forget(start)
        return self._kept[:stop - start]

    def _forget(self, start: int) -> None:
        """What lies before `start`."""
        gone = min(max(start - self._start, 0), len(self._kept))
        self._kept, self._start = self._kept[gone:], self._start + gone


def open_sound(source: Any, rate_hz: int | None = None) -> Source:
    """A sound from a path, the bytes of a file, a binary file object, a `Sound` or a `Source`.

    An array (samples,) or (samples, channels) needs its `rate_hz`. Raises MediaError, UsageError.
    """
    if isinstance(source, Source):
        return source
    if isinstance(source, Sound):
        return InMemory(source)
    if isinstance(source, str | os.PathLike):
        path = Path(source)
        if not path.is_file():
            raise MediaError(f"{path}: there is no such file; check the path")
        return _by_ffmpeg(str(path), path.name) if path.suffix.lower() in BY_FFMPEG else InFile(str(path), path.name)
    if isinstance(source, bytes | bytearray | memoryview):
        return _of_bytes(bytes(source))
    if hasattr(source, "read"):
        data = source.read()
        if not isinstance(data, bytes):
            raise UsageError(f"the file object gives {type(data).__name__}, not bytes: open it with mode 'rb'")
        return _of_bytes(data)
    if hasattr(source, "__array__"):
        samples = np.asarray(source)
        if rate_hz is None:
            raise UsageError("an array does not say its rate: give enfold.sounds.Sound(samples, rate_hz)")
        return InMemory(Sound(samples[:, None] if samples.ndim == 1 else samples, rate_hz))
    raise UsageError(f"a sound is a path, bytes, a binary file or a Sound, not {type(source).__name__}")


def read_sound(source: Any) -> Sound:
    """All of a sound; see `open_sound`."""
    opened = open_sound(source)
    return Sound(opened.read(0, opened.count), opened.rate_hz)


def write_sound(sound: Sound | Source, target: Any, format: str | None = None) -> None:
    """Writes WAV or FLAC, stretch by stretch, by the path's suffix unless `format` says; a file appears whole or
    not at all.

    Whole numbers keep their bits, but for int32 in FLAC, which holds 24. Raises MediaError, UsageError.
    """
    source = open_sound(sound)
    suffix = Path(target).suffix.lower() if isinstance(target, str | os.PathLike) else ""
    name = (format or WRITES.get(suffix, "")).upper()
    if name not in _SUBTYPES:
        raise UsageError(f"sounds are written as {', '.join(WRITES)}, not as {format or suffix!r}: name one of them")
    subtype = _SUBTYPES[name].get(source.dtype)
    if subtype is None:
        raise MediaError(f"{name} holds no {source.dtype}: write .wav, which does")
    soundfile = _soundfile()
    path = Path(target) if isinstance(target, str | os.PathLike) else None
    part = path.with_name(f".{path.name}.{secrets.token_hex(4)}.part") if path else target
    try:
        try:
            with soundfile.SoundFile(str(part) if path else part, "w", source.rate_hz, source.channels, subtype,
                                     format=name) as out:
                for start in range(0, source.count, STRETCH):
                    out.write(source.read(start, min(start + STRETCH, source.count)))
            if path:
                os.replace(part, path)
        finally:
            if path:
                part.unlink(missing_ok=True)
    except (soundfile.LibsndfileError, ValueError, OSError) as error:
        raise MediaError(f"{path or name} cannot be written, a sound of {source.channels} channels at "
                         f"{source.rate_hz} Hz in {name}: {error}") from error


class Resampled(Source):
    """A source at another rate: a windowed sinc of linear phase, stretch by stretch the same as all at once."""

    WIDTH = 64                  # zero crossings on either side

    def __init__(self, source: Source, rate_hz: int) -> None:
        shared = math.gcd(source.rate_hz, rate_hz)
        self._from, self._to, self._source = source.rate_hz // shared, rate_hz // shared, source
        self.count = resampled_count(source.count, source.rate_hz, rate_hz)
        self.channels, self.rate_hz, self.dtype = source.channels, rate_hz, "float32"

    def read(self, start: int, stop: int) -> np.ndarray:
        return self.units(start, stop).T / np.float32(2.0**15)

    def units(self, start: int, stop: int) -> np.ndarray:
        try:
            import torch
            from torchaudio.functional import resample
        except ImportError:
            raise UsageError(f"the sound must be resampled, which needs torchaudio: {HINT}") from None

        reach = -(-(self.WIDTH + 2) * max(self._from, self._to) // self._to) // self._from + 1
        first = start // self._to - reach               # in periods, of so many samples of either rate
        last = -(-stop // self._to) + reach
        begin, end = max(first * self._from, 0), min(last * self._from, self._source.count)
        given = torch.from_numpy(self._source.units(begin, max(begin, end)))
        made = resample(torch.nn.functional.pad(given, (0, max(0, last * self._from - begin - given.shape[1]))),
                        self._from, self._to, lowpass_filter_width=self.WIDTH)
        at = start - begin // self._from * self._to
        return made[:, at:at + max(0, min(stop, self.count) - start)].numpy()


def resampled_count(count: int, from_hz: int, to_hz: int) -> int:
    """How many samples a sound has at another rate."""
    return -(-count * to_hz // from_hz)


def _of_bytes(data: bytes) -> Source:
    try:
        return InFile(BytesIO(data), "the sound")
    except MediaError as refused:
        try:
            return _by_ffmpeg(BytesIO(data), "the sound")
        except (MediaError, UsageError):
            raise refused from None


def _by_ffmpeg(file: Any, name: str) -> Source:
    """What libsndfile does not know: decoded whole."""
    try:
        import av
    except ImportError:
        raise UsageError(f"{name} is read by PyAV, which carries FFmpeg: pip install 'enfold[video]'") from None
    try:
        with av.open(file) as container:
            if not container.streams.audio:
                raise MediaError(f"{name} holds no sound")
            stream = container.streams.audio[0]
            resampler = av.AudioResampler(format="fltp", layout=stream.layout, rate=stream.rate)
            frames = [made.to_ndarray() for frame in container.decode(stream) for made in resampler.resample(frame)]
            frames += [made.to_ndarray() for made in resampler.resample(None)]
            rate_hz = stream.rate
    except av.FFmpegError as error:
        raise MediaError(f"{name}: not a sound that can be read: {error}") from error
    if not frames:
        raise MediaError(f"{name} holds no sound")
    return InMemory(Sound(np.ascontiguousarray(np.concatenate(frames, 1).T, np.float32), rate_hz))


def _soundfile() -> Any:
    try:
        import soundfile
    except ImportError:
        raise UsageError(f"reading and writing sounds needs soundfile: {HINT}") from None
    return soundfile
