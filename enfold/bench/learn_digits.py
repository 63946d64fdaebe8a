"""What it buys to tell spoken words apart from latents: the same network on latents and on log-mel spectra.

    latents     (C, T)     of our file: how loud each latent is, in decibels (`learners.loudness`)
    logmel      (40, T)    of the sound as it came
    opus        (40, T)    log-mels of what Opus keeps at its lowest rate, 6 kbit/s
    signed      (C, T)     of our file: the symbols themselves

A token is a frame of as many samples as a column of latents stands for, so all have as many. Files are named
`LABEL_SPEAKER_TAKE.wav`; takes below 5 are never trained on, as the makers of the Free Spoken Digit Dataset have it.
Bytes are those of whole files: ours, and Ogg with an empty comment for Opus.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

import enfold
from enfold.bench.audio_peers import Sound, coder, fitted, read_sound
from enfold.bench.learn_runs import Cost, Learning, Run, RunFile, Score, write
from enfold.bench.machine import Machine, this_machine
from enfold.errors import UsageError
from enfold.learners.classification import Classifier
from enfold.learners.clips import Clips
from enfold.learners.fitting import Schedule
from enfold.learners.loudness import loudness_db, silence_db
from enfold.learners.samples import Origin

INPUTS = ("latents", "logmel", "opus", "signed")
RESULTS = "learn-digits.json"
PACKAGES = ("enfold", "numpy", "torch", "torchaudio", "av", "soundfile", "lightning-fabric")
LEARNING = Learning("conv", 32, 2, Schedule(epochs=10, batch_size=32, learning_rate=3e-3), seeds=3)
TESTED = 5                  # takes that are never trained on
SECONDS = 1.0               # that a network hears
MELS = 40
OPUS_KBPS = 6.0
FLOOR = 1e-6


@dataclass(frozen=True)
class DigitRow:
    """One input. bytes: of a test sound's file, the mean; None where it has none. behind: minus that of latents."""

    input: str
    shape: tuple[int, ...]
    tokens: int
    parameters: int
    bytes: float | None
    accuracy: Score
    behind: Score | None
    cost: Cost


@dataclass(frozen=True)
class DigitResults:
    data: str
    codec: str
    quality: int
    train: int
    test: int
    labels: tuple[str, ...]
    features: int
    depth: int
    schedule: Schedule
    seeds: int
    rows: tuple[DigitRow, ...]
    machine: Machine
    command: str
    date: str


@dataclass(frozen=True)
class Heard:
    """One input: of all sounds, (C, T) of each, and the bytes it took."""

    frames: list[np.ndarray]
    silence: np.ndarray
    origin: Origin
    bytes: list[int]


def bench_digits(folder: Path, out: Path, *, codec: str, quality: int | None = None, inputs: Sequence[str] = INPUTS,
                 learning: Learning = LEARNING, command: str = "", date: str = "",
                 say: Callable[[str], None] = lambda text: None) -> DigitResults:
    """folder: sounds, `LABEL_SPEAKER_TAKE.wav`. out: where runs and learn-digits.json go, and where runs that are there
    are taken up again.

    Raises UsageError, MediaError, MissingWeightsError.
    """
    if not inputs or set(inputs) - set(INPUTS):
        raise UsageError(f"inputs {', '.join(inputs) or 'none'}: they are of {', '.join(INPUTS)}")
    learning.schedules()
    files = sorted(folder.glob("*.wav"))
    labels, takes, names = labelled(files)
    held_out = takes < TESTED
    if not held_out.any() or held_out.all():
        raise UsageError(f"{folder}: {held_out.sum()} of {len(files)} sounds have a take below {TESTED}; those are "
                         "tested on, and others are needed to learn from")
    heard, column, used = inputs_of(files, inputs, codec, quality)
    frames = max(1, round(SECONDS * read_sound(files[0]).rate_hz / column))

    def clips(name: str, rows: np.ndarray) -> Clips:
        one = heard[name]
        return Clips([one.frames[row] for row in np.flatnonzero(rows)], labels[rows], frames, one.silence, one.origin,
                     names)

    def run(name: str, schedule: Schedule) -> Run:
        learnt = clips(name, ~held_out)
        learner = Classifier(learning.network, features=learning.features, depth=learning.depth, schedule=schedule)
        learner.fit(learnt)
        return Run.of(name, learner, len(learnt), {"accuracy": learner.score(clips(name, held_out))})

    out.mkdir(parents=True, exist_ok=True)
    every: dict[str, list[Run]] = {}
    for name in inputs:                 # each by itself: other weights of a codec change no log-mels
        about = ["digits", _checksum(heard[name]), learning.network, learning.features, learning.depth, frames]
        every |= RunFile(out, about).every([name], learning, run, say)
    results = DigitResults(
        folder.resolve().name, codec, used, int((~held_out).sum()), int(held_out.sum()), names, learning.features,
        learning.depth, learning.schedule, learning.seeds,
        tuple(_row(name, heard[name], every, held_out) for name in inputs), this_machine(PACKAGES), command, date)
    write(results, out / RESULTS)
    return results


def labelled(files: Sequence[Path]) -> tuple[np.ndarray, np.ndarray, tuple[str, ...]]:
    """(labels, takes, names of labels) of files called LABEL_SPEAKER_TAKE. Raises UsageError."""
    words, takes = [], []
    for file in files:
        parts = file.stem.split("_")
        if len(parts) != 3 or not parts[2].isdigit():
            raise UsageError(f"{file.name} is not called LABEL_SPEAKER_TAKE.wav, such as 7_jackson_32.wav")
        words.append(parts[0])
        takes.append(int(parts[2]))
    names = tuple(sorted(set(words)))
    return np.array([names.index(word) for word in words], np.int64), np.array(takes), names


def inputs_of(files: Sequence[Path], inputs: Sequence[str], codec: str, quality: int | None
              ) -> tuple[dict[str, Heard], int, int]:
    """Of each input all sounds; samples of a column; the quality of our files."""
    heard: dict[str, Heard] = {}
    column, used = 1, 0
    for file in files:
        sound = read_sound(file)
        data = enfold.encode(file, codec, quality=quality)
        latent = enfold.latents(data)
        column, used = _column(latent, len(sound.samples)), latent.quality
        for name in inputs:
            frames, size = _frames(name, sound, latent, len(data), column)
            if name not in heard:
                ours = Origin(codec, latent.fingerprint.hex(), used)
                nothing = {"latents": silence_db(len(frames)), "signed": np.zeros(len(frames), np.float32)}
                heard[name] = Heard([], nothing.get(name, np.full(len(frames), np.log(FLOOR), np.float32)),
                                    ours if name in nothing else Origin(f"log-mels, {name}"), [])
            heard[name].frames.append(frames)
            heard[name].bytes.append(size)
    return heard, column, used


def _column(latent: Any, samples: int) -> int:
    """Samples that a column stands for: the power of two of which as many columns cover the sound."""
    return 1 << max(0, round(np.log2(samples / latent.symbols.shape[1])))


def _frames(name: str, sound: Sound, latent: Any, size: int, column: int) -> tuple[np.ndarray, int]:
    if name == "latents":
        return loudness_db(latent.symbols), size
    if name == "signed":
        return latent.symbols.astype(np.float32), size
    if name == "opus":
        opus = coder("opus")
        data = opus.encode(sound, OPUS_KBPS)
        return logmel(fitted(opus.decode(data), sound), column), len(data)
    return logmel(sound, column), 0


def logmel(sound: Sound, column: int) -> np.ndarray:
    """float32 (MELS, T): natural logarithms of the powers of mel bands; windows of two columns, one column apart."""
    import torch
    import torchaudio

    samples = np.pad(sound.samples.mean(1), (0, -len(sound.samples) % column))
    mel = torchaudio.transforms.MelSpectrogram(sound.rate_hz, n_fft=max(256, 2 * column), win_length=2 * column,
                                               hop_length=column, n_mels=MELS)
    powers = mel(torch.from_numpy(samples))[:, :len(samples) // column]
    return torch.log(powers + FLOOR).numpy()


def _checksum(one: Heard) -> int:
    import google_crc32c

    value = google_crc32c.value(repr(one.origin).encode())
    for frames in one.frames:
        value = google_crc32c.extend(value, np.ascontiguousarray(frames).tobytes())
    return value


def _row(name: str, one: Heard, every: dict[str, list[Run]], held_out: np.ndarray) -> DigitRow:
    runs, first = every[name], every[name][0]
    size = float(np.mean([size for size, tested in zip(one.bytes, held_out, strict=True) if tested]))
    behind = None
    if name != "latents" and "latents" in every:
        each = tuple(ours.scores["accuracy"] - latents.scores["accuracy"]
                     for ours, latents in zip(runs, every["latents"], strict=True))
        error = float(np.std(each, ddof=1) / len(each) ** 0.5) if len(each) > 1 else None
        behind = Score(float(np.mean(each)), error, each)
    total = sum(size for size, tested in zip(one.bytes, held_out, strict=True) if not tested)
    return DigitRow(name, (first.channels, first.width), first.tokens, first.parameters, size or None,
                    Score.of(runs, "accuracy"), behind, Cost.of(runs, total))


def show(results: DigitResults) -> None:
    """The table, on stdout."""
    from rich.console import Console
    from rich.table import Table

    table = Table(title=f"{results.data}: {results.train:,} to learn from, {results.test:,} to be tested on, "
                        f"{results.codec} at quality {results.quality}, {results.seeds} seeds")
    for title in ("input", "shape", "bytes a sound", "accuracy, %", "against latents", "s an epoch"):
        table.add_column(title, justify="left" if title in ("input", "shape") else "right")
    for row in results.rows:
        table.add_row(row.input, "×".join(map(str, row.shape)), "" if row.bytes is None else f"{row.bytes:.0f}",
                      row.accuracy.words(1, 100), "" if row.behind is None else row.behind.words(1, 100),
                      f"{row.cost.seconds:.1f}")
    Console().print(table)
