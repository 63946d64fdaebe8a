"""`enfold decode`: .enf files into pictures and sounds."""

from __future__ import annotations

from dataclasses import replace
from io import BytesIO
from pathlib import Path
from typing import Annotated, Any

import typer

import enfold
from enfold.cli.files import PIPE, Job, make_folder, plan
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
from enfold.container import read_start
from enfold.errors import EnfoldError, UsageError
from enfold.geometry import AudioGeometry, Geometry

EXAMPLES = """\b
Examples:
  enfold decode photo.enf                     writes photo.png beside it
  enfold decode photo.enf photo.webp          the suffix names the format
  enfold decode small/ photos/ --format tiff  every .enf file in the folder, its structure kept
  enfold decode song.enf song.flac            sounds are written as WAV or FLAC
  enfold decode talk.enf --start 60 --stop 75       a quarter of a minute of it
  enfold decode broken.enf --allow-partial    what is damaged becomes silence, and is named
  cat photo.enf | enfold decode - - > photo.png"""


MOST_HEADER = 4096              # bytes; a header takes some tens


def command(
    source: Source, target: Target = None, *,
    format: Annotated[str | None, typer.Option("--format", metavar="NAME", show_default=False,
                                               help="png, webp, tiff (without loss) or jpeg; wav or flac. "
                                                    "[default: as OUT is named, else png, wav]")] = None,
    start: Annotated[float | None, typer.Option("--start", metavar="S", min=0, show_default=False,
                                                help="Of a sound, only from this second on.")] = None,
    stop: Annotated[float | None, typer.Option("--stop", metavar="S", min=0, show_default=False,
                                               help="Of a sound, only up to this second.")] = None,
    allow_partial: Annotated[bool, typer.Option("--allow-partial", help="Decode what is left of a damaged "
                                                "file.")] = False,
    force: Force = False, json: Json = False, threads: Threads = 0,
    max_pixels: MaxPixels = None, max_bytes: MaxBytes = None, max_symbols: MaxSymbols = None,
) -> None:
    """Turn .enf files back into pictures and sounds."""
    from enfold.cli.converting import convert
    from enfold.media import WRITES, write_picture
    from enfold.sounds import WRITES as SOUNDS
    from enfold.sounds import write_sound

    most = limits(max_pixels=max_pixels, max_bytes=max_bytes, max_symbols=max_symbols)
    options = {name: value for name, value in (("start_s", start), ("stop_s", stop),
                                               ("allow_partial", allow_partial or None)) if value is not None}
    jobs = plan(source, target, {".enf"}, f".{(format or 'png').lower()}")
    if format is None and not (len(jobs) == 1 and target and jobs[0].target == Path(target)):
        jobs = [replace(job, target=job.target.with_suffix(".wav")) if _is_sound(job) else job for job in jobs]

    def kind(job: Job) -> str | None:
        return f".{format.lower()}" if format else None if job.target == PIPE else job.target.suffix.lower()

    for name in {kind(job) for job in jobs} - {*WRITES, *SOUNDS, None}:
        raise UsageError(f"pictures are written as {', '.join(WRITES)}, sounds as {', '.join(SOUNDS)}, not as "
                         f"{name!r}: name one of them with --format, or by the suffix of OUT")
    use_threads(threads)

    def work(data: bytes, job: Job) -> bytes | int:
        suffix, is_sound = kind(job), isinstance(_geometry(data), AudioGeometry)
        choices = SOUNDS if is_sound else WRITES
        name = choices.get(suffix or (".wav" if is_sound else ".png"))
        if name is None:
            raise UsageError(f"{job.source} holds a {'sound' if is_sound else 'picture'}, which is written as "
                             f"{', '.join(choices)}, not as {suffix}: name one of them")
        out = BytesIO()
        if not is_sound:
            write_picture(enfold.decode(data, limits=most, **options), out, name)
            return out.getvalue()
        codec: Any = enfold.codec_of(data)
        sound = codec.opened(data, limits=most, **options)      # an hour is written while it is decoded
        if job.target == PIPE:
            write_sound(sound, out, name)
            return out.getvalue()
        make_folder(job.target)
        write_sound(sound, job.target, name)
        return job.target.stat().st_size

    convert(jobs, work, force=force, as_json=json)


def _is_sound(job: Job) -> bool:
    """Whether a file says that it holds a sound; what cannot be read will say so later."""
    try:
        with job.source.open("rb") as file:
            return isinstance(_geometry(file.read(MOST_HEADER)), AudioGeometry)
    except (OSError, EnfoldError):
        return False


def _geometry(data: bytes) -> Geometry:
    return read_start(memoryview(data))[0].geometry
