"""Alpha planes survive the container, hostile ones cost nothing, padding can be undone."""

import io
import tracemalloc

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import array_shapes, arrays
from PIL import Image

from enfold.errors import BitstreamError
from enfold.media import crop, pack_alpha, pad_to_multiple, unpack_alpha

ALPHA = np.random.default_rng(7).integers(0, 256, (13, 9), np.uint8)
planes = arrays(np.uint8, array_shapes(min_dims=2, max_dims=2, max_side=40), elements=st.sampled_from([0, 1, 128, 255]))


@given(planes)
@settings(deadline=None)
def test_alpha_comes_back(alpha):
    again = unpack_alpha(memoryview(pack_alpha(alpha)), alpha.shape[1], alpha.shape[0])
    assert np.array_equal(again, alpha) and again.dtype == np.uint8 and again.flags.writeable


def test_alpha_written_today_decodes_for_ever():
    slope = (np.add.outer(np.arange(6), np.arange(7)) * 20).astype(np.uint8)
    assert np.array_equal(unpack_alpha(bytes.fromhex("03e00029000b00000005fd7aff0565f662800000"), 7, 6), slope)
    assert unpack_alpha(bytes.fromhex("0001000800010203040506070800"), 3, 3).ravel().tolist() == list(range(9))
    assert unpack_alpha(b"\x07", 2, 1).tolist() == [[7, 7]]


def test_constant_alpha_takes_a_byte_and_a_soft_edge_no_more_than_png():
    assert pack_alpha(np.full((512, 768), 255, np.uint8)) == b"\xff"
    y, x = np.mgrid[:300, :400]
    for alpha in (np.clip(2 * (150 - np.hypot(x - 200, y - 150)), 0, 255), x / 400 * 255, (x > y) * 255):
        alpha = alpha.astype(np.uint8)
        png = io.BytesIO()
        Image.fromarray(alpha).save(png, "PNG", optimize=True)
        assert len(pack_alpha(alpha)) <= len(png.getvalue())


@given(st.binary(max_size=60), st.integers(1000, 2**31), st.integers(1000, 2**31))
@settings(max_examples=100, deadline=None)
def test_hostile_alpha_is_refused_without_memory(noise, width, height):
    small = pack_alpha(ALPHA)
    tracemalloc.start()
    for data in (b"", b"\0\0" + noise, b"\3" + noise + b"\0", b"\4" + noise + b"\0", small):
        with pytest.raises(BitstreamError):
            unpack_alpha(data, width, height)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 2_000_000  # of which the dictionary is the half


def test_an_alpha_bomb_goes_no_further_than_its_picture():
    bomb = pack_alpha(np.eye(3000, dtype=np.uint8))
    tracemalloc.start()
    with pytest.raises(BitstreamError, match="100×100"):
        unpack_alpha(bomb, 100, 100)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert len(bomb) < 5_000 and peak < 2_000_000


def test_cut_and_damaged_alpha_never_crashes():
    data = pack_alpha(ALPHA // 64)
    for at in range(1, len(data)):
        with pytest.raises(BitstreamError):
            unpack_alpha(data[:at] if at > 1 else b"", 9, 13)
        try:
            unpack_alpha(data[:at] + bytes([data[at] ^ 16]) + data[at + 1 :], 9, 13)
        except BitstreamError:
            continue


def test_alpha_of_another_size_is_refused():
    data = pack_alpha(ALPHA)
    for width, height in ((9, 12), (9, 14), (1, 1)):
        with pytest.raises(BitstreamError, match=f"{width}×{height}"):
            unpack_alpha(data, width, height)


@given(st.integers(1, 40), st.integers(1, 40), st.integers(1, 32), st.sampled_from([(), (3,)]))
@settings(deadline=None)
def test_padding_repeats_the_edge_and_cropping_undoes_it(height, width, multiple, channels):
    array = np.random.default_rng(0).integers(0, 256, (height, width, *channels), np.uint8)
    padded = pad_to_multiple(array, multiple)
    assert padded.shape[0] % multiple == padded.shape[1] % multiple == 0
    assert padded.shape[0] < height + multiple and padded.shape[1] < width + multiple
    assert np.array_equal(crop(padded, height, width), array)
    assert (padded[height:] == padded[height - 1 : height]).all()
    assert (padded[:, width:] == padded[:, width - 1 : width]).all()
