"""Training a codec of sound: segments of songs, remixed, through the loop that trains codecs of pictures.

DATA is a folder of sound files at any depth. A folder whose files are called after stems (`vocals`, `drums`, ...) is
a song in parts: its segments are mixed anew each time, every part at a gain of its own. What a song is, names say:
`NAME_35.ogg` and `NAME_70.ogg`, or the folders `NAME_056s` and `NAME_110s`, are excerpts of the song NAME. Every sixth
song, by name, is held out whole.

Segments are drawn from the sound as it is and from a copy played faster or slower, at random gains, channels swapped
at random. A codec codes bands of frequency, so the model turns segments into what it wants (`prepared`) in the thread
that makes them.
"""

from __future__ import annotations

import math
import os
import queue
import re
import threading
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from enfold.errors import UsageError
from enfold.layers.trainable import Trainable
from enfold.learners.train_codec import POSITIONS, PictureTrainer, Progress, Row, run
from enfold.learners.trainer import Report
from enfold.sounds import READS, InMemory, Resampled, Sound, read_sound

HELD_OUT_EVERY = 6
HELD_OUT_SEGMENTS = 24          # that are validated on
STEMS = {"vocals", "drums", "bass", "other", "guitar", "piano"}
PEAK = 65536.0                  # PSNR counts from the whole range, as for pictures
Parts = tuple[np.ndarray, ...]


@dataclass(frozen=True)
class SoundRecipe:
    """How a codec of sound is trained. Zero steps: as many as `minutes` allow. crop: samples of a segment. finest: see
    `train_codec.Recipe`."""

    steps: int = 0
    minutes: float = 30.0
    batch: int = 8
    crop: int = 1 << 15
    least_speed: float = 0.8
    greatest_speed: float = 1.25
    least_gain_db: float = -12.0
    greatest_gain_db: float = 3.0
    learning_rate: float = 1e-3
    hard_from: float = 0.7
    average: float = 0.999
    clip: float = 1.0
    seed: int = 0
    checkpoint_minutes: float = 2.0
    finest: float = 1.0


def songs(folder: Path) -> tuple[dict[str, list[tuple[Path, ...]]], dict[str, list[tuple[Path, ...]]]]:
    """(training, held-out) excerpts by song; an excerpt is a file, or the files of its stems."""
    found: dict[str, list[tuple[Path, ...]]] = {}
    for where, folders, files in os.walk(folder, followlinks=True):
        folders.sort()
        paths = [Path(where) / name for name in sorted(files) if Path(name).suffix.lower() in READS]
        stems = tuple(path for path in paths if path.stem in STEMS)
        if len(stems) > 1:
            found.setdefault(_song(Path(where).name), []).append(stems)
        for path in paths if len(stems) < 2 else [path for path in paths if path not in stems]:
            found.setdefault(_song(path.stem), []).append((path,))
    names = sorted(found)
    return ({name: found[name] for k, name in enumerate(names) if k % HELD_OUT_EVERY},
            {name: found[name] for k, name in enumerate(names) if not k % HELD_OUT_EVERY})


class Segments:
    """An endless stream of batches of segments as the model wants them, made in a thread of its own."""

    def __init__(self, excerpts: list[tuple[Path, ...]], model: Any, recipe: SoundRecipe, seed: int) -> None:
        self._recipe, self._model = recipe, model
        self._random = np.random.default_rng(seed)
        self._sounds: list[Parts] = []
        sides = model.config.sides
        for excerpt in excerpts:
            sound = [read_sound(path) for path in excerpt]
            speed = math.exp(self._random.uniform(math.log(recipe.least_speed), math.log(recipe.greatest_speed)))
            self._sounds.append(tuple(_channels(part, sides) for part in sound))
            self._sounds.append(tuple(_channels(_faster(part, speed), sides) for part in sound))
        lengths = np.array([max(part.shape[1] for part in parts) for parts in self._sounds], float)
        self._chances = lengths / lengths.sum()
        self._queue: queue.Queue[np.ndarray] = queue.Queue(4)
        threading.Thread(target=self._fill, daemon=True).start()

    def _segment(self) -> np.ndarray:
        recipe, random = self._recipe, self._random
        parts = self._sounds[random.choice(len(self._sounds), p=self._chances)]
        length = max(part.shape[1] for part in parts)
        at = random.integers(max(1, length - recipe.crop + 1))
        mixed = np.zeros((parts[0].shape[0], recipe.crop), np.float32)
        for part in parts:
            gain = 1.0 if len(parts) == 1 else 10 ** (random.uniform(-9, 3) / 20) * (random.random() < 0.85)
            piece = part[:, at:at + recipe.crop].astype(np.float32) * np.float32(gain)
            mixed[:, :piece.shape[1]] += piece
        mixed *= np.float32(10 ** (random.uniform(recipe.least_gain_db, recipe.greatest_gain_db) / 20))
        return mixed[::-1].copy() if random.random() < 0.5 else mixed

    def _fill(self) -> None:
        while True:
            batch = [self._model.prepared(self._segment()) for _ in range(self._recipe.batch)]
            self._queue.put(np.stack(batch))

    def __next__(self) -> Tensor:
        return torch.from_numpy(self._queue.get())


def held_out_segments(excerpts: Mapping[str, list[tuple[Path, ...]]], model: Any, crop: int) -> list[np.ndarray]:
    """Segments from the middles of excerpts that are never trained on, a few of each song in turn."""
    found = []
    for excerpt in _in_turn(excerpts):
        parts = [_channels(read_sound(path), model.config.sides) for path in excerpt]
        mixed = np.zeros((model.config.sides, max(crop, *(part.shape[1] for part in parts))), np.float32)
        for part in parts:
            mixed[:, :part.shape[1]] += part
        at = (mixed.shape[1] - crop) // 2
        found.append(model.prepared(mixed[:, at:at + crop]))
        if len(found) == HELD_OUT_SEGMENTS:
            break
    return found


@torch.no_grad()
def validate(model: Trainable, segments: list[np.ndarray]) -> tuple[Row, ...]:
    """(position, bits a sample, PSNR in dB) at each of POSITIONS, means over segments."""
    if not segments:
        return ()
    batch = torch.from_numpy(np.stack(segments))
    rows = []
    for position in POSITIONS:
        parts = [model.loss(x, torch.full((len(x),), position), hard=True) for x in batch.split(8)]
        mse = torch.cat([part.mse for part in parts]).clamp_min(1e-3)
        bpp = torch.cat([part.bpp for part in parts])
        rows.append((position, bpp.mean().item(), (10 * torch.log10(PEAK**2 / mse)).mean().item()))
    return tuple(rows)


class SoundTrainer(PictureTrainer):
    """The loop as the command line knows it, on sounds."""

    recipe = SoundRecipe
    data = "a folder of sounds"

    def about(self, data: Path) -> dict[str, Any]:
        if not data.is_dir():
            raise UsageError(f"DATA is {str(data)!r}, which is no folder: name {self.data}")
        trained_on, held_out = songs(data)
        if not trained_on:
            raise UsageError(f"{data} holds {len(held_out)} songs, too few to train on: name a folder with more")
        return {"folder": data.resolve().name, "songs": len(trained_on),
                "excerpts": sum(map(len, trained_on.values())), "held_out": sorted(held_out)}

    def train(self, trainable: Any, recipe: Any, data: Path, out: Path, *, threads: int, report: Report,
              start: Mapping[str, np.ndarray] | None) -> dict[str, np.ndarray]:
        crop = recipe.crop // trainable.config.bands * trainable.config.bands
        if not crop:
            raise UsageError(f"crop is {recipe.crop}; it must be {trainable.config.bands} samples or more")
        trained_on, held_out = songs(data)
        excerpts = [excerpt for found in trained_on.values() for excerpt in found]
        segments = held_out_segments(held_out, trainable, crop)
        return run(trainable, recipe, lambda seed: Segments(excerpts, trainable, recipe, seed),
                   lambda model: validate(model, segments), out, report, start, PEAK).frozen()

    def words(self, progress: Progress) -> str:
        where = f"step {progress.step:,}, {progress.minutes:.1f} min"
        if not progress.validation:
            return f"{where}: loss {progress.loss:.3f}, {progress.bpp:.3f} bits a sample"
        held_out = "  ".join(f"{bits:.3f} bits {psnr_db:.1f} dB" for _, bits, psnr_db in progress.validation)
        return f"{where}, held out, a sample: {held_out}"


def _song(name: str) -> str:
    """NAME of NAME_35 or NAME_056s."""
    return re.sub(r"_\d+s?$", "", name)


def _channels(sound: Sound, sides: int) -> np.ndarray:
    """float32 (sides, n) in units of 16 bits: mixed to one channel, or one made two."""
    units = InMemory(sound).units(0, len(sound.samples))
    if sides == 1:
        return units.mean(0, keepdims=True)
    return np.repeat(units, 2, 0) if len(units) == 1 else units[:2]


def _faster(sound: Sound, speed: float) -> Sound:
    """A sound played at another speed: of its rate, with other samples."""
    rate_hz = round(sound.rate_hz / speed / 100) * 100
    if rate_hz == sound.rate_hz:
        return sound
    made = Resampled(InMemory(sound), rate_hz)
    return Sound(made.read(0, made.count), sound.rate_hz)


def _in_turn(excerpts: Mapping[str, list[tuple[Path, ...]]]) -> Iterator[tuple[Path, ...]]:
    """The first excerpt of every song, then the second, and so on."""
    for k in range(max(map(len, excerpts.values()), default=0)):
        yield from (found[k] for found in excerpts.values() if k < len(found))


SOUNDS = SoundTrainer()
