"""What a pack is and how far it has come: one line of JSON for the plan, one for each finished shard.

    {"plan": {…}, "info": {…}}
    {"shard": 0, "rows": 4096, "bytes": 7812345, "bytes_in": 34102200, "crc32c": "0a1b2c3d", "refused": []}
    …

A line is written once its shard lies under its name, so a run that was killed at any moment goes on
with the first shard that has no line; a last line that was cut short counts for nothing. One run at
a time holds the folder.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from enfold.errors import BitstreamError, MediaError, UsageError
from enfold.learners.rows import PackInfo
from enfold.learners.shards import SUFFIXES, failed
from enfold.learners.sources import Refusal
from enfold.media import replace_file

NAME = "manifest.jsonl"


@dataclass(frozen=True)
class Plan:
    """What decides every byte of a pack, but for its tables. items: how many; digest: of keys and labels."""

    codec: str
    fingerprint: str
    quality: int
    coding: str
    to: str
    shard_rows: int
    grey: bool
    items: int
    digest: str

    @property
    def shards(self) -> int:
        return -(-self.items // self.shard_rows)


@dataclass(frozen=True)
class ShardDone:
    """bytes: of the shard; bytes_in: of the media in it; crc32c: of the whole file, in hex."""

    shard: int
    rows: int
    bytes: int
    bytes_in: int
    crc32c: str
    refused: tuple[Refusal, ...] = ()


@dataclass(frozen=True)
class Manifest:
    """A pack's plan, what its samples share, and the shards that are done, by number."""

    folder: Path
    plan: Plan
    info: PackInfo
    done: Mapping[int, ShardDone]

    @property
    def complete(self) -> bool:
        return len(self.done) == self.plan.shards

    def path(self, shard: int) -> Path:
        return self.folder / f"part-{shard:05}{SUFFIXES[self.plan.to]}"


def read(folder: Path) -> Manifest | None:
    """The manifest in a folder; None if there is none. Raises BitstreamError where it is damaged."""
    try:
        lines = (folder / NAME).read_text("utf-8").split("\n")
    except FileNotFoundError:
        return None
    except (OSError, UnicodeDecodeError) as error:
        raise MediaError(f"{folder / NAME}: cannot be read: {error}") from error
    try:
        first = json.loads(lines[0])
        plan, info = Plan(**first["plan"]), PackInfo.from_json(json.dumps(first["info"]))
        done = {}
        for line in lines[1:-1]:            # what follows the last line's end was cut short, or is nothing
            entry = json.loads(line)
            refused = tuple(Refusal(**refusal) for refusal in entry.pop("refused"))
            done[entry["shard"]] = ShardDone(**entry, refused=refused)
    except (ValueError, KeyError, TypeError) as error:
        raise BitstreamError(f"{folder / NAME} is no manifest ({error!r}): remove it, and pack again") from None
    return Manifest(folder, plan, info, done)


def claim(folder: Path, plan: Plan, info: PackInfo | None) -> Manifest | None:
    """The manifest to go on with, its shards looked after; a new one from `info`, or None without one.

    Raises UsageError where the folder holds another pack, or something else.
    """
    manifest = read(folder)
    if manifest is None:
        if info is None:
            return None
        _refuse_strangers(folder)
        manifest = Manifest(folder, plan, info, {})
    before, now = asdict(manifest.plan), asdict(plan)
    for name, value in now.items():
        if before[name] != value:
            raise UsageError(f"{folder} holds a pack with {name} {before[name]!r}, this one has {value!r}: repeat "
                             "the options of that one to go on with it, or name another folder")
    kept = {number: done for number, done in manifest.done.items()
            if (path := manifest.path(number)).exists() and path.stat().st_size == done.bytes}
    manifest = Manifest(folder, plan, manifest.info, kept)
    for path in folder.glob(".part-*"):
        path.unlink()
    rewrite(manifest)
    return manifest


def rewrite(manifest: Manifest) -> None:
    """The whole manifest anew, shards in order."""
    entries = [manifest.done[number] for number in sorted(manifest.done)]
    first = {"plan": asdict(manifest.plan), "info": json.loads(manifest.info.to_json())}
    text = "".join(_line(entry) for entry in (first, *map(asdict, entries)))
    replace_file(manifest.folder / NAME, text.encode("utf-8", "backslashreplace"))


def note(folder: Path, entries: Iterable[ShardDone]) -> Iterator[ShardDone]:
    """Adds a line for each, and passes it on."""
    try:
        with (folder / NAME).open("a", encoding="utf-8", errors="backslashreplace") as file:
            for entry in entries:
                file.write(_line(asdict(entry)))
                file.flush()
                os.fsync(file.fileno())
                yield entry
    except OSError as error:
        raise failed(folder / NAME, error) from error


@contextmanager
def held(folder: Path) -> Iterator[None]:
    """Makes the folder; refuses it while another run works in it."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise MediaError(f"the folder {folder} cannot be made: {error.strerror}") from error
    try:
        import fcntl
    except ImportError:                     # no such locks here: the user's to see to
        yield
        return
    handle = os.open(folder, os.O_RDONLY)
    try:
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise UsageError(f"another run is packing into {folder}: wait for it, or name another folder") from None
        except OSError:                     # a file system without locks
            pass
        yield
    finally:
        os.close(handle)


def _refuse_strangers(folder: Path) -> None:
    strangers = sorted(path.name for path in folder.iterdir() if not path.name.startswith(".part-"))
    if strangers:
        raise UsageError(f"{folder} is no pack and not empty ({', '.join(strangers[:3])}, …): name another folder")


def _line(entry: Mapping[str, Any]) -> str:
    return json.dumps(entry, ensure_ascii=False) + "\n"
