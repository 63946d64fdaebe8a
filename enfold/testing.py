"""The conformance kit: what every codec must hold, ours and others'. Here for pictures; `testing_sounds` for sounds.

    from enfold.testing import check_codec
    check_codec(enfold.load("walloc-rgb-16x"))

Each check is one promise, named after it, and raises AssertionError with the case that broke it.
`damaged` makes broken files without end; `symbols_in_process` decodes in a process of its own,
with other threads and other vector instructions.
"""

from __future__ import annotations

import hashlib
import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np

from enfold.codec import Codec, PictureCodec
from enfold.container import Limits, SectionKind, unpack
from enfold.errors import BitstreamError, LimitError, UsageError
from enfold.media import Picture
from enfold.sound_codec import SoundCodec
from enfold.testing_sounds import CHECKS as SOUND_CHECKS

SIZES = ((1, 1), (1, 17), (7, 8), (9, 31), (64, 64), (70, 123))
CHANNELS = {"L": None, "LA": 2, "RGB": 3, "RGBA": 4}

# environments in which a file must give the same symbols
VARIATIONS: dict[str, dict[str, str]] = {
    "one thread": {"OMP_NUM_THREADS": "1", "MKL_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1"},
    "many threads": {"OMP_NUM_THREADS": "4", "MKL_NUM_THREADS": "4", "OPENBLAS_NUM_THREADS": "4"},
    "no vector kernels": {"ATEN_CPU_CAPABILITY": "default", "NPY_DISABLE_CPU_FEATURES": "AVX2 AVX512F"},
    "AVX2 kernels": {"ATEN_CPU_CAPABILITY": "avx2", "OPENBLAS_CORETYPE": "Haswell"},
    "oldest BLAS kernels": {"OPENBLAS_CORETYPE": "Prescott", "MKL_ENABLE_INSTRUCTIONS": "SSE4_2"},
    "oneDNN limited": {"ONEDNN_MAX_CPU_ISA": "SSE41"},
    "no C coder": {"ENFOLD_NO_C": "1"},
}


def sample(height: int, width: int, mode: str = "RGB", seed: int = 0) -> np.ndarray:
    """A picture with smooth parts, edges and noise: uint8 (H, W) or (H, W, channels)."""
    random = np.random.default_rng([height, width, seed])
    y, x = np.mgrid[:height, :width] / 32.0
    planes = []
    for plane in range(CHANNELS[mode] or 1):
        wave = 90 * np.sin(x + random.uniform(0, 6)) * np.cos(0.7 * y + random.uniform(0, 6))
        edge = 60 * ((x * random.uniform(-1, 1) + y) % 3 > 1.5)
        noise = random.normal(0, 6, (height, width)) * (y > height / 64)
        planes.append(np.clip(110 + wave + edge + noise, 0, 255) if plane < 3 else 255 * (x > 1))
    return np.stack(planes, -1).astype(np.uint8)[..., 0 if CHANNELS[mode] is None else slice(None)]


def check_codec(codec: Codec) -> None:
    """Every check that its medium has, on one codec."""
    checks: Any = SOUND_CHECKS if isinstance(codec, SoundCodec) else CHECKS
    for check in checks:
        check(codec)


def check_round_trip_keeps_size_mode_and_alpha(codec: PictureCodec) -> None:
    for height, width in SIZES:
        for mode in CHANNELS:
            picture = sample(height, width, mode)
            decoded = codec.decode(codec.encode(picture))
            assert np.asarray(decoded).shape == picture.shape, (height, width, mode, np.asarray(decoded).shape)
            assert decoded.mode == mode, (mode, decoded.mode)
            if mode.endswith("A"):
                assert decoded.alpha is not None
                assert np.array_equal(decoded.alpha, picture[..., -1]), (height, width, mode, "alpha")


def check_quality_orders_bytes_and_error(codec: PictureCodec) -> None:
    """Of a lossless codec: every quality gives the picture back."""
    picture = sample(160, 200)
    if getattr(codec, "lossless", False):
        for quality in (1, 50, 100):
            assert np.array_equal(np.asarray(codec.decode(codec.encode(picture, quality=quality))), picture), quality
        return
    files = [codec.encode(picture, quality=q) for q in (1, 50, 100)]
    errors = [np.square(np.asarray(codec.decode(f)) - picture.astype(float)).mean() for f in files]
    assert len(files[0]) < len(files[1]) < len(files[2]), [len(f) for f in files]
    assert errors[0] > errors[1] > errors[2], errors


def check_colour_profile_is_kept(codec: PictureCodec) -> None:
    picture = Picture(sample(16, 16), icc_profile=bytes(range(200)))
    assert codec.decode(codec.encode(picture)).icc_profile == picture.icc_profile


def check_encoding_is_deterministic(codec: PictureCodec) -> None:
    picture = sample(70, 123)
    assert codec.encode(picture) == codec.encode(picture.copy())


def check_latents_of_media_and_bytes_agree(codec: PictureCodec) -> None:
    for height, width in SIZES:
        picture = sample(height, width)
        ours, theirs = codec.latents(picture, quality=60), codec.latents(codec.encode(picture, quality=60))
        assert np.array_equal(ours.symbols, theirs.symbols), (height, width)
        assert np.array_equal(ours.values, theirs.values), (height, width)
        assert (ours.quality, ours.geometry, ours.fingerprint) == (theirs.quality, theirs.geometry, theirs.fingerprint)


def check_estimated_bits_are_the_bytes_written(codec: PictureCodec) -> None:
    """Within 0.5 %, once the file is large enough for its fixed costs not to count."""
    import torch

    if not isinstance(codec, torch.nn.Module):
        return
    picture = sample(512, 512)
    for quality in (20, 60, 95):
        streams = [s.data for s in unpack(codec.encode(picture, quality=quality)).sections
                   if s.kind == SectionKind.SYMBOLS]
        written = sum(len(s) for s in streams)
        _, bits = codec(torch.from_numpy(picture).permute(2, 0, 1)[None].float(), quality)
        estimated = bits.item() / 8
        assert abs(written - estimated) <= 0.005 * estimated + 12, (quality, written, estimated)


def check_bad_quality_is_refused_in_words(codec: PictureCodec) -> None:
    wrong: tuple[Any, ...] = (0, 101, 50.5, "high", True)
    for quality in wrong:
        try:
            codec.encode(sample(8, 8), quality=quality)
        except UsageError as error:
            assert repr(quality) in str(error), str(error)
        else:
            raise AssertionError(f"quality {quality!r} was taken")


def check_limits_hold(codec: PictureCodec) -> None:
    data = codec.encode(sample(64, 64))
    for limits in (Limits(max_pixels=4095), Limits(max_bytes=100), Limits(max_symbols=10)):
        try:
            codec.decode(data, limits=limits)
        except LimitError:
            continue
        raise AssertionError(f"decoded in spite of {limits}")


def check_repr_names_codec_and_weights(codec: PictureCodec) -> None:
    assert codec.name in repr(codec) and codec.fingerprint.hex() in repr(codec), repr(codec)


def check_every_damage_is_named(codec: PictureCodec, count: int = 500, seed: int = 0) -> None:
    """Flips, cuts, swaps and random bytes: each a BitstreamError, never a picture."""
    files = [codec.encode(sample(64, 64)), codec.encode(sample(40, 24, "RGBA"), quality=20)]
    for kind, broken in damaged(files, count, seed):
        try:
            codec.decode(broken)
        except BitstreamError:
            continue
        raise AssertionError(f"{kind} of a {len(broken)}-byte file went through")


CHECKS: tuple[Callable[[PictureCodec], None], ...] = (
    check_round_trip_keeps_size_mode_and_alpha,
    check_quality_orders_bytes_and_error,
    check_colour_profile_is_kept,
    check_encoding_is_deterministic,
    check_latents_of_media_and_bytes_agree,
    check_estimated_bits_are_the_bytes_written,
    check_bad_quality_is_refused_in_words,
    check_limits_hold,
    check_repr_names_codec_and_weights,
    check_every_damage_is_named,
)


def damaged(files: list[bytes], count: int, seed: int = 0) -> Iterator[tuple[str, bytes]]:
    """`count` broken files: (what was done, the bytes). None equals the file it was made from."""
    random = np.random.default_rng(seed)
    made = 0
    while made < count:
        data = files[random.integers(len(files))]
        broken = bytearray(data)
        kind = ("bit flip", "byte burst", "cut", "swap", "insertion", "random bytes", "splice")[random.integers(7)]
        at, other = sorted(int(n) for n in random.integers(len(data), size=2))
        if kind == "bit flip":
            for position in random.integers(len(data) * 8, size=random.integers(1, 9)):
                broken[position // 8] ^= 1 << position % 8
        elif kind == "byte burst":
            broken[at:other] = random.bytes(other - at)
        elif kind == "cut":
            del broken[at:]
        elif kind == "swap":
            length = min(other - at, len(data) - other)
            broken[at:at + length], broken[other:other + length] = \
                broken[other:other + length], broken[at:at + length]
        elif kind == "insertion":
            broken[at:at] = random.bytes(int(random.integers(1, 20)))
        elif kind == "random bytes":
            broken = bytearray(random.bytes(int(random.integers(0, 300))))
        else:
            broken[at:] = files[random.integers(len(files))][at:]
        if bytes(broken) not in files:
            made += 1
            yield kind, bytes(broken)


_PROGRAM = """
import hashlib, sys, enfold
for path in sys.argv[1:]:
    latent = enfold.latents(open(path, "rb").read())
    print(hashlib.sha256(latent.symbols.astype("<i4").tobytes()).hexdigest())
"""


def symbols_hash(symbols: np.ndarray) -> str:
    """SHA-256 of symbols as 32-bit little-endian integers."""
    return hashlib.sha256(symbols.astype("<i4").tobytes()).hexdigest()


def symbols_in_process(paths: list[Path], variation: str) -> list[str]:
    """`symbols_hash` of each file, decoded in a fresh process under one of VARIATIONS."""
    done = subprocess.run([sys.executable, "-c", _PROGRAM, *map(str, paths)], capture_output=True, text=True,
                          env={**os.environ, **VARIATIONS[variation]}, check=False, timeout=300)
    if done.returncode:
        raise AssertionError(f"under {variation!r}: {done.stderr[-2000:]}")
    return done.stdout.split()
