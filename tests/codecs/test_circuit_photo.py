"""What is the photograph circuit's own: nothing is lost, bands, and what it costs where nothing can be expected."""

from __future__ import annotations

import numpy as np
import pytest

from enfold.codecs import circuit_photo_latents
from enfold.codecs.circuit_latents import CODED, STORED
from enfold.codecs.circuit_photo import CircuitPhoto
from enfold.container import SectionKind, pack, unpack
from enfold.errors import BitstreamError
from enfold.geometry import TensorGeometry
from enfold.testing import check_round_trip_keeps_size_mode_and_alpha, damaged, sample
from enfold.trees import scan
from enfold.trees.bells import untrained

pytestmark = pytest.mark.skipif(scan._compiled is None, reason="the C extension is not built")
NAME = "circuit-photo"


@pytest.fixture(scope="module")
def codec():
    return CircuitPhoto(NAME, untrained(), b"test")


def test_every_size_and_mode_comes_back_exactly(codec):
    check_round_trip_keeps_size_mode_and_alpha(codec)
    for height, width, mode in ((1, 1, "RGBA"), (29, 27, "LA"), (57, 90, "RGB"), (90, 3, "L")):
        picture = sample(height, width, mode)
        np.testing.assert_array_equal(np.asarray(codec.decode(codec.encode(picture))), picture)


NOISE = np.random.default_rng(0)


@pytest.mark.parametrize("name, picture", [
    ("black", np.zeros((60, 70, 3), np.uint8)), ("white", np.full((60, 70, 3), 255, np.uint8)),
    ("inverted", 255 - sample(60, 70)), ("noise", NOISE.integers(0, 256, (60, 70, 3), dtype=np.uint8)),
    ("grey noise", NOISE.integers(0, 256, (60, 70), dtype=np.uint8)),
    ("small noise", NOISE.integers(0, 256, (5, 4, 3), dtype=np.uint8)),
    ("black and white", NOISE.integers(0, 2, (60, 70, 3), dtype=np.uint8) * 255)])
def test_what_was_not_expected_takes_little_more_than_its_pixels(codec, name, picture):
    data = codec.encode(picture)
    np.testing.assert_array_equal(np.asarray(codec.decode(data)), picture)
    assert len(data) <= 1.02 * picture.size + 64


def test_a_blank_picture_takes_next_to_nothing(codec):
    data = codec.encode(np.full((256, 256, 3), 77, np.uint8))
    assert len(data) < 512 and unpack(data).header.parameters == STORED


def test_bands_share_the_work_and_cost_little(codec, monkeypatch):
    picture = sample(200, 90)
    whole = codec.encode(picture)
    monkeypatch.setattr(circuit_photo_latents, "BAND_PIXELS", 90 * 50)
    assert [rows.stop for rows in circuit_photo_latents._bands(200, 90)] == [50, 100, 150, 200]
    data = codec.encode(picture)
    np.testing.assert_array_equal(np.asarray(codec.decode(data)), picture)
    assert len(whole) < len(data) < 1.1 * len(whole)


def test_hostile_files_with_valid_checksums_are_refused_or_decode_in_bounds(codec):
    random = np.random.default_rng(0)
    container = unpack(codec.encode(sample(20, 24)))
    for parameters in (CODED, STORED, b"\2"):
        header = type(container.header)(NAME, b"test", container.header.geometry, parameters)
        for _ in range(20):
            section = type(container.sections[0])(SectionKind.SYMBOLS, random.bytes(int(random.integers(0, 200))))
            try:
                decoded = codec.decode(pack(header, [section] * int(random.integers(1, 4))))
            except BitstreamError:
                continue
            assert np.asarray(decoded).shape == (20, 24, 3)
    header = type(container.header)(NAME, b"test", TensorGeometry((2, 20, 24), "uint8"), CODED)
    with pytest.raises(BitstreamError, match="holds 8-bit pictures"):
        codec.latents(pack(header, container.sections))


def test_every_damage_is_named(codec):
    for kind, broken in damaged([codec.encode(sample(40, 30)), codec.encode(sample(9, 30, "LA"))], 200):
        with pytest.raises(BitstreamError):
            codec.decode(broken)
            pytest.fail(kind)


def test_latents_are_pixels_and_values_lie_between_minus_one_and_one(codec):
    picture = sample(20, 24)
    latent = codec.latents(codec.encode(picture, quality=3))
    np.testing.assert_array_equal(latent.symbols, picture.transpose(2, 0, 1))
    assert latent.quality == 100 and latent.values.dtype == np.float32
    assert -1 <= latent.values.min() < latent.values.max() <= 1
    assert NAME in repr(codec) and b"test".hex() in repr(codec)
