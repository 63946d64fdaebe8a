"""vqgan-rgb's latents: from bytes and back, on NumPy and the entropy coder alone.

A position of the grid stands for 16×16 pixels and holds one index, of a word in a codebook; `quality` says
which codebook, and how much a bit is worth where the encoder chooses words. All indices are one section of
the file, or, so that losses are harmless, a section for each of a few packets:

    header's parameters     quality; and the number of packets, where it is not one
    a packet's section      its number, where there are several; then the entropy coder's stream

What is lost is filled by the network that codes: see `entropy.masked`, which also says which positions
make a packet. `codecs/vqgan.py` holds the transforms.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np

from enfold.codec import Latent, LatentCodec
from enfold.container import Container, Limits, SectionKind
from enfold.entropy.coders import Decoder, Encoder, Guesser, Quantizer
from enfold.entropy.exact import thaw
from enfold.entropy.masked import Cells, MaskedConfig, WordSoftmax, cells, code_cells, empty, features_of, put
from enfold.errors import BitstreamError, UsageError
from enfold.geometry import ImageGeometry
from enfold.strips import each

BLOCK = 16
MOST_PACKETS = 64


@dataclass(frozen=True)
class VqganConfig:
    """What tells one codec of the family from another. widths: of the networks at a sample for 2×2, 4×4, 8×8 and
    16×16 pixels; analysis_blocks, synthesis_blocks: residual blocks at the last."""

    prior: MaskedConfig
    widths: tuple[int, int, int, int]
    analysis_blocks: int
    synthesis_blocks: int

    @property
    def sizes(self) -> tuple[int, ...]:
        """Of the codebooks, in words."""
        return self.prior.sizes

    @property
    def dimensions(self) -> int:
        """Of a word."""
        return self.prior.dimensions


CONFIGS = {
    "vqgan-rgb": VqganConfig(MaskedConfig(sizes=(8, 16, 64, 256, 1024, 4096), dimensions=32, hidden=192, aim=64),
                             widths=(32, 64, 96, 128), analysis_blocks=2, synthesis_blocks=3),
}


class VqganLatents(LatentCodec):
    """weights: the arrays of a model file, see `VqganModel.frozen`.

    symbols: int16 (1, h, w), h and w in blocks of 16 pixels. values: float32 (D, h, w), the points of the
    analysis that the words stand for: the same space for every quality.
    """

    def __init__(self, name: str, weights: Mapping[str, np.ndarray], fingerprint: bytes) -> None:
        self.name, self.fingerprint = name, fingerprint
        self.config = CONFIGS[name]
        self.words = {size: weights[f"words.{size}"].astype(np.float32) for size in self.config.sizes}
        self.features = {size: features_of(words) for size, words in self.words.items()}
        self.weights = thaw({key[len("prior."):]: weights[key] for key in weights if key.startswith("prior.")})
        self.biases = {key[len("bias."):]: weights[key].astype(np.float32)[..., None]
                       for key in weights if key.startswith("bias.")}
        self.density = WordSoftmax()

    def size(self, quality: int) -> int:
        """Of the codebook that a quality uses."""
        return self.config.sizes[book_of(quality, len(self.config.sizes))]

    def prior(self, coder: Any, quality: int, shape: tuple[int, ...], groups: list[Cells],
              given: Callable[[Cells], np.ndarray] | None = None, known: np.ndarray | None = None) -> np.ndarray:
        """Codes some cells of a grid of a shape; returns it, int32 (h, w), zero elsewhere.

        known: what is known of others, nothing by default. See `entropy.masked.code_cells`.
        """
        size = self.size(quality)
        biases = {name: bias[self.config.sizes.index(size)] for name, bias in self.biases.items()}
        known = empty(self.config.prior, *shape) if known is None else known
        coded = code_cells(coder, self.density, self.weights, biases, self.config.prior, size, known, groups,
                           self.features[size].__getitem__, given)
        indices = np.zeros(shape, np.int32)
        for group, values in zip(groups, coded, strict=True):
            indices[group] = values
        return indices

    def quantise(self, points: np.ndarray, quality: int, price: float, packets: int = 1) -> np.ndarray:
        """Points (D, h, w) → int16 (1, h, w): words near to them, bits at a price in squared distance."""
        words, (height, width) = self.words[self.size(quality)], points.shape[1:]
        lengths = np.square(words).sum(1)

        def distances(part: Cells) -> np.ndarray:
            return lengths - 2 * (points[:, part[0], part[1]].T @ words.T)

        def one(groups: list[Cells]) -> np.ndarray:
            return self.prior(Quantizer(price), quality, (height, width), groups, distances)

        return _sum(each(one, cells(height, width, packets)))

    def write(self, symbols: np.ndarray, quality: int, packets: int = 1) -> list[bytes]:
        """Symbols (1, h, w) → a stream for each packet."""
        return [coder.finish() for coder in self._encoders(symbols, quality, packets)]

    def cost_bits(self, symbols: np.ndarray, quality: int, packets: int = 1) -> float:
        """What the network says that symbols cost, before the byte coder adds its own."""
        return sum(coder.bits for coder in self._encoders(symbols, quality, packets))

    def read(self, streams: Mapping[int, bytes], height: int, width: int, quality: int, packets: int) -> np.ndarray:
        """The inverse of `write`, int16 (1, h, w). streams: of each packet by its number; what is missing is filled."""
        order = cells(height, width, packets)

        def one(item: tuple[int, bytes]) -> np.ndarray:
            coder = Decoder(item[1])
            indices = self.prior(coder, quality, (height, width), order[item[0]])
            coder.finish()
            return indices

        symbols = _sum(each(one, list(streams.items())), height, width)
        lost = np.ones((height, width), bool)
        for number in streams:
            for group in order[number]:
                lost[group] = False
        return self.fill(symbols, quality, lost)

    def fill(self, symbols: np.ndarray, quality: int, lost: np.ndarray) -> np.ndarray:
        """Symbols (1, h, w), those at `lost`, bool (h, w), replaced by the words that the others make likeliest."""
        if not lost.any():
            return symbols
        known, there = empty(self.config.prior, *lost.shape), np.nonzero(~lost)
        put(known, there, self.features[self.size(quality)][symbols[0][there]])
        groups: list[Cells] = [(rows[gone], columns[gone]) for rows, columns in cells(*lost.shape)[0]
                               if (gone := lost[rows, columns]).any()]
        guesses = self.prior(Guesser(), quality, lost.shape, groups, known=known)
        return np.where(lost, guesses, symbols).astype(np.int16)

    def latent(self, container: Container, limits: Limits = Limits(), *, allow_partial: bool = False) -> Latent:
        """allow_partial: a packet may be missing, and is filled; else it is a BitstreamError."""
        header = container.header
        geometry, parameters = header.geometry, header.parameters
        if not isinstance(geometry, ImageGeometry):
            raise BitstreamError(f"{self.name} holds pictures, the file says {geometry}", section="header")
        quality, packets = parameters[0] if parameters else 0, parameters[1] if len(parameters) == 2 else 1
        if len(parameters) not in (1, 2) or not 1 <= quality <= 100 or not 1 <= packets <= MOST_PACKETS:
            raise BitstreamError(f"parameters {parameters.hex()!r} where a quality and perhaps a number of packets are "
                                 "due", section="header")
        height, width = self.blocks(geometry.height), self.blocks(geometry.width)
        limits.check("max_symbols", height * width)
        streams: dict[int, bytes] = {}
        for section in (s for s in container.sections if s.kind == SectionKind.SYMBOLS):
            data = bytes(section.data)
            number, data = (data[0] if data else packets, data[1:]) if packets > 1 else (0, data)
            if number in streams or number >= packets:
                raise BitstreamError(f"a packet of number {number}, of {packets}, where another is due",
                                     section="symbols")
            streams[number] = data
        if len(streams) < packets and not allow_partial:
            raise BitstreamError(f"{len(streams)} packets where {packets} are due: to fill what is missing, allow a "
                                 "partial file")
        return self.wrap(self.read(streams, height, width, quality, packets), quality, geometry)

    def wrap(self, symbols: np.ndarray, quality: int, geometry: ImageGeometry) -> Latent:
        """Symbols with everything that a learner wants to know of them."""
        return Latent(symbols, partial(self.values, quality=quality), self.name, self.fingerprint, quality, geometry)

    def values(self, symbols: np.ndarray, quality: int) -> np.ndarray:
        return np.ascontiguousarray(self.words[self.size(quality)][symbols[0]].transpose(2, 0, 1))

    def blocks(self, samples: int) -> int:
        """How many blocks cover so many pixels."""
        return -(-samples // BLOCK)

    def _encoders(self, symbols: np.ndarray, quality: int, packets: int) -> list[Encoder]:
        """For each packet, an Encoder that has coded it."""
        indices = symbols[0].astype(np.int32)
        height, width = indices.shape

        def one(groups: list[Cells]) -> Encoder:
            coder = Encoder()
            self.prior(coder, quality, indices.shape, groups, indices.__getitem__)
            return coder

        return each(one, cells(height, width, packets))


def book_of(quality: int, books: int) -> int:
    """The number of the codebook that a quality uses."""
    return (quality - 1) * books // 100


def packet_sections(streams: list[bytes]) -> list[bytes]:
    """The data of the sections that hold the streams of a file's packets."""
    return streams if len(streams) == 1 else [bytes([number]) + stream for number, stream in enumerate(streams)]


def check_packets(packets: int) -> None:
    """Raises UsageError."""
    if isinstance(packets, bool) or not isinstance(packets, int) or not 1 <= packets <= MOST_PACKETS:
        raise UsageError(f"packets is {packets!r}; it is a whole number from 1 to {MOST_PACKETS}")


def _sum(parts: list[np.ndarray], *shape: int) -> np.ndarray:
    """Grids (h, w) that are zero where others are not → int16 (1, h, w)."""
    total = np.sum(parts, 0) if parts else np.zeros(shape, np.int32)
    return total.astype(np.int16)[None]
