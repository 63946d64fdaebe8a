"""The search for latents: it never loses, it stays in its tile, and what cannot search says so."""

from __future__ import annotations

import numpy as np
import pytest
import torch

import enfold
from enfold.codecs import walloc
from enfold.errors import UsageError
from enfold.layers.quality import bits_for_error, qualities
from enfold.layers.search import search, tiles
from enfold.testing import sample

TILE, HALO = 96, 32


def quadratic(target):
    return lambda latents: 3 * (latents - target).square().sum()


def test_a_separable_sum_is_brought_to_its_least():
    target = torch.tensor([0.3, 1.4, -2.2, 0.0]).view(1, 4, 1, 1)
    found = search(torch.zeros(1, 4, 1, 1), quadratic(target), torch.tensor(6.0), 4)
    assert found.flatten().tolist() == [0, 1, -2, 0]


def test_what_turns_out_no_gain_is_taken_back():
    """Both latents promise a gain, and moved together are a loss: foretold alone, their sum is not."""
    def cost(latents):
        return latents.sum().sub(1).square() * 8 + latents.square().sum()

    start = torch.zeros(1, 2, 1, 1)
    for steps in range(6):
        assert cost(search(start, cost, torch.tensor(2.0), steps)) <= cost(start)


def test_without_steps_or_gain_the_start_comes_back():
    start = torch.tensor([2.0, -1.0]).view(1, 2, 1, 1)
    assert torch.equal(search(start, quadratic(start + 0.4), torch.tensor(6.0), 5), start)
    assert torch.equal(search(start, quadratic(start + 5), torch.tensor(6.0), 0), start)


@pytest.mark.parametrize("size", [(1, 1), (96, 96), (97, 200), (250, 100)])
def test_tiles_cover_a_grid_once_and_keep_to_their_strips(size):
    height, width = size
    strips = [slice(at, min(at + 120, height)) for at in range(0, height, 120)]
    count = np.zeros(size, int)
    for tile in tiles(strips, height, width, TILE, HALO):
        count[tile.own] += 1
        rows, strip = tile.own[0], next(s for s in strips if s.start <= tile.own[0].start < s.stop)
        assert rows.stop <= strip.stop and strip.start <= tile.strip[0].start and tile.strip[0].stop <= strip.stop
        assert (tile.strip[0].start - strip.start) % HALO == 0 and tile.strip[1].start % HALO == 0
        grid = np.arange(height * width).reshape(size)
        np.testing.assert_array_equal(grid[tile.seen][tile.inside], grid[tile.own])
        np.testing.assert_array_equal(grid[tile.seen][tile.priced], grid[tile.strip])
    assert (count == 1).all()


@pytest.fixture(scope="module", params=["walloc-rgb-16x", "hyper-rgb"])
def codec(request):
    return enfold.load(request.param)


def total(codec, picture, data, quality):
    """What a search brings down, of a whole file."""
    config = codec.latent_codec.config
    worth = bits_for_error(qualities()[quality - 1], config.coarsest_step, config.finest_step).item() / 3
    error = np.square(np.asarray(codec.decode(data)).astype(float) - picture).sum()
    return 8 * len(data) + worth * error


@pytest.mark.parametrize("quality", [20, 90])
def test_a_searched_file_is_better_and_any_decoder_reads_it(codec, quality):
    picture = sample(90, 120)
    plain, searched = (codec.encode(picture, quality=quality, effort=effort) for effort in (0, 5))
    assert plain != searched
    assert total(codec, picture, searched, quality) < 0.99 * total(codec, picture, plain, quality)
    assert codec.latents(searched).symbols.shape == codec.latents(plain).symbols.shape


def test_a_search_in_small_tiles_is_a_search(monkeypatch):
    codec, picture = enfold.load("walloc-rgb-16x"), sample(100, 140)
    plain = codec.encode(picture, quality=80)
    monkeypatch.setattr(walloc, "SEARCH_TILE", 8)
    monkeypatch.setattr(walloc, "SEARCH_HALO", 4)
    searched = codec.encode(picture, quality=80, effort=3)
    assert total(codec, picture, searched, 80) < total(codec, picture, plain, 80)


def test_the_same_picture_gives_the_same_file(codec):
    picture = sample(41, 50, "RGBA")
    first = codec.encode(picture, effort=3)
    assert first == codec.encode(picture.copy(), effort=3)
    assert np.array_equal(codec.decode(first).alpha, picture[..., 3])


def test_what_cannot_search_says_so():
    with pytest.raises(UsageError, match="circuit-mnist cannot search for latents, effort is 3: leave it at 0"):
        enfold.encode(sample(8, 8, "L"), "circuit-mnist", effort=3)
    for wrong in (-1, 2.5, True):
        with pytest.raises(UsageError, match=f"effort is {wrong!r}; it is a whole number"):
            enfold.load("walloc-rgb-16x").encode(sample(8, 8), effort=wrong)


def test_a_target_is_met_with_the_search_counted_in(codec):
    picture = sample(64, 64)
    data = enfold.encode(picture, target_bpp=1.0, effort=1)
    assert 8 * len(data) / 64 ** 2 <= 1.0
