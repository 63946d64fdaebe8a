"""How a sound is cut: every column in a section, neighbours overlap, and what is written says which it is."""

from __future__ import annotations

import itertools

import numpy as np
import pytest

from enfold.container import Header, Section, SectionKind, pack, unpack
from enfold.entropy.densities import Categorical
from enfold.errors import BitstreamError, LimitError
from enfold.geometry import AudioGeometry, ImageGeometry
from enfold.sections import MOST_LEVEL, OVERLAP, Part, SectionLatents, level_of, number_of

DENSITY = Categorical(1, 8).freeze()


class Plain(SectionLatents):
    """Two latents a column, of 0 to 7, all alike."""

    name, fingerprint = "plain-sound", b"test"
    block, channels, columns, sound_channels, rates_hz = 4, 2, 10, 1, (8000, 16000, 12000)

    def prior(self, coder, quality, columns, symbols=None):
        return coder.code(DENSITY, np.zeros((2, columns), np.int32), symbols)

    def values(self, symbols, quality):
        return symbols.astype(np.float32) * quality


half = Plain()


@pytest.mark.parametrize("total", [0, 1, 9, 10, 11, 12, 13, 22, 23, 100, 102, 103])
def test_sections_cover_every_column_and_overlap_by_two(total):
    sections = half.sections(total)
    assert sections[0].start == 0 and sections[-1].stop == total
    for before, after in itertools.pairwise(sections):
        assert (before.stop - after.start, after.stop - before.stop > 0) == (OVERLAP, True)
    assert all(s.stop - s.start <= half.columns + OVERLAP for s in sections)


@pytest.mark.parametrize("number", [0, 1, 127, 128, 300, 2**30])
def test_a_section_says_its_number(number):
    symbols = np.arange(24).reshape(2, 12).astype(np.int16) % 8
    data = half.write(Part(number, 7, symbols), 50)
    part = half.read(data, 50, number, 12)
    assert (part.number, part.level) == (number, 7)
    np.testing.assert_array_equal(part.symbols, symbols)
    with pytest.raises(BitstreamError, match=rf"section {number} of the sound where 5 is due"):
        half.read(data, 50, 5, 12)


@pytest.mark.parametrize("data", [b"", b"\x80\x80\x80\x80\x80\x80", b"\0", bytes([0, MOST_LEVEL + 1])])
def test_what_no_encoder_writes_is_refused(data):
    with pytest.raises(BitstreamError):
        half.read(data, 50, 0, 12)


def test_numbers_are_read_from_what_is_there():
    assert number_of(b"\x05rest") == (5, 1)
    with pytest.raises(BitstreamError, match="without a number"):
        number_of(b"\x85")


def test_quiet_sections_are_amplified_and_loud_ones_never_turned_down():
    assert level_of(np.full((1, 10), 1000.0), 1000.0) == level_of(np.full((1, 10), 30000.0), 1000.0) == 0
    assert level_of(np.full((1, 10), 250.0), 1000.0) == 8
    assert Part(0, 8, np.zeros((2, 0), np.int16)).gain == 4
    assert level_of(np.full((1, 10), 1e-6), 1000.0) == MOST_LEVEL
    assert level_of(np.zeros((1, 10)), 1000.0) == level_of(np.zeros((1, 0)), 1000.0) == 0


def file(samples: int, parameters: bytes = b"\x32", channels: int = 1) -> bytes:
    geometry = AudioGeometry(samples, channels, 8000)
    sections = half.sections(half.total_columns(geometry))
    data = [half.write(Part(k, 4 * (k % 2), np.full((2, s.stop - s.start), k % 8, np.int16)), 50)
            for k, s in enumerate(sections)]
    return pack(Header(half.name, half.fingerprint, geometry, parameters),
                [Section(SectionKind.SYMBOLS, part) for part in data])


def test_a_latent_has_each_column_once_and_the_level_undone():
    latent = half.latent(unpack(file(4 * 35)))
    assert latent.symbols.shape == (2, 35)
    assert latent.symbols[0].tolist() == [0] * 12 + [1] * 10 + [2] * 10 + [3] * 3
    np.testing.assert_array_equal(latent.values[0, 12:22], 50 / 2)
    np.testing.assert_array_equal(latent.values[0, 22:32], 100)


def test_files_that_are_not_so_are_refused():
    with pytest.raises(BitstreamError, match="one byte of quality"):
        half.latent(unpack(file(40, b"")))
    with pytest.raises(BitstreamError, match="holds 1 channels at most"):
        half.latent(unpack(file(40, channels=2)))
    with pytest.raises(LimitError):
        from enfold.container import Limits
        half.latent(unpack(file(400)), Limits(max_symbols=100))
    short = unpack(file(4 * 35))
    with pytest.raises(BitstreamError, match="35 columns are 4 sections, the file has 2"):
        half.latent(type(short)(short.header, short.sections[:2]))
    picture = type(short)(Header(half.name, half.fingerprint, ImageGeometry(3, 3), b"\x32"), short.sections)
    with pytest.raises(BitstreamError, match="holds sounds"):
        half.latent(picture)
