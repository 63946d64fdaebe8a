"""Codecs of pictures as the bench sees them: what a user would pick instead, and enfold's own.

    jpeg       quality, Huffman tables optimised, 4:2:0           libjpeg-turbo, by Pillow
    webp       quality, method 4                                  libwebp, by Pillow
    avif       quality, speed 6, 4:2:0                            libavif, by Pillow
    jxl        Butteraugli distance, effort 7                     libjxl, by pillow-jxl-plugin
    jpeg2000   PSNR in dB, 9/7 wavelet, colour transform          OpenJPEG, by Pillow
    avif-down  1 to 100; see `downscaled`                         libavif, by Pillow

and CompressAI's, of which `compressai_peers` tells. Each turns a uint8 RGB array into the bytes of a
whole file and back, on as many threads as it chooses itself.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from functools import lru_cache
from io import BytesIO
from typing import Any

import numpy as np
from PIL import Image, __version__, features

from enfold.bench import compressai_peers, downscaled
from enfold.bench.machine import installed
from enfold.bench.ours import our_coder
from enfold.bench.running import Coder
from enfold.errors import UsageError


@dataclass(frozen=True)
class _Peer:
    label: str
    format: str
    library: str            # Pillow's name for it, or a package
    settings: str
    qualities: tuple[float, ...]
    options: Callable[[float], Mapping[str, Any]]


LOSSY: dict[str, _Peer] = {
    "jpeg": _Peer("JPEG", "JPEG", "libjpeg_turbo", "quality; optimised, 4:2:0", (10, 20, 30, 40, 50, 65, 80, 90),
                  lambda q: {"quality": round(q), "optimize": True, "subsampling": "4:2:0"}),
    "webp": _Peer("WebP", "WEBP", "webp", "quality; method 4", (5, 15, 30, 50, 70, 80, 88, 94),
                  lambda q: {"quality": q, "method": 4}),
    "avif": _Peer("AVIF", "AVIF", "avif", "quality; speed 6, 4:2:0", (15, 25, 35, 45, 55, 65, 75, 85),
                  lambda q: {"quality": round(q), "speed": 6, "subsampling": "4:2:0"}),
    "jxl": _Peer("JPEG XL", "JXL", "pillow-jxl-plugin", "distance; effort 7", (8, 5.5, 4, 3.2, 2.5, 1.6, 1, 0.6),
                 lambda distance: {"quality": _jxl_quality(distance), "effort": 7}),
    "jpeg2000": _Peer("JPEG 2000", "JPEG2000", "jpg_2000", "PSNR, dB; 9/7 wavelet, colour transform",
                      (26, 28, 30, 32, 34, 36, 38, 41),
                      lambda db: {"quality_mode": "dB", "quality_layers": [db], "irreversible": True, "mct": 1}),
}
LOSSLESS: dict[str, _Peer] = {
    "png": _Peer("PNG", "PNG", "zlib_ng", "optimised", (0,), lambda _: {"optimize": True}),
    "webp-lossless": _Peer("WebP lossless", "WEBP", "webp", "method 4, quality 80", (0,),
                           lambda _: {"lossless": True, "method": 4, "quality": 80, "exact": True}),
    "jxl-lossless": _Peer("JPEG XL lossless", "JXL", "pillow-jxl-plugin", "effort 7", (0,),
                          lambda _: {"lossless": True, "effort": 7}),
    "zstd": _Peer("zstd", "", "pyarrow", "level 19, of the bytes as they are", (0,), lambda _: {}),
}


DOWNSCALED = "avif-down"


@lru_cache(maxsize=32)
def coder(name: str) -> Coder:
    """A peer, or else one of enfold's codecs. Raises UsageError, MissingWeightsError."""
    if name in compressai_peers.PEERS:
        return compressai_peers.coder(name)
    if name == DOWNSCALED:
        return replace(_made("avif", LOSSY["avif"]), name=name, label=downscaled.LABEL, settings=downscaled.SETTINGS,
                       qualities=downscaled.QUALITIES, encode=downscaled.encode, decode=downscaled.decode)
    peer = LOSSY.get(name) or LOSSLESS.get(name)
    return our_coder(name) if peer is None else _made(name, peer)


def _made(name: str, peer: _Peer) -> Coder:
    if not peer.format:
        return _zstd(name, peer)
    if peer.format == "JXL":
        try:
            import pillow_jxl  # noqa: F401 (registers the format with Pillow)
        except ImportError:
            raise UsageError("JPEG XL needs pillow-jxl-plugin: pip install 'enfold[bench]', "
                             f"or leave {name} out of --peers") from None
        version = f"{peer.library} {installed(peer.library)}"
    else:
        found = features.version(peer.library)
        if found is None and not features.check(peer.format.lower().replace("jpeg2000", "jpg_2000")):
            raise UsageError(f"this Pillow was built without {peer.label}: leave {name} out of --peers")
        version = f"{peer.library.replace('_', '-')} {found}, Pillow {__version__}"

    def encode(rgb: np.ndarray, quality: float) -> bytes:
        out = BytesIO()
        Image.fromarray(rgb).save(out, peer.format, **peer.options(quality))
        return out.getvalue()

    return Coder(name, peer.label, version, peer.settings, peer.qualities, encode, _pixels)


def _zstd(name: str, peer: _Peer) -> Coder:
    try:
        import pyarrow
    except ImportError:
        raise UsageError("zstd comes with pyarrow: pip install 'enfold[data]', "
                         f"or leave {name} out of --peers") from None
    codec = pyarrow.Codec("zstd", compression_level=19)

    def encode(rgb: np.ndarray, quality: float) -> bytes:
        return np.array(rgb.shape, "<u4").tobytes() + codec.compress(rgb.tobytes(), asbytes=True)

    def decode(data: bytes) -> np.ndarray:
        shape = np.frombuffer(data[:12], "<u4").tolist()
        size = shape[0] * shape[1] * shape[2]
        return np.frombuffer(codec.decompress(data[12:], size, asbytes=True), np.uint8).reshape(shape)

    return Coder(name, peer.label, f"pyarrow {installed('pyarrow')}", peer.settings, peer.qualities, encode, decode)


def _pixels(data: bytes) -> np.ndarray:
    return np.array(Image.open(BytesIO(data)).convert("RGB"))


def _jxl_quality(distance: float) -> float:
    """The plugin's quality for one of libjxl's distances: the inverse of JxlEncoderDistanceFromQuality,
    a line from quality 100 to 30 (distance 6.4) and a parabola below."""
    if not 0.1 <= distance <= 25:
        raise UsageError(f"JPEG XL distance {distance:g}: give 0.1 (best picture) to 25 (smallest file)")
    if distance <= 6.4:
        return 100 - (distance - 0.1) / 0.09
    square, linear = 53 / 3000, 23 / 20
    return (linear - math.sqrt(linear**2 - 4 * square * (25 - distance))) / (2 * square)
