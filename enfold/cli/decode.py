"""`enfold decode`: .enf files into pictures."""

from __future__ import annotations

from io import BytesIO
from typing import Annotated

import typer

import enfold
from enfold.cli.files import PIPE, Job, plan
from enfold.cli.options import (
    Force,
    Json,
    MaxBytes,
    MaxPixels,
    MaxSymbols,
    Source,
    Target,
    Threads,
    limits,
    use_threads,
)
from enfold.errors import UsageError

EXAMPLES = """\b
Examples:
  enfold decode photo.enf                     writes photo.png beside it
  enfold decode photo.enf photo.webp          the suffix names the format
  enfold decode small/ photos/ --format tiff  every .enf file in the folder, its structure kept
  cat photo.enf | enfold decode - - > photo.png"""


def command(
    source: Source, target: Target = None, *,
    format: Annotated[str | None, typer.Option("--format", metavar="NAME", show_default=False,
                                               help="png, webp, tiff (without loss) or jpeg. "
                                                    "[default: as OUT is named, else png]")] = None,
    force: Force = False, json: Json = False, threads: Threads = 0,
    max_pixels: MaxPixels = None, max_bytes: MaxBytes = None, max_symbols: MaxSymbols = None,
) -> None:
    """Turn .enf files back into pictures."""
    from enfold.cli.converting import convert
    from enfold.media import WRITES, write_picture

    most = limits(max_pixels=max_pixels, max_bytes=max_bytes, max_symbols=max_symbols)
    suffix = f".{(format or 'png').lower()}"
    jobs = plan(source, target, {".enf"}, suffix)

    def kind(job: Job) -> str:
        return suffix if format or job.target == PIPE else job.target.suffix.lower()

    for name in {kind(job) for job in jobs} - set(WRITES):
        raise UsageError(f"pictures are written as {', '.join(WRITES)}, not as {name!r}: "
                         "name one of them with --format, or by the suffix of OUT")
    use_threads(threads)

    def work(data: bytes, job: Job) -> bytes:
        out = BytesIO()
        write_picture(enfold.decode(data, limits=most), out, WRITES[kind(job)])
        return out.getvalue()

    convert(jobs, work, force=force, as_json=json)
