"""Codecs of films as the bench sees them: what a user would pick instead, and enfold's own.

    x264-veryfast, x264-medium    libx264, that preset      H.264
    x265-veryfast, x265-medium    libx265, that preset      H.265
    svtav1                        SVT-AV1, preset 8         AV1

Quality is CRF. All have closed groups of the same number of frames and no others, B-frames as the
preset has them, one thread, and are tuned for PSNR (SVT-AV1 is so by itself). Bytes are those of
the raw stream with all headers, without the message in which x264 names its settings.

Colour. A film is first brought to 8-bit 4:2:0 of limited range, which most are already, and loses
an odd last row or column: these planes are what the peers code. One conversion makes RGB of them,
of the original and of what was decoded alike: BT.709, limited range, chroma bilinear between
samples that lie to the left, as MPEG-2 and its successors have them. enfold's codecs get that RGB.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from fractions import Fraction
from functools import lru_cache
from io import BytesIO
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np

from enfold.bench.ours import our_coder
from enfold.bench.running import Coder
from enfold.errors import MediaError, UsageError

HINT = "pip install 'enfold[bench]'"
KR, KB = 0.2126, 0.0722         # BT.709: red's and blue's share of luma
os.environ.setdefault("SVT_LOG", "1")       # errors only; it greets on stderr otherwise


@dataclass(frozen=True, eq=False)
class Film:
    """planes: uint8 (frames, height·3/2, width): of each frame the luma, then both chromas at half
    its size, row after row."""

    planes: np.ndarray
    frame_rate: Fraction

    @property
    def height(self) -> int:
        return self.planes.shape[1] * 2 // 3

    @property
    def width(self) -> int:
        return self.planes.shape[2]

    @property
    def mpix(self) -> float:
        return len(self.planes) * self.height * self.width / 1e6

    def rgb(self) -> Iterator[np.ndarray]:
        """uint8 (height, width, 3), frame by frame."""
        return (_rgb(frame, self.height, self.width) for frame in self.planes)


@dataclass(frozen=True)
class _Peer:
    """format: FFmpeg's name of the raw stream. cut: a filter of FFmpeg's for the stream."""

    label: str
    encoder: str
    format: str
    settings: str
    crfs: tuple[float, ...]
    parameters: Mapping[str, str]
    cut: str | None = None


def _x264(preset: str) -> _Peer:
    return _Peer(f"x264 {preset}", "libx264", "h264", f"preset {preset}", (17, 21, 25, 29, 33, 37),
                 {"preset": preset, "tune": "psnr", "x264opts": "keyint={gop}:min-keyint={gop}:scenecut=0:open-gop=0"},
                 "filter_units=remove_types=6")


def _x265(preset: str) -> _Peer:
    return _Peer(f"x265 {preset}", "libx265", "hevc", f"preset {preset}", (17, 21, 25, 29, 33, 37),
                 {"preset": preset, "tune": "psnr",
                  "x265-params": "info=0:keyint={gop}:min-keyint={gop}:scenecut=0:open-gop=0:pools=none:"
                                 "frame-threads=1:log-level=error"})


PEERS: dict[str, _Peer] = {
    "x264-veryfast": _x264("veryfast"), "x264-medium": _x264("medium"),
    "x265-veryfast": _x265("veryfast"), "x265-medium": _x265("medium"),
    "svtav1": _Peer("SVT-AV1", "libsvtav1", "obu", "preset 8", (25, 33, 41, 49, 56, 63),
                    {"preset": "8", "svtav1-params": "lp=1:keyint={gop}:irefresh-type=2:scd=0:tune=1"}),
}


@lru_cache(maxsize=32)
def coder(name: str, gop: int) -> Coder:
    """A peer, or else one of enfold's codecs. gop: frames from one key frame to the next.
    Raises UsageError, MissingWeightsError."""
    peer = PEERS.get(name)
    return our_coder(name) if peer is None else _made(name, peer, gop)


def read_film(path: Path, frames: int = 0) -> Film:
    """The first `frames` of a film, 0 for all. Raises MediaError, UsageError."""
    av = _av()
    try:
        with av.open(str(path)) as file:
            stream = file.streams.video[0]
            planes = [_planes(frame) for frame in islice(file.decode(stream), frames or None)]
            return Film(np.stack(planes), stream.average_rate or Fraction(25))
    except (av.FFmpegError, IndexError, ValueError) as error:
        raise MediaError(f"{path.name}: not a film that can be read: {error}") from error


def _planes(frame: Any) -> np.ndarray:
    height, width = frame.height & ~1, frame.width & ~1
    frame = frame.reformat(format="yuv420p", dst_color_range="MPEG")
    parts = [np.frombuffer(plane, np.uint8).reshape(-1, plane.line_size)[:height // n, :width // n].ravel()
             for plane, n in zip(frame.planes, (1, 2, 2), strict=True)]
    return np.concatenate(parts).reshape(-1, width)


def _rgb(planes: np.ndarray, height: int, width: int) -> np.ndarray:
    luma, chroma = planes[:height], planes[height:].reshape(2, height // 2, width // 2)
    y = (luma.astype(np.float32) - 16) / 219
    cb, cr = (_twice(c) for c in (chroma.astype(np.float32) - 128) / 224)
    red, blue = y + 2 * (1 - KR) * cr, y + 2 * (1 - KB) * cb
    green = (y - KR * red - KB * blue) / (1 - KR - KB)
    return (np.stack([red, green, blue], -1) * 255).round().clip(0, 255).astype(np.uint8)


def _twice(plane: np.ndarray) -> np.ndarray:
    """Bilinear: new columns lie on and half way between the old ones, new rows a quarter off them."""
    right = np.concatenate([plane[:, 1:], plane[:, -1:]], 1)
    wide = np.stack([plane, (plane + right) / 2], -1).reshape(len(plane), -1)
    above, below = np.concatenate([wide[:1], wide[:-1]]), np.concatenate([wide[1:], wide[-1:]])
    return np.stack([(above + 3 * wide) / 4, (below + 3 * wide) / 4], 1).reshape(-1, wide.shape[1])


def _made(name: str, peer: _Peer, gop: int) -> Coder:
    av = _av()
    if peer.encoder not in av.codecs_available:
        raise UsageError(f"this PyAV was built without {peer.encoder}: leave {name} out of --peers")

    def encode(film: Film, crf: float) -> bytes:
        out = BytesIO()
        with av.open(out, "w", format=peer.format) as file:
            options = {key: value.format(gop=gop) for key, value in peer.parameters.items()}
            stream = file.add_stream(peer.encoder, rate=film.frame_rate, options={**options, "crf": f"{crf:g}"})
            stream.width, stream.height, stream.pix_fmt, stream.thread_count = film.width, film.height, "yuv420p", 1
            stream.codec_context.gop_size = gop
            cut = av.BitStreamFilterContext(peer.cut or "null", stream)
            for number, planes in enumerate(film.planes):
                frame = av.VideoFrame.from_ndarray(planes, format="yuv420p")
                frame.pts = number
                file.mux([kept for packet in stream.encode(frame) for kept in cut.filter(packet)])
            file.mux([kept for packet in stream.encode(None) for kept in cut.filter(packet)])
        return out.getvalue()

    def decode(data: bytes) -> Film:
        with av.open(BytesIO(data), format=peer.format) as file:
            stream = file.streams.video[0]
            stream.thread_count = 1
            return Film(np.stack([_planes(frame) for frame in file.decode(stream)]), Fraction(1))

    version = f"FFmpeg {av.ffmpeg_version_info}, PyAV {av.__version__}"
    settings = f"CRF; {peer.settings}, tuned for PSNR, GOP {gop}, one thread"
    return Coder(name, peer.label, version, settings, peer.crfs, encode, decode)


def _av() -> Any:
    try:
        import av
    except ImportError:
        raise UsageError(f"the bench of films needs PyAV, which carries FFmpeg: {HINT}") from None
    return av
