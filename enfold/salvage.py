"""What can be saved of a damaged file: its header and every section whose bytes still fit the running checksum.

Each section's check is one CRC over all before it, so after damage none seems right. But the check that stands before
a section is all that is needed to go on from: a section is sound if its check follows from the one stored before it,
or from the one that was computed.

    section 1    section 2    section 3                       check 3 follows from the stored check 2,
    ✓            ✗            ✓ ◀───────────────────────────  whatever happened to the data before it

Where a length is damaged, the next head is looked for byte by byte: a place is one if what it claims to be fits the
check stored before it, which by chance happens once in four thousand million.

Guarantees: a section that is returned is what was written, at that place or a later one; a whole file is returned
whole, with no damage; a damaged header raises BitstreamError, since nothing is known without it.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import google_crc32c

from enfold.container import Container, Header, Limits, Section, SectionKind, read_start
from enfold.errors import BitstreamError

MOST_SEARCHED = 1 << 24         # bytes looked through for one head
_KINDS = {kind.value: kind for kind in SectionKind}


class DamageWarning(UserWarning):
    """A part of what was decoded is lost."""


@dataclass(frozen=True)
class Salvage:
    """container: the header and what is sound. damage: where it is not, in words; none for a whole file."""

    container: Container
    damage: tuple[str, ...]

    @property
    def header(self) -> Header:
        return self.container.header


def salvage(data: bytes, limits: Limits = Limits()) -> Salvage:
    """All of a file that is sound. Raises BitstreamError for a damaged header, LimitError."""
    view = memoryview(data).cast("B").toreadonly() if len(data) else memoryview(b"")
    limits.check("max_bytes", len(view))
    header, at, running = read_start(view)
    limits.admit(header.geometry)
    found: list[Section] = []
    damage: list[str] = []
    ended = False
    while at < len(view) and not ended:
        limits.check("max_sections", len(found) + 1)
        whole = _section(view, at, (running, _stored(view, at)))
        if whole is None:
            place = next(((begin, section) for begin in _candidates(view, at + 1)
                          if (section := _section(view, begin, (_stored(view, begin),))) is not None), None)
            if place is None:
                damage.append(f"bytes {at:,} to {len(view) - 1:,}")
                break
            damage.append(f"bytes {at:,} to {place[0] - 1:,}")
            at, whole = place
        kind, data_start, data_end, ended = whole
        if kind in _KINDS:
            found.append(Section(_KINDS[kind], view[data_start:data_end]))
        at, running = data_end + 4, int.from_bytes(view[data_end:data_end + 4], "little")
    if at < len(view) and not damage:
        damage.append(f"{len(view) - at} bytes after the last section")
    if not ended and not damage:
        damage.append(f"the file ends at byte {len(view):,}, before its last section")
    return Salvage(Container(header, tuple(found)), tuple(damage))


def _stored(view: memoryview, at: int) -> int:
    """The check that stands before a place."""
    return int.from_bytes(view[at - 4:at], "little")


def _candidates(view: memoryview, at: int) -> Iterator[int]:
    """Places that could be a section's head."""
    for place in range(at, min(len(view) - 5, at + MOST_SEARCHED)):
        if view[place] & 0x7F in _KINDS:
            yield place


def _section(view: memoryview, at: int, starts: tuple[int, ...]) -> tuple[int, int, int, bool] | None:
    """(kind, where its data begins and ends, whether it is the last) of a sound section at a place."""
    length, shift, begin = 0, 0, at + 1
    while True:
        if begin >= len(view) or shift > 56:
            return None
        byte = view[begin]
        length |= (byte & 0x7F) << shift
        begin, shift = begin + 1, shift + 7
        if byte < 0x80:
            break
    end = begin + length
    if end + 4 > len(view) or ((last := view[at] >= 0x80) and end + 4 != len(view)):
        return None
    check, body = int.from_bytes(view[end:end + 4], "little"), bytes(view[at:end])
    if all(google_crc32c.extend(start, body) != check for start in starts):
        return None
    return view[at] & 0x7F, begin, end, last


__all__ = ["BitstreamError", "DamageWarning", "Salvage", "salvage"]
