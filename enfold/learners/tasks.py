"""The work of packing, as any process does it: items → rows → one shard.

    items ── make_rows ──▶ rows, or refusals ── write_shard ──▶ a shard, and a line for the manifest

What a sample becomes depends on its own bytes and the task: on nothing else, so it does not matter
which process of which machine it meets.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import google_crc32c
import numpy as np

import enfold
from enfold.container import unpack
from enfold.errors import EnfoldError, FingerprintError, MediaError, UsageError
from enfold.learners.coding import Counted
from enfold.learners.manifest import ShardDone
from enfold.learners.rows import PackInfo, Row, split
from enfold.learners.shards import WRITERS, ShardWriter
from enfold.learners.sources import Item, Refusal
from enfold.media import Picture, pack_alpha, read_picture

CHUNK = 16                  # samples handed to a process at a time


@dataclass(frozen=True)
class Task:
    """What a process needs to know to turn items into rows."""

    info: PackInfo
    grey: bool
    max_pixels: int | None


@dataclass(frozen=True)
class Coded:
    """A sample done: its row, or why there is none; and the bytes of its media."""

    row: Row | Refusal
    bytes_in: int


def write_shard(info: PackInfo, number: int, chunks: Iterable[Sequence[Coded]], folder: Path, to: str, strict: bool,
                counted: Callable[[int], None] = lambda more: None) -> ShardDone:
    """One shard, under its name when this returns. Raises MediaError."""
    refused: list[Refusal] = []
    bytes_in = 0
    writer: ShardWriter = WRITERS[to](folder, number, info)
    try:
        for chunk in chunks:
            for coded in chunk:
                if isinstance(coded.row, Refusal):
                    if strict:
                        raise stopped(coded.row)
                    refused.append(coded.row)
                else:
                    bytes_in += coded.bytes_in
                    writer.add(coded.row)
            counted(len(chunk))
    except BaseException:
        writer.abandon()
        raise
    writer.close()
    data = writer.path.read_bytes()
    return ShardDone(number, writer.rows, len(data), bytes_in, f"{google_crc32c.value(data):08x}", tuple(refused))


def make_rows(task: Task, items: Sequence[Item]) -> list[Coded]:
    """Items → rows, or refusals. Runs in any process."""
    with one_thread():
        codec = _codec(task)
        read = [_read(task, item) for item in items]
        if task.info.static is None:
            pictures = [picture for picture, _, _ in read if picture is not None]
            try:
                files = iter(codec.encode_many(pictures, quality=task.info.quality))
            except UsageError:
                raise
            except EnfoldError:             # one of them: each by itself then
                return [_coded(task, codec, item, *found) for item, found in zip(items, read, strict=True)]
            return [Coded(_split(item, next(files)), size) if refusal is None else Coded(refusal, size)
                    for item, (_, size, refusal) in zip(items, read, strict=True)]
        return [_coded(task, codec, item, *found) for item, found in zip(items, read, strict=True)]


def count_latents(task: Task, items: Sequence[Item]) -> list[Counted]:
    """Items → what tables are counted on; those that cannot be read are passed over. Runs in any process."""
    latents = []
    with one_thread():
        codec = _codec(task)
        for item in items:
            try:
                picture = picture_of(item.read(), task)
                latents.append(Counted.of(codec.latents(picture, quality=task.info.quality)))
            except UsageError:
                raise
            except EnfoldError:
                continue
    return latents


def _codec(task: Task) -> Any:
    codec = enfold.load(task.info.codec)
    if codec.fingerprint != task.info.fingerprint:
        raise FingerprintError(task.info.codec, task.info.fingerprint, codec.fingerprint)
    return codec


def _read(task: Task, item: Item) -> tuple[Picture | None, int, Refusal | None]:
    """(the picture, bytes of its media, why there is none)."""
    size = 0
    try:
        data = item.read()
        size = len(data)
        return picture_of(data, task), size, None
    except UsageError:
        raise
    except EnfoldError as error:
        return None, size, Refusal.of(item.key, error)


def _coded(task: Task, codec: Any, item: Item, picture: Picture | None, size: int, refusal: Refusal | None) -> Coded:
    if picture is None:
        assert refusal is not None
        return Coded(refusal, size)
    try:
        return Coded(_row(task, codec, item, picture), size)
    except UsageError:
        raise
    except EnfoldError as error:
        return Coded(Refusal.of(item.key, error), size)


def _split(item: Item, data: bytes) -> Row:
    return split(unpack(data), item.key, item.label if isinstance(item.label, int) else None)


def _row(task: Task, codec: Any, item: Item, picture: Picture) -> Row:
    info = task.info
    if info.static is None:
        return _split(item, codec.encode(picture, quality=info.quality))
    label = item.label if isinstance(item.label, int) else None
    latent = codec.latents(picture, quality=info.quality)
    stream, patches = info.static.encode(latent)
    alpha = None if picture.alpha is None else pack_alpha(picture.alpha)
    return Row(item.key, label, latent.geometry, b"", latent.symbols.shape[1:], stream, patches, alpha,
               picture.icc_profile)


def picture_of(data: bytes, task: Task) -> Picture:
    """A sample's picture, as the task wants it. Raises MediaError."""
    picture = read_picture(data, max_pixels=task.max_pixels)
    if task.grey and picture.pixels.ndim == 3:
        picture = replace(picture, pixels=np.asarray(Picture(picture.pixels).to_pil().convert("L")), icc_profile=None)
    return picture


def stopped(refusal: Refusal) -> MediaError:
    """What ends a strict run."""
    return MediaError(f"{refusal.key}: {refusal.reason}; leave strict (--strict) out to go on without it")


@contextmanager
def one_thread() -> Iterator[None]:
    """Threads may add up in another order, and a last bit decide how a latent is rounded: so there is one."""
    torch = sys.modules.get("torch")
    before = torch.get_num_threads() if torch else 0
    if torch:
        torch.set_num_threads(1)
    try:
        yield
    finally:
        if torch:
            torch.set_num_threads(before)
