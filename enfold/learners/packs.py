"""Opening a pack: its rows, one by one or by row groups, and the .enf file of each.

    pack = open_pack("latents/")
    len(pack), pack.info.codec, pack.info.label_names
    for row in pack.rows(): enf = pack.enf(row)
"""

from __future__ import annotations

import os
import tarfile
from collections.abc import Iterator
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np

from enfold.container import unpack
from enfold.errors import BitstreamError, MediaError, MissingWeightsError, UsageError
from enfold.learners import manifest as manifests
from enfold.learners.rows import PackInfo, Row, join, split
from enfold.learners.shards import COLUMNS, arrow, opened, rows_of, shard_info

OPEN_FILES = 16


@dataclass(frozen=True, eq=False)
class Pack:
    """folder: where it lies. info: what its samples share. shards: its files, in order."""

    folder: Path
    info: PackInfo
    shards: tuple[Path, ...]

    @property
    def streamed(self) -> bool:
        """Whether it is made of tars, which are read from one end to the other."""
        return bool(self.shards) and self.shards[0].suffix == ".tar"

    @cached_property
    def groups(self) -> tuple[tuple[int, int], ...]:
        """(shard, row group in it), in order: what is read at once."""
        return tuple((number, group) for number, path in enumerate(self.shards)
                     for group in range(opened(path).num_row_groups))

    @cached_property
    def starts(self) -> np.ndarray:
        """(groups + 1,) the number of each group's first row; the last is that of all rows."""
        rows = [opened(self.shards[number]).metadata.row_group(group).num_rows for number, group in self.groups]
        return np.concatenate([[0], np.cumsum(rows, dtype=np.int64)]).astype(np.int64)

    @cached_property
    def _files(self) -> dict[int, Any]:
        """Shards that are open: the last few that were read."""
        return {}

    def __getstate__(self) -> dict[str, Any]:
        return {name: value for name, value in self.__dict__.items() if name != "_files"}

    def __len__(self) -> int:
        return int(self.starts[-1])

    def table(self, group: int, columns: tuple[str, ...] = COLUMNS) -> Any:
        """One row group as an Arrow table. Raises BitstreamError where it is damaged."""
        number, inner = self.groups[group]
        try:
            if number not in self._files:
                while len(self._files) >= OPEN_FILES:
                    self._files.pop(next(iter(self._files))).close()
                self._files[number] = opened(self.shards[number])
            table = self._files[number].read_row_group(inner, list(columns), use_threads=False)
        except (OSError, arrow().ArrowException) as error:
            raise BitstreamError(f"{self.shards[number]}, row group {inner}: cannot be read ({error}): the shard is "
                                 "damaged; fetch it again, or remove it and its line in the manifest and pack again"
                                 ) from None
        return table.combine_chunks()

    def rows(self) -> Iterator[Row]:
        """All rows in order, each checked."""
        if self.streamed:
            for path in self.shards:
                yield from _tar_rows(path, self.info)
            return
        for group in range(len(self.groups)):
            yield from rows_of(self.table(group))

    def enf(self, row: Row) -> bytes:
        """The .enf file of a row. Under static coding the codec, with torch, codes it again."""
        return join(self.info, row, self._codec() if self.info.static is not None else None)

    def labels(self) -> np.ndarray:
        """(rows,) int64, -1 where there is none."""
        parts = [self.table(group, ("label",))["label"].fill_null(-1).to_numpy() for group in range(len(self.groups))]
        return np.concatenate(parts) if parts else np.zeros(0, np.int64)

    def keys(self) -> list[str]:
        return [key for group in range(len(self.groups)) for key in self.table(group, ("key",))["key"].to_pylist()]

    def _codec(self) -> Any:
        import enfold

        codec = enfold.load(self.info.codec)
        if codec.fingerprint != self.info.fingerprint:
            raise MissingWeightsError(self.info.codec, self.info.fingerprint,
                                      f"those at hand have fingerprint {codec.fingerprint.hex()}: list the folder of "
                                      "those the pack was made with first in ENFOLD_WEIGHTS")
        return codec


def open_pack(folder: str | os.PathLike[str]) -> Pack:
    """A pack, or a folder of Parquet shards of one. Raises MediaError, BitstreamError, UsageError."""
    path = Path(folder)
    if not path.is_dir():
        raise MediaError(f"{path} is no folder: a pack is the folder that `enfold pack` wrote")
    manifest = manifests.read(path)
    if manifest is not None:
        if not manifest.complete:
            raise UsageError(f"{path} has {len(manifest.done)} of {manifest.plan.shards} shards: repeat the command "
                             "that packs it, it goes on from there")
        shards = tuple(manifest.path(number) for number in sorted(manifest.done))
        for number, shard in zip(sorted(manifest.done), shards, strict=True):
            if not shard.exists() or shard.stat().st_size != manifest.done[number].bytes:
                raise BitstreamError(f"{shard} is missing or not of {manifest.done[number].bytes:,} bytes: fetch it "
                                     "again, or repeat the command that packs it")
        return Pack(path, manifest.info, shards)
    shards = tuple(sorted(path.glob("*.parquet")))
    if not shards:
        raise MediaError(f"{path} holds no pack: neither {manifests.NAME} nor Parquet shards")
    info = shard_info(shards[0])
    for shard in shards[1:]:
        if shard_info(shard).to_json() != info.to_json():
            raise UsageError(f"{shard} and {shards[0].name} are of different packs: keep them in folders of their own")
    return Pack(path, info, shards)


def _tar_rows(path: Path, info: PackInfo) -> Iterator[Row]:
    """A tar's samples; their labels follow them."""
    waiting: Row | None = None
    try:
        with tarfile.open(path) as tar:
            for member in tar:
                file = tar.extractfile(member)
                data = b"" if file is None else file.read()
                key, _, suffix = member.name.rpartition(".")
                if suffix == "enf":
                    if waiting is not None:
                        yield waiting
                    container = unpack(data)
                    if container.header.fingerprint != info.fingerprint:
                        raise BitstreamError(f"{path}: {member.name} is not of this pack's codec")
                    waiting = split(container, key, None)
                elif suffix == "cls" and waiting is not None and waiting.key == key:
                    waiting = replace(waiting, label=int(data))
    except (OSError, tarfile.TarError, ValueError) as error:
        raise BitstreamError(f"{path}: not a readable tar of a pack: {error}") from error
    if waiting is not None:
        yield waiting
