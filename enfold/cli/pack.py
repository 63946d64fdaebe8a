"""`enfold pack`: a data set of pictures into shards of coded latents."""

from __future__ import annotations

import sys
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

import enfold
from enfold.cli.failures import say
from enfold.cli.options import Json, MaxPixels, limits, print_json

if TYPE_CHECKING:
    from enfold.learners.packing import PackReport
    from enfold.learners.sources import Refusal

EXAMPLES = """\b
Examples:
  enfold pack photos/ latents/ -q 60           sub-folders are classes
  enfold pack photos/ latents/ -q 60           goes on, if it was interrupted
  enfold pack photos/ latents/ --labels photos.csv
  enfold pack train.parquet latents/ -j 0      Parquet, or a folder of it; a process for each core
  enfold pack shards/ tars/ --to webdataset    from tars, into tars of .enf files
  enfold pack photos/ latents/ --engine ray    the same bytes, made by a cluster

What a pack is: docs/packs.md. Bad inputs are left out and named at the end; the exit code is then
that of the first."""

SHOWN = 20


def command(
    source: Annotated[Path, typer.Argument(metavar="SOURCE", help="A folder of pictures, of Parquet or of tars; "
                                                                  "or a .csv, .parquet or .tar file.",
                                           show_default=False)],
    out: Annotated[Path, typer.Argument(metavar="OUT", help="The folder of the pack.", show_default=False)], *,
    codec: Annotated[str, typer.Option("--codec", "-c", help="A name that `enfold models` lists.")]
    = enfold.DEFAULT_CODEC,
    quality: Annotated[int | None, typer.Option("--quality", "-q", metavar="1..100", show_default=False,
                                                help="As in `enfold encode`.")] = None,
    coding: Annotated[str | None, typer.Option("--coding", metavar="static|codec", show_default=False,
                                               help="static: read many times faster; codec: some 20 % fewer bytes. "
                                                    "[default: static, where the codec allows it]")] = None,
    to: Annotated[str, typer.Option("--to", metavar="parquet|webdataset", help="What the shards are.")] = "parquet",
    labels: Annotated[Path | None, typer.Option("--labels", metavar="CSV", show_default=False,
                                                help="Lines of file,label: the samples to pack.")] = None,
    image_column: Annotated[str, typer.Option("--image-column", metavar="NAME", help="In Parquet.")] = "image",
    label_column: Annotated[str, typer.Option("--label-column", metavar="NAME", help="In Parquet.")] = "label",
    grey: Annotated[bool, typer.Option("--grey", help="Drop the colours first.")] = False,
    shard_rows: Annotated[int, typer.Option("--shard-rows", metavar="N", min=1, help="Samples of a shard.")] = 4096,
    jobs: Annotated[int, typer.Option("--jobs", "-j", metavar="N", min=0, help="Processes; 0 for one a core. "
                                                                               "Changes nothing but the time.")] = 0,
    engine: Annotated[str, typer.Option("--engine", metavar="local|ray", help="What runs it.")] = "local",
    strict: Annotated[bool, typer.Option("--strict", help="Stop at the first bad input.")] = False,
    json: Json = False, max_pixels: MaxPixels = None,
) -> None:
    """Pack a data set of pictures into latents to train on; goes on where it was interrupted."""
    from enfold import registry

    registry.entry(codec)
    from enfold.learners.packing import pack

    try:
        with _bar(shown=not json) as progress:
            report = pack(source, out, codec=codec, quality=quality, coding=coding, to=to, labels=labels,
                          image_column=image_column, label_column=label_column, grey=grey, shard_rows=shard_rows,
                          jobs=jobs, engine=engine, strict=strict, max_pixels=limits(max_pixels=max_pixels).max_pixels,
                          progress=progress)
    except KeyboardInterrupt:
        say("the same command goes on from the last whole shard")
        raise
    print_json(report) if json else say(_in_words(report))
    conclude(report.refused, report.samples + len(report.refused), list_them=not json)


def conclude(refused: Iterable[Refusal], of: int, *, list_them: bool = True) -> None:
    """How many samples were refused, for what reasons, and which; then the exit code of the first."""
    from enfold import errors

    refused = list(refused)
    if not refused:
        return
    if list_them:
        say(f"{len(refused)} of {of} samples refused:")
        for reason, count in Counter(_kind(refusal.reason) for refusal in refused).most_common():
            say(f"  {count} × {reason}")
        for refusal in refused[:SHOWN]:
            say(f"{refusal.key}: {refusal.reason}")
        if len(refused) > SHOWN:
            say(f"… and {len(refused) - SHOWN} more: --json lists all, and so does the pack's manifest.jsonl")
    raise typer.Exit(getattr(errors, refused[0].error, errors.EnfoldError).exit_code)


def _kind(reason: str) -> str:
    """A reason without what differs from file to file."""
    return reason.partition(" (")[0].partition(":")[0].partition(";")[0]


def _in_words(report: PackReport) -> str:
    again = f" ({report.resumed} were there before)" if report.resumed else ""
    ratio = f", {report.bytes / report.bytes_in:.0%} of" if report.bytes_in else " of"
    return (f"{report.out}: {report.samples:,} samples in {report.shards} shards{again}, {report.codec}, "
            f"{report.coding} coding, {report.bytes:,} bytes{ratio} {report.bytes_in:,}, {report.seconds:.0f} s")


@contextmanager
def _bar(*, shown: bool) -> Iterator[Callable[[int, int], None]]:
    """A progress bar on stderr, on a terminal only."""
    if not shown or not sys.stderr.isatty():
        yield lambda done, of: None
        return
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TimeRemainingColumn

    columns = (BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    with Progress(*columns, console=Console(stderr=True), transient=True, redirect_stdout=False) as bars:
        task = bars.add_task("", total=None)
        yield lambda done, of: bars.update(task, completed=done, total=of)
