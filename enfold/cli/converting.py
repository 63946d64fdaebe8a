"""Files into files: what `encode` and `decode` share.

Each file is read, worked on and written before the next; a failure is kept for the end. While
several are under way a bar shows it, on a terminal only.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import enfold
from enfold.cli.failures import Failure, conclude, say
from enfold.cli.files import PIPE, Job, read, write
from enfold.cli.info import bits_per_pixel
from enfold.cli.options import print_json
from enfold.errors import EnfoldError, MediaError, UsageError


@dataclass(frozen=True)
class Converted:
    """One file done. bpp: of the .enf file, header and all; None for what has no pixels."""

    file: str
    out: str
    bytes_in: int
    bytes_out: int
    bpp: float | None


def convert(jobs: list[Job], work: Callable[[bytes, Job], bytes], *, force: bool, as_json: bool) -> None:
    """Does every job; `work` turns the bytes of its source into those of its target.

    An error of usage ends it all, since it would befall every file; any other, only its own file.
    """
    if any(job.target == PIPE for job in jobs):
        if as_json:
            raise UsageError("--json and OUT '-' both want stdout: name a file for OUT")
        if sys.stdout.isatty():
            raise UsageError("stdout is a terminal, no place for bytes: name a file, or pipe into something")
    done: list[Converted] = []
    failures: list[Failure] = []
    makers: dict[Path, Path] = {}
    with _bar(len(jobs), shown=not as_json) as advance:
        for job in jobs:
            try:
                _refuse_to_lose(job, makers, force)
                data = read(job.source)
                made = work(data, job)
                write(job.target, made)
            except UsageError:
                raise
            except EnfoldError as error:
                failures.append(Failure.of(job.source, error))
            else:
                bpp = bits_per_pixel(data) if job.source.suffix == ".enf" else bits_per_pixel(made)
                done.append(Converted(str(job.source), str(job.target), len(data), len(made), bpp))
            if as_json:
                print_json(failures[-1] if len(failures) + len(done) and failures else done[-1])
