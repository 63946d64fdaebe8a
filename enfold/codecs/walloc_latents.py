"""WaLLoC's latents: from bytes and back, on NumPy and the entropy coder alone.

What is read here is all that a learner needs: integers, and the same in grey levels of the
companded, linearly encoded wavelet packets. `codecs/walloc.py` holds the transforms.

A large grid is cut into strips of whole rows, about 32,768 blocks each (two megapixels), every
strip a section of its own: strips are coded in parallel and bound the memory. The cut follows from
the size alone.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np

from enfold.codec import Latent, LatentCodec
from enfold.container import Container, Limits, SectionKind
from enfold.entropy.coders import Decoder, Encoder
from enfold.entropy.frozen import FrozenLocationScale
from enfold.entropy.interlaced import code_grid
from enfold.errors import BitstreamError
from enfold.geometry import ImageGeometry

BLOCK = 8
COMPAND_WIDTH = 64.0        # grey levels up to which the compand is nearly the identity
STRIP_BLOCKS = 1 << 15
MOST_WORKERS = 8             # a strip takes up to 150 MB while it is coded


@dataclass(frozen=True)
class WallocConfig:
    """What tells one WaLLoC codec from another. Steps in grey levels."""

    latents: int
    groups: tuple[int, ...]
    coarsest_step: float
    finest_step: float
    width: int
    blocks: int


CONFIGS = {
    "walloc-rgb-16x": WallocConfig(12, (1, 2, 3, 6), 120.0, 20.0, 128, 4),
    "walloc-rgb-4x": WallocConfig(48, (1, 2, 5, 12, 28), 90.0, 13.0, 96, 4),
}


class WallocLatents(LatentCodec):
    """weights: the arrays of a model file, see `WallocModel.frozen`."""

    def __init__(self, name: str, weights: Mapping[str, np.ndarray], fingerprint: bytes) -> None:
        self.name, self.fingerprint = name, fingerprint
        self.config = CONFIGS[name]
        self.steps = weights["steps"]                # (100, C) float32, in grey levels
        self.floor = weights["floor"]                # (100, C) float32, dyadic
        self.power = weights["compand.power"].reshape(-1, 1, 1)
        self.context = {key[len("context."):]: weights[key] for key in weights if key.startswith("context.")}
        self.density = FrozenLocationScale.from_arrays(weights, "density.")

    def prior(self, coder: Any, shape: tuple[int, ...], quality: int, latent: np.ndarray | None = None) -> Any:
        """Codes one strip of latents (C, h, w); see `entropy.interlaced`."""
        floor = self.floor[quality - 1][:, None]
        return code_grid(coder, self.density, self.context, floor, self.config.groups, shape, latent)

    def write(self, symbols: np.ndarray, quality: int) -> list[bytes]:
        """Symbols (C, h, w) → a stream for each strip."""
        def one(rows: slice) -> bytes:
            coder = Encoder()
            self.prior(coder, symbols[:, rows].shape, quality, symbols[:, rows])
            return coder.finish()
        return _each(one, strips(*symbols.shape[1:]))

    def cost_bits(self, symbols: np.ndarray, quality: int) -> float:
        """What the tables say that symbols cost, before the byte coder adds its own."""
        def one(rows: slice) -> float:
            coder = Encoder()
            self.prior(coder, symbols[:, rows].shape, quality, symbols[:, rows])
            return coder.bits
        return sum(_each(one, strips(*symbols.shape[1:])))

    def read(self, streams: list[bytes], height: int, width: int, quality: int) -> np.ndarray:
        """The inverse of `write`: int16 (C, height, width), in blocks."""
        symbols = np.empty((self.config.latents, height, width), np.int16)
        rows = strips(height, width)
        if len(streams) != len(rows):
            raise BitstreamError(f"{width}×{height} blocks are {len(rows)} strips, the file has {len(streams)}")

        def one(part: tuple[slice, bytes]) -> None:
            coder = Decoder(part[1])
            values = self.prior(coder, symbols[:, part[0]].shape, quality)
            coder.finish()
            if np.abs(values).max(initial=0) > np.iinfo(np.int16).max:
                raise BitstreamError("a symbol is larger than any encoder writes", section="symbols")
            symbols[:, part[0]] = values
        _each(one, list(zip(rows, streams, strict=True)))
        return symbols

    def values(self, symbols: np.ndarray, quality: int) -> np.ndarray:
        """Dequantised latents, float32 (C, h, w), in grey levels; the compand undone."""
        companded = symbols * self.steps[quality - 1][:, None, None]
        grown = np.log1p(np.abs(companded) * (self.power / COMPAND_WIDTH)) / self.power
        return (np.sign(companded) * np.expm1(grown) * COMPAND_WIDTH).astype(np.float32)

    def latent(self, container: Container, limits: Limits = Limits()) -> Latent:
        header = container.header
        geometry, parameters = header.geometry, header.parameters
        if not isinstance(geometry, ImageGeometry):
            raise BitstreamError(f"{self.name} holds pictures, the file says {geometry}", section="header")
        if len(parameters) != 1 or not 1 <= parameters[0] <= 100:
            raise BitstreamError(f"parameters {parameters.hex()!r} where one byte of quality is due", section="header")
        height, width = blocks(geometry.height), blocks(geometry.width)
        limits.check("max_symbols", self.config.latents * height * width)
        streams = [bytes(s.data) for s in container.sections if s.kind == SectionKind.SYMBOLS]
        return self.wrap(self.read(streams, height, width, parameters[0]), parameters[0], geometry)

    def wrap(self, symbols: np.ndarray, quality: int, geometry: ImageGeometry) -> Latent:
        """Symbols with everything that a learner wants to know of them."""
        return Latent(symbols, partial(self.values, quality=quality), self.name, self.fingerprint, quality, geometry)


def blocks(samples: int) -> int:
    """How many blocks cover so many samples."""
    return -(-samples // BLOCK)


def strips(height: int, width: int) -> list[slice]:
    """The rows of each strip of a grid of height × width blocks."""
    rows = max(8, STRIP_BLOCKS // width // 8 * 8)
    return [slice(at, min(at + rows, height)) for at in range(0, height, rows)]


def _each(function: Any, items: list[Any]) -> list[Any]:
    if len(items) == 1:
        return [function(items[0])]
    with ThreadPoolExecutor(min(MOST_WORKERS, os.cpu_count() or 1)) as pool:
        return list(pool.map(function, items))
