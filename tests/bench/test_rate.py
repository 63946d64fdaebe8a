"""Where bytes go, and what a mosaic of latents would take."""

from __future__ import annotations

import numpy as np
import pytest

from enfold.bench.mosaic import mosaic, webp
from enfold.bench.rate import itemise
from enfold.container import Header, Section, SectionKind, pack
from enfold.errors import BitstreamError, UsageError
from enfold.geometry import ImageGeometry
from enfold.testing import sample

FILE = pack(Header("nobodys-codec", b"\1\2\3\4", ImageGeometry(640, 480), b"\7"),
            [Section(SectionKind.SYMBOLS, bytes(1000)), Section(SectionKind.SYMBOLS, bytes(500)),
             Section(SectionKind.PROFILE, bytes(33))])


def test_parts_add_up_to_the_file():
    rate = itemise(FILE)
    assert sum(part.bytes for part in rate.parts) == rate.bytes == len(FILE)


def test_parts_are_what_the_format_says():
    # a head is a byte of kind and a length of 1 or 2 bytes; a checksum 2 bytes for the header, 4 a section
    parts = {part.name: part.bytes for part in itemise(FILE).parts}
    assert parts == {"header": len(FILE) - 1533 - 8 - 14, "heads of sections": 3 + 3 + 2, "checksums": 14,
                     "symbols": 1500, "profile": 33}


def test_a_model_that_is_not_at_hand_is_said():
    rate = itemise(FILE)
    assert rate.model_bits is rate.coder_share is None
    assert "the model cannot be asked" in rate.note and "nobodys-codec" in rate.note


def test_damage_is_found_before_anything_is_counted():
    with pytest.raises(BitstreamError):
        itemise(FILE[:-1] + b"\0")


def test_the_coder_adds_little_to_what_the_model_says(codec):
    if not hasattr(codec, "cost_bits"):
        pytest.skip(f"{codec.name} does not say what its model makes of symbols")
    data = codec.encode(sample(256, 256))
    rate = itemise(data)
    assert sum(part.bytes for part in rate.parts) == pytest.approx(len(data))
    assert 0 <= rate.coder_share < 0.01 + 4 / len(data)         # its last states, and files of 200 bytes


def test_a_mosaic_holds_every_channel_once_and_clips_what_is_too_large():
    symbols = np.arange(5)[:, None, None] * 50 - 150 + np.zeros((5, 3, 4), int)
    tiles = mosaic(symbols).reshape(3, 3, 2, 4).swapaxes(1, 2).reshape(6, 3, 4)
    assert tiles[:, 0, 0].tolist() == [0, 28, 78, 128, 178, 128]     # -150 clipped to -128; the last tile is empty
    assert webp(mosaic(symbols))[:4] == b"RIFF"


def test_a_mosaic_needs_channels():
    with pytest.raises(UsageError, match=r"symbols of shape \(3, 4\)"):
        mosaic(np.zeros((3, 4), int))
