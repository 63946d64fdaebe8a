"""Separate a voice from what plays with it, in latent space, and write both as WAV.

    python demos/separate_voices.py                     on songs that it makes up, in a few minutes
    python demos/separate_voices.py STEMS               on SONG_EXCERPT/{vocals,…}.wav; the last song is separated
    python demos/separate_voices.py STEMS SONG.flac     learns from STEMS and separates any other sound
"""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np

import enfold
from enfold.bench.learn_separation import COLUMNS, Fold, mean_scores
from enfold.bench.separation_inputs import read_songs
from enfold.learners import Schedule, Separator, Stems
from enfold.sounds import Sound, write_sound

CODEC = "walloc-stereo-5x"
OUT = Path(__file__).parent / "out" / "voices"
RATE_HZ = 44100


def make_songs(folder: Path, songs: int, seconds: float, seed: int = 0) -> Path:
    """Songs of two excerpts: a vowel that glides from note to note, over chords and a beat."""
    random = np.random.default_rng(seed)
    t = np.arange(round(seconds * RATE_HZ)) / RATE_HZ
    for number in range(songs):
        base = random.uniform(90, 140)
        for excerpt in range(2):
            notes = base * 2 ** (random.choice([0, 2, 4, 7, 9, 12], len(t) // 11025 + 2) / 12)
            pitch = np.interp(t * 4, np.arange(len(notes)), notes) * 2 * (1 + 0.01 * np.sin(2 * np.pi * 5.5 * t))
            phase = 2 * np.pi * np.cumsum(pitch) / RATE_HZ
            voice = sum(np.sin(k * phase) * np.exp(-((k * pitch - 700) / 500) ** 2) for k in range(1, 16))
            chord = sum(np.sign(np.sin(2 * np.pi * base * step * t)) for step in (1, 1.25, 1.5))
            beat = np.exp(-30 * (t * 2 % 0.5)) * random.normal(0, 1, len(t))
            place = folder / f"song{number}_{excerpt}"
            for name, sound, level in (("vocals", voice, 0.2), ("other", chord, 0.12), ("drums", beat, 0.15)):
                scaled = (level * sound / np.abs(sound).max()).astype(np.float32)
                place.mkdir(parents=True, exist_ok=True)
                write_sound(Sound(np.stack([scaled, scaled], 1), RATE_HZ), place / f"{name}.wav")
    return folder


def main(arguments: list[str], out: Path = OUT, songs: int = 4, seconds: float = 6, epochs: int = 10) -> list[Path]:
    """Prints how near the stems of a song never learnt from are, and returns the files that it wrote."""
    if len(arguments) > 2:
        raise SystemExit(__doc__)
    folder = Path(arguments[0]) if arguments else make_songs(out / "stems", songs, seconds)
    known = read_songs(folder)
    last = known[-1].name if len(arguments) < 2 else None
    others, asked = ([song for song in known if (song.name == last) is wanted] for wanted in (False, True))
    fold = Fold(others, asked, CODEC, None)
    learnt = Stems([fold.ours.mixture(song) for song in fold.learnt], [fold.ours.voice(song) for song in fold.learnt],
                   fold.ours.origin, COLUMNS)
    learner = Separator(features=64, depth=4, schedule=Schedule(epochs, 0, 16, 3e-3, 0.01))
    learner.fit(learnt, lambda epoch: print(f"epoch {epoch.epoch + 1}: loss {epoch.loss:.3f}"))
    learner.save(out / "separator.safetensors")
    codec, written = enfold.load(CODEC), []
    mixtures = [(f"{song.name}-{number}", Sound(song.mixture, song.rate_hz)) for number, song in enumerate(fold.asked)]
    told = []
    for name, mixture in mixtures or [(Path(arguments[1]).stem, arguments[1])]:
        data = enfold.encode(mixture, codec=CODEC)
        stems = [codec.sound_of(latent) for latent in learner.separate(enfold.latents(data))]
        told.append([np.asarray(stem) for stem in stems])
        for stem, sound in zip(("mixture", "voice", "rest"), (enfold.decode(data), *stems), strict=True):
            written.append(out / f"{name}-{stem}.wav")
            write_sound(sound, written[-1])
    if mixtures:
        itself = mean_scores(fold.asked, [(song.mixture, song.mixture) for song in fold.asked])
        for name, score in mean_scores(fold.asked, told).items():
            print(f"{name}: {score:.2f} (the mixture itself: {itself[name]:.2f})")
    print(f"written: {', '.join(path.name for path in written)} in {out}")
    return written


if __name__ == "__main__":
    main(sys.argv[1:])
