"""`enfold verify`: are these files what an encoder wrote?"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated

import typer

import enfold
from enfold.cli.failures import Failure
from enfold.cli.files import enf_files, read
from enfold.cli.options import Files, Json, MaxBytes, MaxPixels, MaxSymbols, Threads, limits, print_json, use_threads
from enfold.errors import BitstreamError, EnfoldError

EXAMPLES = """\b
Examples:
  enfold verify photo.enf
  enfold verify small/ --decode

Checksums find every accident; --decode also runs the codec, and so finds missing weights.
The exit code is 3 if any file is damaged."""


@dataclass(frozen=True)
class Sound:
    """A file that holds what was written. decoded: whether more than its checksums was tried."""

    file: str
    codec: str
    bytes: int
    decoded: bool


def command(
    files: Files, *,
    decode: Annotated[bool, typer.Option("--decode", help="Decode each file too.")] = False,
    json: Json = False, threads: Threads = 0,
    max_pixels: MaxPixels = None, max_bytes: MaxBytes = None, max_symbols: MaxSymbols = None,
) -> None:
    """Check that .enf files are undamaged."""
    from enfold.container import unpack

    most = limits(max_pixels=max_pixels, max_bytes=max_bytes, max_symbols=max_symbols)
    paths = enf_files(files)
    use_threads(threads)
    codes = []
    for path in paths:
        try:
            data = read(path)
            codec = unpack(data, most).header.codec
            if decode:
                enfold.decode(data, limits=most)
        except EnfoldError as error:
            failure = Failure.of(path, error)
            codes.append(failure.exit_code)
            print_json(failure) if json else print(f"{path}: {_verdict(error)}: {failure.message}")
        else:
            sound = Sound(str(path), codec, len(data), decode)
            print_json(sound) if json else print(f"{path}: sound")
    if codes:
        raise typer.Exit(BitstreamError.exit_code if BitstreamError.exit_code in codes else codes[0])


def _verdict(error: EnfoldError) -> str:
    return "damaged" if error.exit_code == BitstreamError.exit_code else "not verified"
