"""What a person can look at or listen to: each codec's version of an item, at equal bytes.

One codec sets the size, by its own quality: the first of enfold's, or else the anchor. Every other
gives its smallest file that is no smaller (to about 1 %), found by bisection between the qualities
that the bench has measured; one that cannot reach the size gives its nearest, and the sizes are shown.

    pictures   the crop in which all codecs together err most
    films      the same of the frame in the middle; sizes are those of the whole excerpt
    sounds     the first seconds, as FLAC, and their spectrogram
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from enfold.bench.audio_metrics import si_sdr_db
from enfold.bench.audio_peers import fitted, write_flac
from enfold.bench.metrics import psnr_db
from enfold.bench.points import PointFile
from enfold.bench.results import Results
from enfold.bench.running import Coder, Medium, find, task
from enfold.bench.video_peers import Film
from enfold.sounds import Sound

ITEMS = 3
STEPS, CLOSE = 6, 1.01          # of bisection, which ends sooner when it is that close
CROP = 320, 240                 # width, height
HEARD_SECONDS = 5
LEVELS_DB = -100, 0             # of spectrograms; a sine of full scale has 0


@dataclass(frozen=True)
class Excerpt:
    """image: a file that browsers show, of type `image_type`. sound: FLAC. about: what is seen."""

    image: bytes
    image_type: str
    about: str
    sound: bytes | None = None


@dataclass(frozen=True)
class Version:
    """What one codec makes of an item; `bytes` is None for the original."""

    label: str
    ours: bool
    bytes: int | None
    score: str
    excerpt: Excerpt


@dataclass(frozen=True)
class Comparison:
    """An item at one size: the original first, then the codec that sets the size, then the others."""

    item: str
    size: str
    versions: tuple[Version, ...]


@dataclass(frozen=True)
class Show:
    """How a medium is shown. excerpts: of the original and of all that was decoded. rates: near
    which the sizes are set."""

    rates: tuple[float, ...]
    score: Callable[[Any, Any], str]
    excerpts: Callable[[Any, Sequence[Any]], list[Excerpt]]


def comparisons(results: Results, medium: Medium, folder: Path, points: PointFile) -> list[Comparison]:
    """Of some items of a bench that was run, at one or two sizes. Encodes and decodes anew."""
    show = SHOWS[medium.name]
    ours = [curve for curve in results.curves if curve.ours]
    anchor = results.bd_rates[0].anchor if results.bd_rates else results.curves[0].codec
    setting = ours[0] if ours else results.curve(anchor)
    others = [medium.coder(curve.codec) for curve in results.curves if curve.points and curve is not setting]
    measured = {curve.codec: [point.quality for point in curve.points] for curve in results.curves}
    nearest = [min(setting.points, key=lambda point: abs(point.rate / rate - 1)).quality for rate in show.rates]
    items, _ = find(folder, medium, results.data.items)
    found = []
    for path in sorted(items)[::-(-len(items) // ITEMS)][:ITEMS]:
        media = medium.load(path)
        for quality in dict.fromkeys(nearest):
            first = medium.coder(setting.codec)
            files = {first: first.encode(media, quality)}
            for other in others:
                tasks = [task(path, items[path], other, number) for number in measured[other.name]]
                known = {t.quality: point.bytes for t in tasks if (point := points.get(t))}
                files[other] = at_least(len(files[first]), partial(other.encode, media), known)
            found.append(_comparison(path.name, media, files, show))
    return found


def at_least(size: int, encode: Callable[[float], bytes], known: Mapping[float, int]) -> bytes:
    """The smallest file of `size` bytes or more, about; the largest known where none has so many.

    known: bytes by quality, at least one. Bytes need not rise with the number of the quality.
    """
    above = min((q for q in known if known[q] >= size), key=lambda q: known[q], default=None)
    if above is None:
        return encode(max(known, key=lambda q: known[q]))
    best, below = encode(above), max((q for q in known if known[q] < size), key=lambda q: known[q], default=above)
    for _ in range(STEPS if below != above else 0):
        if len(best) <= CLOSE * size:
            break
        middle = (below + above) / 2
        data = encode(middle)
        if size <= len(data) <= len(best):
            best, above = data, middle
        else:
            below = middle
    return best


def _comparison(item: str, media: Any, files: Mapping[Coder, bytes], show: Show) -> Comparison:
    decoded = [coder.decode(data) for coder, data in files.items()]
    original, *excerpts = show.excerpts(media, decoded)
    versions = [Version("original", False, None, "", original)]
    versions += [Version(coder.label, coder.ours, len(data), show.score(media, other), excerpt)
                 for (coder, data), other, excerpt in zip(files.items(), decoded, excerpts, strict=True)]
    return Comparison(item, f"{len(next(iter(files.values()))):,} bytes", tuple(versions))


# Pictures and films.


def _picture_excerpts(original: np.ndarray, decoded: Sequence[np.ndarray]) -> list[Excerpt]:
    top, left = _worst(original, decoded)
    width, height = (min(side, limit) for side, limit in zip(original.shape[1::-1], CROP, strict=True))
    about = f"{width}×{height} pixels from {left}, {top}"
    return [Excerpt(_webp(picture[top:top + height, left:left + width]), "image/webp", about)
            for picture in (original, *decoded)]


def _worst(original: np.ndarray, decoded: Sequence[np.ndarray]) -> tuple[int, int]:
    """Top and left of the crop with the most squared error, summed over codecs, each weighed alike."""
    errors = [np.square(original.astype(np.float64) - picture).sum(2) for picture in decoded]
    total = sum(error / (error.mean() or 1) for error in errors)
    width, height = (min(side, limit) for side, limit in zip(original.shape[1::-1], CROP, strict=True))
    sums = np.pad(total, ((1, 0), (1, 0))).cumsum(0).cumsum(1)
    windows = sums[height:, width:] - sums[:-height, width:] - sums[height:, :-width] + sums[:-height, :-width]
    top, left = np.unravel_index(windows.argmax(), windows.shape)
    return int(top), int(left)


def _webp(picture: np.ndarray) -> bytes:
    out = BytesIO()
    Image.fromarray(picture).save(out, "WEBP", lossless=True, quality=50, method=4)
    return out.getvalue()


def _frames(film: Film | np.ndarray) -> list[np.ndarray]:
    return list(film.rgb() if isinstance(film, Film) else film)


def _film_excerpts(original: Film, decoded: Sequence[Film | np.ndarray]) -> list[Excerpt]:
    middle = len(original.planes) // 2
    frames = [_frames(film)[middle] for film in (original, *decoded)]
    return [Excerpt(e.image, e.image_type, f"frame {middle}, {e.about}")
            for e in _picture_excerpts(frames[0], frames[1:])]


def _film_score(original: Film, decoded: Film | np.ndarray) -> str:
    scores = [psnr_db(a, b) for a, b in zip(original.rgb(), _frames(decoded), strict=True)]
    return f"PSNR {sum(scores) / len(scores):.2f} dB"


# Sounds.


def _sound_excerpts(original: Sound, decoded: Sequence[Sound]) -> list[Excerpt]:
    return [_heard(Sound(sound.samples[:HEARD_SECONDS * sound.rate_hz], sound.rate_hz))
            for sound in (original, *(fitted(other, original) for other in decoded))]


def _heard(sound: Sound) -> Excerpt:
    pcm = (sound.samples * 2**15).round().clip(-2**15, 2**15 - 1).astype(np.int16)
    about = f"the first {sound.seconds:.1f} seconds; spectrogram from 0 to {sound.rate_hz / 2000:g} kHz, upwards"
    return Excerpt(_spectrogram(sound), "image/png", about, write_flac(Sound(pcm, sound.rate_hz)))


def _spectrogram(sound: Sound) -> bytes:
    """PNG, on no background, so that it stands on light and dark pages."""
    from matplotlib.figure import Figure

    figure = Figure((5.2, 2.4), layout="constrained", facecolor="none")
    axes = figure.subplots()
    window = np.hanning(1025)[:-1]
    mono = np.pad(sound.samples.mean(1), (0, max(1024 - len(sound.samples), 0)))
    *_, image = axes.specgram(mono, NFFT=1024, Fs=sound.rate_hz / 1000, window=window, noverlap=768, cmap="magma",
                              scale="dB", mode="magnitude", vmin=LEVELS_DB[0], vmax=LEVELS_DB[1])
    ticks = range(int(sound.seconds) + 1)
    axes.set_xticks([tick * 1000 for tick in ticks], [str(tick) for tick in ticks])
    axes.set(xlabel="seconds", ylabel="kHz", facecolor="black")
    axes.spines[:].set_visible(False)
    axes.tick_params(colors="#888888")
    for part in (axes.xaxis.label, axes.yaxis.label):
        part.set_color("#888888")
    image.set_interpolation("bilinear")
    out = BytesIO()
    figure.savefig(out, dpi=110, metadata={"Software": None})
    return out.getvalue()


def _sound_score(original: Sound, decoded: Sound) -> str:
    return f"SI-SDR {si_sdr_db(original.samples, fitted(decoded, original).samples):.1f} dB"


SHOWS = {
    "pictures": Show((0.25, 0.75), lambda a, b: f"PSNR {psnr_db(a, b):.2f} dB", _picture_excerpts),
    "films": Show((0.05, 0.2), _film_score, _film_excerpts),
    "sounds": Show((64,), _sound_score, _sound_excerpts),
}
