"""How far a decoded sound is from its original: PSNR, SI-SDR, log-spectral distance and ViSQOL.

    psnr_db     squared error, from the whole range        ours, NumPy
    si_sdr_db   energy of what is kept of the original over that of all else     ours, NumPy
    lsd_db      distance of log spectra, at three resolutions                    ours, NumPy
    visqol      what a listener would say, 1 to 5                                visqol-python

Both sounds are float arrays (samples, channels) of one shape, full scale being 1, already aligned:
a codec's delay is no distortion. SI-SDR is about the wave: a codec that synthesises noise in the
place of noise scores low, however good it sounds. The log-spectral distance forgives phases;
ViSQOL, in its mode for music and all other sound, is a model of hearing.

Guarantees: SI-SDR does not change when the decoded sound is scaled or offset; the distance of equal sounds
is 0; silence below -80 dB counts as silence; float64 throughout.

Sources: Le Roux et al. 2019, "SDR – half-baked or well done?"; Gray & Markel 1976, "Distance
measures for speech processing"; Chinen et al. 2020, "ViSQOL v3".
"""

from __future__ import annotations

import logging
import math
from collections.abc import Iterator
from functools import lru_cache
from typing import Any

import numpy as np
from numpy.lib.stride_tricks import sliding_window_view

from enfold.bench.results import Metric
from enfold.bench.running import Scored
from enfold.errors import UsageError

WINDOWS = (512, 1024, 2048)     # samples; each moves by a quarter
FLOOR = 1e-8                    # power; a sine of full scale has 1 at its peak
BLOCK = 1024                    # windows transformed at once
VISQOL_HZ = 48000
LEAST_DB = -100.0               # SI-SDR of what has nothing of the original


def si_sdr_db(original: np.ndarray, other: np.ndarray, rate_hz: int = 0) -> float:
    """Scale-invariant signal-to-distortion ratio in dB, all channels as one vector; inf for equal sounds.

    Each channel's mean, which nobody hears, is taken off first. -100 or more. Raises UsageError for
    a silent original.
    """
    _check(original, other)
    x, y = ((sound - sound.mean(0, dtype=np.float64)).ravel() for sound in (original, other))
    energy = x @ x
    if energy == 0:
        raise UsageError("the original is silent, and SI-SDR compares shapes: leave it out")
    kept = (x @ y) / energy * x
    rest = y - kept
    signal, noise = kept @ kept, rest @ rest
    if noise <= signal * np.finfo(np.float64).eps ** 2 * x.size:       # all that rounding can leave
        return math.inf if signal else LEAST_DB
    return max(10 * math.log10(signal / noise), LEAST_DB) if signal else LEAST_DB


def psnr_db(original: np.ndarray, other: np.ndarray, rate_hz: int = 0) -> float:
    """Peak signal-to-noise ratio in dB, all channels as one; inf for equal sounds.

    The peak is the whole range from -1 to 1, as that of pictures is from 0 to 255; counted from full scale, 1, all
    figures are 6.02 dB lower.
    """
    _check(original, other)
    error = np.square(original - other, dtype=np.float64).mean()
    return 10 * math.log10(4 / error) if error else math.inf


def lsd_db(original: np.ndarray, other: np.ndarray, rate_hz: int = 0) -> float:
    """Log-spectral distance in dB: of each window the root mean square over frequencies, then means
    over windows, channels and the three resolutions. Sounds are padded with half a window of silence."""
    _check(original, other)
    return math.fsum(_distance(original, other, size) for size in WINDOWS) / len(WINDOWS)


def visqol(original: np.ndarray, other: np.ndarray, rate_hz: int) -> float:
    """Mean opinion score that listeners would give, 1 to 5; channels are mixed, and resampled to 48 kHz."""
    _check(original, other)
    mono = [resampled(sound.mean(1, dtype=np.float64), rate_hz, VISQOL_HZ) for sound in (original, other)]
    return float(_visqol().measure_from_arrays(*mono, VISQOL_HZ).moslqo)


METRICS = {entry.metric.name: entry for entry in (
    Scored(Metric("psnr_db", "PSNR, dB"), psnr_db),
    Scored(Metric("si_sdr_db", "SI-SDR, dB"), si_sdr_db),
    Scored(Metric("lsd_db", "log-spectral distance, dB", higher_is_better=False), lsd_db),
    Scored(Metric("visqol", "ViSQOL"), visqol, ("visqol",)),
)}


def resampled(sound: np.ndarray, from_hz: int, to_hz: int) -> np.ndarray:
    """Along the first axis, without delay: a windowed sinc of linear phase."""
    if from_hz == to_hz:
        return sound
    from scipy.signal import resample_poly

    shared = math.gcd(from_hz, to_hz)
    return resample_poly(sound, to_hz // shared, from_hz // shared, axis=0, window=("kaiser", 8.0))


def _distance(original: np.ndarray, other: np.ndarray, size: int) -> float:
    """Mean over windows and channels, at one resolution."""
    total, count = 0.0, 0
    for x, y in zip(_levels_db(original, size), _levels_db(other, size), strict=True):
        distances = np.sqrt(np.square(x - y).mean(-1))
        total, count = total + distances.sum(), count + distances.size
    return float(total / count)


def _levels_db(sound: np.ndarray, size: int) -> Iterator[np.ndarray]:
    """Log power spectra (windows, frequencies), channel by channel, some windows at a time."""
    bell = np.hanning(size + 1)[:-1]
    padded = np.pad(sound.astype(np.float64), ((size // 2, size // 2 + -len(sound) % (size // 4)), (0, 0)))
    for channel in padded.T:
        windows = sliding_window_view(channel, size)[::size // 4]
        for start in range(0, len(windows), BLOCK):
            spectra = np.fft.rfft(windows[start:start + BLOCK] * bell) / (bell.sum() / 2)
            yield 10 * np.log10(np.maximum(np.square(np.abs(spectra)), FLOOR))


@lru_cache(maxsize=1)
def _visqol() -> Any:
    from visqol import VisqolApi

    logging.getLogger("visqol").setLevel(logging.ERROR)
    api = VisqolApi()
    api.create(mode="audio")
    return api


def _check(a: np.ndarray, b: np.ndarray) -> None:
    for sound in (a, b):
        if sound.dtype.kind != "f" or sound.ndim != 2 or not sound.size:
            raise UsageError(f"a sound is {sound.dtype} of shape {sound.shape}; "
                             "both must be floats of shape (samples, channels)")
    if a.shape != b.shape:
        raise UsageError(f"the sounds have shapes {a.shape} and {b.shape}: compare sounds of one length")
