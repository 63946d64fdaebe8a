"""The .enf file: what goes in comes out, damage is named, nothing hostile costs memory."""

import random
import re
import tracemalloc
from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest
from google_crc32c import value as crc32c
from hypothesis import given, settings
from hypothesis import strategies as st

from enfold.container import Container, Header, Limits, Section, SectionKind, is_enf, pack, peek, unpack
from enfold.errors import BitstreamError, LimitError, UnsupportedVersionError, UsageError
from enfold.geometry import (
    DTYPES,
    MODES,
    PICTURE_DTYPES,
    AudioGeometry,
    ImageGeometry,
    TensorGeometry,
    VideoGeometry,
)

HEADER = Header("walloc-rgb-16x", b"\x01\x02\x03\x04", ImageGeometry(768, 512), b"\x05")
SMALL = pack(
    HEADER,
    [
        Section(SectionKind.SYMBOLS, b"coded\nsymbols"),
        Section(SectionKind.SYMBOLS, b"other symbols"),
        Section(SectionKind.PROFILE, b""),
    ],
)

sizes = st.integers(1, 2**63 - 1)
counts = st.integers(0, 2**63 - 1)
modes, dtypes, picture_dtypes = st.sampled_from(MODES), st.sampled_from(DTYPES), st.sampled_from(PICTURE_DTYPES)
geometries = st.one_of(
    st.builds(ImageGeometry, sizes, sizes, modes, picture_dtypes),
    st.builds(AudioGeometry, counts, sizes, sizes, dtypes),
    st.builds(VideoGeometry, sizes, sizes, sizes, st.builds(Fraction, sizes, sizes), modes, picture_dtypes),
    st.builds(TensorGeometry, st.lists(counts, max_size=32).map(tuple), dtypes),
)
headers = st.builds(
    Header,
    st.text("abcdefghijklmnopqrstuvwxyz0123456789.-", min_size=1, max_size=40),
    st.binary(min_size=4, max_size=4),
    geometries,
    st.binary(max_size=300),
)
section_lists = st.lists(st.builds(Section, st.sampled_from(SectionKind), st.binary(max_size=300)), min_size=1)
NO_LIMITS = Limits(None, None, None, None)


def raw(body: bytes, *sections: tuple[int, bytes], version: int = 1, length: bytes | None = None) -> bytes:
    """A file with true checksums around whatever is in it.  Section kinds carry the last-bit themselves."""
    start = b"\x9enf" + bytes([version]) + (leb(len(body)) if length is None else length) + body
    covered, out = start, start + crc32c(start).to_bytes(4, "little")[:2]
    for kind, data in sections:
        part = bytes([kind]) + leb(len(data)) + data
        covered += part
        out += part + crc32c(covered).to_bytes(4, "little")
    return out


def leb(value: int) -> bytes:
    out = b""
    while value > 127:
        out, value = out + bytes([value & 127 | 128]), value >> 7
    return out + bytes([value])


def plain(container: Container) -> list[tuple[int, bytes]]:
    return [(section.kind, bytes(section.data)) for section in container.sections]


# What goes in comes out.


@given(headers, section_lists)
@settings(max_examples=200, deadline=None)
def test_what_is_packed_comes_back(header, sections):
    container = unpack(pack(header, sections), NO_LIMITS)
    assert container.header == header
    assert plain(container) == [(section.kind, section.data) for section in sections]
    assert pack(container.header, container.sections) == pack(header, sections)


@pytest.mark.parametrize("wrap", [bytes, bytearray, memoryview, lambda data: np.frombuffer(data, np.uint8)])
def test_any_bytes_like_is_read(wrap):
    assert unpack(wrap(SMALL)).header == HEADER
    assert pack(HEADER, [Section(SectionKind.SYMBOLS, wrap(b"ab"))]) == pack(HEADER, [Section(1, b"ab")])


def test_section_data_is_not_copied():
    data = pack(HEADER, [Section(SectionKind.SYMBOLS, bytes(10_000_000))])
    tracemalloc.start()
    found = unpack(data).need(SectionKind.SYMBOLS)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert isinstance(found, memoryview) and found.readonly and peak < 100_000


def test_overhead_of_a_still_image_stays_within_forty_bytes():
    for size, overhead in {0: 37, 127: 37, 20_000: 39, 2_000_000: 39}.items():
        assert len(pack(HEADER, [Section(SectionKind.SYMBOLS, bytes(size))])) - size == overhead <= 40


def test_common_geometry_takes_one_byte_and_two_varints():
    taken = len(pack(HEADER, [Section(SectionKind.SYMBOLS, b"")])) - len(
        pack(Header("walloc-rgb-16x", b"\x01\x02\x03\x04", ImageGeometry(1, 1), b"\x05"), [Section(1, b"")])
    )
    assert taken == len(leb(768)) + len(leb(512)) - 2


def test_peek_reads_no_section_data():
    summary = peek(SMALL)
    assert summary.header == HEADER
    assert [entry.name for entry in summary.entries] == [
        "section 1 (symbols)",
        "section 2 (symbols)",
        "section 3 (profile)",
    ]
    broken = SMALL.replace(b"coded", b"xxxxx")
    assert peek(broken) == summary
    assert SMALL[summary.entries[1].data_start : summary.entries[1].data_end] == b"other symbols"


def test_the_magic_tells():
    assert is_enf(SMALL) and not is_enf(b"") and not is_enf(b"\x89PNG") and not is_enf(b"enf")


def test_checksum_is_crc32c():
    assert crc32c(b"123456789") == 0xE3069283
    assert crc32c(bytes(32)) == 0x8A9136AA
    assert crc32c(bytes(range(32))) == 0x46DD794E


def test_the_worked_example_of_the_format_page_is_true():
    page = (Path(__file__).parents[1] / "docs" / "format.md").read_text()
    example = page.split("## Worked example")[1]
    data = b"".join(bytes.fromhex(row) for row in re.findall(r"^    ((?:[0-9a-f]{2} )+) *│", example, re.M))
    header = Header("walloc-rgb-16x", bytes.fromhex("1d3a5f07"), ImageGeometry(300, 200), b"\x10")
    sections = [Section(SectionKind.SYMBOLS, b"12345"), Section(SectionKind.PROFILE, b"icc")]
    assert pack(header, sections) == data
    assert unpack(data).header == header and plain(unpack(data)) == [(1, b"12345"), (0x41, b"icc")]


# Damage is named.


def damages(data):
    """Every simple way in which a file breaks: (what was done, broken copy)."""
    for bit in range(8 * len(data)):
        flipped = bytearray(data)
        flipped[bit // 8] ^= 1 << bit % 8
        yield f"bit {bit % 8} of byte {bit // 8} flipped", bytes(flipped)
    for at in range(len(data)):
        before, byte, after = data[:at], data[at : at + 1], data[at + 1 :]
        yield f"cut after {at} bytes", before
        yield f"byte {at} missing", before + after
        yield f"zero put before byte {at}", before + b"\0" + byte + after
        yield f"byte {at} doubled", before + byte + byte + after
        yield f"byte {at} set to zero", before + b"\0" + after
        yield f"bytes from {at} on set to zero", before + bytes(len(data) - at)
        yield f"byte {at} swapped with the next", before + after[:1] + byte + after[1:]
        yield f"byte {at} swapped with the last", before + after[-1:] + after[:-1] + byte
    for extra in (b"\0", b"\n", b"\xff" * 4, data):
        yield f"{len(extra)} bytes appended", data + extra
    yield "newlines translated", data.replace(b"\n", b"\r\n")
    yield "sent as text", data.decode("ascii", "replace").encode()
    yield "backwards", data[::-1]


def test_every_simple_damage_is_refused():
    assert b"\n" in SMALL
    for what, broken in damages(SMALL):
        if broken != SMALL:
            with pytest.raises(BitstreamError):
                pytest.fail(f"{what}: taken as {unpack(broken)}")


@given(st.binary(max_size=200))
@settings(max_examples=300, deadline=None)
def test_random_bytes_are_refused(noise):
    for data in (noise, b"\x9enf" + noise, b"\x9enf\x01" + noise, SMALL[:33] + noise):
        with pytest.raises(BitstreamError):
            unpack(data)


def test_two_bit_damage_to_the_header_is_caught_by_its_own_check():
    end = peek(SMALL).entries[0].start
    rng = random.Random(1)
    pairs = [rng.sample(range(8 * end), 2) for _ in range(3000)]
    for pair in pairs:
        broken = bytearray(SMALL)
        for bit in pair:
            broken[bit // 8] ^= 1 << bit % 8
        with pytest.raises(BitstreamError):
            peek(broken)


@pytest.mark.parametrize("number", [0, 1])
def test_a_flip_names_section_and_bytes(number):
    entry = peek(SMALL).entries[number]
    broken = bytearray(SMALL)
    broken[entry.data_start + 3] ^= 4
    with pytest.raises(BitstreamError) as caught:
        unpack(broken)
    assert f"section {number + 1} (symbols), bytes {entry.start}..{entry.data_end + 3}: checksum mismatch" in str(
        caught.value
    )
    assert caught.value.section == entry.name and caught.value.offset == entry.start


def test_damage_in_the_header_is_named_as_such():
    for at in range(3, peek(SMALL).entries[0].start):
        broken = bytearray(SMALL)
        broken[at] ^= 1
        with pytest.raises(BitstreamError, match=r"^header") as caught:
            unpack(broken, Limits(max_pixels=1, max_bytes=None))
        assert type(caught.value) is BitstreamError, "damage is no newer version, and no large picture"


def test_truncated_file_names_the_section_and_what_is_missing():
    whole = pack(HEADER, [Section(SectionKind.SYMBOLS, bytes(20_000))])
    for end in (0, 2, 10, 30, 31, 36):
        with pytest.raises(BitstreamError) as caught:
            unpack(whole[:end])
        assert caught.value.section == ("header" if end < 31 else "section 1")
    with pytest.raises(BitstreamError, match=r"section 1 \(symbols\).*cut short: 1039 bytes are missing"):
        unpack(whole[:19_000])


def test_cut_between_two_sections_is_noticed():
    with pytest.raises(BitstreamError, match=r"section 2.*cut short"):
        unpack(SMALL[: peek(SMALL).entries[1].start])


def test_swapped_sections_are_refused():
    first, second, third = peek(SMALL).entries
    parts = [SMALL[entry.start : entry.data_end + 4] for entry in (first, second, third)]
    start = SMALL[: first.start]
    for data in (start + parts[1] + parts[0] + parts[2], start + parts[1] + parts[2]):
        with pytest.raises(BitstreamError, match=r"section 1 .*checksum"):
            unpack(data)


def test_a_section_of_another_file_is_refused():
    header = Header("walloc-rgb-16x", b"\x01\x02\x03\x04", ImageGeometry(768, 511), b"\x05")
    other = pack(header, unpack(SMALL).sections)
    assert len(other) == len(SMALL)
    start = peek(SMALL).entries[0].start
    with pytest.raises(BitstreamError, match="section 1"):
        unpack(SMALL[:start] + other[start:])


def test_bytes_after_the_end_are_refused():
    with pytest.raises(BitstreamError, match="3 bytes follow the last section"):
        unpack(SMALL + b"abc")


@pytest.mark.parametrize(
    ("data", "word"),
    [
        (b"", "empty"),
        (b"\x89PNG\r\n\x1a\n", "PNG"),
        (b"\xff\xd8\xff\xe0", "JPEG"),
        (b"RIFF....WEBP", "WebP"),
        (b"\0\0\0\x20ftypavif", "AVIF"),
        (b"hello, world\n", "text"),
        (b"\x9f\x6e\x66\x01", "begins with 9f 6e 66"),
        (b"\x9e", "cut short"),
    ],
)
def test_a_wrong_file_is_told_what_it_is(data, word):
    with pytest.raises(BitstreamError, match=word):
        unpack(data)


# Newer files.

NAME = b"\xe1" + bytes(4)  # codec "a", no weights
TINY = NAME + b"\x10\x01\x01"


def test_a_newer_version_says_so():
    with pytest.raises(UnsupportedVersionError, match="version 2"):
        unpack(raw(b"anything at all", version=2))


def test_unknown_ancillary_sections_are_skipped_and_critical_ones_refused():
    assert plain(unpack(raw(TINY, (1, b"s"), (0x7F | 0x80, b"new")))) == [(1, b"s")]
    with pytest.raises(UnsupportedVersionError, match=r"section 2 \(kind 63\)"):
        unpack(raw(TINY, (1, b"s"), (0x3F | 0x80, b"new")))
    assert peek(raw(TINY, (0x3F | 0x80, b"new"))).entries[0].name == "section 1 (kind 63)"


def test_an_unknown_medium_says_so():
    for head in (0x04, 0x07, 0xFB, 0xF9):
        with pytest.raises(UnsupportedVersionError, match="geometry"):
            unpack(raw(NAME + bytes([head]) + b"\x01\x01\x01", (0x81, b"")))


# Hostile files: every checksum true.

HUGE = b"\xff" * 8 + b"\x7f"


@pytest.mark.parametrize(
    "data",
    {
        "huge picture": raw(NAME + b"\x10" + HUGE + HUGE, (0x81, b"")),
        "huge recording": raw(NAME + b"\x01" + HUGE + HUGE + b"\x01", (0x81, b"")),
        "huge film": raw(NAME + b"\x12" + HUGE + b"\x01\x01\x19\x01", (0x81, b"")),
        "huge tensor": raw(NAME + b"\x03\x02" + HUGE + HUGE, (0x81, b"")),
        "empty tensor with a huge side": raw(NAME + b"\x03\x02\x00" + HUGE, (0x81, b"")),
    }.items(),
    ids=lambda item: item[0],
)
def test_huge_originals_meet_the_limits(data):
    with pytest.raises(LimitError) as caught:
        frugally(data[1])
    assert caught.value.limit in ("max_pixels", "max_bytes") and "Limits(" in str(caught.value)


@pytest.mark.parametrize(
    "data",
    {
        "header longer than the file": raw(TINY, (0x81, b""), length=HUGE),
        "header length never ends": raw(TINY, (0x81, b""), length=b"\xff" * 20),
        "needless zeros": raw(NAME + b"\x10\x81\x00\x01", (0x81, b"")),
        "number of ten bytes": raw(NAME + b"\x10" + b"\xff" * 9 + b"\x01\x01", (0x81, b"")),
        "no pixels": raw(NAME + b"\x10\x00\x01", (0x81, b"")),
        "huge rank": raw(NAME + b"\x03" + HUGE, (0x81, b"")),
        "rank 33": raw(NAME + b"\x03\x21" + b"\x01" * 33, (0x81, b"")),
        "no frame rate": raw(NAME + b"\x12\x01\x01\x01\x00\x01", (0x81, b"")),
        "frame rate over zero": raw(NAME + b"\x12\x01\x01\x01\x01\x00", (0x81, b"")),
        "frame rate 50/2": raw(NAME + b"\x12\x01\x01\x01\x32\x02", (0x81, b"")),
        "name never ends": raw(b"a" * 50, (0x81, b"")),
        "name with a slash": raw(b"a/\xe1" + bytes(4) + b"\x10\x01\x01", (0x81, b"")),
        "header without geometry": raw(NAME, (0x81, b"")),
        "empty header": raw(b"", (0x81, b"")),
        "no sections": raw(TINY),
        "no last section": raw(TINY, (1, b"abc")),
        "huge section": raw(TINY) + b"\x81" + HUGE + b"abcd",
        "endless section length": raw(TINY) + b"\x81" + b"\xff" * 20,
    }.items(),
    ids=lambda item: item[0],
)
def test_impossible_headers_are_refused(data):
    with pytest.raises(BitstreamError):
        frugally(data[1])


@given(st.binary(max_size=60), st.integers(0, 255), st.binary(max_size=20))
@settings(max_examples=500, deadline=None)
def test_a_header_is_refused_or_is_the_only_way_to_write_it(body, kind, data):
    for start in (b"", NAME, NAME + b"\x10", NAME + b"\x02", NAME + b"\x03"):
        file = raw(start + body, (kind | 0x80, data))
        try:
            container = unpack(file, NO_LIMITS)
        except BitstreamError:
            continue
        assert not container.sections or pack(container.header, container.sections) == file


def frugally(data):
    """Unpack, and fail if that took more than a little memory."""
    tracemalloc.start()
    try:
        unpack(data)
    finally:
        peak = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
        assert peak < 100_000


def test_limits_are_parameters():
    data = pack(Header("a", bytes(4), ImageGeometry(1000, 10)), [Section(1, b"x"), Section(1, b"y")])
    for limits in (Limits(max_pixels=9_999), Limits(max_bytes=20), Limits(max_bytes=29_999), Limits(max_sections=1)):
        with pytest.raises(LimitError):
            unpack(data, limits)
    assert unpack(data, Limits(max_pixels=10_000, max_bytes=30_000, max_sections=2))
    huge = pack(Header("a", bytes(4), ImageGeometry(2**40, 2**20)), [Section(1, b"")])
    assert unpack(huge, NO_LIMITS).header.geometry.width == 2**40


# Wrong use.


@pytest.mark.parametrize(
    "make",
    [
        lambda: pack(HEADER, []),
        lambda: pack(HEADER, [Section(SectionKind.SYMBOLS, "text")]),
        lambda: Section(9, b""),
        lambda: unpack("file.enf"),
        lambda: Header("Upper", bytes(4), ImageGeometry(1, 1)),
        lambda: Header("", bytes(4), ImageGeometry(1, 1)),
        lambda: Header("a", bytes(3), ImageGeometry(1, 1)),
        lambda: Header("a", bytes(4), (1, 1)),
    ],
)
def test_what_cannot_be_meant_is_refused_at_once(make):
    with pytest.raises(UsageError):
        make()


def test_a_missing_section_is_named():
    with pytest.raises(BitstreamError, match="alpha"):
        unpack(SMALL).need(SectionKind.ALPHA)
    assert unpack(SMALL).find(SectionKind.ALPHA) is None
