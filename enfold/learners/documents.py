"""Documents as learners see them: a picture, its lines of text with their boxes, and what each line is.

    receipt.jpg     the picture, grey or in colour
    receipt.json    {"fields": {"company": "…", "date": "…", "address": "…", "total": "…"},
                     "lines": [{"box": [x, y, x, y, x, y, x, y], "text": "…"}, …]}

Boxes are of four corners in pixels, and made upright here. The fields say what a document means, not where; a line
is given the field whose value it holds, or a part of it: companies and addresses run over several lines, a total is
printed more than once, and all of those are right. All else is "other".

Source of the task: Huang et al. 2019, "ICDAR 2019 competition on scanned receipt OCR and information extraction".
"""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from enfold.errors import MediaError, UsageError

FIELDS = ("other", "company", "date", "address", "total")
PICTURES = (".jpg", ".jpeg", ".png", ".webp")
LEAST = 4                   # letters and digits that a line must have to be told for a part of a name or an address


@dataclass(frozen=True)
class Line:
    """box: left, top, right, bottom in pixels. field: an index of FIELDS."""

    box: tuple[float, float, float, float]
    text: str
    field: int


@dataclass(frozen=True)
class Document:
    """path: of the picture. group: documents that must stay on one side of a test, such as those of one shop."""

    path: Path
    width: int
    height: int
    lines: tuple[Line, ...]
    group: str


def read_documents(folder: Path) -> list[Document]:
    """All in a folder, by name. Raises MediaError, UsageError."""
    from PIL import Image

    documents = []
    for path in sorted(path for path in folder.glob("*") if path.suffix.lower() in PICTURES):
        about = path.with_suffix(".json")
        try:
            with Image.open(path) as image:
                width, height = image.size
            said: Any = json.loads(about.read_text("utf-8"))
            fields = {name: str(said["fields"].get(name, "")) for name in FIELDS[1:]}
            lines = tuple(Line(_upright(line["box"]), line["text"], field_of(line["text"], fields))
                          for line in said["lines"])
        except OSError as error:
            raise MediaError(f"{error.filename or path}: cannot be read: {error}; each picture needs its "
                             ".json") from error
        except (ValueError, KeyError, TypeError, AttributeError) as error:
            raise MediaError(f"{about}: not fields and lines as documents have them: {error!r}") from error
        documents.append(Document(path, width, height, lines, _plain(fields["company"]) or path.stem))
    if not documents:
        raise UsageError(f"{folder} holds no pictures of documents: {', '.join(PICTURES)}, with a .json beside each")
    return documents


def field_of(text: str, fields: dict[str, str]) -> int:
    """The field that a line tells, an index of FIELDS."""
    plain, company = _plain(text), _plain(fields["company"])
    if len(plain) >= LEAST and company and (plain in company or company in plain):
        return FIELDS.index("company")
    if len(plain) >= LEAST and plain in _plain(fields["address"]):
        return FIELDS.index("address")
    if fields["date"] and fields["date"] in text:
        return FIELDS.index("date")
    total = re.sub(r"[^\d.]", "", fields["total"])
    if total and re.search(rf"(?<![\d.,]){re.escape(total)}(?!\d)", text):
        return FIELDS.index("total")
    return 0


def folds_of(documents: Sequence[Document], folds: int) -> list[list[int]]:
    """The documents of each fold, of as like a number as groups allow; a group is never split. Raises UsageError."""
    members: dict[str, list[int]] = {}
    for number, document in enumerate(documents):
        members.setdefault(document.group, []).append(number)
    if not 2 <= folds <= len(members):
        raise UsageError(f"{folds} folds of {len(members)} groups of documents: there are at least 2, and no more "
                         "than groups")
    parts: list[list[int]] = [[] for _ in range(folds)]
    for group in sorted(members.values(), key=lambda group: (-len(group), group)):
        min(parts, key=len).extend(group)
    return [sorted(part) for part in parts]


def cells_of(document: Document, high: int, wide: int, cell: float) -> np.ndarray:
    """(2, high, wide) float32 of a grid of cells of so many pixels: the line that covers a cell's middle, or -1, and
    that line's field. A line that covers no middle has the cell that its own middle lies in; where two overlap, the
    smaller has the cell."""
    made = np.full((2, high, wide), -1, np.float32)
    by_size = sorted(enumerate(document.lines), key=lambda line: -_area(line[1].box))
    for number, line in by_size:
        left, top, right, bottom = (edge / cell for edge in line.box)
        rows = slice(*_span(top, bottom, high))
        columns = slice(*_span(left, right, wide))
        made[0, rows, columns], made[1, rows, columns] = number, line.field
    return made


def _span(first: float, last: float, count: int) -> tuple[int, int]:
    begin, end = round(first), round(last)
    if end <= begin:
        begin = int((first + last) / 2)
        end = begin + 1
    begin = min(max(begin, 0), count - 1)
    return begin, min(max(end, begin + 1), count)


def _area(box: tuple[float, float, float, float]) -> float:
    return (box[2] - box[0]) * (box[3] - box[1])


def _upright(corners: Sequence[float]) -> tuple[float, float, float, float]:
    if len(corners) != 8:
        raise ValueError(f"a box of {len(corners)} numbers, where four corners have 8")
    return min(corners[::2]), min(corners[1::2]), max(corners[::2]), max(corners[1::2])


def _plain(text: str) -> str:
    return re.sub(r"[^A-Z0-9]", "", text.upper())
