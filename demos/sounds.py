"""A sound in small files: how small, how far off, and what is left when a file is damaged.

    python demos/sounds.py song.flac            song-5x.wav, song-20x.wav and song-damaged.wav in demos/out/sounds
    python demos/sounds.py                      the same of half a minute of made tones and beats
"""

from __future__ import annotations

import math
import sys
import warnings
from pathlib import Path

import numpy as np

import enfold
from enfold.container import peek
from enfold.sounds import FULL_SCALE, Sound, read_sound, write_sound
from enfold.testing_sounds import sample_sound

OUT = Path(__file__).parent / "out" / "sounds"
QUALITIES = (20, 40, 60, 80, 100)


def psnr_db(a: Sound, b: Sound) -> float:
    """From the whole range, -1 to 1."""
    missed = (a.samples.astype(np.float64) - b.samples) / FULL_SCALE[a.samples.dtype.name]
    return 10 * math.log10(4 / max(np.square(missed).mean(), 1e-20))


def main(arguments: list[str], out: Path = OUT) -> None:
    path = Path(arguments[0]) if arguments else Path("tones.wav")
    sound = read_sound(path) if arguments else sample_sound(44100 * 30)
    out.mkdir(parents=True, exist_ok=True)
    print(f"{path.name}: {sound.seconds:.1f} s, {sound.samples.shape[1]} channels, {sound.rate_hz} Hz")
    print(f"{'codec':<20}{'quality':>8}{'bytes':>10}{'kbit/s':>8}{'PSNR, dB':>10}")
    for name in ("walloc-stereo-5x", "walloc-stereo-20x"):
        for quality in QUALITIES:
            data = enfold.encode(sound, name, quality=quality)
            decoded = enfold.decode(data)
            print(f"{name:<20}{quality:>8}{len(data):>10,}{8 * len(data) / sound.seconds / 1000:>8.1f}"
                  f"{psnr_db(sound, decoded):>10.2f}")
        write_sound(decoded, out / f"{path.stem}-{name.removeprefix('walloc-stereo-')}.wav")
    damaged = bytearray(data)
    damaged[peek(data).entries[0].data_start + 20] ^= 1
    with warnings.catch_warnings(record=True) as said:
        warnings.simplefilter("always")
        left = enfold.decode(bytes(damaged), allow_partial=True)
    same = (left.samples == decoded.samples).all(1).mean()
    print(f"one bit flipped: {said[-1].message}; {100 * same:.0f} % of all samples are the same to the last bit")
    write_sound(left, out / f"{path.stem}-damaged.wav")


if __name__ == "__main__":
    main(sys.argv[1:])
