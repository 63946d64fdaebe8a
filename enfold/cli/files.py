"""Which files are meant, and reading and writing them whole.

`-` is a pipe on either side. A folder stands for the files in it, at any depth, that have a
fitting suffix; what is made of them keeps the folder's structure. A file that is written appears
whole or not at all.
"""

from __future__ import annotations

import sys
from collections.abc import Collection, Iterable
from dataclasses import dataclass
from pathlib import Path

from enfold.errors import MediaError, UsageError

PIPE = Path("-")


@dataclass(frozen=True)
class Job:
    """One file to make of another; either may be PIPE."""

    source: Path
    target: Path


def plan(source: str, target: str | None, takes: Collection[str], suffix: str) -> list[Job]:
    """What IN and OUT ask for. takes: the suffixes that count in a folder; suffix: of what is made."""
    start = Path(source)
    if start == PIPE:
        return [Job(PIPE, Path(target or PIPE))]
    if start.is_dir():
        if target == str(PIPE) or (target and Path(target).is_file()):
            raise UsageError(f"{source} is a folder and OUT is {target!r}: name a folder to write to")
        out = Path(target) if target else start
        return [Job(file, (out / file.relative_to(start)).with_suffix(suffix)) for file in inside(start, takes)]
    made = start.with_suffix(suffix)
    if target is None:
        return [Job(start, made)]
    into = target.endswith("/") or Path(target).is_dir()
    return [Job(start, Path(target) / made.name if into else Path(target))]


def enf_files(arguments: Iterable[str]) -> list[Path]:
    """Files as they are named; folders give way to the .enf files in them."""
    found: list[Path] = []
    for path in map(Path, arguments):
        found += inside(path, {".enf"}) if path.is_dir() else [path]
    return found


def inside(folder: Path, suffixes: Collection[str]) -> list[Path]:
    """The files with those suffixes in a folder, at any depth, in order; MediaError if there are none."""
    found = sorted(path for path in folder.rglob("*") if path.suffix.lower() in suffixes and path.is_file())
    if not found:
        raise MediaError(f"{folder} holds no file that ends in {', '.join(sorted(suffixes))}")
    return found


def read(path: Path) -> bytes:
    try:
        return sys.stdin.buffer.read() if path == PIPE else path.read_bytes()
    except OSError as error:
        raise MediaError(f"cannot be read: {error.strerror}; check the path") from error


def write(path: Path, data: bytes) -> None:
    """Makes the folders above it too."""
    if path == PIPE:
        sys.stdout.buffer.write(data)
        sys.stdout.buffer.flush()
        return
    from enfold.media import replace_file

    make_folder(path)
    replace_file(path, data)


def make_folder(path: Path) -> None:
    """The folders above a file."""
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise MediaError(f"the folder {path.parent} cannot be made: {error.strerror}") from error
