"""Options that several verbs share, so that they read and mean the same everywhere."""

from __future__ import annotations

import json
from dataclasses import asdict
from typing import TYPE_CHECKING, Annotated, Any

import typer

if TYPE_CHECKING:
    from enfold.container import Limits

Source = Annotated[str, typer.Argument(metavar="IN", help="A file, a folder, or - for a pipe.", show_default=False)]
Target = Annotated[str | None, typer.Argument(metavar="OUT", help="A file, a folder, or -. [default: beside IN]",
                                              show_default=False)]
Files = Annotated[list[str], typer.Argument(metavar="FILE", help="Files, folders of .enf files, or -.",
                                            show_default=False)]
Force = Annotated[bool, typer.Option("--force", "-f", help="Replace files that exist.")]
Json = Annotated[bool, typer.Option("--json", help="Write one JSON object a line to stdout.")]
Threads = Annotated[int, typer.Option("--threads", "-t", min=0, metavar="N", help="CPU threads; 0 takes every core.")]


def _limit(name: str, what: str) -> Any:
    return Annotated[int | None, typer.Option(name, min=0, metavar="N", show_default=False,
                                              help=f"Refuse {what}; 0 lifts the limit.")]


MaxPixels = _limit("--max-pixels", "pictures of more pixels")
MaxBytes = _limit("--max-bytes", "files, and originals, of more bytes")
MaxSymbols = _limit("--max-symbols", "latents of more symbols")


def limits(**given: int | None) -> Limits:
    """The library's limits, with those given in their place."""
    from enfold.container import Limits

    return Limits(**{name: value or None for name, value in given.items() if value is not None})


def use_threads(count: int) -> None:
    if count:
        import torch

        torch.set_num_threads(count)


def print_json(result: Any) -> None:
    """A result, a dataclass, as one line on stdout."""
    print(json.dumps(asdict(result), default=str), flush=True)
