"""Packing through Ray Data: on a laptop, or on every machine of a cluster that sees the same files.

    ray.data of shards ─ map_batches: read, code, write one shard ─▶ lines for the manifest

A shard is the unit of work: a task reads its items, writes the shard where it belongs, and hands back
one line. No latents travel between machines, and none depends on which machine made it. Ray starts
a task again elsewhere when a machine is lost; the shard it left, if any, is written over.
"""

from __future__ import annotations

import os
import pickle
from collections.abc import Callable, Generator, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from enfold.errors import EnfoldError, UsageError
from enfold.learners.manifest import ShardDone
from enfold.learners.sources import Item
from enfold.learners.tasks import CHUNK, Task, make_rows, write_shard


def the_ray() -> Any:
    """Ray, with Ray Data; UsageError with the way to get it where it is missing."""
    try:
        import ray
        import ray.data
    except ImportError:
        raise UsageError("engine 'ray' needs Ray Data: pip install 'enfold[ray]'") from None
    return ray


def run_ray(task: Task, parts: Sequence[tuple[int, tuple[Item, ...]]], folder: Path, to: str, jobs: int,
            strict: bool, counted: Callable[[int], None]) -> Generator[ShardDone, None, None]:
    """Shards as they are finished, in any order. jobs: tasks at a time, 0 for as many as there are CPUs.

    A Ray that is running is used (`ray.init`, RAY_ADDRESS); else one is started on this machine.
    """
    ray = the_ray()
    if not parts:
        return
    started = not ray.is_initialized()
    if started:
        ray.init(address="auto" if os.environ.get("RAY_ADDRESS") else None, num_cpus=jobs or None,
                 include_dashboard=False, log_to_driver=False, configure_logging=False)
    try:
        ray.data.DataContext.get_current().enable_progress_bars = False
        shards = ray.data.from_items([{"part": pickle.dumps(part)} for part in parts], override_num_blocks=len(parts))
        made = shards.map_batches(partial(_shard, task=task, folder=str(folder.absolute()), to=to, strict=strict),
                                  batch_size=1, num_cpus=1, compute=ray.data.TaskPoolStrategy(jobs or None))
        for row in made.iter_rows():
            result = pickle.loads(row["done"])
            if isinstance(result, EnfoldError):
                raise result
            counted(len(result.refused) + result.rows)
            yield result
    finally:
        if started:
            ray.shutdown()


def _shard(batch: dict[str, Any], task: Task, folder: str, to: str, strict: bool) -> dict[str, Any]:
    """One shard, in a process of Ray's. Errors on purpose come back as they are, not wrapped in Ray's."""
    results: list[Any] = []
    for packed in batch["part"]:
        number, items = pickle.loads(packed)
        chunks = (make_rows(task, items[at:at + CHUNK]) for at in range(0, len(items), CHUNK))
        try:
            results.append(write_shard(task.info, number, chunks, Path(folder), to, strict))
        except EnfoldError as error:
            results.append(error)
    return {"done": np.array([pickle.dumps(result) for result in results], object)}
