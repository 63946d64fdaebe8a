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

from dataclasses import dataclass

import google_crc32c

from enfold.container import Container, Header, Limits, Section, SectionKind, read_start

MOST_SEARCHED = 1 << 22         # bytes looked through for one head
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
        head = _head(view, at)
        check = 0 if head is None else _check(view, head, running)
        if head is None or check != _stored(view, head.end + 4):
            if head is not None and _goes_on(view, head, check):
                damage.append(f"the check at byte {head.end}")
            else:
                head = _next(view, at + 1)
                damage.append(f"bytes {at}..{(len(view) if head is None else head.start) - 1}")
                if head is None:
                    break
                check = _stored(view, head.end + 4)
        if head.kind in _KINDS:
            found.append(Section(_KINDS[head.kind], view[head.begin:head.end]))
        at, running, ended = head.end + 4, check, head.last
    if at < len(view) and not damage:
        damage.append(f"{len(view) - at} bytes after the last section")
    if not ended and not damage:
        damage.append(f"the file ends at byte {len(view)}, before its last section")
    return Salvage(Container(header, tuple(found)), tuple(damage))


@dataclass(frozen=True)
class _Head:
    """A section as its head has it: its start, its data from `begin` to `end`."""

    kind: int
    last: bool
    start: int
    begin: int
    end: int


def _head(view: memoryview, at: int) -> _Head | None:
    """What stands at a place, if the file can hold it."""
    length, shift, begin = 0, 0, at + 1
    while begin < len(view) and shift <= 56:
        byte = view[begin]
        length |= (byte & 0x7F) << shift
        begin, shift = begin + 1, shift + 7
        if byte < 0x80:
            end = begin + length
            return _Head(view[at] & 0x7F, view[at] >= 0x80, at, begin, end) if end + 4 <= len(view) else None
    return None


def _stored(view: memoryview, at: int) -> int:
    """The check that stands before a place."""
    return int.from_bytes(view[at - 4:at], "little")


def _check(view: memoryview, head: _Head, running: int) -> int:
    """What a section's check should be, given the one before it."""
    return google_crc32c.extend(running, bytes(view[head.start:head.end]))


def _goes_on(view: memoryview, head: _Head, check: int) -> bool:
    """Whether the section after this one follows from that check: then this one is sound, but for its own."""
    after = None if head.last else _head(view, head.end + 4)
    return after is not None and _check(view, after, check) == _stored(view, after.end + 4)


def _next(view: memoryview, at: int) -> _Head | None:
    """The next place that is a section's head, and fits the check that stands before it."""
    for place in range(at, min(len(view) - 5, at + MOST_SEARCHED)):
        if view[place] & 0x7F in _KINDS:
            head = _head(view, place)
            if head is not None and _check(view, head, _stored(view, place)) == _stored(view, head.end + 4):
                return head
    return None
