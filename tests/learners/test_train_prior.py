"""Training a prior alone: a few steps. Files get smaller, pictures stay as they were."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch
from PIL import Image

from enfold import pretrained
from enfold.codecs.walloc import Walloc
from enfold.codecs.walloc_model import HIDDEN, WallocModel
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


def test_an_untrained_hidden_layer_costs_what_there_was(arrays, prior):
    """It starts as nothing; only octaves, that copy the finest, differ from the weights it came from."""
    symbols = torch.from_numpy(prior.latents(sample(64, 96)))[None]
    assert all(not weight.any() for name, weight in prior.context().items() if name.startswith("out")) or \
        any(name.startswith("context.out") for name in arrays)
    assert torch.isfinite(prior.bits(symbols, torch.tensor([0.5]))).all()


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
