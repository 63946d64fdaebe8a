"""Where the samples of a pack come from: a list of keys, labels and places, made before anything is read.

    a folder            every picture in it, at any depth; sub-folders are classes
    a .csv file         one line a sample: file, label; files are relative to the CSV's folder, or to `root`
    Parquet             a file, or a folder of them: a column of pictures (bytes, or Hugging Face's
                        {bytes, path}), a column of labels
    tars                a file, or a folder of them: WebDataset's KEY.jpg and KEY.cls
    mosaics             a folder with labels.npy: its pictures, each with many samples side by side; see `mosaics`

The order, and so every byte of the pack, follows from names and contents alone. Only the first
sample of a key counts; further ones are refused, with the place of the first.
"""

from __future__ import annotations

import csv
import json
import os
import tarfile
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any, Protocol

from enfold.errors import EnfoldError, MediaError, UsageError
from enfold.learners import mosaics
from enfold.learners.shards import arrow

PICTURES = (".png", ".jpg", ".jpeg", ".webp", ".avif", ".tif", ".tiff", ".bmp", ".gif", ".ppm", ".pgm")


@dataclass(frozen=True)
class InFile:
    path: str

    def read(self) -> bytes:
        return Path(self.path).read_bytes()


@dataclass(frozen=True)
class InTar:
    path: str
    offset: int
    size: int

    def read(self) -> bytes:
        with open(self.path, "rb") as file:
            file.seek(self.offset)
            return file.read(self.size)


@dataclass(frozen=True)
class InParquet:
    path: str
    group: int
    row: int
    column: str

    def read(self) -> bytes:
        value = _group(self.path, self.group, self.column)[self.row].as_py()
        value = value.get("bytes") if isinstance(value, dict) else value
        if value is None:
            raise MediaError(f"no bytes in column {self.column!r}: the file only points at a picture, or has none")
        return value


class Place(Protocol):
    """Where a sample lies. path: of the file that it is in."""

    @property
    def path(self) -> str: ...

    def read(self) -> bytes:
        """The bytes of its media file. Raises MediaError, OSError."""


@dataclass(frozen=True)
class Item:
    """One sample before it is coded. label: an index, or a name that `Listing` turns into one."""

    key: str
    label: int | str | None
    place: Place

    def read(self) -> bytes:
        """The bytes of its media file. Raises MediaError."""
        try:
            return self.place.read()
        except OSError as error:
            raise MediaError(f"cannot be read: {error.strerror or error}; check the path") from error


@dataclass(frozen=True)
class Refusal:
    """A sample that is not in the pack, and why."""

    key: str
    error: str
    reason: str

    @classmethod
    def of(cls, key: str, error: EnfoldError) -> Refusal:
        return cls(key, type(error).__name__, str(error).removeprefix("the picture: "))


@dataclass(frozen=True)
class Listing:
    """items: in order, their labels numbers or None. label_names: of 0, 1, …, if labels had names."""

    items: tuple[Item, ...]
    label_names: tuple[str, ...] | None
    refused: tuple[Refusal, ...]


def listing(source: str | os.PathLike[str], *, labels: str | os.PathLike[str] | None = None,
            image_column: str = "image", label_column: str = "label") -> Listing:
    """What there is to pack. labels: a CSV that says which files of the folder `source` count, and their classes.

    Raises MediaError where there is nothing, UsageError where the source is none of the kinds.
    """
    path, names = Path(source), None
    if not path.exists():
        raise MediaError(f"{path} is not there: name a folder of pictures, a CSV, Parquet or tar file")
    if labels is not None:
        if not path.is_dir():
            raise UsageError(f"labels go with a folder of pictures, and {path} is none")
        found: Iterable[Item] = _from_csv(Path(labels), path)
    elif path.is_dir():
        inside = sorted(path.glob("*.parquet")) or sorted(path.glob("*.tar"))
        if not inside and (path / mosaics.LABELS).exists():
            found, names = _from_mosaics(path)
        elif not inside:
            found = _from_folder(path)
        elif inside[0].suffix == ".tar":
            found = _from_tars(inside)
        else:
            found, names = _from_parquet(inside, image_column, label_column)
    elif path.suffix.lower() == ".csv":
        found = _from_csv(path, path.parent)
    elif path.suffix.lower() == ".parquet":
        found, names = _from_parquet([path], image_column, label_column)
    elif path.suffix.lower() == ".tar":
        found = _from_tars([path])
    else:
        raise UsageError(f"{path}: a pack is made of a folder, a .csv, .parquet or .tar file; "
                         "for a single picture there is `enfold encode`")
    return _numbered(found, names, path)


def _numbered(found: Iterable[Item], names: tuple[str, ...] | None, source: Path) -> Listing:
    first: dict[str, int] = {}
    items, refused = [], []
    for number, item in enumerate(found):
        if first.setdefault(item.key, number) != number:
            reason = f"its key is that of sample {first[item.key]}, which is in the pack: give it another name"
            refused.append(Refusal(item.key, "MediaError", reason))
        else:
            items.append(item)
    if not items:
        raise MediaError(f"{source} holds no pictures: none that end in {', '.join(PICTURES)}")
    given = {item.label for item in items if item.label is not None}
    if all(isinstance(label, int) for label in given):
        return Listing(tuple(items), names, tuple(refused))
    names = tuple(sorted(map(str, given)))
    number_of = {name: number for number, name in enumerate(names)}
    return Listing(tuple(Item(item.key, None if item.label is None else number_of[str(item.label)], item.place)
                         for item in items), names, tuple(refused))


def _from_folder(root: Path) -> Iterator[Item]:
    """In the order of the keys. The class is the first folder on the way, if there are any."""
    found = []
    for folder, _, names in os.walk(root):
        for name in names:
            if os.path.splitext(name)[1].lower() in PICTURES:
                path = os.path.join(folder, name)
                found.append((_text(os.path.relpath(path, root).replace(os.sep, "/")), path))
    for key, path in sorted(found):
        yield Item(key, key.split("/")[0] if "/" in key else None, InFile(path))


def _from_mosaics(root: Path) -> tuple[Iterator[Item], tuple[str, ...] | None]:
    places, labels = mosaics.tiles(root, PICTURES)
    return ((Item(f"{Path(place.path).stem}/{place.number:06}", label, place)
             for place, label in zip(places, labels, strict=True)), mosaics.class_names(root))


def _from_csv(table: Path, root: Path) -> Iterator[Item]:
    try:
        with table.open(newline="", encoding="utf-8-sig") as file:
            lines = csv.reader(file)
            if len(next(lines, ())) < 2:
                raise UsageError(f"{table}: its first line names the columns, at least two: file,label")
            for line in lines:
                if len(line) >= 2:
                    key = line[0].replace("\\", "/")
                    yield Item(key, _label(line[1]), InFile(str(root / key)))
                elif line:
                    raise UsageError(f"{table}, line {lines.line_num}: {line!r} where file,label is due")
    except OSError as error:
        raise MediaError(f"{table}: cannot be read: {error.strerror}; check the path") from error
    except (UnicodeDecodeError, csv.Error) as error:
        raise UsageError(f"{table} is not CSV in UTF-8: {error}") from None


def _from_tars(tars: list[Path]) -> Iterator[Item]:
    for path in tars:
        pictures: dict[str, Item] = {}
        labels: dict[str, int | str | None] = {}
        try:
            with tarfile.open(path) as tar:
                for member in tar:
                    folder, _, name = member.name.rpartition("/")
                    stem, _, suffix = name.partition(".")
                    key = _text(f"{folder}/{stem}".removeprefix("./").lstrip("/"))
                    if not member.isfile():
                        continue
                    if f".{suffix.lower()}" in PICTURES and key not in pictures:
                        pictures[key] = Item(key, None, InTar(str(path), member.offset_data, member.size))
                    elif suffix == "cls" and (file := tar.extractfile(member)):
                        labels[key] = _label(file.read().decode("utf-8", "backslashreplace").strip())
        except (OSError, tarfile.TarError) as error:
            raise MediaError(f"{path}: not a readable tar: {error}") from error
        for key, item in pictures.items():
            yield Item(key, labels.get(key), item.place)


def _from_parquet(files: list[Path], image: str, label: str) -> tuple[Iterator[Item], tuple[str, ...] | None]:
    from enfold.learners.shards import opened

    names = None
    for path in files:
        columns = opened(path).schema_arrow
        if image not in columns.names:
            raise UsageError(f"{path} has no column {image!r} but {', '.join(columns.names)}: name the one with the "
                             "pictures with image_column (--image-column)")
        names = names or _class_names(columns.metadata, label)

    def items() -> Iterator[Item]:
        for path in files:
            file = opened(path)
            named = label in file.schema_arrow.names
            kind = file.schema_arrow.field(image).type
            inner = f"{image}.path" if arrow().types.is_struct(kind) and kind.get_field_index("path") >= 0 else None
            at = 0
            for group in range(file.num_row_groups):
                rows = file.metadata.row_group(group).num_rows
                wanted = [name for name, there in ((label, named), (inner, inner)) if there]
                table = file.read_row_group(group, wanted)
                labels = table[label].to_pylist() if named else [None] * rows
                paths = [value and value["path"] for value in table[image].to_pylist()] if inner else [None] * rows
                for row in range(rows):
                    key = paths[row] or f"{path.stem}/{at:09}"
                    yield Item(key, labels[row], InParquet(str(path), group, row, image))
                    at += 1

    return items(), names


def _class_names(metadata: dict[bytes, bytes] | None, label: str) -> tuple[str, ...] | None:
    """Those of Hugging Face's ClassLabel."""
    try:
        features = json.loads((metadata or {})[b"huggingface"])["info"]["features"]
        return tuple(features[label]["names"])
    except (KeyError, TypeError, ValueError):
        return None


@lru_cache(maxsize=2)
def _group(path: str, group: int, column: str) -> Any:
    from enfold.learners.shards import opened

    return opened(Path(path)).read_row_group(group, [column])[column]


def _label(text: str) -> int | str | None:
    text = text.strip()
    if not text:
        return None
    return int(text) if text.isascii() and text.isdigit() else text


def _text(name: str) -> str:
    """A file's name as text; bytes that are no UTF-8 as \\xNN."""
    return os.fsencode(name).decode("utf-8", "backslashreplace")
