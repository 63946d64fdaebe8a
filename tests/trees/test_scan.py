"""A scan gives back what went in, C and Python write the same bytes, and nothing leads out of bounds."""

from __future__ import annotations

import numpy as np
import pytest

from enfold.errors import BitstreamError, UsageError
from enfold.testing import sample
from enfold.trees import scan
from enfold.trees.bells import learned, untrained
from enfold.trees.scan import ScanModel, decode, encode
from enfold.trees.surroundings import ACROSS, OWN, OWN_TAPS, N, solve, taps

needs_c = pytest.mark.skipif(scan._compiled is None, reason="the C extension is not built")


def planes(height: int, width: int, mode: str = "RGB", seed: int = 0) -> np.ndarray:
    picture = sample(height, width, mode, seed)
    return picture[None] if picture.ndim == 2 else np.ascontiguousarray(picture.transpose(2, 0, 1))


@pytest.fixture(scope="module")
def model():
    """Begins with sums and weights that a scan has left."""
    blank = untrained()
    if scan._compiled is None:
        return ScanModel.from_arrays(blank)
    counted, moments = np.zeros((3, 256, 48), np.int64), np.zeros((3, N, N + 1), np.int64)
    encode(ScanModel.from_arrays(blank), planes(64, 64), counted, moments)
    gates, start = learned(counted, moments, 64 * 64, 20.0, 8.0)
    return ScanModel.from_arrays({**blank, "gates": gates, "start": start})


ODD = {"one": planes(1, 1), "row": planes(1, 11), "column": planes(9, 1), "grey": planes(9, 18, "L"),
       "black": np.zeros((3, 7, 17), np.uint8), "white": np.full((3, 7, 9), 255, np.uint8),
       "black and white": np.random.default_rng(0).integers(0, 2, (3, 8, 12), dtype=np.uint8) * 255,
       "noise": np.random.default_rng(1).integers(0, 256, (3, 6, 20), dtype=np.uint8), "picture": planes(12, 20)}


@needs_c
@pytest.mark.parametrize("name", ODD)
def test_c_and_python_write_the_same_bytes(model, name, monkeypatch):
    samples = ODD[name]
    stream = encode(model, samples)
    np.testing.assert_array_equal(decode(model, stream, samples.shape), samples)
    monkeypatch.setattr(scan, "_compiled", None)
    assert encode(model, samples) == stream
    if samples.size < 500:
        np.testing.assert_array_equal(decode(model, stream, samples.shape), samples)


@needs_c
def test_rows_that_stretch_over_many_blocks_come_back(model):
    for shape in ((40, 133), (133, 40)):
        samples = planes(*shape)
        np.testing.assert_array_equal(decode(model, encode(model, samples), samples.shape), samples)


@needs_c
def test_what_is_learned_is_smaller(model):
    samples = planes(64, 64, seed=5)
    assert len(encode(model, samples)) < 0.97 * len(encode(ScanModel.from_arrays(untrained()), samples))


@needs_c
def test_chroma_of_half_the_size_is_noticed(model):
    """Colours that were enlarged by two cost less: phases have sums of their own."""
    random = np.random.default_rng(3)
    small = np.clip(128 + np.cumsum(random.normal(0, 4, (2, 40, 40)), 2), 0, 255)
    large = np.repeat(np.repeat(small, 2, 1), 2, 2)
    light = random.normal(0, 8, (80, 80))
    noisy = np.clip(np.stack([light + 128, light + large[0], light + large[1]]), 0, 255).astype(np.uint8)
    once = np.clip(128 + np.cumsum(random.normal(0, 4, (2, 80, 80)), 2), 0, 255)
    plain = np.clip(np.stack([light + 128, light + once[0], light + once[1]]), 0, 255).astype(np.uint8)
    assert len(encode(model, noisy)) < 0.85 * len(encode(model, plain))


@needs_c
def test_streams_of_any_bytes_are_refused_or_decode_in_bounds(model):
    random = np.random.default_rng(0)
    for length in (0, 1, 7, 40, 400):
        for _ in range(20):
            try:
                decoded = decode(model, random.bytes(length), (3, 9, 13))
            except BitstreamError:
                continue
            assert decoded.shape == (3, 9, 13)


@needs_c
def test_a_stream_that_goes_on_is_refused(model):
    stream = encode(model, planes(9, 9))
    for broken in (stream + b"\1" * 20, stream + b"\0"):
        with pytest.raises(BitstreamError):
            decode(model, broken, (3, 9, 9))


def test_normal_equations_are_solved():
    random = np.random.default_rng(0)
    x = random.integers(-200, 200, (400, 5))
    target = x @ [3, -2, 0, 1, 1]
    found = solve((x.T @ x).astype(np.int64), (x.T @ target).astype(np.int64)) / 65536
    np.testing.assert_allclose(found, [3, -2, 0, 1, 1], atol=0.03)


def test_nothing_known_gives_no_weights():
    assert not solve(np.zeros((6, 6), np.int64), np.zeros(6, np.int64)).any()


def test_taps_come_before_the_sample():
    for plane in range(3):
        found = taps(plane)
        assert len(found) == OWN_TAPS[plane] + plane * len(ACROSS) <= N and len(set(found)) == len(found)
        assert all((dy, dx) < (0, 0) for of, dy, dx in found if of == plane)
    assert len(OWN) == OWN_TAPS[0]


@pytest.mark.parametrize("name, wrong", [
    ("table", lambda a: a[::-1].copy()), ("gates", lambda a: a * 2), ("gates", lambda a: -a), ("levels", lambda a: -a),
    ("start", lambda a: a + (1 << 41)), ("table", lambda a: a.astype(np.int64)), ("gates", lambda a: a[:2])])
def test_tables_out_of_bounds_are_refused(name, wrong):
    arrays = untrained()
    with pytest.raises(UsageError, match="of a scan"):
        ScanModel.from_arrays({**arrays, name: wrong(arrays[name])})


@pytest.mark.parametrize("shape", [(2, 4, 4), (4, 4), (3, 0, 4)])
def test_other_samples_are_refused(model, shape):
    with pytest.raises(UsageError, match=r"\(1 or 3, H, W\)"):
        encode(model, np.zeros(shape, np.uint8))
