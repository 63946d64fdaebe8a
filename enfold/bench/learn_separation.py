"""What it buys to separate voices in latents: the same network on latents, and on columns of samples as many and long.

    latents     (C, T)     of our file of the mixture; targets are latents of the voice
    resampled   (C, T)     the mixture at a rate of C numbers a column, cut into columns: middle, then side
    pca         (C, T)     the C principal components, over the training set, of columns of samples at the full rate

A column of latents stands for so many samples, and a column of each of the others for as many, with as many numbers in
it: network, tokens and arithmetic are alike, and so is the time of training. Each song in turn is never trained on;
the others' voices are mixed with one another's accompaniments, anew for each fold and the same for all inputs. (The
codec itself may have been trained on some of these songs: see its card.)

Scores are those of waveforms at full rate, against the stems as they were recorded: PSNR with the whole range of
samples as its peak, SI-SDR, and SDR, the plain ratio of energies. What is not voice is the mixture as each input keeps
it, less the voice. Two lines need no learning: `mixture` takes the recorded mixture for either stem; `codec` takes
the stems themselves through the codec, which is as far as latents could lead. Errors are those of the mean over songs.
"""

from __future__ import annotations

import math
import statistics
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from enfold.bench.audio_metrics import si_sdr_db
from enfold.bench.learn_runs import Learning, Run, RunFile, Score, write
from enfold.bench.machine import Machine, this_machine
from enfold.bench.separation_inputs import (
    INPUTS,
    Components,
    Latents,
    Representation,
    Resampled,
    Song,
    mixed,
    read_songs,
)
from enfold.errors import UsageError
from enfold.learners.fitting import Schedule
from enfold.learners.separate import Separator, Stems

RESULTS = "learn-separation.json"
PACKAGES = ("enfold", "numpy", "torch", "scipy", "soundfile", "lightning-fabric")
LEARNING = Learning("conv", 64, 4, Schedule(epochs=8, batch_size=16, learning_rate=3e-3, weight_decay=0.01), seeds=1)
COLUMNS = 256               # of the windows that are learnt from
REMIXES = 4                 # mixtures of each voice to learn from, beside its own
SCORES = tuple(f"{stem}_{measure}" for stem in ("voice", "rest") for measure in ("psnr_db", "si_sdr_db", "sdr_db"))


@dataclass(frozen=True)
class SeparationRow:
    """One input, or what needs no learning. scores: over songs. behind: minus those of latents, song by song."""

    input: str
    shape: tuple[int, ...]
    parameters: int
    seconds: float
    scores: Mapping[str, Score]
    behind: Mapping[str, Score]


@dataclass(frozen=True)
class SeparationResults:
    """songs: their names, in the order of each score; kbps: of our files of the mixtures."""

    data: str
    codec: str
    quality: int
    songs: tuple[str, ...]
    excerpts: int
    kbps: float
    features: int
    depth: int
    schedule: Schedule
    seeds: int
    rows: tuple[SeparationRow, ...]
    machine: Machine
    command: str
    date: str


def bench_separation(folder: Path, out: Path, *, codec: str, quality: int | None = None,
                     inputs: Sequence[str] = INPUTS, learning: Learning = LEARNING, command: str = "", date: str = "",
                     say: Callable[[str], None] = lambda text: None) -> SeparationResults:
    """folder: SONG_EXCERPT/{vocals,…}.wav, one rate and length for all stems of an excerpt. out: where runs and
    learn-separation.json go, and where runs that are there are taken up again.

    Raises UsageError, MediaError, MissingWeightsError.
    """
    if not inputs or set(inputs) - set(INPUTS):
        raise UsageError(f"inputs {', '.join(inputs) or 'none'}: they are of {', '.join(INPUTS)}")
    learning.schedules()
    songs = read_songs(folder)
    names = tuple(sorted({song.name for song in songs}))
    if len(names) < 2:
        raise UsageError(f"{folder} holds excerpts of {len(names)} songs: one is tested on, others are learnt from")
    out.mkdir(parents=True, exist_ok=True)
    every: dict[str, list[list[Run]]] = {name: [] for name in inputs}
    unlearnt: dict[str, list[dict[str, float]]] = {"mixture": [], "codec": []}
    kbps, used = [], 0
    for name in names:
        asked = [song for song in songs if song.name == name]
        fold = Fold([song for song in songs if song.name != name], asked, codec, quality)
        say(f"{name} is not learnt from")

        def run(input: str, schedule: Schedule, fold: Fold = fold) -> Run:
            return fold.run(input, Separator(features=learning.features, depth=learning.depth, schedule=schedule))

        runs: dict[str, list[Run]] = {}
        for input in inputs:            # each by itself: other weights of the codec change no samples
            about = ["separation", fold.checksum, repr(fold.representation(input).origin), learning.features,
                     learning.depth, COLUMNS, REMIXES]
            runs |= RunFile(out, about).every([input], learning, run, say)
        for input, done in runs.items():
            every[input].append(done)
        kbps += [8 * fold.ours.bytes_of(song) / song.seconds / 1000 for song in asked]
        used = fold.ours.quality
        unlearnt["mixture"].append(mean_scores(asked, [(song.mixture, song.mixture) for song in asked]))
        unlearnt["codec"].append(mean_scores(asked, [(fold.ours.kept(song.voice, song.rate_hz),
                                                      fold.ours.kept(song.rest, song.rate_hz)) for song in asked]))
    rows = [_row(input, every[input], every.get("latents")) for input in inputs]
    rows += [SeparationRow(input, (), 0, 0.0, _over_songs(scores), {}) for input, scores in unlearnt.items()]
    results = SeparationResults(folder.resolve().name, codec, used, names, len(songs), statistics.mean(kbps),
                                learning.features, learning.depth, learning.schedule, learning.seeds, tuple(rows),
                                this_machine(PACKAGES), command, date)
    write(results, out / RESULTS)
    return results


class Fold:
    """One song is asked, the others are learnt from."""

    def __init__(self, learnt: Sequence[Song], asked: Sequence[Song], codec: str, quality: int | None) -> None:
        import google_crc32c

        self.learnt, self.asked = mixed(learnt, REMIXES), asked
        self.ours = Latents(codec, quality)
        self._made: dict[str, Representation] = {"latents": self.ours}
        self.checksum = 0
        for song in (*self.learnt, *self.asked):
            self.checksum = google_crc32c.extend(self.checksum, np.ascontiguousarray(song.mixture).tobytes())

    def representation(self, input: str) -> Representation:
        if input not in self._made:
            channels, block = self.ours.size(self.learnt[0])
            self._made[input] = Resampled(channels, block) if input == "resampled" else \
                Components(channels, block, self.learnt)
        return self._made[input]

    def run(self, input: str, learner: Separator) -> Run:
        made = self.representation(input)
        stems = Stems([made.mixture(song) for song in self.learnt], [made.voice(song) for song in self.learnt],
                      made.origin, COLUMNS)
        learner.fit(stems)
        del stems
        mixtures = [made.mixture(song) for song in self.asked]
        voices = learner.predict(Stems(mixtures, mixtures, made.origin))
        told = [(made.sound(voice, song), made.sound(mixture - voice, song))
                for mixture, voice, song in zip(mixtures, voices, self.asked, strict=True)]
        return Run.of(input, learner, learner.history_[0].samples, mean_scores(self.asked, told))


def mean_scores(songs: Sequence[Song], told: Sequence[Any]) -> dict[str, float]:
    """Means over excerpts. told: of each (voice, rest), float32 (samples, channels)."""
    each: dict[str, list[float]] = {name: [] for name in SCORES}
    for song, stems in zip(songs, told, strict=True):
        for name, true, said in zip(("voice", "rest"), (song.voice, song.rest), stems, strict=True):
            missed = max(np.square(true - said, dtype=np.float64).mean(), 1e-12)
            each[f"{name}_psnr_db"].append(10 * math.log10(4 / missed))
            each[f"{name}_sdr_db"].append(10 * math.log10(np.square(true, dtype=np.float64).mean() / missed))
            each[f"{name}_si_sdr_db"].append(si_sdr_db(true, said))
    return {name: statistics.mean(values) for name, values in each.items()}


def _over_songs(scores: Sequence[Mapping[str, float]]) -> dict[str, Score]:
    made = {}
    for name in SCORES:
        each = tuple(song[name] for song in scores)
        made[name] = Score(statistics.mean(each), statistics.stdev(each) / len(each) ** 0.5, each)
    return made


def _row(input: str, runs: Sequence[Sequence[Run]], latents: Sequence[Sequence[Run]] | None) -> SeparationRow:
    def songs(of: Sequence[Sequence[Run]]) -> list[dict[str, float]]:
        """Of each song, means over seeds."""
        return [{name: statistics.mean(run.scores[name] for run in done) for name in SCORES} for done in of]

    ours, behind = songs(runs), {}
    if latents is not None and input != "latents":
        behind = _over_songs([{name: one[name] - other[name] for name in SCORES}
                              for one, other in zip(ours, songs(latents), strict=True)])
    first = runs[0][0]
    seconds = statistics.mean(run.seconds for done in runs for run in done)
    return SeparationRow(input, (first.channels, first.width), first.parameters, seconds, _over_songs(ours), behind)


def show(results: SeparationResults) -> None:
    """The table, on stdout."""
    from rich.console import Console
    from rich.table import Table

    table = Table(title=f"{results.data}: {results.excerpts} excerpts of {len(results.songs)} songs, each song told "
                        f"apart by what was learnt from the others; {results.codec}, {results.kbps:.0f} kbit/s",
                  caption="dB; in brackets: against latents, song by song")
    table.add_column("input")
    for name in SCORES:
        stem, _, measure = name.partition("_")
        table.add_column(f"{stem} {measure.removesuffix('_db').upper().replace('_', '-')}", justify="right")
    for row in results.rows:
        table.add_row(row.input, *(row.scores[name].words(2) + (f" ({row.behind[name].words(2)})" if row.behind else "")
                                   for name in SCORES))
    Console().print(table)
