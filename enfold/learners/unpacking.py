"""Unpacking: a pack's pictures, or its .enf files, in folders as they came.

A pack is somebody's file: a key that would lead out of the folder is refused, as is one that two
samples share once it is a file's name.
"""

from __future__ import annotations

import csv
import io
import os
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

import enfold
from enfold.errors import EnfoldError, MediaError, UsageError
from enfold.learners.packs import open_pack
from enfold.learners.rows import Row
from enfold.learners.sources import Refusal
from enfold.media import WRITES, replace_file, write_picture

FORMATS = ("enf", *sorted(suffix[1:] for suffix in WRITES))
LABELS = "labels.csv"


@dataclass(frozen=True)
class UnpackReport:
    """written: files, without labels.csv. refused: samples that could not be written, and why."""

    out: Path
    written: int
    refused: tuple[Refusal, ...]


def unpack(pack: str | os.PathLike[str], out: str | os.PathLike[str], *, format: str = "png", limit: int = 0,
           force: bool = False, progress: Callable[[int], None] = lambda done: None) -> UnpackReport:
    """Writes the samples of a pack into the folder `out`, and `labels.csv` where they have labels.

    format: "enf" for the coded files, or png, webp, tiff, jpg, … for the pictures. limit: only the
    first so many; 0 for all. force: replace files that exist. What cannot be written is reported and
    does not stop the rest. Raises UsageError, MediaError, BitstreamError, MissingWeightsError.
    """
    if format not in FORMATS or limit < 0:
        raise UsageError(f"format is {format!r} and limit {limit}: format is one of {', '.join(FORMATS)}")
    opened, folder = open_pack(pack), Path(out)
    names: dict[PurePosixPath, str] = {}
    labels: list[tuple[str, str]] = []
    refused: list[Refusal] = []
    done = 0
    for row in opened.rows():
        if limit and done + len(refused) == limit:
            break
        try:
            name = _name(row.key, format, names)
            target = folder / name
            if not force and target.exists():
                raise MediaError(f"{target} exists: replace it with force (--force), or name another OUT")
            _write(opened.enf(row), target, format)
        except UsageError:
            raise
        except EnfoldError as error:
            refused.append(Refusal.of(row.key, error))
        else:
            done += 1
            labels.append((str(name), _label(row, opened.info.label_names)))
        progress(done + len(refused))
    if any(label for _, label in labels):
        text = io.StringIO(newline="")
        csv.writer(text, lineterminator="\n").writerows([("file", "label"), *labels])
        replace_file(folder / LABELS, text.getvalue().encode())
    return UnpackReport(folder, done, tuple(refused))


def _write(data: bytes, target: Path, format: str) -> None:
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise MediaError(f"the folder {target.parent} cannot be made: {error.strerror}") from error
    if format == "enf":
        replace_file(target, data)
    else:
        write_picture(enfold.decode(data), target)


def _name(key: str, format: str, taken: dict[PurePosixPath, str]) -> PurePosixPath:
    path = PurePosixPath(key)
    if path.is_absolute() or ".." in path.parts or "\0" in key or "\\" in path.anchor or not path.name:
        raise MediaError("its key would lead out of the folder: it is not written")
    name = path.with_suffix(f".{format}")
    if name in taken:                       # a.png beside a.jpg: the second keeps its suffix
        name = path.with_name(f"{path.name}.{format}")
    if taken.setdefault(name, key) != key:
        raise MediaError(f"{name} has been made of {taken[name]} already")
    return name


def _label(row: Row, names: tuple[str, ...] | None) -> str:
    if row.label is None:
        return ""
    return names[row.label] if names is not None and 0 <= row.label < len(names) else str(row.label)
