"""Reading packs: many streams decoded at once, as batches that a network eats.

    pack ── row groups ── Arrow columns ──┬─ static coding: all streams of a batch in one call, in C
                                          └─ codec coding: one by one, by threads

`LatentDataset` looks up any sample (a sampler shuffles); `LatentStream` goes through the pack in
order of a shuffled list of row groups, and holds only a window of them: for packs larger than the
memory. Both hand over whole batches.

Guarantees: every row's checksum is verified before its bytes are decoded; the order is a function of
seed, epoch, rank and worker alone, so that a run goes on exactly where it stopped; ranks get the
same number of samples, so that none waits for another in vain.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import DataLoader, Dataset, IterableDataset, get_worker_info

from enfold.errors import UsageError
from enfold.geometry import ImageGeometry
from enfold.learners.decoding import Decoder, Recent, Selection
from enfold.learners.packs import Pack, open_pack
from enfold.learners.rows import PackInfo
from enfold.learners.shards import rows_of

CACHE_BYTES = 1 << 30
WINDOW = 8192


@dataclass(frozen=True)
class Batch:
    """latents: (B, C, h, w) float32, dequantised, or int32 symbols. labels: (B,) int64, -1 where there is
    none. rows: (B,) int64, the samples' numbers in the pack."""

    latents: Tensor
    labels: Tensor
    rows: Tensor

    def __len__(self) -> int:
        return len(self.labels)

    def to(self, device: Any) -> Batch:
        return Batch(*(part.to(device, non_blocking=True) for part in (self.latents, self.labels, self.rows)))

    def pin_memory(self) -> Batch:
        return Batch(*(part.pin_memory() for part in (self.latents, self.labels, self.rows)))


Transform = Callable[[np.ndarray, np.random.Generator], np.ndarray]


@dataclass(frozen=True)
class Reading:
    """What the two data sets share. transform: (latent (C, h, w), generator) → latent, sample by sample;
    those of `augmentation` check that they fit the pack. cache_bytes: of row groups kept, coded."""

    pack: Pack
    symbols: bool = False
    transform: Transform | None = None
    seed: int = 0
    cache_bytes: int = CACHE_BYTES

    def __post_init__(self) -> None:
        if self.pack.streamed:
            raise UsageError(f"{self.pack.folder} is made of tars: stream it with the webdataset package, see "
                             "docs/packs.md, or pack to Parquet")
        check = getattr(self.transform, "check", None)
        if check is not None:
            check(self.pack.info)

    @cached_property
    def decoder(self) -> Decoder:
        return Decoder(self.pack.info, symbols=self.symbols)

    @cached_property
    def recent(self) -> Recent:
        return Recent(self.pack, self.cache_bytes)

    def batch(self, rows: np.ndarray, epoch: int = 0) -> Batch:
        """The samples of those numbers, in that order. Raises BitstreamError, UsageError."""
        rows = np.asarray(rows, np.int64)
        selections, labels = self._selections(rows), np.empty(len(rows), np.int64)
        for group, inner, places in selections:
            labels[places] = group.labels[inner]
        latents = self.decoder(selections, len(rows))
        if self.transform is not None:
            latents = [self.transform(latent, np.random.default_rng((self.seed, epoch, int(row))))
                       for latent, row in zip(latents, rows, strict=True)]
        return Batch(torch.from_numpy(_stacked(latents)), torch.from_numpy(labels), torch.from_numpy(rows))

    def geometries(self, rows: np.ndarray) -> list[ImageGeometry]:
        """Of the original pictures of those samples, in that order. Raises BitstreamError."""
        found: dict[int, ImageGeometry] = {}
        for group, inner, places in self._selections(np.asarray(rows, np.int64)):
            found.update(zip(places.tolist(), (row.geometry for row in rows_of(group.table.take(inner))), strict=True))
        return [found[place] for place in range(len(rows))]

    def _selections(self, rows: np.ndarray) -> list[Selection]:
        of = np.searchsorted(self.pack.starts, rows, side="right") - 1
        return [(self.recent[int(group)], rows[of == group] - self.pack.starts[group], np.flatnonzero(of == group))
                for group in np.unique(of)]

    def __getstate__(self) -> dict[str, Any]:
        """To a worker, without what was read so far."""
        return {name: value for name, value in self.__dict__.items() if name not in ("decoder", "recent")}


class LatentDataset(Dataset):
    """A pack by number: `dataset[i]` is a Batch of one, `dataset.batch([4, 0, 7])` of several.

    pack: a folder, or an open Pack. symbols: integers instead of values. transform, seed,
    cache_bytes: see `Reading`. Raises as `open_pack` does.
    """

    def __init__(self, pack: str | os.PathLike[str] | Pack, *, symbols: bool = False,
                 transform: Transform | None = None, seed: int = 0, cache_bytes: int = CACHE_BYTES) -> None:
        self.reading = Reading(_opened(pack), symbols, transform, seed, cache_bytes)
        self._epoch = torch.zeros((), dtype=torch.int64).share_memory_()    # workers that live on see it too

    @property
    def info(self) -> PackInfo:
        return self.reading.pack.info

    def __len__(self) -> int:
        return len(self.reading.pack)

    def __getitem__(self, row: int) -> Batch:
        row = int(row)
        if not -len(self) <= row < len(self):
            raise IndexError(f"sample {row} of {len(self)}")
        return self.batch([row % len(self)])

    def __getitems__(self, rows: Sequence[int]) -> Batch:
        return self.batch(rows)

    def batch(self, rows: Sequence[int] | np.ndarray) -> Batch:
        """Samples by number, in that order."""
        return self.reading.batch(np.asarray(rows), int(self._epoch))

    def set_epoch(self, epoch: int) -> None:
        """Another epoch, other random crops."""
        self._epoch.fill_(epoch)

    @cached_property
    def labels(self) -> np.ndarray:
        """(samples,) int64, -1 where there is none."""
        return self.reading.pack.labels()

    def loader(self, batch_size: int, *, shuffle: bool = False, workers: int = 0, **more: Any) -> DataLoader:
        """A DataLoader of Batches. more: its other arguments, such as `sampler` or `drop_last`."""
        generator = torch.Generator().manual_seed(self.reading.seed)
        return DataLoader(self, batch_size, shuffle=shuffle, num_workers=workers, collate_fn=_as_it_is,
                          **{"generator": generator, "multiprocessing_context": "spawn" if workers else None, **more})


class LatentStream(IterableDataset):
    """A pack from end to end, in Batches: row groups in a shuffled order, rows shuffled in a window of them.

    batch_size: samples of a Batch. window: samples among which rows are shuffled. rank, ranks: this
    process of how many; by default those of torch.distributed, if it runs. drop_last: leave out what
    does not fill a Batch. start: (epoch, batches), where to begin: what a run had seen when it stopped.

        for batch in stream.loader(workers=2): …        # batch k of epoch e
        stream.resume(e, k + 1)                         # later, in another process
    """

    def __init__(self, pack: str | os.PathLike[str] | Pack, batch_size: int, *, shuffle: bool = True,
                 window: int = WINDOW, symbols: bool = False, transform: Transform | None = None, seed: int = 0,
                 rank: int | None = None, ranks: int | None = None, drop_last: bool = False,
                 cache_bytes: int = CACHE_BYTES) -> None:
        self.reading = Reading(_opened(pack), symbols, transform, seed, cache_bytes)
        here, all_of = _ranks()
        self.rank, self.ranks = here if rank is None else rank, all_of if ranks is None else ranks
        if batch_size < 1 or window < 1 or not 0 <= self.rank < self.ranks:
            raise UsageError(f"batch_size {batch_size}, window {window}, rank {self.rank} of {self.ranks}: sizes are 1 "
                             "or more, and ranks count from 0")
        self.batch_size, self.window, self.shuffle, self.drop_last = batch_size, window, shuffle, drop_last
        self._place = torch.zeros(2, dtype=torch.int64).share_memory_()     # epoch, batches to pass over

    @property
    def info(self) -> PackInfo:
        return self.reading.pack.info

    def __len__(self) -> int:
        """Batches of an epoch, of this rank."""
        return len(range(0, self._own(), self.batch_size)) if not self.drop_last else self._own() // self.batch_size

    def resume(self, epoch: int, batches: int = 0) -> None:
        """The next iteration is of this epoch, and begins after so many batches; said before each epoch."""
        self._place.copy_(torch.tensor([epoch, batches]))

    set_epoch = resume

    def loader(self, *, workers: int = 0, **more: Any) -> DataLoader:
        """A DataLoader of Batches."""
        return DataLoader(self, None, num_workers=workers,
                          **{"multiprocessing_context": "spawn" if workers else None, **more})

    def __iter__(self) -> Iterator[Batch]:
        worker = get_worker_info()
        number, workers = (worker.id, worker.num_workers) if worker else (0, 1)
        epoch, passed = (int(n) for n in self._place)
        for rows in self.batches(epoch)[passed:][number::workers]:      # a DataLoader asks its workers in turn
            yield self.reading.batch(rows, epoch)

    def batches(self, epoch: int) -> list[np.ndarray]:
        """The numbers of each batch's samples, in this rank's order."""
        order = self._order(epoch)
        mine = order[self.rank * self._own():(self.rank + 1) * self._own()]
        count = len(mine) // self.batch_size if self.drop_last else -(-len(mine) // self.batch_size)
        return [mine[batch * self.batch_size:(batch + 1) * self.batch_size] for batch in range(count)]

    def _own(self) -> int:
        return len(self.reading.pack) // self.ranks

    def _order(self, epoch: int) -> np.ndarray:
        """Every sample's number, once: groups shuffled, then rows in each window."""
        starts = self.reading.pack.starts
        if not self.shuffle:
            return np.arange(starts[-1])
        random = np.random.default_rng((self.reading.seed, epoch))
        order = np.concatenate([np.arange(starts[g], starts[g + 1]) for g in random.permutation(len(starts) - 1)])
        for at in range(0, len(order), self.window):
            random.shuffle(order[at:at + self.window])
        return order


def _opened(pack: str | os.PathLike[str] | Pack) -> Pack:
    return pack if isinstance(pack, Pack) else open_pack(pack)


def _as_it_is(batch: Batch | list[Batch]) -> Batch:
    if isinstance(batch, Batch):
        return batch
    return Batch(*(torch.cat([getattr(one, name) for one in batch]) for name in ("latents", "labels", "rows")))


def _stacked(latents: Sequence[np.ndarray] | np.ndarray) -> np.ndarray:
    if isinstance(latents, np.ndarray):
        return latents
    shapes = {latent.shape for latent in latents}
    if len(shapes) > 1:
        raise UsageError(f"latents of shapes {', '.join(map(str, sorted(shapes)[:3]))} … do not make one batch: crop "
                         "them to one size, with transform=Crop(height, width), or take batches of one")
    return np.stack(latents)


def _ranks() -> tuple[int, int]:
    distributed = torch.distributed
    if distributed.is_available() and distributed.is_initialized():
        return distributed.get_rank(), distributed.get_world_size()
    return 0, 1
