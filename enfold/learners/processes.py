"""Work in other processes, results in order, and no process left behind."""

from __future__ import annotations

import multiprocessing
import os
import threading
from collections import deque
from collections.abc import Callable, Generator, Iterator, Sequence
from concurrent.futures import Future, ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import islice
from typing import Any

from enfold.errors import EnfoldError

AHEAD = 4                   # calls under way or waiting, for each process


@dataclass(frozen=True)
class Workers:
    """jobs processes, or none where this one does the work."""

    jobs: int
    pool: ProcessPoolExecutor | None


@contextmanager
def workers(jobs: int, warm: Callable[..., Any], *arguments: Any) -> Iterator[Workers]:
    """Processes that begin with warm(*arguments) at once, while the caller does other things; none if `jobs` is 1.

    They are spawned, as a process that has started threads cannot be forked safely, and end with the
    block, or with this process, however it ends.
    """
    if jobs <= 1:
        yield Workers(1, None)
        return
    pool = ProcessPoolExecutor(jobs, multiprocessing.get_context("spawn"), _follow_parent)
    try:
        for _ in range(jobs):
            pool.submit(warm, *arguments)
        yield Workers(jobs, pool)
    finally:
        pool.shutdown(wait=True, cancel_futures=True)


def in_order(work: Callable[..., Any], calls: Sequence[tuple[Any, ...]], by: Workers) -> Generator[Any, None, None]:
    """work(*call) of each call, in order; only a few calls are ahead of what was taken.

    Raises what `work` raises, and EnfoldError where a process dies.
    """
    if by.pool is None:
        for call in calls:
            yield work(*call)
        return
    pool, waiting, left = by.pool, deque[Future[Any]](), iter(calls)
    try:
        waiting.extend(pool.submit(work, *call) for call in islice(left, AHEAD * by.jobs))
        while waiting:
            result = waiting.popleft().result()
            waiting.extend(pool.submit(work, *call) for call in islice(left, 1))
            yield result
    except BrokenProcessPool as error:
        raise EnfoldError("a process died at work, perhaps for want of memory: repeat the command, with fewer "
                          "--jobs if it dies again; it goes on from the last whole shard") from error
    finally:
        for future in waiting:
            future.cancel()


def _follow_parent() -> None:
    """A process whose parent was killed would wait for work for ever."""
    parent = multiprocessing.parent_process()

    def wait() -> None:
        if parent is not None:
            parent.join()
        os._exit(1)

    threading.Thread(target=wait, daemon=True).start()
