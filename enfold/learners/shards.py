"""Shards: files of rows, each written aside and then renamed, so that it is whole or not there.

    part-00000.parquet      columns as in `COLUMNS`, PackInfo in the schema's metadata
    part-00000.tar          KEY.enf and KEY.cls, for those who stream tars

Guarantee: the bytes of a shard follow from its rows alone.
"""

from __future__ import annotations

import io
import json
import os
import tarfile
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

from enfold.errors import BitstreamError, MediaError, UsageError
from enfold.geometry import ImageGeometry
from enfold.learners.rows import METADATA, PackInfo, Row, join

COLUMNS = ("key", "label", "width", "height", "mode", "dtype", "latent_height", "latent_width", "parameters",
           "stream", "patches", "alpha", "profile", "crc32c")
GROUP_ROWS = 1024           # rows of a row group: what is read, and shuffled, as one
SMALL_GROUP = 1 << 20       # bytes below which one goes on
MOST_ROWS = 8192            # to so many
GROUP_BYTES = 1 << 26       # and the bytes after which one ends in any case


def arrow() -> Any:
    """pyarrow; UsageError with the way to get it where it is missing."""
    try:
        import pyarrow as pa
        import pyarrow.parquet
    except ImportError:
        raise UsageError("packs need Arrow: pip install 'enfold[data]'") from None
    return pa


def schema(info: PackInfo) -> Any:
    """The Arrow schema of a pack's shards; Hugging Face's `datasets` finds the class names in it."""
    pa = arrow()
    types = {"key": pa.string(), "label": pa.int64(), "mode": pa.string(), "dtype": pa.string(), "crc32c": pa.uint32(),
             **dict.fromkeys(("width", "height", "latent_height", "latent_width"), pa.int32()),
             **dict.fromkeys(("parameters", "stream", "patches", "alpha", "profile"), pa.binary())}
    metadata = {METADATA: info.to_json().encode()}
    if info.label_names is not None:
        features: dict[str, Any] = {name: {"dtype": str(types[name]), "_type": "Value"} for name in COLUMNS}
        features["label"] = {"names": list(info.label_names), "_type": "ClassLabel"}
        metadata[b"huggingface"] = json.dumps({"info": {"features": features}}, ensure_ascii=False).encode()
    return pa.schema([pa.field(name, types[name]) for name in COLUMNS], metadata)


class ShardWriter(ABC):
    """`add` rows, then `close`; a shard that is not closed leaves nothing under its name."""

    SUFFIX: str

    def __init__(self, folder: Path, number: int, info: PackInfo) -> None:
        self.path = folder / f"part-{number:05}{self.SUFFIX}"
        self._aside = folder / f".{self.path.name}.part"
        self.info, self.rows = info, 0

    @abstractmethod
    def add(self, row: Row) -> None:
        """Raises MediaError where writing fails."""

    @abstractmethod
    def _finish(self) -> None: ...

    def close(self) -> None:
        """The shard appears under its name."""
        try:
            self._finish()
            with self._aside.open("rb") as file:
                os.fsync(file.fileno())
            os.replace(self._aside, self.path)
        except OSError as error:
            self.abandon()
            raise failed(self.path, error) from error

    def abandon(self) -> None:
        """Leaves no trace of what was written so far."""
        self._aside.unlink(missing_ok=True)


class ParquetShard(ShardWriter):
    SUFFIX = ".parquet"

    def __init__(self, folder: Path, number: int, info: PackInfo) -> None:
        super().__init__(folder, number, info)
        pa = arrow()
        self._schema, self._bytes = schema(info), 0
        self._waiting: list[Row] = []
        shared = ["mode", "dtype", "parameters", "profile", "label", "width", "height", "latent_height", "latent_width"]
        try:
            self._file = self._aside.open("wb")
        except OSError as error:
            raise failed(self.path, error) from error
        self._writer = pa.parquet.ParquetWriter(
            self._file, self._schema, use_dictionary=shared, write_page_checksum=True,
            write_statistics=["key", "label"],
            column_encoding={"stream": "DELTA_LENGTH_BYTE_ARRAY", "key": "DELTA_BYTE_ARRAY"},
            compression={name: "none" if name in ("stream", "alpha") else "zstd" for name in COLUMNS})

    def add(self, row: Row) -> None:
        self._waiting.append(row)
        self._bytes += sum(len(part) for part in (row.stream, row.alpha, row.profile) if part)
        self.rows += 1
        count = len(self._waiting)
        if (count >= GROUP_ROWS and self._bytes >= SMALL_GROUP) or count == MOST_ROWS or self._bytes >= GROUP_BYTES:
            try:
                self._flush()
            except OSError as error:
                self.abandon()
                raise failed(self.path, error) from error

    def abandon(self) -> None:
        with suppress(OSError, arrow().ArrowException):     # it writes its end, even where there is no room
            self._writer.close()
        self._writer.is_open = False
        with suppress(OSError):
            self._file.close()
        super().abandon()

    def _flush(self) -> None:
        columns = zip(*map(_values, self._waiting), strict=True)
        pa = arrow()
        arrays = [pa.array(column, field.type) for column, field in zip(columns, self._schema, strict=True)]
        self._writer.write_table(pa.Table.from_arrays(arrays, schema=self._schema),
                                 row_group_size=len(self._waiting))
        self._waiting, self._bytes = [], 0

    def _finish(self) -> None:
        if self._waiting:
            self._flush()
        self._writer.close()
        self._file.flush()
        self._file.close()


class TarShard(ShardWriter):
    """Members in the order of the rows; times and owners are left out."""

    SUFFIX = ".tar"

    def __init__(self, folder: Path, number: int, info: PackInfo) -> None:
        super().__init__(folder, number, info)
        try:
            self._file = self._aside.open("wb")
        except OSError as error:
            raise failed(self.path, error) from error
        self._tar = tarfile.TarFile(fileobj=self._file, mode="w", format=tarfile.PAX_FORMAT)

    def add(self, row: Row) -> None:
        name = tar_key(row.key)
        try:
            self._put(f"{name}.enf", join(self.info, row))
            if row.label is not None:
                self._put(f"{name}.cls", str(row.label).encode())
        except OSError as error:
            self.abandon()
            raise failed(self.path, error) from error
        self.rows += 1

    def _put(self, name: str, data: bytes) -> None:
        member = tarfile.TarInfo(name)
        member.size, member.mode = len(data), 0o644
        self._tar.addfile(member, io.BytesIO(data))

    def abandon(self) -> None:
        with suppress(OSError):
            self._file.close()
        super().abandon()

    def _finish(self) -> None:
        self._tar.close()
        self._file.flush()
        self._file.close()


WRITERS: dict[str, Callable[[Path, int, PackInfo], ShardWriter]] = {"parquet": ParquetShard, "webdataset": TarShard}
SUFFIXES = {"parquet": ParquetShard.SUFFIX, "webdataset": TarShard.SUFFIX}


def tar_key(key: str) -> str:
    """A sample's name in a tar: its key less the suffix; a dot would end it there, so dots become `_`."""
    folder, _, name = key.rpartition("/")
    stem = name.rpartition(".")[0] or name
    return f"{folder}/{stem.replace('.', '_')}".lstrip("/")


def shard_info(path: Path) -> PackInfo:
    """What a Parquet shard's schema says of its pack. Raises BitstreamError, MediaError."""
    metadata = opened(path).schema_arrow.metadata or {}
    if METADATA not in metadata:
        raise BitstreamError(f"{path} is Parquet, but no shard of a pack: its schema says nothing of enfold")
    return PackInfo.from_json(metadata[METADATA])


def opened(path: Path) -> Any:
    """A `pyarrow.parquet.ParquetFile` that checks its pages."""
    pa = arrow()
    try:
        return pa.parquet.ParquetFile(path, page_checksum_verification=True)
    except OSError as error:
        raise MediaError(f"{path}: cannot be read: {error.strerror or error}") from error
    except pa.ArrowException as error:
        raise BitstreamError(f"{path} is no Parquet file, or damaged: {error}") from None


def rows_of(table: Any) -> Iterator[Row]:
    """The rows of an Arrow table, their CRC verified. Raises BitstreamError, which names the key."""
    for values in table.select(list(COLUMNS)).to_pylist():
        grid = None if values["latent_height"] is None else (values["latent_height"], values["latent_width"])
        geometry = ImageGeometry(values["width"], values["height"], values["mode"], values["dtype"])
        row = Row(values["key"], values["label"], geometry, values["parameters"], grid, values["stream"],
                  values["patches"], values["alpha"], values["profile"])
        if values["crc32c"] != row.crc32c and not (values["crc32c"] is None and row.tiny):
            raise BitstreamError(f"{row.key!r}: checksum mismatch: the row is damaged; fetch its shard again")
        yield row


def failed(path: Path, error: OSError) -> MediaError:
    return MediaError(f"{path}: cannot be written: {error.strerror or error}; "
                      "mend that and repeat the command, it goes on from there")


def _values(row: Row) -> tuple[Any, ...]:
    geometry, (high, wide) = row.geometry, row.grid or (None, None)
    return (row.key, row.label, geometry.width, geometry.height, geometry.mode, geometry.dtype, high, wide,
            row.parameters, row.stream, row.patches, row.alpha, row.profile, None if row.tiny else row.crc32c)
