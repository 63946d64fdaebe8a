"""Codecs of sound as the bench sees them: what a user would pick instead, and enfold's own.

    opus   libopus, variable rate             Ogg, with an empty comment
    aac    FFmpeg's own encoder, AAC-LC       ADTS frames
    mp3    LAME, constant rate                bare frames, no tag, no Xing frame
    flac   libFLAC, level 8; lossless         FLAC

Of the first three, quality is kbit/s a channel, as asked of the encoder; rates are counted on the bytes. A sound whose
sampling rate a codec does not take is resampled to the next higher one that it does (Opus codes
44.1 kHz at 48), and back after decoding.

Delay. An Ogg file says how many samples its decoder must drop. ADTS and bare MP3 frames do not:
1024 samples for FFmpeg's AAC, 576 + 529 for LAME with FFmpeg's decoder. They are dropped here, and
the length is that of the original, which neither stream holds.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache
from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np

from enfold.bench.audio_metrics import resampled
from enfold.bench.ours import our_coder
from enfold.bench.running import Coder
from enfold.errors import MediaError, UsageError
from enfold.sounds import Sound

HINT = "pip install 'enfold[bench]'"


@dataclass(frozen=True)
class _Peer:
    """writes, reads: FFmpeg's names of the container. delay: samples to drop after decoding."""

    label: str
    encoder: str
    writes: str
    reads: str
    settings: str
    qualities: tuple[float, ...]
    rates_hz: tuple[int, ...]
    delay: int = 0
    options: Mapping[str, str] | None = None


MPEG2_HZ = (8000, 11025, 12000, 16000, 22050, 24000, 32000, 44100, 48000)
PEERS: dict[str, _Peer] = {
    "opus": _Peer("Opus", "libopus", "ogg", "ogg", "kbit/s a channel; variable rate, Ogg",
                  (8, 12, 16, 24, 32, 48, 64, 96), (8000, 12000, 16000, 24000, 48000),
                  options={"fflags": "+bitexact"}),
    "aac": _Peer("AAC (FFmpeg)", "aac", "adts", "aac", "kbit/s a channel; AAC-LC, ADTS",
                 (16, 24, 32, 48, 64, 80, 96, 128), (*MPEG2_HZ, 64000, 88200, 96000), delay=1024),
    "mp3": _Peer("MP3 (LAME)", "libmp3lame", "mp3", "mp3", "kbit/s a channel; constant rate, bare frames",
                 (32, 40, 48, 64, 80, 96, 128), MPEG2_HZ, delay=576 + 529,
                 options={"write_xing": "0", "id3v2_version": "0"}),
}
LOSSLESS = ("flac",)


@lru_cache(maxsize=32)
def coder(name: str) -> Coder:
    """A peer, or else one of enfold's codecs. Raises UsageError, MissingWeightsError."""
    if name in LOSSLESS:
        return _flac()
    peer = PEERS.get(name)
    return our_coder(name, _sound) if peer is None else _made(name, peer)


def read_sound(path: Path, seconds: float = 0) -> Sound:
    """WAV, FLAC, Ogg (Vorbis, Opus), ...: what libsndfile reads; the first `seconds` of it, 0 for all.

    Raises MediaError, UsageError.
    """
    soundfile = _soundfile()
    try:
        with soundfile.SoundFile(path) as file:
            samples = file.read(round(seconds * file.samplerate) or -1, "float32", always_2d=True)
            return Sound(samples, file.samplerate)
    except soundfile.LibsndfileError as error:
        raise MediaError(f"{path.name}: not a sound that can be read: {error.error_string}") from error


def fitted(decoded: Sound, original: Sound) -> Sound:
    """At the original's sampling rate and of its length: cut, or padded with silence."""
    samples = resampled(decoded.samples, decoded.rate_hz, original.rate_hz).astype(np.float32)
    count = len(original.samples)
    samples = np.pad(samples[:count], ((0, max(count - len(samples), 0)), (0, 0)))
    if samples.shape != original.samples.shape:
        raise UsageError(f"{samples.shape[1]} channels came back of {original.samples.shape[1]}")
    return Sound(samples, original.rate_hz)


def read_pcm(path: Path) -> Sound:
    """All of a sound whose samples are whole, as int16. Raises MediaError, UsageError."""
    reason = unfit_pcm(path)
    if reason is not None:
        raise MediaError(f"{path.name}: {reason}")
    return Sound(*_soundfile().read(path, dtype="int16", always_2d=True))


def unfit_pcm(path: Path) -> str | None:
    """Why int16 cannot hold a file's samples; None if it can. Raises MediaError, UsageError."""
    soundfile = _soundfile()
    try:
        subtype = soundfile.info(path).subtype
    except soundfile.LibsndfileError as error:
        raise MediaError(f"{path.name}: not a sound that can be read: {error.error_string}") from error
    return None if subtype in ("PCM_16", "PCM_U8", "PCM_S8") else f"its samples are {subtype}, not 16-bit integers"


def write_flac(sound: Sound) -> bytes:
    """int16 samples → a FLAC file, at the highest level. Raises UsageError."""
    if sound.samples.dtype != np.int16:
        raise UsageError(f"samples are {sound.samples.dtype}; FLAC takes int16 here: scale by 32768 and round first")
    out = BytesIO()
    _soundfile().write(out, sound.samples, sound.rate_hz, subtype="PCM_16", format="FLAC", compression_level=1.0)
    return out.getvalue()


def _read_flac(data: bytes) -> Sound:
    return Sound(*_soundfile().read(BytesIO(data), dtype="int16", always_2d=True))


def _flac() -> Coder:
    soundfile = _soundfile()
    version = f"libsndfile {soundfile.__libsndfile_version__}, soundfile {soundfile.__version__}"
    return Coder("flac", "FLAC", version, "level 8", (0,), lambda sound, _: write_flac(sound), _read_flac)


def _made(name: str, peer: _Peer) -> Coder:
    av = _av()
    if peer.encoder not in av.codecs_available:
        raise UsageError(f"this PyAV was built without {peer.label}: leave {name} out of --peers")

    def encode(sound: Sound, kbps: float) -> bytes:
        channels = sound.samples.shape[1]
        if channels > 2:
            raise MediaError(f"the sound has {channels} channels; this bench compares one or two: mix them first")
        rate_hz = min((rate for rate in peer.rates_hz if rate >= sound.rate_hz), default=max(peer.rates_hz))
        samples = resampled(sound.samples, sound.rate_hz, rate_hz).astype(np.float32)
        layout = ("mono", "stereo")[channels - 1]
        frame = av.AudioFrame.from_ndarray(np.ascontiguousarray(samples.T), format="fltp", layout=layout)
        frame.sample_rate = rate_hz
        out = BytesIO()
        with av.open(out, "w", format=peer.writes, options=dict(peer.options or {})) as file:
            stream = file.add_stream(peer.encoder, rate=rate_hz, layout=layout)
            stream.bit_rate = round(kbps * 1000) * channels
            file.mux(stream.encode(frame))
            file.mux(stream.encode(None))
        return out.getvalue()

    def decode(data: bytes) -> Sound:
        with av.open(BytesIO(data), format=peer.reads) as file:
            frames = [frame.to_ndarray() for frame in file.decode(audio=0)]
            return Sound(np.concatenate(frames, 1).T[peer.delay:], file.streams.audio[0].rate)

    version = f"FFmpeg {av.ffmpeg_version_info}, PyAV {av.__version__}"
    return Coder(name, peer.label, version, peer.settings, peer.qualities, encode, decode)


def _sound(samples: np.ndarray, data: bytes) -> Sound:
    """What one of enfold's codecs decoded."""
    import enfold

    return Sound(samples, enfold.info(data).header.geometry.rate_hz)        # type: ignore[union-attr]


def _av() -> Any:
    try:
        import av
    except ImportError:
        raise UsageError(f"the bench of sounds needs PyAV, which carries FFmpeg: {HINT}") from None
    return av


def _soundfile() -> Any:
    try:
        import soundfile
    except ImportError:
        raise UsageError(f"reading sounds needs soundfile: {HINT}") from None
    return soundfile
