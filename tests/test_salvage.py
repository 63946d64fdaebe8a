"""Of a damaged file every section that is sound is found, and nothing that is not."""

from __future__ import annotations

import numpy as np
import pytest

from enfold.container import Header, Limits, Section, SectionKind, pack, peek, unpack
from enfold.errors import BitstreamError, LimitError
from enfold.geometry import AudioGeometry
from enfold.salvage import salvage


def parts(count: int = 5, size: int = 300) -> list[bytes]:
    random = np.random.default_rng(count)
    return [random.bytes(size + number) for number in range(count)]


def file(data: list[bytes]) -> bytes:
    header = Header("some-codec", b"test", AudioGeometry(1000, 1, 8000), b"\7")
    return pack(header, [Section(SectionKind.SYMBOLS, part) for part in data])


def found(broken: bytes) -> list[bytes]:
    return [bytes(section.data) for section in salvage(broken).container.sections]


def test_a_whole_file_is_returned_whole():
    data = file(parts())
    saved = salvage(data)
    assert saved.damage == ()
    assert saved.container == unpack(data)


@pytest.mark.parametrize("number", range(5))
def test_damaged_data_loses_one_section(number):
    data = file(parts())
    broken = bytearray(data)
    broken[peek(data).entries[number].data_start + 20] ^= 1
    assert found(broken) == [part for k, part in enumerate(parts()) if k != number]
    entry = peek(data).entries[number]
    assert salvage(broken).damage == (f"bytes {entry.start}..{entry.data_end + 3}",)


@pytest.mark.parametrize("number", range(5))
def test_a_damaged_length_loses_one_section(number):
    data = file(parts())
    broken = bytearray(data)
    broken[peek(data).entries[number].start + 1] ^= 0x55
    assert found(broken) == [part for k, part in enumerate(parts()) if k != number]


@pytest.mark.parametrize("number", range(4))
def test_a_damaged_check_loses_nothing_where_a_section_follows(number):
    data = file(parts())
    broken = bytearray(data)
    broken[peek(data).entries[number].data_end + 2] ^= 0x10
    assert found(broken) == parts()
    assert salvage(broken).damage == (f"the check at byte {peek(data).entries[number].data_end}",)


def test_two_wounds_lose_two_sections():
    data = file(parts())
    broken = bytearray(data)
    for number in (1, 3):
        broken[peek(data).entries[number].data_start] ^= 0x80
    assert found(broken) == [parts()[0], parts()[2], parts()[4]]


def test_a_missing_end_keeps_what_came_before():
    data = file(parts())
    cut = data[:peek(data).entries[3].data_start + 10]
    assert found(cut) == parts()[:3]
    assert len(salvage(cut).damage) == 1
    assert salvage(data[:peek(data).entries[3].start]).damage[0].endswith("before its last section")


def test_bytes_put_in_between_lose_nothing_else():
    data = file(parts())
    at = peek(data).entries[2].start
    assert found(data[:at] + b"stowaway" + data[at:]) in (parts(), [p for k, p in enumerate(parts()) if k != 2])


def test_a_damaged_header_is_named():
    data = bytearray(file(parts()))
    data[8] ^= 1
    with pytest.raises(BitstreamError, match="header"):
        salvage(bytes(data))


def test_limits_hold():
    with pytest.raises(LimitError):
        salvage(file(parts()), Limits(max_sections=3))
    with pytest.raises(LimitError):
        salvage(file(parts()), Limits(max_bytes=100))


def test_nothing_that_was_not_written_is_ever_found():
    random = np.random.default_rng(0)
    data, written = file(parts()), set(parts())
    for _ in range(300):
        broken = bytearray(data)
        for place in random.integers(len(data) * 8, size=random.integers(1, 20)):
            broken[place // 8] ^= 1 << place % 8
        try:
            assert set(found(bytes(broken))) <= written
        except BitstreamError:
            continue
