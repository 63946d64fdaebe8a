"""Lifting gives what the matrices give."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from enfold.layers import lifting
from enfold.layers.packets import WaveletPackets

pytestmark = pytest.mark.skipif(not lifting.HAVE_C, reason="the C extension is not built")


@pytest.mark.parametrize("blocks", [(1, 1), (1, 7), (2, 1), (3, 2), (9, 33), (24, 64)])
@pytest.mark.parametrize("outputs", [1, 12, 13])
def test_sums_of_packets_are_those_of_the_matrices(blocks, outputs):
    random = np.random.default_rng(outputs)
    pixels = random.integers(0, 256, (8 * blocks[0], 8 * blocks[1], 3), np.uint8)
    weight = random.normal(size=(outputs, 192)) / 14
    packets = WaveletPackets(3).analysis(torch.from_numpy(pixels).permute(2, 0, 1)[None].double() - 128)[0]
    expected = np.einsum("of,fhw->ohw", weight, packets.numpy())
    np.testing.assert_allclose(lifting.project(pixels, lifting.prepare(weight)), expected, atol=1e-3)


def test_every_band_is_where_the_matrices_put_it():
    pixels = np.random.default_rng(0).integers(0, 256, (40, 48, 3), np.uint8)
    expected = WaveletPackets(3).analysis(torch.from_numpy(pixels).permute(2, 0, 1)[None].float() - 128)[0]
    np.testing.assert_allclose(lifting.project(pixels, lifting.prepare(np.eye(192))), expected, atol=1e-3)


@pytest.mark.parametrize("blocks", [(1, 1), (1, 7), (2, 1), (3, 2), (9, 33), (24, 64)])
def test_bytes_come_back_as_from_the_matrices(blocks):
    random = np.random.default_rng(blocks[1])
    coefficients = random.normal(0, 30, (*blocks, 192)).astype(np.float32)
    samples = WaveletPackets(3).synthesis(torch.from_numpy(coefficients).permute(2, 0, 1)[None].double())[0] + 128
    expected = samples.permute(1, 2, 0).clamp(0, 255).numpy()
    restored = lifting.restore(coefficients)
    assert restored.shape == (8 * blocks[0], 8 * blocks[1], 3)
    assert np.abs(restored - expected).max() <= 0.501
    if len(restored) * restored.shape[1] > 10_000:
        assert {0, 255} <= set(restored.flat)


def test_bytes_there_and_back():
    pixels = np.random.default_rng(0).integers(0, 256, (40, 48, 3), np.uint8)
    bands = lifting.project(pixels, lifting.prepare(np.eye(192)))
    np.testing.assert_array_equal(lifting.restore(bands.transpose(1, 2, 0)), pixels)


def test_compiled_code_refuses_buffers_of_other_sizes():
    pixels, weight = np.zeros((16, 16, 3), np.uint8), lifting.prepare(np.eye(192))
    for out in (np.zeros((192, 2, 1), np.float32), np.zeros((192, 4, 4), np.float32)):
        with pytest.raises(ValueError, match="sizes"):
            lifting._compiled.project(pixels, 2, 2, weight, 192, out)
    with pytest.raises(ValueError, match="sizes"):
        lifting._compiled.project(pixels, 2, 3, weight, 192, np.zeros((192, 2, 3), np.float32))
    with pytest.raises(ValueError, match="sizes"):
        lifting._compiled.restore(np.zeros((2, 2, 192), np.float32), np.ones(8, np.float32), 2, 2,
                                  np.zeros((16, 24, 3), np.uint8))
