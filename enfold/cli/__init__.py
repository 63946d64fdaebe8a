r"""The command line: one file per verb, and one place where errors become exit codes.

    encode ─┐                ┌─ files      which files are meant; reading and writing them whole
    decode ─┴─ converting ───┤
    info, verify ────────────┴─ failures   the words and the exit code of what went wrong
    models, train, pack, unpack

Guarantees:
- stdout carries results only: the bytes of a file when `-` is its name, or one JSON object a line
  with --json; whatever is said to a human about a conversion goes to stderr;
- one file that fails does not stop the others; it is named at the end with its reason, and the
  exit code is that of the first failure;
- what enfold raises on purpose is one line on stderr and an exit code, never a traceback;
- --help and --version import neither NumPy nor torch, and `info` no torch.
"""

from __future__ import annotations

import os
import sys
from typing import Annotated, Any

import typer
from typer.core import TyperGroup

from enfold.cli import bench, bench_learning, bench_tasks, decode, encode, info, models, pack, train, unpack, verify
from enfold.cli.failures import INTERRUPTED, say, show
from enfold.errors import EnfoldError

EPILOG = """\b
Examples:
  enfold encode photo.png                      writes photo.enf
  enfold decode photo.enf                      writes photo.png
  enfold encode photos/ small/ -q 40           a whole folder, its structure kept
  enfold info small/ --json | jq .bpp          what files say of themselves
  curl -s $URL | enfold decode - - > photo.png

\b
Exit codes:
  0 done            3 file damaged, or no .enf file    6 file asks for more than the limits
  1 other failure   4 file of a newer format           7 picture cannot be read or written
  2 wrong usage     5 weights not at hand            130 interrupted
Of several failures, that of the first. ENFOLD_TRACEBACK=1 shows where an error arose;
ENFOLD_WEIGHTS lists further folders of weights."""


class Verbs(TyperGroup):
    """Every verb's errors end here."""

    def invoke(self, ctx: Any) -> Any:
        try:
            return super().invoke(ctx)
        except EnfoldError as error:
            show(error)
            raise typer.Exit(error.exit_code) from None
        except KeyboardInterrupt:
            say("interrupted")
            raise typer.Exit(INTERRUPTED) from None


app = typer.Typer(name="enfold", cls=Verbs, epilog=EPILOG, add_completion=False, no_args_is_help=True,
                  rich_markup_mode=None, pretty_exceptions_enable=False,
                  context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100})

for verb in (encode, decode, info, verify, models, train, pack, unpack):
    app.command(verb.__name__.rpartition(".")[2], epilog=verb.EXAMPLES)(verb.command)
bench.app.command("loader", epilog=bench_learning.LOADING)(bench_learning.loader)
bench.app.command("learn", epilog=bench_learning.LEARNING)(bench_learning.learn)
bench.app.command("documents", epilog=bench_tasks.READING)(bench_tasks.documents)
bench.app.command("digits", epilog=bench_tasks.TELLING)(bench_tasks.digits)
bench.app.command("separation", epilog=bench_tasks.SEPARATING)(bench_tasks.separation)
app.add_typer(bench.app, name="bench")


def _version(asked: bool) -> None:
    if asked:
        from enfold import __version__

        print(f"enfold {__version__}")
        raise typer.Exit


@app.callback()
def _enfold(version: Annotated[bool, typer.Option("--version", help="Show the version and exit.",
                                                  callback=_version, is_eager=True)] = False) -> None:
    """Neural codecs: pictures into small files, and those files into latents to learn from."""


def main() -> None:
    """The entry point of the command `enfold`."""
    for stream in (sys.stdout, sys.stderr):
        if hasattr(stream, "reconfigure"):
            stream.reconfigure(errors="backslashreplace")   # a file's name need not be printable
    try:
        app(prog_name="enfold")
    finally:
        try:
            sys.stdout.flush()
        except BrokenPipeError:      # whoever read our output has heard enough
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
