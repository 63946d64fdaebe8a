"""What is mcquic-rgb's own: a search and what its codes stand for, tables that know what came before, densities."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch

import enfold
from enfold.codecs import mcquic
from enfold.codecs.mcquic_latents import BAND, McquicLatents, joined, split
from enfold.codecs.mcquic_search import Reconstruction, Search, features, pooled
from enfold.codecs.mcquic_words import lattice_words, replayed
from enfold.container import SectionKind, unpack
from enfold.entropy.coders import Quantizer
from enfold.errors import UsageError
from enfold.layers import transforms
from enfold.testing import sample


@pytest.fixture(scope="module")
def codec():
    return enfold.load("mcquic-rgb")


@pytest.fixture(scope="module")
def photograph():
    from skimage import data

    return np.ascontiguousarray(data.astronaut()[:384])


def error(codec, data, picture):
    return np.square(np.asarray(codec.decode(data)).astype(float) - picture).mean()


@pytest.mark.parametrize("quality", [1, 50, 100])
@pytest.mark.parametrize("shape", [(1, 1), (17, 33), (100, 150)])
def test_codes_stand_for_what_the_search_came_to(codec, quality, shape):
    half = codec.latent_codec
    band, place = half.band(quality)
    search = Search(band.cascade, band.words, codec.scaled(sample(*shape), quality))
    band.code(Quantizer(0.1), place, (), *search.shape, search)
    again = Reconstruction.of(band.cascade, band.words, search.grids)
    np.testing.assert_array_equal(again.latent(half.config.channels), search.latent(half.config.channels))


def test_a_file_is_the_same_from_its_latents_alone(codec):
    """The encoder writes while it chooses; writing codes that are known gives the same bytes."""
    data = codec.encode(sample(100, 150), quality=40)
    container = unpack(data)
    parameters, streams = codec.write(codec.latents(data))
    assert parameters == container.header.parameters
    assert streams == [s.data for s in container.sections if s.kind == SectionKind.SYMBOLS]


def test_strips_are_sections_and_give_their_codes_back(codec, monkeypatch):
    picture = sample(300, 100)
    monkeypatch.setattr(McquicLatents, "positions", 8 * 7)
    data = codec.encode(picture)
    assert sum(s.kind == SectionKind.SYMBOLS for s in unpack(data).sections) == 3
    ours, theirs = codec.latents(data), codec.latents(picture)
    np.testing.assert_array_equal(ours.symbols, theirs.symbols)
    np.testing.assert_array_equal(ours.values, theirs.values)


def test_tiles_give_the_picture_that_one_piece_gives(codec, monkeypatch):
    data = codec.encode(sample(300, 500))
    whole = np.asarray(codec.decode(data)).astype(int)
    monkeypatch.setattr(transforms, "TILE", 10)
    tiled = np.asarray(codec.decode(data)).astype(int)
    assert np.abs(tiled - whole).max() <= 2
    assert (tiled != whole).mean() < 0.05


def test_grids_of_all_levels_lie_in_one_latent(codec):
    symbols = codec.latents(sample(90, 130), quality=70).symbols
    band, _ = codec.latent_codec.band(70)
    grids = split(band.cascade, symbols)
    assert [grid.shape[:2] for grid in grids] == [(2, 3), (3, 5), (6, 9)]
    np.testing.assert_array_equal(joined(band.cascade, grids, symbols.shape), symbols)
    used = sum(map(len, band.cascade.levels))
    assert not symbols[used:].any() and symbols[:used].any()


@pytest.mark.parametrize("quality", [13, 38, 63, 88])
def test_tables_that_know_what_came_before_take_a_fifth_off_a_fixed_length(codec, photograph, quality):
    """The floor is 8 %; words chosen with their bits in view are far from alike, so it is much more."""
    latent = codec.latents(photograph, quality=quality)
    band, _ = codec.latent_codec.band(quality)
    fixed = sum(math.log2(words) * grid[..., book].size
                for grid, books in zip(split(band.cascade, latent.symbols), band.cascade.levels, strict=True)
                for book, words in enumerate(books))
    assert codec.cost_bits(latent) < 0.8 * fixed


@pytest.mark.parametrize("quality", [13, 63])
def test_a_search_with_bits_in_view_is_better_than_the_nearest_word(codec, photograph, quality, monkeypatch):
    """At its own rate: the nearest words' files are larger by more than their smaller errors are worth."""
    chosen = codec.encode(photograph, quality=quality)
    monkeypatch.setattr(mcquic, "PRICE", 0.0)
    nearest = codec.encode(photograph, quality=quality)
    bits_per_halving = 8 * photograph[..., 0].size / 50         # of the error, roughly, at these rates
    gain = math.log2(error(codec, chosen, photograph) / error(codec, nearest, photograph))
    assert len(chosen) < 0.85 * len(nearest)
    assert 8 * (len(nearest) - len(chosen)) > bits_per_halving * gain / 8


def test_bands_meet_without_a_step_back(codec, photograph):
    """Where codebooks change, more quality still is more bytes and less error."""
    for band in range(1, 4):
        coarse, fine = (codec.encode(photograph, quality=band * BAND + step) for step in (-2, 4))
        assert len(coarse) < len(fine)
        assert error(codec, coarse, photograph) > error(codec, fine, photograph)


def test_a_photograph_is_likelier_than_its_pixels_in_another_order(codec, photograph):
    patch = photograph[100:228, 200:328]
    mixed = np.random.default_rng(0).permutation(patch.reshape(-1, 3)).reshape(patch.shape)
    assert codec.log2_likelihood(patch, 60) > codec.log2_likelihood(mixed, 60)
    with pytest.raises(UsageError, match="uint8"):
        codec.log2_likelihood(patch.astype(float), 60)


def test_a_density_of_latents_is_the_mixture_worked_by_hand(codec):
    """One position; of each book, log2 of the sum over words of share times Gaussian."""
    from enfold.codecs.mcquic_search import Likelihood, Listener

    half = codec.latent_codec
    band, place = half.band(60)
    search, coder = Likelihood(band.cascade, band.words, codec.scaled(sample(16, 16), 60)), Listener(0.1)
    band.code(coder, place, (), *search.shape, search)
    by_hand = 0.0
    fine = [(book, left) for level, book, left in search._seen if level == 2]
    for (book, left), logits in zip(fine, coder.logits[4:], strict=True):
        said = logits[0].astype(float) * math.log(2)
        mean, variance = (part[book].astype(float) for part in (band.words.fine, band.words.variances))
        gaussian = -np.square(left[0] - mean) / (2 * variance) - np.log(2 * np.pi * variance) / 2
        by_hand += (np.logaddexp.reduce(said + gaussian.sum(1)) - np.logaddexp.reduce(said)) / math.log(2)
    assert search.log2_density(coder.logits) == pytest.approx(by_hand, rel=1e-4)


def test_words_begin_as_the_points_that_vectors_round_to():
    random = np.random.default_rng(0)
    vectors = (random.integers(-1, 2, (4000, 2)) * (random.random((4000, 2)) < 0.4)
               + random.normal(0, 0.1, (4000, 2))).astype(np.float32)
    words = lattice_words(vectors, 12, torch.Generator().manual_seed(0))
    assert words.shape == (12, 2)
    assert {tuple(word) for word in words[:9]} == {(a, b) for a in (-1, 0, 1) for b in (-1, 0, 1)}


@pytest.mark.parametrize("count", [4, 7, 13, 100])
def test_words_of_a_single_channel_are_a_fine_middle_and_far_ends(count):
    vectors = np.random.default_rng(0).laplace(0, 3, (1000, 1)).astype(np.float32)
    words = lattice_words(vectors, count, torch.Generator())[:, 0]
    assert len(words) == count and (np.diff(words) > 0).all() and 0 in words
    assert words.max() > np.abs(vectors).max()


def test_levels_above_are_means_of_those_below():
    latent = np.random.default_rng(0).normal(size=(5, 7, 30)).astype(np.float32)
    told = features(latent)
    np.testing.assert_array_equal(told[..., :8], latent[..., :8])
    half = pooled(told)
    assert half.shape == (3, 4, 14)
    np.testing.assert_allclose(half[1, 2, :8], latent[2:4, 4:6, :8].mean((0, 1)), rtol=1e-5)
    np.testing.assert_allclose(half[2, 3, :8], latent[4, 6, :8], rtol=1e-5)       # no partners


def test_replaying_codes_meets_the_residuals_of_the_search(codec):
    half = codec.latent_codec
    band, place = half.band(30)
    latent = codec.scaled(sample(64, 64), 30)
    search = Search(band.cascade, band.words, latent)
    band.code(Quantizer(0.0), place, (), *search.shape, search)
    squared = sum(float(np.square(left - band.words.fine[book][codes]).sum())
                  for book, left, codes in replayed(band.cascade, band.words, latent, search.grids))
    ordered = latent[band.words.order] - search.latent(len(latent))[band.words.order]
    assert squared == pytest.approx(float(np.square(ordered).sum()), rel=1e-3)
