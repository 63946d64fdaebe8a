"""Encoder and Decoder: one prior, run twice, gives back what went in."""

from __future__ import annotations

import subprocess
import sys

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from enfold.entropy.coders import Decoder, Encoder
from enfold.entropy.frozen import FrozenIndexed, FrozenLocationScale
from enfold.entropy.tables import Tables
from enfold.errors import BitstreamError, UsageError

BYTE_CODERS = ("bulk", "sequential")
INDEXED = FrozenIndexed(Tables(8, [-1, 5], [3, 1], [64, 128, 32, 32, 255, 1]))
# one scale, two fractions: 0 and 1/2
AROUND = FrozenLocationScale(Tables(8, [-1, 0], [3, 2], [30, 190, 30, 6, 125, 125, 6]), 1, 4, np.array([0]))


def prior(coder, shape, latent=None):
    """Even columns first, then odd ones around the mean of their neighbours; last, a row of flags."""
    grid = coder.grid(shape, latent, 1)
    for start in (0, 1):
        cell = (slice(None), slice(start, None, 2))
        rows, columns = grid.known[cell].shape
        sides = [(slice(None), slice(1, 1 + rows), slice(first, first + 2 * columns - 1, 2))
                 for first in (start, start + 2)]
        around = coder.gather(grid.seen[None], sides)
        mean = coder.linear(np.array([[0.25, 0.25]]), around)[0].reshape(rows, columns)
        mean = coder.snap(mean, 1)
        assert mean.dtype == np.float32
        grid.put(cell, coder.code(AROUND, (mean, coder.zeros(mean.shape) + 1), grid.take(cell)))
    flags = np.arange(shape[0]) % 2
    coder.code(INDEXED, flags, 5 * flags)
    return grid.known


@pytest.mark.parametrize("byte_coder", BYTE_CODERS)
@given(st.data())
def test_one_prior_writes_and_reads(byte_coder, data):
    shape = data.draw(st.tuples(st.integers(1, 5), st.integers(1, 6)))
    latent = data.draw(st.lists(st.integers(-2**20, 2**20), min_size=shape[0] * shape[1], max_size=shape[0] * shape[1]))
    latent = np.array(latent, data.draw(st.sampled_from([np.int32, np.int64, np.float32, np.float64]))).reshape(shape)
    encoder = Encoder(byte_coder)
    assert np.array_equal(prior(encoder, shape, latent), latent)
    stream = encoder.finish()
    assert len(stream) <= encoder.bits / 8 * 1.001 + 8
    decoder = Decoder(stream, byte_coder)
    assert np.array_equal(prior(decoder, shape), latent)
    decoder.finish()


@pytest.mark.parametrize("byte_coder", BYTE_CODERS)
@given(value=st.integers(-2**31, 2**31 - 1), mean=st.floats(width=32, allow_nan=False))
def test_any_value_comes_back_around_any_mean(byte_coder, value, mean):
    context = np.float32(mean), np.float32(1)
    encoder = Encoder(byte_coder)
    assert encoder.code(AROUND, context, np.array(value)) == value
    found = Decoder(encoder.finish(), byte_coder).code(AROUND, context)
    assert found == value and found.dtype == np.int32


def test_bits_are_exact_at_every_moment():
    encoder = Encoder()
    encoder.code(INDEXED, np.zeros(3, int), np.array([-1, 0, 1]))
    assert encoder.bits == 2 + 1 + 3
    encoder.code(INDEXED, np.zeros(1, int), np.array([2]))
    assert encoder.bits == 6 + 3 + 8


def test_a_decoder_knows_nothing_of_the_latent():
    grid = Decoder(b"").grid((2, 3), None)
    assert grid.take((slice(None), 0)) is None
    assert grid.known.dtype == np.float32 and not grid.known.any()


def test_snapping_rounds_halves_up():
    x = np.array([0.125, -0.125, 0.3, -0.3, 7], np.float32)
    assert Encoder().snap(x, 2).tolist() == [0.25, 0, 0.25, -0.25, 7]


@pytest.mark.parametrize(("values", "message"), [
    (None, "run under an Encoder without a latent"),
    (np.array([0.5, 0]), "not 32-bit integers"),
    (np.array([np.nan, 0]), "not 32-bit integers"),
    (np.array([2.0**31, 0]), "values from 0 to 2147483648"),
    (np.array([2**31, 0]), "values from 0 to 2147483648"),
    (np.zeros(3, int), r"values of shape \(3,\) in a context of shape \(2,\)"),
])
def test_what_cannot_be_coded_is_refused_with_the_reason(values, message):
    with pytest.raises(UsageError, match=message):
        Encoder().code(INDEXED, np.zeros(2, int), values)


def test_misuse_names_the_choices():
    with pytest.raises(UsageError, match='byte coder \'fast\': give "bulk" or "sequential"'):
        Encoder("fast")
    with pytest.raises(UsageError, match=r"latent of shape \(3,\) where \(2,\) is coded"):
        Encoder().grid((2,), np.zeros(3))


@pytest.mark.parametrize("byte_coder", BYTE_CODERS)
def test_damage_is_a_bitstream_error(byte_coder):
    encoder = Encoder(byte_coder)
    encoder.code(INDEXED, np.zeros(100, int), np.arange(100) % 3 - 1)
    decoder = Decoder(encoder.finish() + b"\1", byte_coder)
    decoder.code(INDEXED, np.zeros(100, int))
    with pytest.raises(BitstreamError, match="damaged"):
        decoder.finish()


def test_coding_imports_neither_torch_nor_the_other_byte_coder():
    names = "tables, rans, loops, frozen, coders"
    probe = f"import sys; from enfold.entropy import {names}; print({{'torch', 'constriction'}} & set(sys.modules))"
    found = subprocess.run([sys.executable, "-c", probe], capture_output=True, text=True, check=True)
    assert found.stdout.strip() == "set()"
