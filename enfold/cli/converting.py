"""Files into files: what `encode` and `decode` share.

Each file is read, worked on and written before the next; a failure is kept for the end. While
several are under way a bar shows it, on a terminal only.
"""

from __future__ import annotations

import sys
import warnings
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

Work = Callable[[bytes, Job], bytes | int]


@dataclass(frozen=True)
class Converted:
    """One file done. bpp: of the .enf file, header and all; None for what has no pixels. kbps: likewise, of sound."""

    file: str
    out: str
    bytes_in: int
    bytes_out: int
    bpp: float | None
    kbps: float | None = None

    def __str__(self) -> str:
        rate = "" if self.bpp is None else f", {self.bpp:.3f} bpp"
        rate = rate if self.kbps is None else f", {self.kbps:.1f} kbit/s"
        return f"{self.file} → {self.out}: {self.bytes_in:,} → {self.bytes_out:,} bytes{rate}"


def convert(jobs: list[Job], work: Work, *, force: bool, as_json: bool,
            by_path: Callable[[Job], bool] = lambda job: False) -> None:
    """Does every job; `work` turns the bytes of its source into those of its target.

    Where it writes the target itself, it returns how many bytes that has. by_path: for which jobs it reads the source
    itself, and is given no bytes, but of a pipe. What it warns of is said, not shown as code. An error of usage ends
    it all, since it would befall every file; any other, only its own file.
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
                result = _one(job, work, makers, force, by_path(job) and job.source != PIPE)
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


def _one(job: Job, work: Work, makers: dict[Path, Path], force: bool, by_path: bool) -> Converted:
    if job.target != PIPE:
        rival = makers.setdefault(job.target, job.source)
        if rival != job.source:
            raise MediaError(f"{rival} has become {job.target} already: encode one of them under another name")
        if not force and job.target.exists():
            raise MediaError(f"{job.target} exists: replace it with --force, or name another OUT")
    data = b"" if by_path else read(job.source)
    size_in = _size(job.source) if by_path else len(data)
    with warnings.catch_warnings(record=True) as said:
        warnings.simplefilter("always", UserWarning)
        made = work(data, job)
    for warning in said:
        say(f"{job.source}: {warning.message}")
    if isinstance(made, bytes):
        write(job.target, made)
    about = describe("", made if isinstance(made, bytes) and is_enf(made) else data, whole=False)
    return Converted(str(job.source), str(job.target), size_in, made if isinstance(made, int) else len(made),
                     about.bpp, about.kbps)


def _size(path: Path) -> int:
    try:
        return path.stat().st_size
    except OSError as error:
        raise MediaError(f"cannot be read: {error.strerror}; check the path") from error


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
