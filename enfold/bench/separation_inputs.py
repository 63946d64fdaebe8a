"""Songs with their stems, and the columns of numbers that a separator is fed: see `learn_separation`."""

from __future__ import annotations

import warnings
from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass, replace
from math import gcd
from pathlib import Path
from typing import Any

import numpy as np

import enfold
from enfold.bench.audio_metrics import resampled
from enfold.errors import MediaError, UsageError
from enfold.learners.samples import Origin
from enfold.sounds import FULL_SCALE, Sound, read_sound

INPUTS = ("latents", "resampled", "pca")
VOICE = "vocals"
SUFFIXES = (".wav", ".flac", ".ogg")
GAIN_DB = 3.0               # by which stems of a remix are made louder or softer
BLOCKS_SEEN = 1 << 15       # by PCA
FINEST = 100                # quality at which a voice is told to the network


@dataclass(frozen=True, eq=False)
class Song:
    """An excerpt: stems float32 (samples, 2), full scale 1."""

    name: str
    voice: np.ndarray
    rest: np.ndarray
    rate_hz: int

    @property
    def mixture(self) -> np.ndarray:
        return self.voice + self.rest

    @property
    def seconds(self) -> float:
        return len(self.voice) / self.rate_hz


def read_songs(folder: Path) -> list[Song]:
    """Of SONG_EXCERPT/{vocals,…}, by name; folders without voice, or nothing else, are left out.

    Raises MediaError, UsageError.
    """
    songs = []
    for place in sorted(path for path in folder.iterdir() if path.is_dir()):
        stems = {file.stem: read_sound(file) for file in sorted(place.iterdir())
                 if file.suffix.lower() in SUFFIXES}
        kinds = {(stem.rate_hz, stem.samples.shape) for stem in stems.values()}
        if len(kinds) > 1:
            raise MediaError(f"{place.name}: stems of {len(kinds)} rates, lengths or channels; they must be alike")
        if VOICE not in stems or len(stems) < 2:
            continue
        voice = _stereo(stems.pop(VOICE).samples)
        rest = np.sum([_stereo(stem.samples) for stem in stems.values()], 0)
        if not (np.any(voice) and np.any(rest)):
            continue
        songs.append(Song(place.name.rpartition("_")[0] or place.name, voice, rest, kinds.pop()[0]))
    if not songs:
        raise UsageError(f"{folder} holds no folders with {VOICE}.wav (.flac, .ogg) and another stem beside it")
    return songs


def mixed(songs: Sequence[Song], count: int, seed: int = 0) -> list[Song]:
    """The songs, and `count` mixtures of each voice with anybody's rest, a little louder or softer."""
    random = np.random.default_rng(seed)
    made = list(songs)
    for song in songs:
        for _ in range(count):
            other = songs[random.integers(len(songs))]
            samples = min(len(song.voice), len(other.rest))
            gains = (10 ** (random.uniform(-GAIN_DB, GAIN_DB, 2) / 20)).astype(np.float32)
            made.append(Song(song.name, song.voice[:samples] * gains[0], other.rest[:samples] * gains[1], song.rate_hz))
    return made


class Representation(ABC):
    """Sounds ↔ columns of numbers, float32 (C, T), of `block` samples each."""

    origin: Origin

    @abstractmethod
    def mixture(self, song: Song) -> np.ndarray:
        """What the network is fed."""

    @abstractmethod
    def voice(self, song: Song) -> np.ndarray:
        """What it is to say."""

    @abstractmethod
    def sound(self, columns: np.ndarray, song: Song) -> np.ndarray:
        """What it said of a song, as samples (samples, 2)."""


class Latents(Representation):
    """Of our files."""

    def __init__(self, codec: str, quality: int | None) -> None:
        model: Any = enfold.load(codec)
        self.quality: int = model.default_quality if quality is None else quality
        self.origin = Origin(codec, model.fingerprint.hex(), self.quality)
        self._codec = model

    def latent(self, samples: np.ndarray, rate_hz: int, quality: int) -> Any:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", UserWarning)        # that it is resampled
            return self._codec.latents(Sound(np.ascontiguousarray(samples), rate_hz), quality=quality)

    def mixture(self, song: Song) -> np.ndarray:
        return self.latent(song.mixture, song.rate_hz, self.quality).values

    def voice(self, song: Song) -> np.ndarray:
        return self.latent(song.voice, song.rate_hz, FINEST).values

    def sound(self, columns: np.ndarray, song: Song) -> np.ndarray:
        like = self.latent(song.mixture[:1], song.rate_hz, self.quality)
        geometry = replace(like.geometry, samples=len(song.voice))
        return self._codec.sound_of(replace(like, symbols=columns, dequantise=np.asarray, geometry=geometry)).samples

    def size(self, song: Song) -> tuple[int, int]:
        """Latents of a column, and the samples that it stands for."""
        channels, columns = self.latent(song.voice, song.rate_hz, self.quality).symbols.shape
        return channels, 1 << round(np.log2(len(song.voice) / columns))

    def bytes_of(self, song: Song) -> int:
        """Of the file of the mixture."""
        return len(self._codec.encode(Sound(song.mixture, song.rate_hz), quality=self.quality))

    def kept(self, samples: np.ndarray, rate_hz: int) -> np.ndarray:
        """A stem as the codec keeps it."""
        sound = Sound(np.ascontiguousarray(samples), rate_hz)
        return self._codec.decode(self._codec.encode(sound, quality=self.quality)).samples


class Resampled(Representation):
    """Blocks of samples at a lower rate: as many numbers in as many columns."""

    def __init__(self, channels: int, block: int) -> None:
        self.side, self.block = channels // 2, block
        self.origin = Origin(f"samples at {self.side} of {block} of their rate, in columns of {2 * self.side}")

    def columns(self, samples: np.ndarray) -> np.ndarray:
        shared = gcd(self.side, self.block)
        padded = np.pad(samples, ((0, -len(samples) % self.block), (0, 0)))
        few = resampled(_turned(padded), self.block // shared, self.side // shared)
        return few.reshape(-1, self.side, 2).transpose(2, 1, 0).reshape(2 * self.side, -1).astype(np.float32)

    def mixture(self, song: Song) -> np.ndarray:
        return self.columns(song.mixture)

    def voice(self, song: Song) -> np.ndarray:
        return self.columns(song.voice)

    def sound(self, columns: np.ndarray, song: Song) -> np.ndarray:
        shared = gcd(self.side, self.block)
        few = columns.reshape(2, self.side, -1).transpose(2, 1, 0).reshape(-1, 2)
        return _turned(resampled(few, self.side // shared, self.block // shared))[:len(song.voice)].astype(np.float32)


class Components(Representation):
    """Principal components of blocks of samples at the full rate."""

    def __init__(self, channels: int, block: int, songs: Sequence[Song]) -> None:
        self.block = block
        self.origin = Origin(f"{channels} principal components of blocks of {block} samples")
        blocks = np.concatenate([self._blocks(song.mixture) for song in songs])
        some = np.random.default_rng(0).permutation(len(blocks))[:BLOCKS_SEEN]
        blocks = blocks[some].astype(np.float64)
        self.vectors = np.linalg.eigh(blocks.T @ blocks)[1][:, ::-1][:, :channels].astype(np.float32)

    def _blocks(self, samples: np.ndarray) -> np.ndarray:
        padded = np.pad(samples, ((0, -len(samples) % self.block), (0, 0)))
        return _turned(padded).reshape(-1, self.block, 2).transpose(0, 2, 1).reshape(-1, 2 * self.block)

    def columns(self, samples: np.ndarray) -> np.ndarray:
        return np.ascontiguousarray((self._blocks(samples) @ self.vectors).T)

    def mixture(self, song: Song) -> np.ndarray:
        return self.columns(song.mixture)

    def voice(self, song: Song) -> np.ndarray:
        return self.columns(song.voice)

    def sound(self, columns: np.ndarray, song: Song) -> np.ndarray:
        blocks = (columns.T @ self.vectors.T).reshape(-1, 2, self.block).transpose(0, 2, 1)
        return _turned(blocks.reshape(-1, 2))[:len(song.voice)]


def _stereo(samples: np.ndarray) -> np.ndarray:
    """float32 (samples, 2)."""
    if samples.shape[1] > 2:
        raise MediaError(f"a stem of {samples.shape[1]} channels: stems have one or two")
    scaled = samples.astype(np.float32) / FULL_SCALE[samples.dtype.name]
    return np.ascontiguousarray(np.broadcast_to(scaled, (len(samples), 2)), np.float32)


def _turned(samples: np.ndarray) -> np.ndarray:
    """(n, 2) left and right ↔ middle and side, both ways."""
    left, right = samples.T
    return np.stack([left + right, left - right], 1) * np.float32(0.5**0.5)
