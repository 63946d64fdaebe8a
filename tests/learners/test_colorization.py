"""Colorization: colours from grey latents, and pictures of them through the codec."""

from __future__ import annotations

import numpy as np
import pytest
from PIL import Image

import enfold
from enfold.errors import UsageError
from enfold.learners import Colorizer, LatentDataset, Pairs, Schedule, pack

from .conftest import CODEC


@pytest.fixture(scope="module")
def pairs(tmp_path_factory):
    """Pictures whose colour follows from their brightness, packed in grey and in colour."""
    where = tmp_path_factory.mktemp("pairs")
    (where / "in").mkdir()
    random = np.random.default_rng(0)
    for number in range(24):
        grey = np.repeat(np.repeat(random.integers(40, 216, (4, 4)), 8, 0), 8, 1)
        pixels = np.stack([grey + 30, grey, grey - 30], -1)
        Image.fromarray(pixels.astype(np.uint8)).save(where / "in" / f"{number:02}.png")
    pack(where / "in", where / "colour", codec=CODEC)
    pack(where / "in", where / "grey", codec=CODEC, grey=True)
    return Pairs(LatentDataset(where / "grey"), LatentDataset(where / "colour"))


@pytest.fixture(scope="module")
def fitted(pairs):
    return Colorizer(features=16, depth=1, schedule=Schedule(epochs=12, batch_size=8, weight_decay=0.0)).fit(pairs)


def test_a_few_steps_find_colours(pairs, fitted):
    grey_is_the_answer = 1 - np.mean([((e.inputs - e.targets) / fitted.network_.out_std).square().mean().item()
                                      for e in pairs.examples(24)])
    assert fitted.score(pairs) > max(0.5, grey_is_the_answer + 0.05)
    assert fitted.predict(pairs).shape == (24, 12, 4, 4)


def test_training_begins_where_the_best_linear_map_ends(pairs):
    hardly = Schedule(epochs=1, batch_size=24, learning_rate=1e-9, weight_decay=0.0)
    assert Colorizer(features=4, depth=1, schedule=hardly).fit(pairs).score(pairs) > 0.5


def test_pictures_come_out_in_colour(pairs, fitted):
    (picture,) = fitted.pictures(pairs.inputs, rows=[3])
    assert picture.shape == (32, 32, 3) and picture.dtype == np.uint8
    assert picture[..., 0].mean() > picture[..., 2].mean() + 20
    grey = next(iter(pairs.inputs.reading.pack.rows()))
    decoded = np.asarray(enfold.decode(pairs.inputs.reading.pack.enf(grey)))
    assert decoded.ndim == 2                                            # where they came from there was none


def test_saved_and_loaded_it_predicts_the_same(pairs, fitted, tmp_path):
    fitted.save(tmp_path / "learner.safetensors")
    loaded = Colorizer.load(tmp_path / "learner.safetensors")
    np.testing.assert_allclose(loaded.predict(pairs), fitted.predict(pairs), rtol=1e-4, atol=1e-2)
    assert loaded.target_origin_ == fitted.target_origin_


def test_pictures_are_those_that_were_asked_for(pairs, fitted):
    rows = [20, 3, 11, 3]
    some, one_by_one = fitted.pictures(pairs.inputs, rows), [fitted.pictures(pairs.inputs, [row])[0] for row in rows]
    for many, one in zip(some, one_by_one, strict=True):
        assert np.abs(many.astype(int) - one).max() <= 1            # a batch may round otherwise
    assert np.abs(some[0].astype(int) - some[1]).max() > 20


def test_what_was_not_fitted_says_so(pairs, tmp_path):
    for use in (Colorizer().score, Colorizer().predict, lambda data: Colorizer().pictures(data.inputs, [0]),
                lambda data: Colorizer().save(tmp_path / "learner")):
        with pytest.raises(UsageError, match=r"this colorizer was not fitted: call fit, or Colorizer\.load"):
            use(pairs)


def test_packs_without_a_common_key_are_refused(pairs, packed):
    with pytest.raises(UsageError, match="no key in common"):
        Pairs(pairs.inputs, LatentDataset(packed))


def test_a_codec_of_colours_is_told_from_one_of_grey_by_its_quality(fitted, pairs, photos, tmp_path):
    pack(photos, tmp_path / "p", codec=CODEC, quality=30)
    with pytest.raises(UsageError, match="at quality 75, and this is walloc-rgb-16x at quality 30"):
        fitted.predict(LatentDataset(tmp_path / "p"))
