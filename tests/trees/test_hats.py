"""Hats share out all values, keep frequent ones apart, and are refused where they do not fit together."""

from __future__ import annotations

import numpy as np
import pytest

from enfold.errors import UsageError
from enfold.trees.hats import PRECISION, Hats, hats_of


@pytest.fixture(scope="module")
def grey():
    """Mostly black, some white, and all greys between."""
    random = np.random.default_rng(0)
    greys = random.normal(120, 40, 60_000).clip(1, 254)
    return np.concatenate([np.zeros(50_000), np.full(9000, 255), greys]).astype(int)


def test_each_hat_is_a_distribution(grey):
    hats = hats_of(grey, 256)
    mass = np.bincount(hats.first, hats.near, hats.size) + np.bincount(hats.second, hats.beyond, hats.size)
    np.testing.assert_allclose(mass / (1 << PRECISION), 1, atol=1e-4)
    assert hats.size == 48 and (hats.near + hats.beyond > 0).all()


def test_frequent_values_have_hats_of_their_own(grey):
    hats = hats_of(grey, 256)
    for value in (0, 255):
        assert hats.near[value] == 1 << PRECISION and not hats.beyond[value]
        assert (hats.first == hats.first[value]).sum() == 1


def test_a_value_lies_under_neighbouring_hats(grey):
    hats = hats_of(grey, 256)
    middle = hats.first[1:255].astype(int)
    assert (np.diff(middle) >= 0).all() and (np.diff(middle) <= 1).all()


@pytest.mark.parametrize("values", [1, 2, 48])
def test_a_small_alphabet_has_a_hat_for_each_value(values):
    hats = hats_of(np.arange(values), values)
    np.testing.assert_array_equal(hats.first, np.arange(values))
    assert (hats.near == 1 << PRECISION).all() and not hats.beyond.any() and hats.size == values


def test_arrays_come_back(grey):
    hats = hats_of(grey, 256)
    again = Hats.from_arrays(hats.to_arrays())
    for name in ("first", "near", "beyond"):
        np.testing.assert_array_equal(getattr(again, name), getattr(hats, name))


def test_arrays_that_do_not_fit_are_refused(grey):
    arrays = hats_of(grey, 256).to_arrays()
    for name, wrong in (("hat", arrays["hat"][1:]), ("near", arrays["near"].astype(np.int64)),
                        ("beyond", np.full(256, 1 << 31, np.uint32))):
        with pytest.raises(UsageError, match="do not fit together"):
            Hats.from_arrays({**arrays, name: wrong})
