"""`encode --packets` and `decode --allow-partial`: what is lost is filled, and said."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from PIL import Image

import enfold as face


def damage(path: Path, section: int) -> None:
    data = bytearray(path.read_bytes())
    data[face.info(bytes(data)).entries[section].data_start] ^= 0xFF
    path.write_bytes(data)


def test_a_lost_packet_is_filled_and_named(enfold, photo):
    photo("photo.png", 64, 80)
    assert enfold("encode", "photo.png", "-c", "vqgan-rgb", "--packets", 4).exit_code == 0
    assert len(face.info(Path("photo.enf").read_bytes()).entries) == 4
    damage(Path("photo.enf"), 1)
    assert enfold("decode", "photo.enf", "out.png").exit_code == 3
    assert not Path("out.png").exists()
    result = enfold("decode", "photo.enf", "out.png", "--allow-partial")
    assert result.exit_code == 0
    assert "photo.enf: damaged, and filled" in result.stderr and "bytes" in result.stderr
    with Image.open("out.png") as out, Image.open("photo.png") as original:
        assert np.asarray(out).shape == np.asarray(original.convert("RGB")).shape


def test_a_file_that_was_cut_off_is_decoded_too(enfold, photo):
    photo("photo.png", 64, 80)
    enfold("encode", "photo.png", "-c", "vqgan-rgb", "--packets", 4)
    data = Path("photo.enf").read_bytes()
    Path("photo.enf").write_bytes(data[:-20])
    assert enfold("decode", "photo.enf", "out.png", "--allow-partial").exit_code == 0


def test_codecs_without_packets_refuse_in_words(enfold, photo):
    photo("photo.png", 64, 80)
    result = enfold("encode", "photo.png", "-c", "walloc-rgb-16x", "--packets", 4)
    assert result.exit_code == 2 and "no packets" in result.stderr
    enfold("encode", "photo.png", "-c", "walloc-rgb-16x")
    result = enfold("decode", "photo.enf", "out.png", "--allow-partial")
    assert result.exit_code == 2 and "cannot fill" in result.stderr
