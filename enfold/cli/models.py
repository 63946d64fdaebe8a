"""`enfold models`: the codecs there are, and the weights at hand."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from enfold.cli.options import Json, print_json
from enfold.errors import MissingWeightsError

EXAMPLES = """\b
A fingerprint is the start of the SHA-256 of the weights; every .enf file carries it.
Folders in ENFOLD_WEIGHTS are searched first."""


@dataclass(frozen=True)
class Model:
    """A codec and its weights; fingerprint and bytes are None where there are none at hand.
    measured: the rows of the card, as `pretrained.writing` describes them."""

    codec: str
    summary: str
    fingerprint: str | None
    bytes: int | None
    measured: tuple[Mapping[str, Any], ...]


def command(*, json: Json = False) -> None:
    """List the codecs and the weights at hand."""
    from enfold import registry

    models = [_model(entry.name, entry.summary) for entry in registry.entries().values()]
    if json:
        for model in models:
            print_json(model)
        return
    from rich.box import SIMPLE_HEAD
    from rich.console import Console
    from rich.table import Table

    console = Console(highlight=False)
    if not console.is_terminal:
        console = Console(highlight=False, width=160)      # a file or a pipe has no width to keep to
    table = Table("codec", "weights", "size", "what for", box=SIMPLE_HEAD)
    table.add_column("measured", no_wrap=True)
    for model in models:
        size = "" if model.bytes is None else f"{model.bytes / 1e6:.1f} MB"
        table.add_row(model.codec, model.fingerprint or "none", size, model.summary,
                      "\n".join(map(_in_words, model.measured)))
    console.print(table)


def _model(codec: str, summary: str) -> Model:
    from enfold import pretrained

    try:
        card = pretrained.find(codec)
    except MissingWeightsError:
        return Model(codec, summary, None, None, ())
    size = card.weights.stat().st_size if card.weights.exists() else None
    return Model(codec, summary, card.fingerprint.hex(), size, tuple(card.about.get("measured", ())))


def _in_words(row: Mapping[str, Any]) -> str:
    known = (("bpp", 2, "bpp"), ("kbps", 1, "kbit/s"), ("psnr_db", 1, "dB"))
    figures = [f"{row[name]:.{digits}f} {unit}" for name, digits, unit in known if name in row]
    return " ".join(figures) + (f", {row['data']}" if "data" in row else "")
