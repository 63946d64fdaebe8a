"""From rows of a pack to latents, many at a time.

Under static coding a batch is decoded shape by shape, each in one call. Under codec coding each row
becomes its .enf file and goes through `enfold.many_latents`; threads share that work, and torch is not
imported where the codec's prior needs none.
"""

from __future__ import annotations

import os
from collections import OrderedDict
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import cached_property
from typing import Any

import google_crc32c
import numpy as np

import enfold
from enfold.errors import BitstreamError
from enfold.geometry import ImageGeometry
from enfold.learners.coding import StaticCoding
from enfold.learners.packs import Pack
from enfold.learners.rows import PackInfo, join, shape_crc
from enfold.learners.shards import rows_of

TOGETHER = 16               # files that a thread takes at once
_PARTS = ("patches", "alpha", "profile")            # what few rows have


class Group:
    """A row group, its columns as arrays; views where Arrow allows it."""

    def __init__(self, table: Any) -> None:
        self.table = table
        self.labels = _integers(table["label"], -1)
        self.grids = np.stack([_integers(table["latent_height"], 0), _integers(table["latent_width"], 0)], 1)
        self._crc32c = table["crc32c"].fill_null(0).to_numpy()
        streams = table["stream"].combine_chunks() if table["stream"].num_chunks != 1 else table["stream"].chunk(0)
        _, offsets, data = streams.buffers()
        self._ends = np.frombuffer(offsets, np.int32)[streams.offset:streams.offset + len(streams) + 1].tolist()
        self._data = memoryview(b"") if data is None else memoryview(data)
        self._more = np.zeros(len(table), bool)
        for name in _PARTS:
            self._more |= ~table[name].is_null().to_numpy()

    def streams(self, rows: np.ndarray) -> list[bytes]:
        """The streams of those rows, whose checksums are verified. Raises BitstreamError."""
        ends, data, begun, stored, extend = self._ends, self._data, self._begun, self._crc32c, google_crc32c.extend
        found = []
        for row in rows.tolist():
            stream = bytes(data[ends[row]:ends[row + 1]])
            running = extend(begun[row], stream)
            if self._more[row]:
                for name in _PARTS:
                    part = self.table[name][row].as_py()
                    running = running if part is None else extend(running, part)
            if running != stored[row]:
                raise BitstreamError(f"{self.table['key'][row].as_py()!r}: checksum mismatch: the row is damaged; "
                                     "fetch its shard again")
            found.append(stream)
        return found

    def patches(self, rows: np.ndarray) -> list[bytes | None]:
        return [self.table["patches"][row].as_py() if self._more[row] else None for row in rows.tolist()]

    @cached_property
    def _begun(self) -> list[int]:
        """The running CRC of each row before its bytes."""
        names = ("width", "height", "mode", "dtype", "parameters")
        if len(self.table) and (self.grids == self.grids[:1]).all() and \
                all(len(self.table[name].unique()) == 1 for name in names):
            *geometry, parameters = (self.table[name][0].as_py() for name in names)
            high, wide = self.grids[0].tolist()
            return [shape_crc(ImageGeometry(*geometry), (high, wide), parameters)] * len(self.table)
        known: dict[Any, int] = {}
        begun = []
        for *geometry, parameters, grid in zip(*(self.table[name].to_pylist() for name in names),
                                               map(tuple, self.grids.tolist()), strict=True):
            mark = (*geometry, parameters, grid)
            if mark not in known:
                known[mark] = shape_crc(ImageGeometry(*geometry), grid, parameters)
            begun.append(known[mark])
        return begun


class Recent:
    """The row groups of a pack that were read last, as many as fit into `most_bytes`."""

    def __init__(self, pack: Pack, most_bytes: int) -> None:
        self.pack, self.most_bytes = pack, most_bytes
        self._kept: OrderedDict[int, Group] = OrderedDict()
        self._bytes = 0

    def __getitem__(self, number: int) -> Group:
        if number in self._kept:
            self._kept.move_to_end(number)
            return self._kept[number]
        group = self._kept[number] = Group(self.pack.table(number))
        self._bytes += group.table.nbytes
        while self._bytes > self.most_bytes and len(self._kept) > 1:
            self._bytes -= self._kept.popitem(last=False)[1].table.nbytes
        return group


Selection = tuple[Group, np.ndarray, np.ndarray]    # rows of a group, and their places in the batch


class Decoder:
    """Rows → latents. symbols: integers instead of values."""

    def __init__(self, info: PackInfo, *, symbols: bool = False) -> None:
        self.info, self.symbols = info, symbols

    def __call__(self, selections: Sequence[Selection], count: int) -> np.ndarray | list[np.ndarray]:
        """float32 or int32, (count, C, h, w) where all have one shape, else a list.

        Raises BitstreamError for a damaged row, MissingWeightsError.
        """
        if self.info.static is not None:
            return self._at_once(self.info.static, selections, count)
        files = [b""] * count
        for group, rows, places in selections:
            for place, row in zip(places, rows_of(group.table.take(rows)), strict=True):
                files[place] = join(self.info, row)
        parts = [files[at:at + TOGETHER] for at in range(0, count, TOGETHER)]
        return [latent for part in self._threads.map(self._latents, parts) for latent in part]

    def _at_once(self, static: StaticCoding, selections: Sequence[Selection],
                 count: int) -> np.ndarray | list[np.ndarray]:
        streams = [b""] * count
        patches: list[bytes | None] = [None] * count
        grids = np.zeros((count, 2), np.int64)
        for group, rows, places in selections:
            grids[places] = group.grids[rows]
            for place, stream, patch in zip(places, group.streams(rows), group.patches(rows), strict=True):
                streams[place], patches[place] = stream, patch

        def decoded(grid: np.ndarray, places: np.ndarray) -> np.ndarray:
            mine = [streams[place] for place in places]
            ends = np.cumsum([len(stream) for stream in mine])
            bounds = np.stack([np.concatenate([[0], ends[:-1]]), ends], 1)
            return static.decode(b"".join(mine), bounds, (static.channels, int(grid[0]), int(grid[1])),
                                 patches=[patches[place] for place in places], symbols=self.symbols)

        if (grids == grids[:1]).all():
            return decoded(grids[0], np.arange(count)) if count else []
        latents = [np.empty(0)] * count
        for grid in np.unique(grids, axis=0):
            places = np.flatnonzero((grids == grid).all(1))
            for place, latent in zip(places, decoded(grid, places), strict=True):
                latents[place] = latent
        return latents

    def _latents(self, files: list[bytes]) -> list[np.ndarray]:
        return [latent.symbols.astype(np.int32) if self.symbols else np.asarray(latent.values, np.float32)
                for latent in enfold.many_latents(files)]

    @cached_property
    def _threads(self) -> ThreadPoolExecutor:
        return ThreadPoolExecutor(min(8, os.cpu_count() or 1), "latents")


def _integers(column: Any, missing: int) -> np.ndarray:
    return column.fill_null(missing).to_numpy().astype(np.int64)
