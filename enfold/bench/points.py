"""Measured points, in a file that only grows: what is finished is never measured again.

    {"item": "01.png", "digest": "5f1c…", "codec": "webp", "version": "…", "quality": 30.0,
     "bytes": 31337, "rate": 0.638, "scores": {"psnr_db": 30.3}}                  one a line

A point is known by its item's bytes, the codec, the version (library or weights) and the quality:
when one of them changes, it is another point. Metrics asked for later are added by a line of
their own.

Guarantees: a line cut off by an interruption is dropped; a point is a function of its task alone,
because each is measured in a worker process of one thread, however many workers there are.
"""

from __future__ import annotations

import hashlib
import json
import multiprocessing
import os
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import FIRST_COMPLETED, ProcessPoolExecutor, wait
from dataclasses import asdict, dataclass, replace
from pathlib import Path

THREAD_VARIABLES = ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS")


@dataclass(frozen=True)
class Task:
    """A point to measure. path: where the item lies; item: what the point is filed under."""

    path: Path
    item: str
    digest: str
    codec: str
    version: str
    quality: float
    metrics: tuple[str, ...] = ()


@dataclass(frozen=True)
class Point:
    """One item through one codec at one quality.

    bytes: of the whole file. rate: in the unit of the bench (bpp, kbit/s, ...). scores: of each
    metric; None where it is infinite, as PSNR is for equal pictures.
    """

    item: str
    digest: str
    codec: str
    version: str
    quality: float
    bytes: int
    rate: float
    scores: Mapping[str, float | None]


Key = tuple[str, str, str, float]


class PointFile:
    """The points of a folder's `points.jsonl`."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._points: dict[Key, Point] = {}
        whole = b""
        if path.exists():
            text = path.read_bytes()
            whole = text[:text.rfind(b"\n") + 1]
            if whole != text:
                os.truncate(path, len(whole))
        for line in whole.splitlines():
            self._keep(Point(**json.loads(line)))

    def get(self, task: Task) -> Point | None:
        """What is known of a task, under the task's name for the item."""
        point = self._points.get(_key(task))
        return None if point is None else replace(point, item=task.item)

    def add(self, point: Point) -> None:
        with self.path.open("a", encoding="utf-8") as file:
            file.write(json.dumps(asdict(point), ensure_ascii=False) + "\n")
        self._keep(point)

    def _keep(self, point: Point) -> None:
        known = self._points.get(_key(point))
        self._points[_key(point)] = point if known is None else replace(point, scores={**known.scores, **point.scores})


def measured(tasks: Sequence[Task], measure: Callable[[Task], Point], file: PointFile, *, jobs: int = 1,
             advance: Callable[[], None] = lambda: None) -> list[Point]:
    """The points of all tasks, in their order; those that `file` lacks are measured and added to it.

    measure: a function of a module, for it runs in other processes. jobs: how many of them.
    advance: called once for each task when its point is there.
    """
    missing = []
    for task in tasks:
        known = file.get(task)
        lacking = tuple(metric for metric in task.metrics if known is None or metric not in known.scores)
        if known is None or lacking:
            missing.append(replace(task, metrics=lacking))
        else:
            advance()
    if missing:
        with workers(min(jobs, len(missing))) as pool:
            try:
                waiting = {pool.submit(measure, task) for task in missing}
                while waiting:
                    done, waiting = wait(waiting, return_when=FIRST_COMPLETED)
                    for future in done:
                        file.add(future.result())
                        advance()
            except BaseException:
                pool.shutdown(wait=False, cancel_futures=True)
                raise
    points = [file.get(task) for task in tasks]
    return [point for point in points if point is not None]


def workers(count: int, *, threads: int = 1, cores: int = 0) -> ProcessPoolExecutor:
    """Fresh processes. threads: each one's, 0 for its libraries' own choice; cores: that they may
    run on, 0 for all."""
    return ProcessPoolExecutor(count, multiprocessing.get_context("spawn"), _prepare, (threads, cores))


def _prepare(threads: int, cores: int) -> None:
    """Runs first in a worker, before anything that reads these variables is imported."""
    if cores:
        os.sched_setaffinity(0, sorted(os.sched_getaffinity(0))[:cores])
    for name in THREAD_VARIABLES:
        if threads or cores:
            os.environ[name] = str(threads or cores)


def digest(data: bytes) -> str:
    """What tells an item's bytes apart."""
    return hashlib.sha256(data).hexdigest()[:16]


def _key(of: Task | Point) -> Key:
    return of.digest, of.codec, of.version, of.quality
