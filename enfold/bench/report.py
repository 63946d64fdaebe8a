"""One page that a person can read, look at and listen to: the results of a bench as `report.html`.

Guarantees: the page holds all that it shows and fetches nothing (its own policy forbids it); each
picture has a text alternative; without scripts the pictures stand side by side.
"""

from __future__ import annotations

import re
from base64 import b64encode
from collections.abc import Sequence
from html import escape
from pathlib import Path
from string import Template

from rich.table import Table
from rich.text import Text

from enfold.bench import table
from enfold.bench.results import Results
from enfold.bench.samples import Comparison, Version
from enfold.media import replace_file

TEMPLATE = Path(__file__).with_name("report.html")
TITLES = {"pictures": "Codecs of pictures", "sounds": "Codecs of sound", "films": "Codecs of film"}
INKS = {"#222222": "var(--ink)", "#ffffff": "none", "#dddddd": "var(--faint)", "#888888": "var(--dim)"}


def write(results: Results, plots: Sequence[Path], comparisons: Sequence[Comparison], path: Path) -> None:
    """plots: the SVG files, to be set into the page."""
    replace_file(path, page(results, plots, comparisons).encode())


def page(results: Results, plots: Sequence[Path], comparisons: Sequence[Comparison]) -> str:
    """The page's HTML."""
    data, machine = results.data, results.machine
    libraries = ", ".join(f"{name} {version}" for name, version in machine.libraries.items())
    return Template(TEMPLATE.read_text("utf-8")).substitute(
        title=escape(f"{TITLES.get(results.medium, results.medium)}: {data.name}"),
        about=escape(f"{data.items} {results.medium} of {data.name}, {results.date}. {machine.cpu}, "
                     f"{machine.cores} cores; Python {machine.python}, {libraries}."),
        command=escape(results.command), summary=html_table(table.summary(results)),
        notes="".join(f"<li>{escape(note)}</li>" for note in table.notes(results)[1:]),
        plots="".join(_plot(number, path, results) for number, path in enumerate(plots)),
        curves=html_table(table.curves(results)), samples=_samples(comparisons))


def html_table(shown: Table) -> str:
    """A table of the terminal's, as HTML: what is bold there is ours."""
    head = "".join(f"<th>{escape(str(column.header))}</th>" for column in shown.columns)
    rows = "".join(_row(cells) for cells in zip(*(column.cells for column in shown.columns), strict=True))
    return f"<table><thead><tr>{head}</tr></thead><tbody>{rows}</tbody></table>"


def _row(cells: Sequence[object]) -> str:
    kind = "ours" if any(isinstance(cell, Text) and cell.style == "bold" for cell in cells) else ""
    return f'<tr class="{kind}">' + "".join(f"<td>{escape(str(cell))}</td>" for cell in cells) + "</tr>"


def _plot(number: int, path: Path, results: Results) -> str:
    """The drawing, in the page's colours; its identifiers are made unique."""
    svg = path.read_text("utf-8")
    svg = re.sub(r"<metadata>.*?</metadata>|<style.*?</style>", "", svg[svg.index("<svg"):], flags=re.DOTALL)
    svg = re.sub(r'(\bid="|url\(#|href="#)', rf"\g<1>plot{number}-", svg)
    svg = re.sub(r'(<svg[^>]*?) width="[^"]*" height="[^"]*"', r"\1", svg, count=1)
    for ink, colour in INKS.items():
        svg = svg.replace(ink, colour)
    names = ", ".join(curve.label for curve in results.curves if curve.points)
    kind, _, metric = path.stem.partition("-")
    label = next((m.label for m in results.metrics if m.name == metric), metric)
    said = (f"{label} over {results.rate_unit}" if kind == "rate" else f"Speed, and size at equal {label},") + \
        f" for {names}. The figures are in the tables."
    return f'<figure class="wide" role="img" aria-label="{escape(said)}">{svg}</figure>'


def _samples(comparisons: Sequence[Comparison]) -> str:
    if not comparisons:
        return ""
    heard = any(version.excerpt.sound for comparison in comparisons for version in comparison.versions)
    how = ("Each player goes on where the last one stopped." if heard else
           "Drag over a picture or move the slider; keys 0 to 9 choose the right picture, with Shift the left "
           "one, and Space flips between them.")
    said = f"The first codec sets the size; every other gives its smallest file that is no smaller. {how}"
    sections = "".join(_comparison(comparison, heard) for comparison in comparisons)
    return f'<h2>At equal bytes</h2><p class="dim">{said}</p>{sections}'


def _comparison(comparison: Comparison, heard: bool) -> str:
    about = comparison.versions[0].excerpt.about
    figures = "".join(_version(comparison.item, version) for version in comparison.versions)
    return (f"<section><h3>{escape(comparison.item)} in {escape(comparison.size)}</h3>"
            f'<p class="dim">{escape(about)}</p>'
            f'<div class="versions {"sounds" if heard else "flips"}">{figures}</div></section>')


def _version(item: str, version: Version) -> str:
    facts = ", ".join(filter(None, ["" if version.bytes is None else f"{version.bytes:,} bytes", version.score]))
    said = f"{version.label}{f', {facts}' if facts else ''}: {item}, {version.excerpt.about}"
    name = f'<b class="ours">{escape(version.label)}</b>' if version.ours else f"<b>{escape(version.label)}</b>"
    excerpt = version.excerpt
    player = "" if excerpt.sound is None else (f'<audio controls preload="none" aria-label="{escape(said)}" '
                                               f'src="{_data_uri(excerpt.sound, "audio/flac")}"></audio>')
    return (f'<figure data-label="{escape(version.label)}"{" data-ours=1" if version.ours else ""}>'
            f'<img alt="{escape(said)}" src="{_data_uri(excerpt.image, excerpt.image_type)}">{player}'
            f"<figcaption>{name}<small> {escape(facts)}</small></figcaption></figure>")


def _data_uri(data: bytes, kind: str) -> str:
    return f"data:{kind};base64,{b64encode(data).decode()}"
