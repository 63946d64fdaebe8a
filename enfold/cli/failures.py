"""What went wrong, in words on stderr and as an exit code.

With ENFOLD_TRACEBACK set, the traceback comes first: for whoever mends enfold, not for users.
"""

from __future__ import annotations

import os
import sys
import traceback
from collections.abc import Sequence
from dataclasses import dataclass

import typer

from enfold.errors import EnfoldError, LimitError

INTERRUPTED = 130        # 128 + SIGINT, as shells have it


@dataclass(frozen=True)
class Failure:
    """One file that failed; as JSON it is a line like any other, told by its `error`."""

    file: str
    error: str
    message: str
    exit_code: int

    @classmethod
    def of(cls, file: object, error: EnfoldError) -> Failure:
        _trace(error)
        return cls(str(file), type(error).__name__, wording(error), error.exit_code)


def say(text: str) -> None:
    """A line for the human."""
    print(f"enfold: {text}", file=sys.stderr, flush=True)


def show(error: EnfoldError) -> None:
    """An error that is nobody's file's."""
    _trace(error)
    say(wording(error))


def wording(error: EnfoldError) -> str:
    """The error's message; advice that names a parameter of the library names the option instead."""
    if isinstance(error, LimitError) and error.limit in ("max_pixels", "max_bytes", "max_symbols"):
        option = "--" + error.limit.replace("_", "-")
        return (f"{error.limit}: it asks for {error.value:,}, the limit is {error.allowed:,}; "
                f"if you trust it, raise the limit with {option} (0 lifts it)")
    return str(error).removeprefix("the picture: ")


def conclude(failures: Sequence[Failure], of: int) -> None:
    """Lists the failures; ends the command with the exit code of the first, if there is one."""
    if failures and of > 1:
        say(f"{len(failures)} of {of} files failed:")
    for failure in failures:
        say(f"{failure.file}: {failure.message}")
    if failures:
        raise typer.Exit(failures[0].exit_code)


def _trace(error: EnfoldError) -> None:
    if os.environ.get("ENFOLD_TRACEBACK"):
        traceback.print_exception(error)
