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

from enfold.cli.failures import Failure, conclude, say
from enfold.cli.files import PIPE, Job, read, write
from enfold.cli.info import describe
from enfold.cli.options import print_json
from enfold.container import is_enf
from enfold.errors import EnfoldError, MediaError, UsageError


@dataclass(frozen=True)
class Converted:
    """One file done. bpp: of the .enf file, header and all; None for what has no pixels."""

    file: str
    out: str
    bytes_in: int
    bytes_out: int
    bpp: float | None

    def __str__(self) -> str:
        rate = "" if self.bpp is None else f", {self.bpp:.3f} bpp"
        return f"{self.file} → {self.out}: {self.bytes_in:,} → {self.bytes_out:,} bytes{rate}"


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
                result = _one(job, work, makers, force)
            except UsageError:
                raise
            except EnfoldError as error:
                failures.append(failure := Failure.of(job.source, error))
                if as_json:
                    print_json(failure)
            else:
                done.append(result)
                if as_json:
                    print_json(result)
            advance()
    if not as_json and len(jobs) == 1:
        for result in done:
            say(str(result))
    elif not as_json and done:
        say(f"{len(done)} files: {sum(r.bytes_in for r in done):,} → {sum(r.bytes_out for r in done):,} bytes")
    conclude(failures, of=len(jobs))


def _one(job: Job, work: Callable[[bytes, Job], bytes], makers: dict[Path, Path], force: bool) -> Converted:
    if job.target != PIPE:
        rival = makers.setdefault(job.target, job.source)
        if rival != job.source:
            raise MediaError(f"{rival} has become {job.target} already: encode one of them under another name")
        if not force and job.target.exists():
            raise MediaError(f"{job.target} exists: replace it with --force, or name another OUT")
    data = read(job.source)
    made = work(data, job)
    write(job.target, made)
    return Converted(str(job.source), str(job.target), len(data), len(made),
                     describe("", made if is_enf(made) else data).bpp)


@contextmanager
def _bar(count: int, *, shown: bool) -> Iterator[Callable[[], object]]:
    """A progress bar on stderr, as a function that moves it by one file."""
    if not shown or count < 2 or not sys.stderr.isatty():
        yield lambda: None
        return
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TimeRemainingColumn

    columns = (BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    with Progress(*columns, console=Console(stderr=True), transient=True, redirect_stdout=False) as progress:
        task = progress.add_task("", total=count)
        yield lambda: progress.advance(task)
