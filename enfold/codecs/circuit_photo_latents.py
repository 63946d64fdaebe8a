"""A circuit-photo file's pixels: from bytes and back, on NumPy and C alone.

    SYMBOLS     the streams of all bands, from the top; in front of each but the last its length, LEB128

A picture of H × W pixels is cut into bands of rows, as many as it has 2^18 pixels, 1 to 64: band n of N
begins at row H · n // N. Each is coded by itself (`trees.scan`), so cores share the work. What is no photograph,
as a blank page or noise, is stored if that is smaller: if the header's parameters are `01`, there is a section
for each plane, as the ALPHA section has it.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from itertools import pairwise
from typing import Any

import numpy as np

from enfold.codec import LOSSLESS, Latent, LatentCodec
from enfold.codecs.circuit_latents import CODED, STORED, join_streams, read_stored, split_streams, stored
from enfold.container import Container, Limits, SectionKind
from enfold.errors import BitstreamError
from enfold.geometry import Geometry, ImageGeometry
from enfold.trees.bells import untrained
from enfold.trees.scan import ScanModel, decode, encode

BAND_PIXELS = 1 << 18
MOST_BANDS = 64
GREEN_FIRST = [1, 0, 2]         # and back


def untrained_model(name: str) -> dict[str, np.ndarray]:
    """The arrays that `enfold train` begins with."""
    return untrained()


class CircuitPhotoLatents(LatentCodec):
    """weights: the arrays of a model file, see `trees.scan`."""

    def __init__(self, name: str, weights: Mapping[str, np.ndarray], fingerprint: bytes) -> None:
        self.name, self.fingerprint = name, fingerprint
        self.model = ScanModel.from_arrays(weights)

    def write(self, planes: np.ndarray) -> tuple[bytes, list[bytes]]:
        """uint8 (1 or 3, H, W), red first → the header's parameters and the data of the SYMBOLS sections."""
        ordered = planes if len(planes) == 1 else planes[GREEN_FIRST]
        coded = join_streams(_each(lambda rows: encode(self.model, ordered[:, rows]), _bands(*planes.shape[1:])))
        return stored(planes, coded, 0) or (CODED, [coded])

    def read(self, parameters: bytes, sections: list[memoryview | bytes], shape: tuple[int, int, int]) -> np.ndarray:
        """The inverse of `write`. Raises BitstreamError."""
        if parameters == STORED:
            return read_stored(sections, shape)
        if parameters != CODED or len(sections) != 1:
            raise BitstreamError(f"parameters {parameters.hex()!r} and {len(sections)} sections of symbols, where none "
                                 "and one are due", section="header")
        channels, height, width = shape
        bands = _bands(height, width)
        streams = dict(zip([rows.start for rows in bands], split_streams(bytes(sections[0]), len(bands)), strict=True))
        planes = np.concatenate(_each(
            lambda rows: decode(self.model, streams[rows.start], (channels, rows.stop - rows.start, width)), bands), 1)
        return planes if channels == 1 else planes[GREEN_FIRST]

    def latent(self, container: Container, limits: Limits = Limits()) -> Latent:
        geometry = container.header.geometry
        if not isinstance(geometry, ImageGeometry) or geometry.dtype != "uint8":
            raise BitstreamError(f"{self.name} holds 8-bit pictures, the file says {geometry}", section="header")
        shape = 1 if geometry.mode.startswith("L") else 3, geometry.height, geometry.width
        limits.check("max_symbols", int(np.prod(shape, dtype=object)))
        sections = [section.data for section in container.sections if section.kind == SectionKind.SYMBOLS]
        return self.wrap(self.read(container.header.parameters, sections, shape), geometry)

    def wrap(self, planes: np.ndarray, geometry: Geometry) -> Latent:
        """Planes with everything that a learner wants to know of them; values are those of pixels, -1 to 1."""
        return Latent(planes, lambda symbols: (symbols / 127.5 - 1).astype(np.float32), self.name, self.fingerprint,
                      LOSSLESS, geometry)


def _bands(height: int, width: int) -> list[slice]:
    count = max(1, min(MOST_BANDS, height * width // BAND_PIXELS, height))
    edges = [height * number // count for number in range(count + 1)]
    return [slice(start, stop) for start, stop in pairwise(edges)]


def _each(function: Callable[[slice], Any], bands: list[slice]) -> list[Any]:
    if len(bands) == 1:
        return [function(bands[0])]
    with ThreadPoolExecutor(min(len(bands), os.cpu_count() or 1)) as pool:
        return list(pool.map(function, bands))
