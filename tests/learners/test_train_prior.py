"""Training a prior alone: a few steps. Files get smaller, pictures stay as they were."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch
from PIL import Image

from enfold import pretrained
from enfold.codecs.walloc import Walloc
from enfold.codecs.walloc_model import HIDDEN, PriorWeights, WallocModel
from enfold.entropy.interlaced import OCTAVES, weight_shapes
from enfold.learners.train_prior import Batches, PriorRecipe, cache, train_prior
from enfold.testing import sample

NAME = "walloc-rgb-16x"
RECIPE = PriorRecipe(steps=4, batch=2, seed=1)


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    where = tmp_path_factory.mktemp("pictures")
    for seed in range(4):
        Image.fromarray(sample(150, 170 + 8 * seed, seed=seed)).save(where / f"{seed}.png")
    return where


@pytest.fixture(scope="module")
def arrays():
    return pretrained.weights(pretrained.find(NAME))


@pytest.fixture
def prior(arrays):
    torch.manual_seed(0)
    return WallocModel(NAME).prior(arrays)


def test_only_the_prior_is_another_afterwards(prior, arrays, folder, tmp_path):
    seen = []
    made = train_prior(prior, RECIPE, folder, tmp_path, "before", seen.append).frozen()
    assert [len(progress.held_out) for progress in (seen[0], seen[-1])] == [5, 5]
    assert set(made) >= set(arrays)
    for name in arrays:
        if not name.startswith(("context.", "density", "floor")):
            np.testing.assert_array_equal(made[name], arrays[name])
    config = WallocModel(NAME).config
    assert {name[len("context."):]: made[name].shape for name in made if name.startswith("context.")} \
        == weight_shapes(config.latents, config.groups, OCTAVES, HIDDEN)
    before, after = Walloc(NAME, arrays, b"1234"), Walloc(NAME, made, b"1235")
    picture = sample(200, 300)
    data = after.encode(picture, quality=80)
    np.testing.assert_array_equal(after.latents(data).symbols, before.latents(picture, quality=80).symbols)


def test_steps_save_bits(prior, folder, tmp_path):
    latents, _ = cache(prior, RECIPE, folder, tmp_path / "latents.npz", "before")
    x, position = next(Batches(latents, RECIPE)), torch.tensor([0.3, 0.9])
    start = prior.bits(x, position).sum().item()
    train_prior(prior, replace(RECIPE, steps=12), folder, tmp_path, "before")
    assert prior.bits(x, position).sum().item() < start


def test_a_prior_with_more_hidden_units_and_groups_that_see_them_costs_what_there_was(prior, arrays):
    """What is new begins as nothing: rates are those of the weights in use, until a step is made."""
    symbols, position = torch.from_numpy(prior.latents(sample(64, 96)))[None], torch.tensor([0.5])
    config = WallocModel(NAME).config
    wider = PriorWeights(config.latents, config.groups, OCTAVES, HIDDEN + 5)
    wider.load(prior.context())
    assert wider.raw["near_5"].shape[0] == HIDDEN + 5
    before = prior.bits(symbols, position)
    prior.context = wider
    torch.testing.assert_close(prior.bits(symbols, position), before, rtol=1e-5, atol=1e-2)


def test_the_power_of_bits_says_which_crops_count(prior, folder, tmp_path):
    """With a power of 2 gradients weigh crops by their bits: the same steps make other weights."""
    recipes = [replace(RECIPE, power=power) for power in (0.5, 2.0)]
    made = [train_prior(WallocModel(NAME).prior(prior.frozen()), recipe, folder, tmp_path, "before")
            for recipe in recipes]
    first, second = (one.context()["mean_5"] for one in made)
    assert not torch.equal(first, second)


def test_latents_are_kept_for_the_same_model_and_no_other(prior, folder, tmp_path, monkeypatch):
    kept = tmp_path / "latents.npz"
    first, held_out = cache(prior, RECIPE, folder, kept, "before")
    assert len(first) == 3 and len(held_out) == 1
    asked = []
    monkeypatch.setattr(prior, "latents", lambda rgb: asked.append(rgb.shape) or np.zeros((12, 2, 2), np.float32))
    again, _ = cache(prior, RECIPE, folder, kept, "before")
    assert not asked
    for one, other in zip(first, again, strict=True):
        np.testing.assert_array_equal(one, other)
    cache(prior, RECIPE, folder, kept, "another")
    assert len(asked) == 4


def test_batches_fit_the_smallest_of_their_pictures():
    latents = [np.full((3, 4 + k, 9 - k), k, np.float16) for k in range(5)]
    batches = Batches(latents, PriorRecipe(batch=3, side=6))
    for _ in range(20):
        x = next(batches)
        assert x.shape[:2] == (3, 3) and max(x.shape[2:]) <= 6
    with pytest.raises(ValueError, match="no pictures"):
        Batches([], PriorRecipe())
