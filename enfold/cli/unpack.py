"""`enfold unpack`: a pack's pictures, or its .enf files."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from enfold.cli.failures import say
from enfold.cli.options import Force, Json, Threads, print_json, use_threads

EXAMPLES = """\b
Examples:
  enfold unpack latents/ photos/               pictures in folders as they came, and labels.csv
  enfold unpack latents/ small/ --format enf   the .enf files, byte for byte as `enfold encode` writes them
  enfold unpack latents/ look/ --limit 20"""


def command(
    pack: Annotated[Path, typer.Argument(metavar="PACK", help="The folder of a pack.", show_default=False)],
    out: Annotated[Path, typer.Argument(metavar="OUT", help="A folder.", show_default=False)], *,
    format: Annotated[str, typer.Option("--format", metavar="png|webp|tiff|jpg|enf", help="What to write.")] = "png",
    limit: Annotated[int, typer.Option("--limit", metavar="N", min=0, help="Only the first N; 0 for all.")] = 0,
    force: Force = False, json: Json = False, threads: Threads = 0,
) -> None:
    """Give the pictures of a pack back."""
    from enfold.cli.pack import conclude
    from enfold.learners.unpacking import unpack

    use_threads(threads)
    report = unpack(pack, out, format=format, limit=limit, force=force)
    print_json(report) if json else say(f"{report.out}: {report.written:,} files")
    conclude(report.refused, report.written + len(report.refused), list_them=not json)
