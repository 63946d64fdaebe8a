"""A circuit codec's latents, which are the pixels themselves: from bytes and back, on NumPy and C alone.

A picture's planes are cut into tiles of the circuit's size, from the upper left; tiles at the right and at
the bottom may be smaller. There the circuit is marginalised: pixels that do not exist are left out of
the walk, exactly, at no cost in bits.

    SYMBOLS     the streams of all whole tiles, then of those that are cut at the right, at the bottom,
                at both; in front of each stream but the last its length, LEB128

Tiles of a kind are numbered plane by plane, row by row; tile j belongs to stream j mod n, and
n = tiles / 16, at least 1, at most 64: so a data set in one file is coded by all cores, and costs three
bytes a stream more.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from functools import cached_property, lru_cache

import numpy as np

from enfold.codec import LOSSLESS, Latent, LatentCodec
from enfold.container import Container, Limits, SectionKind
from enfold.errors import BitstreamError
from enfold.geometry import Geometry, ImageGeometry, TensorGeometry
from enfold.media import pack_alpha, unpack_alpha
from enfold.trees.flows import CircuitPlan
from enfold.trees.frozen import FrozenCircuit
from enfold.trees.marginals import expected, log2_likelihood
from enfold.trees.walk import decode, encode, schedule

TILES_A_STREAM = 16
MOST_STREAMS = 64
CODED, STORED = b"", b"\1"      # the header's parameters: by the circuit; each plane as alpha planes are
CONFIGS = {"circuit-mnist": CircuitPlan((28, 28), 256, 64, 96), "circuit-fashion": CircuitPlan((28, 28), 256, 64)}


def plan_of(name: str) -> CircuitPlan:
    """The circuit that a codec is made of: what `enfold train` trains."""
    return CONFIGS[name]


class CircuitLatents(LatentCodec):
    """weights: the arrays of a model file, see `trees.frozen`."""

    def __init__(self, name: str, weights: Mapping[str, np.ndarray], fingerprint: bytes) -> None:
        self.name, self.fingerprint = name, fingerprint
        self.height, self.width = CONFIGS[name].shape
        self.circuit = FrozenCircuit.from_arrays(weights)
        self.schedule = lru_cache(16)(self._schedule)

    def write(self, planes: np.ndarray) -> tuple[bytes, list[bytes]]:
        """uint8 (planes, H, W) → the header's parameters and the data of the SYMBOLS sections."""
        streams = []
        for kind, steps, rows in self._kinds(*planes.shape):
            tiles = np.zeros((rows.size, self.height, self.width), np.uint8)
            high, wide = kind
            tiles[:, :high, :wide] = self._tiles(planes)[rows][:, :high, :wide]
            streams += encode(self.circuit, steps, tiles.reshape(rows.size, -1), _streams(rows.size))
        coded = join_streams(streams)
        return stored(planes, coded, planes.size // 2) or (CODED, [coded])

    def write_many(self, pictures: Sequence[np.ndarray]) -> list[tuple[bytes, list[bytes]]]:
        """What `write` says of each; those of one tile of one size are walked together."""
        out: list[tuple[bytes, list[bytes]]] = [(CODED, [])] * len(pictures)
        alike: dict[tuple[int, ...], list[int]] = {}
        for number, planes in enumerate(pictures):
            alike.setdefault(planes.shape, []).append(number)
        for (count, high, wide), numbers in alike.items():
            if count > 1 or high > self.height or wide > self.width:
                for number in numbers:
                    out[number] = self.write(pictures[number])
                continue
            tiles = np.zeros((len(numbers), self.height, self.width), np.uint8)
            tiles[:, :high, :wide] = np.concatenate([pictures[number] for number in numbers])
            streams = encode(self.circuit, self.schedule(high, wide), tiles.reshape(len(numbers), -1), len(numbers))
            for number, stream in zip(numbers, streams, strict=True):
                out[number] = stored(pictures[number], stream, high * wide // 2) or (CODED, [stream])
        return out

    def read(self, parameters: bytes, sections: list[memoryview | bytes], shape: tuple[int, int, int]) -> np.ndarray:
        """The inverse of `write`: uint8 (planes, H, W). Raises BitstreamError."""
        if parameters == STORED:
            return read_stored(sections, shape)
        if parameters != CODED or len(sections) != 1:
            raise BitstreamError(f"parameters {parameters.hex()!r} and {len(sections)} sections of symbols, where none "
                                 "and one are due", section="header")
        count, height, width = shape
        kinds = list(self._kinds(*shape))
        streams = split_streams(bytes(sections[0]), sum(_streams(rows.size) for *_, rows in kinds))
        padded = np.zeros((count * _up(height, self.height) * _up(width, self.width),
                           self.height, self.width), np.uint8)
        for _, steps, rows in kinds:
            mine = [next(streams) for _ in range(_streams(rows.size))]
            padded[rows] = decode(self.circuit, steps, mine, rows.size).reshape(-1, *padded.shape[1:])
        return self._together(padded, shape)

    def latent(self, container: Container, limits: Limits = Limits()) -> Latent:
        header = container.header
        shape = planes_shape(header.geometry)
        if shape is None:
            raise BitstreamError(f"{self.name} holds 8-bit pictures, the file says {header.geometry}", section="header")
        limits.check("max_symbols", int(np.prod(shape, dtype=object)))
        return self.wrap(self.read(header.parameters, _symbols(container), shape), header.geometry)

    def latent_many(self, containers: Sequence[Container], limits: Limits = Limits()) -> list[Latent]:
        out: dict[int, Latent] = {}
        alike: dict[tuple[int, int], list[int]] = {}
        for number, container in enumerate(containers):
            shape = planes_shape(container.header.geometry)
            if shape is None or shape[0] > 1 or shape[1] > self.height or shape[2] > self.width \
                    or container.header.parameters != CODED or len(_symbols(container)) != 1:
                out[number] = self.latent(container, limits)
            else:
                limits.check("max_symbols", shape[1] * shape[2])
                alike.setdefault(shape[1:], []).append(number)
        for (high, wide), numbers in alike.items():
            streams = [bytes(_symbols(containers[number])[0]) for number in numbers]
            tiles = decode(self.circuit, self.schedule(high, wide), streams, len(numbers))
            tiles = tiles.reshape(-1, 1, self.height, self.width)[:, :, :high, :wide]
            for number, planes in zip(numbers, tiles, strict=True):
                out[number] = self.wrap(np.ascontiguousarray(planes), containers[number].header.geometry)
        return [out[number] for number in range(len(containers))]

    def wrap(self, planes: np.ndarray, geometry: Geometry) -> Latent:
        """Planes with everything that a learner wants to know of them."""
        return Latent(planes, self.values, self.name, self.fingerprint, LOSSLESS, geometry)

    def values(self, symbols: np.ndarray) -> np.ndarray:
        """float32 (C, h, w): what the circuit did not expect of each pixel, in halves of the range."""
        y, x = np.ogrid[:symbols.shape[1], :symbols.shape[2]]
        usual = self._usual[y % self.height, x % self.width]
        return ((symbols - usual) / (self.circuit.values / 2)).astype(np.float32)

    def log2_likelihood(self, planes: np.ndarray) -> np.ndarray:
        """(planes,) float64: of each plane, summed over its tiles. The lower, the less it is what was learned."""
        total = np.zeros(len(planes))
        tiles_of = _up(planes.shape[1], self.height) * _up(planes.shape[2], self.width)
        for (high, wide), _, rows in self._kinds(*planes.shape):
            known = np.zeros((self.height, self.width), bool)
            known[:high, :wide] = True
            found = log2_likelihood(self.circuit, self._tiles(planes)[rows], known.reshape(-1))
            np.add.at(total, rows // tiles_of, found)
        return total

    def bits(self, planes: np.ndarray) -> float:
        """What the circuit says that planes cost, before the byte coder adds its own."""
        from enfold.trees.walk import Measuring, walk

        total = 0.0
        for (high, wide), steps, rows in self._kinds(*planes.shape):
            tiles = np.zeros((rows.size, self.height, self.width), np.uint8)
            tiles[:, :high, :wide] = self._tiles(planes)[rows][:, :high, :wide]
            coder = Measuring(rows.size)
            walk(coder, self.circuit, steps, rows.size, tiles.reshape(rows.size, -1))
            total += float(coder.bits.sum())
        return total

    @cached_property
    def _usual(self) -> np.ndarray:
        return expected(self.circuit).reshape(self.height, self.width)

    def _schedule(self, high: int, wide: int) -> np.ndarray:
        known = np.zeros((self.height, self.width), bool)
        known[:high, :wide] = True
        return schedule(self.circuit.tree, known.reshape(-1))

    def _kinds(self, count: int, height: int, width: int) -> Iterator[tuple[tuple[int, int], np.ndarray, np.ndarray]]:
        """Of each kind of tile there is: its size, the steps through it, and the tiles' numbers."""
        rows, columns = _up(height, self.height), _up(width, self.width)
        low, right = height % self.height, width % self.width
        number = np.arange(count * rows * columns).reshape(count, rows, columns)
        last_row, last_column = rows - bool(low), columns - bool(right)
        for down, high in ((slice(last_row), self.height), (slice(last_row, None), low)):
            for across, wide in ((slice(last_column), self.width), (slice(last_column, None), right)):
                if high and wide and number[:, down, across].size:
                    yield (high, wide), self.schedule(high, wide), number[:, down, across].reshape(-1)

    def _tiles(self, planes: np.ndarray) -> np.ndarray:
        """(planes, H, W) → (tiles, height, width), zeros beyond the edges."""
        tall, wide = self.height, self.width
        count, height, width = planes.shape
        padded = np.pad(planes, ((0, 0), (0, -height % tall), (0, -width % wide)))
        cut = padded.reshape(count, _up(height, tall), tall, _up(width, wide), wide)
        return cut.swapaxes(2, 3).reshape(-1, tall, wide)

    def _together(self, tiles: np.ndarray, shape: tuple[int, int, int]) -> np.ndarray:
        count, height, width = shape
        tall, wide = tiles.shape[1:]
        grid = tiles.reshape(count, _up(height, tall), _up(width, wide), tall, wide).swapaxes(2, 3)
        return np.ascontiguousarray(grid.reshape(count, _up(height, tall) * tall, -1)[:, :height, :width])


def _symbols(container: Container) -> list[memoryview | bytes]:
    return [section.data for section in container.sections if section.kind == SectionKind.SYMBOLS]


def planes_shape(geometry: Geometry) -> tuple[int, int, int] | None:
    """(planes, H, W) of what a geometry describes; None where it is nothing of ours."""
    if geometry.dtype != "uint8":
        return None
    if isinstance(geometry, ImageGeometry):
        return 1 if geometry.mode.startswith("L") else 3, geometry.height, geometry.width
    if isinstance(geometry, TensorGeometry) and len(geometry.shape) == 3 and all(geometry.shape):
        return geometry.shape
    return None


def _up(size: int, tile: int) -> int:
    return -(-size // tile)


def _streams(tiles: int) -> int:
    return max(1, min(MOST_STREAMS, tiles // TILES_A_STREAM))


def split_streams(data: bytes, count: int) -> Iterator[bytes]:
    """So many streams, the last one to the end."""
    at = 0
    for _ in range(count - 1):
        length, shift, byte = 0, 0, 128
        while byte & 128:
            if at >= len(data) or shift > 56:
                raise BitstreamError("lengths of streams that lead beyond their section: it is damaged")
            byte = data[at]
            length |= (byte & 127) << shift
            at, shift = at + 1, shift + 7
        if at + length > len(data):
            raise BitstreamError("lengths of streams that lead beyond their section: it is damaged")
        yield data[at:at + length]
        at += length
    yield data[at:]


def join_streams(streams: list[bytes]) -> bytes:
    """Streams one after the other, each but the last with its length before it."""
    return b"".join([*(_varint(len(stream)) + stream for stream in streams[:-1]), streams[-1]])


def stored(planes: np.ndarray, coded: bytes, good: int) -> tuple[bytes, list[bytes]] | None:
    """What is not what the circuit was made for, by other means: parameters and sections, if they are smaller.

    good: of how many bytes it need not be tried.
    """
    if len(coded) <= good:
        return None
    sections = [pack_alpha(plane) for plane in planes]
    return (STORED, sections) if sum(map(len, sections)) < len(coded) else None


def read_stored(sections: list[memoryview | bytes], shape: tuple[int, int, int]) -> np.ndarray:
    """Planes (planes, H, W) from sections. Raises BitstreamError."""
    count, height, width = shape
    if len(sections) != count:
        raise BitstreamError(f"{count} planes are stored, the file has {len(sections)} sections of symbols")
    return np.stack([unpack_alpha(data, width, height) for data in sections])


def _varint(value: int) -> bytes:
    out = bytearray()
    while value > 127:
        out.append(value & 127 | 128)
        value >>= 7
    out.append(value)
    return bytes(out)
