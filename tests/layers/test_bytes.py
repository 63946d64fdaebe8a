"""Weights as bytes: near what they were, and the same after a second time."""

from __future__ import annotations

import numpy as np

from enfold.layers.bytes import packed, unpacked


def test_a_weight_comes_back_within_half_a_step_of_its_row():
    weight = np.random.default_rng(0).normal(size=(6, 5, 3, 3)).astype(np.float32) * np.arange(6)[:, None, None, None]
    arrays = packed("layer.weight", weight)
    assert arrays["layer.weight"].dtype == np.int8
    back = unpacked({**arrays, "layer.bias": np.ones(3)})
    assert set(back) == {"layer.weight", "layer.bias"}
    step = np.abs(weight).reshape(6, -1).max(1) / 127
    assert (np.abs(back["layer.weight"] - weight).reshape(6, -1).max(1) <= 0.501 * step + 1e-9).all()


def test_packing_what_was_unpacked_gives_the_same_bytes():
    weight = np.random.default_rng(1).normal(size=(4, 7)).astype(np.float32)
    once = packed("w", weight)
    twice = packed("w", unpacked(once)["w"])
    np.testing.assert_array_equal(once["w"], twice["w"])
    np.testing.assert_allclose(once["w.scale"], twice["w.scale"], rtol=1e-6)
