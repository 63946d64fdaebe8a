"""What is the circuits' own: nothing is lost, whatever comes; data sets in one file; edges that cost nothing."""

from __future__ import annotations

import base64

import numpy as np
import pytest
from PIL import Image

import enfold
from enfold.codecs import circuit_latents
from enfold.codecs.circuit import Circuit
from enfold.codecs.circuit_latents import CODED, STORED
from enfold.container import Limits, SectionKind, pack, unpack
from enfold.errors import BitstreamError, FingerprintError, LimitError, UsageError
from enfold.geometry import ImageGeometry, TensorGeometry
from enfold.pretrained.writing import write_model
from enfold.testing import check_round_trip_keeps_size_mode_and_alpha, damaged, sample
from enfold.trees import walk
from enfold.trees.frozen import freeze
from enfold.trees.hats import hats_of
from enfold.trees.structure import hidden_tree

NAME = "circuit-mnist"
GOLDEN = ("nm5mARRjaXJjdWl0LW1uaXP0pCej1wAcHCOugV4V05fJDIwkVlj1HE4ynBmCftCITWtdxM2cSOOpSBMkzTZ2B3JzmIHcoHA3M7xEuTLw8mD9"
          "cCYDNMmzwzQ8/DC1BY+z7hCprjJrrG67WBH1uwbrY9iIqfTipqTE8ooPKG3wVQ==")


def strokes(count: int, seed: int = 0, size: int = 28) -> np.ndarray:
    """uint8 (count, size, size): black, with a bright stroke somewhere."""
    random = np.random.default_rng(seed)
    y, x = np.mgrid[:size, :size]
    out = np.zeros((count, size, size), np.uint8)
    for image in out:
        row, slope = random.uniform(8, 20), random.uniform(-0.6, 0.6)
        away = np.abs(y - row - slope * (x - size / 2)) + 0.4 * np.maximum(0, np.abs(x - size / 2) - size / 4)
        image[:] = np.clip(255 * (2.0 - away), 0, 255)
    return out


@pytest.fixture(scope="module")
def arrays():
    """Never trained, but for a leaf each that expects what strokes have there."""
    random = np.random.default_rng(0)
    y, x = np.divmod(np.arange(784), 28)
    tree = hidden_tree(1 / (1e-3 + (y[:, None] - y) ** 2 + (x[:, None] - x) ** 2 + random.random((784, 784))))
    seen = np.stack([np.bincount(column, minlength=256) for column in strokes(300).reshape(300, -1).T]) + 0.05
    leaf = seen[:, :, None] * random.gamma(8, 1 / 8, (784, 256, 8))
    nodes = len(tree.parent)
    return freeze(tree, hats_of(np.arange(256), 256, 256), np.full(8, 1 / 8), random.dirichlet(np.ones(8), (nodes, 8)),
                  leaf / leaf.sum(1, keepdims=True))


@pytest.fixture(scope="module")
def codec(arrays):
    return Circuit(NAME, arrays, b"test")


def test_every_size_and_mode_comes_back_exactly(codec):
    check_round_trip_keeps_size_mode_and_alpha(codec)
    for height, width, mode in ((1, 1, "RGBA"), (28, 28, "L"), (29, 27, "LA"), (57, 90, "RGB")):
        picture = sample(height, width, mode)
        np.testing.assert_array_equal(np.asarray(codec.decode(codec.encode(picture))), picture)


@pytest.mark.parametrize("name, picture", [
    ("black", np.zeros((28, 28), np.uint8)), ("white", np.full((28, 28), 255, np.uint8)),
    ("grey", np.full((28, 28), 128, np.uint8)), ("inverted", 255 - strokes(1)[0]),
    ("noise", np.random.default_rng(0).integers(0, 256, (28, 28), dtype=np.uint8)),
    ("large noise", np.random.default_rng(1).integers(0, 256, (200, 150, 3), dtype=np.uint8)),
    ("noises", np.random.default_rng(2).integers(0, 256, (60, 28, 28), dtype=np.uint8))])
def test_what_was_not_expected_takes_little_more_than_its_pixels(codec, name, picture):
    data = codec.encode(picture)
    np.testing.assert_array_equal(np.asarray(codec.decode(data)), picture)
    assert len(data) <= 1.02 * picture.size + 64


def test_what_is_not_black_and_grey_by_chance_is_stored(codec):
    noise = np.random.default_rng(0).integers(0, 256, (28, 28), dtype=np.uint8)
    assert unpack(codec.encode(noise)).header.parameters == STORED
    assert unpack(codec.encode(strokes(1)[0])).header.parameters == CODED


@pytest.mark.parametrize("count", [1, 15, 16, 40, 300])
def test_a_data_set_is_one_file(codec, count):
    images = strokes(count)
    data = codec.encode(images)
    decoded = codec.decode(data)
    assert isinstance(decoded, np.ndarray)
    np.testing.assert_array_equal(decoded, images)
    assert unpack(data).header.geometry == TensorGeometry((count, 28, 28), "uint8")
    alone = sum(len(codec.write(codec.latents(image))[1][0]) for image in images)
    assert len(data) <= alone + 40 + 3 * min(64, max(1, count // 16))


def test_pictures_of_a_data_set_need_not_have_the_circuits_size(codec):
    images = np.stack([sample(40, 33, "L", seed) for seed in range(20)])
    np.testing.assert_array_equal(codec.decode(codec.encode(images)), images)


def test_c_and_python_write_the_same_files(codec, monkeypatch):
    pictures = [strokes(1)[0], sample(30, 41, "L"), strokes(17)]
    files = [codec.encode(picture) for picture in pictures]
    monkeypatch.setattr(walk, "_compiled", None)
    assert [codec.encode(picture) for picture in pictures] == files
    np.testing.assert_array_equal(codec.decode(files[2]), pictures[2])


def test_an_image_is_the_same_bytes_in_any_company(codec):
    """512 at once, 16 at once and alone: the codeword of an image is its own."""
    images = strokes(512).reshape(512, -1)
    half = codec.latent_codec
    steps = half.schedule(28, 28)
    together = walk.encode(half.circuit, steps, images, 512)
    assert walk.encode(half.circuit, steps, images[100:116], 16) == together[100:116]
    assert [walk.encode(half.circuit, steps, image[None], 1)[0] for image in images[:9]] == together[:9]
    assert codec.write(codec.latents(strokes(512)[5]))[1] == [together[5]]


def test_what_the_circuit_says_is_what_is_written(codec):
    images = strokes(40)
    latent = codec.latents(images)
    written = 8 * sum(len(stream) for stream in codec.write(latent)[1])
    assert abs(written - codec.latent_codec.bits(latent.symbols)) <= 0.005 * written + 8 * 3 * 2


def test_a_file_says_how_likely_its_pictures_are(codec):
    """Straight from the bytes: what coding takes, and less for what is turned over."""
    images = strokes(20)
    found = codec.log2_likelihood(codec.encode(images))
    assert found.shape == (20,)
    assert abs(-found.sum() - codec.latent_codec.bits(images)) < 0.001 * -found.sum()
    assert codec.log2_likelihood(codec.encode(255 - images[0]))[0] < found.min()
    cut = codec.log2_likelihood(np.stack([sample(40, 33, "L")]))
    assert abs(-cut.sum() - codec.latent_codec.bits(sample(40, 33, "L")[None])) < 0.001 * -cut.sum()


def test_many_pictures_are_the_files_of_each(codec):
    pictures = [*strokes(20), sample(28, 28, "LA"), sample(30, 41), sample(9, 12, "L"), 255 - sample(28, 28, "L")]
    files = codec.encode_many(pictures)
    assert files == [codec.encode(picture) for picture in pictures]
    found = codec.latent_codec.latent_many([unpack(data) for data in files])
    for latent, data in zip(found, files, strict=True):
        np.testing.assert_array_equal(latent.symbols, codec.latents(data).symbols)
        assert latent.geometry == unpack(data).header.geometry


def test_a_stroke_written_once_decodes_for_ever():
    """A file by the first weights, by way of the walk; what `tests/golden` holds is stored, being no digit."""
    data = base64.b64decode(GOLDEN)
    assert unpack(data).header.parameters == CODED
    np.testing.assert_array_equal(np.asarray(enfold.decode(data)), strokes(1)[0])


def test_quality_is_taken_and_changes_nothing(codec):
    image = strokes(1)[0]
    assert codec.encode(image, quality=1) == codec.encode(image) == codec.encode(image, quality=100)
    assert codec.latents(image, quality=3).quality == 100
    with pytest.raises(UsageError, match="quality is 0"):
        codec.encode(image, quality=0)


def test_latents_are_pixels_and_values_centred_on_what_is_usual(codec):
    images = strokes(400, seed=9)
    latent = codec.latents(codec.encode(images))
    np.testing.assert_array_equal(latent.symbols, images)
    assert np.asarray(latent).shape == (400, 28, 28) and np.asarray(latent).dtype == np.float32
    assert np.abs(np.asarray(latent).mean(0)).max() < 0.35


def test_every_damage_is_named(codec):
    for kind, broken in damaged([codec.encode(strokes(1)[0]), codec.encode(strokes(40))], 300):
        with pytest.raises(BitstreamError):
            codec.decode(broken)
            pytest.fail(kind)


def test_hostile_files_with_valid_checksums_are_refused_or_decode_in_bounds(codec):
    random = np.random.default_rng(0)
    for image, shape in ((strokes(1)[0], (28, 28)), (strokes(40), (40, 28, 28))):
        container = unpack(codec.encode(image))
        for parameters in (CODED, STORED, b"\2"):
            header = type(container.header)(NAME, b"test", container.header.geometry, parameters)
            for _ in range(20):
                section = type(container.sections[0])(SectionKind.SYMBOLS, random.bytes(int(random.integers(0, 200))))
                try:
                    decoded = codec.decode(pack(header, [section] * int(random.integers(1, 3))))
                except BitstreamError:
                    continue
                assert np.asarray(decoded).shape == shape


@pytest.mark.parametrize("geometry", [TensorGeometry((2, 28), "uint8"), TensorGeometry((2, 28, 28), "float32"),
                                      TensorGeometry((0, 28, 28), "uint8"), ImageGeometry(28, 28, "L", "uint16")])
def test_files_of_other_media_are_refused(codec, geometry):
    container = unpack(codec.encode(strokes(1)[0]))
    header = type(container.header)(NAME, b"test", geometry, CODED)
    with pytest.raises(BitstreamError, match="holds 8-bit pictures"):
        codec.decode(pack(header, container.sections))


def test_limits_and_fingerprints_hold_for_data_sets(codec):
    data = codec.encode(strokes(40))
    for limits in (Limits(max_symbols=40 * 784 - 1), Limits(max_bytes=100)):
        with pytest.raises(LimitError):
            codec.decode(data, limits=limits)
    other = Circuit.__new__(Circuit)
    other.name, other.fingerprint = NAME, b"else"
    with pytest.raises(FingerprintError):
        other.decode(data)


@pytest.mark.parametrize("wrong", [np.zeros((2, 28, 28), np.float32), np.zeros((0, 28, 28), np.uint8)])
def test_what_is_no_data_set_is_refused(codec, wrong):
    with pytest.raises(UsageError, match="uint8"):
        codec.encode(wrong)


def test_packs_hold_the_codewords(arrays, tmp_path, monkeypatch):
    """Static tables would not know one pixel from another: they are refused, and the pack says so."""
    pytest.importorskip("pyarrow")
    from enfold.learners import LatentDataset, open_pack, pack

    write_model(tmp_path / "weights", NAME, arrays, {})
    monkeypatch.setenv("ENFOLD_WEIGHTS", str(tmp_path / "weights"))
    (tmp_path / "strokes").mkdir()
    for number, image in enumerate(strokes(20)):
        Image.fromarray(image).save(tmp_path / "strokes" / f"{number:02}.png")
    report = pack(tmp_path / "strokes", tmp_path / "pack", codec=NAME)
    assert (report.coding, report.samples) == ("codec", 20)
    opened = open_pack(tmp_path / "pack")
    assert [opened.enf(row) for row in opened.rows()] == [enfold.encode(image, NAME) for image in strokes(20)]
    batch = LatentDataset(tmp_path / "pack", symbols=True).batch([3, 0])
    np.testing.assert_array_equal(batch.latents[:, 0].numpy(), strokes(20)[[3, 0]])
    streams = sum(len(row.stream) for row in opened.rows())
    assert all(row.tiny for row in opened.rows())
    assert report.bytes - streams < 20 * 8 + 8000       # a footer, and a few bytes a row


def test_lengths_take_more_bytes_where_they_must():
    for value in (0, 127, 128, 16384, 2**40):
        head = circuit_latents._varint(value)
        if value < 20_000:
            assert list(circuit_latents.split_streams(head + bytes(value) + b"end", 2)) == [bytes(value), b"end"]
        else:
            with pytest.raises(BitstreamError, match="beyond their section"):
                list(circuit_latents.split_streams(head, 2))


def test_repr_shows_the_size_of_the_circuit(codec):
    assert NAME in repr(codec) and b"test".hex() in repr(codec) and "states=8" in repr(codec)
