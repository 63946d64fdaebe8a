"""Latents of a picture as a grid, cut into strips: what picture codecs with such latents share.

A large grid is cut into strips of whole rows, every strip a section of its own: strips are coded in
parallel and bound the memory. The cut follows from the size alone, so the bytes never depend on
threads or limits. NumPy only.
"""

from __future__ import annotations

import os
from abc import abstractmethod
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import Any

import numpy as np

from enfold.codec import Latent, LatentCodec
from enfold.container import Container, Limits, SectionKind
from enfold.entropy.coders import Decoder, Encoder
from enfold.errors import BitstreamError
from enfold.geometry import ImageGeometry

MOST_WORKERS = 8            # a strip takes up to 200 MB while it is coded
Side = Callable[[np.ndarray], np.ndarray] | None
MOST = np.iinfo(np.int16).max
ROWS = 8                    # strips are this many rows high, or a multiple of it


class StripLatents(LatentCodec):
    """A LatentCodec of pictures: `prior` and `values` make a whole one.

    block:      side of the square of pixels that a position of the grid stands for.
    channels:   latents at each position.
    positions:  about how many a strip holds.
    """

    block: int
    channels: int
    positions: int

    @abstractmethod
    def prior(self, coder: Any, shape: tuple[int, ...], quality: int, latent: np.ndarray | None = None,
              hyper: np.ndarray | None = None) -> Any:
        """Codes one strip of latents (C, h, w), and what else it is told of them."""

    @abstractmethod
    def values(self, symbols: np.ndarray, quality: int) -> np.ndarray:
        """Dequantised latents, float32 (C, h, w)."""

    def write(self, symbols: np.ndarray, quality: int, hyper: Side = None) -> list[bytes]:
        """Symbols (C, h, w) → a stream for each strip. hyper: makes a strip's hyper-latents of it."""
        return [coder.finish() for coder in self._encoders(symbols, quality, hyper)]

    def cost_bits(self, symbols: np.ndarray, quality: int, hyper: Side = None) -> float:
        """What the tables say that symbols cost, before the byte coder adds its own."""
        return sum(coder.bits for coder in self._encoders(symbols, quality, hyper))

    def read(self, streams: list[bytes], height: int, width: int, quality: int) -> np.ndarray:
        """The inverse of `write`: int16 (C, height, width), in blocks."""
        symbols = np.empty((self.channels, height, width), np.int16)
        rows = self.strips(height, width)
        if len(streams) != len(rows):
            raise BitstreamError(f"{width}×{height} blocks are {len(rows)} strips, the file has {len(streams)}")

        def one(part: tuple[slice, bytes]) -> None:
            coder = Decoder(part[1])
            values = self.prior(coder, symbols[:, part[0]].shape, quality)
            coder.finish()
            if np.abs(values).max(initial=0) > MOST:
                raise BitstreamError("a symbol is larger than any encoder writes", section="symbols")
            symbols[:, part[0]] = values

        each(one, list(zip(rows, streams, strict=True)))
        return symbols

    def latent(self, container: Container, limits: Limits = Limits()) -> Latent:
        header = container.header
        geometry, parameters = header.geometry, header.parameters
        if not isinstance(geometry, ImageGeometry):
            raise BitstreamError(f"{self.name} holds pictures, the file says {geometry}", section="header")
        if len(parameters) != 1 or not 1 <= parameters[0] <= 100:
            raise BitstreamError(f"parameters {parameters.hex()!r} where one byte of quality is due", section="header")
        height, width = self.blocks(geometry.height), self.blocks(geometry.width)
        limits.check("max_symbols", self.channels * height * width)
        streams = [bytes(s.data) for s in container.sections if s.kind == SectionKind.SYMBOLS]
        return self.wrap(self.read(streams, height, width, parameters[0]), parameters[0], geometry)

    def wrap(self, symbols: np.ndarray, quality: int, geometry: ImageGeometry) -> Latent:
        """Symbols with everything that a learner wants to know of them."""
        return Latent(symbols, partial(self.values, quality=quality), self.name, self.fingerprint, quality, geometry)

    def blocks(self, samples: int) -> int:
        """How many blocks cover so many samples."""
        return -(-samples // self.block)

    def strips(self, height: int, width: int) -> list[slice]:
        """The rows of each strip of a grid of height × width blocks."""
        rows = max(ROWS, self.positions // width // ROWS * ROWS)
        return [slice(at, min(at + rows, height)) for at in range(0, height, rows)]

    def _encoders(self, symbols: np.ndarray, quality: int, hyper: Side) -> list[Encoder]:
        """For each strip, an Encoder that has coded it."""
        def one(rows: slice) -> Encoder:
            coder, strip = Encoder(), symbols[:, rows]
            self.prior(coder, strip.shape, quality, strip, hyper(strip) if hyper else None)
            return coder

        return each(one, self.strips(*symbols.shape[1:]))


def each(function: Callable[[Any], Any], items: list[Any]) -> list[Any]:
    """A function's results for some strips, worked out side by side."""
    if len(items) == 1:
        return [function(items[0])]
    with ThreadPoolExecutor(min(MOST_WORKERS, os.cpu_count() or 1)) as pool:
        return list(pool.map(function, items))
