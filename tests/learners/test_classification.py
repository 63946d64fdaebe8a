"""Classification: it learns in a few steps, refuses what it was not fitted on, and is saved without pickle."""

from __future__ import annotations

import json
from dataclasses import replace

import numpy as np
import pytest
import torch
from PIL import Image
from safetensors import safe_open

from enfold.errors import BitstreamError, FingerprintError, MediaError, UsageError
from enfold.learners import Arrays, Classifier, Colorizer, LatentDataset, Schedule, pack
from enfold.learners.samples import Origin, order

from .conftest import CODEC

FEW = Schedule(epochs=6, batch_size=16, learning_rate=5e-3)


@pytest.fixture(scope="module")
def told_apart(tmp_path_factory):
    """Pictures whose class is plain to see: bright, dark, or striped; packed."""
    where = tmp_path_factory.mktemp("classes")
    random = np.random.default_rng(0)
    for number in range(48):
        kind = number % 3
        pixels = random.normal((200, 50, 128)[kind], 12, (32, 32, 3))
        if kind == 2:
            pixels[:, ::4] += 90
        path = where / "in" / ("bright", "dark", "striped")[kind] / f"{number}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(pixels.clip(0, 255).astype(np.uint8)).save(path)
    pack(where / "in", where / "p", codec=CODEC)
    return LatentDataset(where / "p")


@pytest.fixture(scope="module")
def fitted(told_apart):
    return Classifier(features=8, depth=1, schedule=FEW).fit(told_apart)


@pytest.mark.parametrize("network", ["conv", "vit"])
def test_a_few_steps_tell_plain_classes_apart(told_apart, network):
    seen = []
    learner = Classifier(network, features=16, depth=1, schedule=FEW).fit(told_apart, seen.append)
    assert learner.score(told_apart) > 0.9
    assert learner.label_names_ == ("bright", "dark", "striped")
    assert [epoch.epoch for epoch in seen] == list(range(6)) and seen == list(learner.history_)
    assert seen[-1].loss < 0.7 * seen[0].loss
    assert all(epoch.samples == 48 and epoch.seconds > 0 for epoch in seen)


def test_the_score_is_the_share_that_predict_gets_right(told_apart, fitted):
    predicted = fitted.predict(told_apart)
    assert predicted.shape == (48,) and predicted.dtype == np.int64
    assert fitted.score(told_apart) == pytest.approx((predicted == told_apart.labels).mean())


def test_the_same_seed_learns_the_same(told_apart, fitted):
    again = Classifier(features=8, depth=1, schedule=FEW).fit(told_apart)
    other = Classifier(features=8, depth=1, schedule=replace(FEW, seed=1)).fit(told_apart)
    ours, same, theirs = (learner.network_.embed.weight for learner in (fitted, again, other))
    assert torch.allclose(ours, same, atol=1e-5) and not torch.allclose(ours, theirs, atol=1e-3)


def test_saved_and_loaded_it_predicts_the_same(told_apart, fitted, tmp_path):
    fitted.save(tmp_path / "learner.safetensors")
    loaded = Classifier.load(tmp_path / "learner.safetensors")
    assert np.array_equal(loaded.predict(told_apart), fitted.predict(told_apart))
    assert (loaded.origin_, loaded.label_names_, loaded.history_, loaded.schedule) == \
        (fitted.origin_, fitted.label_names_, fitted.history_, fitted.schedule)
    with safe_open(tmp_path / "learner.safetensors", "np") as file:      # arrays and JSON: nothing that runs
        assert json.loads(file.metadata()["enfold"])["kind"] == "Classifier"


def test_what_is_no_learner_is_refused(fitted, tmp_path):
    with pytest.raises(MediaError, match="cannot be read"):
        Classifier.load(tmp_path / "nothing")
    (tmp_path / "junk").write_bytes(b"\x80\x04junk, or a pickle")
    with pytest.raises(BitstreamError, match="is no learner"):
        Classifier.load(tmp_path / "junk")
    fitted.save(tmp_path / "learner")
    with pytest.raises(BitstreamError, match=r"holds Classifier.*a Colorizer is due"):
        Colorizer.load(tmp_path / "learner")


def test_latents_of_other_weights_are_refused(fitted, told_apart):
    ours = fitted.origin_
    arrays = np.zeros((4, 12, 4, 4), np.float32)
    for origin, error, words in (
            (replace(ours, fingerprint="00000000"), FingerprintError, "fitted on latents of those weights"),
            (replace(ours, quality=20), UsageError, "at quality 75, and this is walloc-rgb-16x at quality 20"),
            (Origin("pixels"), UsageError, "this is pixels")):
        with pytest.raises(error, match=words):
            fitted.predict(Arrays(arrays, np.zeros(4, int), origin))


def test_samples_without_labels_are_refused(tmp_path):
    (tmp_path / "in").mkdir()
    Image.new("RGB", (16, 16)).save(tmp_path / "in" / "a.png")
    pack(tmp_path / "in", tmp_path / "p", codec=CODEC)
    with pytest.raises(UsageError, match="1 of 1 samples have no label"):
        Classifier().fit(LatentDataset(tmp_path / "p"))
    with pytest.raises(UsageError, match="was not fitted"):
        Classifier().predict(LatentDataset(tmp_path / "p"))


def test_pixels_go_through_the_same_network(told_apart):
    random = np.random.default_rng(1)
    labels = np.arange(32) % 2
    pixels = (random.integers(0, 60, (32, 3, 16, 16)) + 150 * labels[:, None, None, None]).astype(np.uint8)
    data = Arrays(pixels, labels, Origin("pixels"))
    learner = Classifier(features=8, depth=1, patch=4, schedule=FEW).fit(data)
    assert learner.shape_.tokens == 16 and learner.score(data) == 1


def test_minutes_end_a_run_too(told_apart):
    learner = Classifier(features=8, depth=1, schedule=replace(FEW, minutes=0.01)).fit(told_apart)
    assert 0 < sum(epoch.seconds for epoch in learner.history_) < 10


def test_ranks_learn_from_different_samples_and_as_many():
    parts = [np.concatenate(order(10, 4, True, 0, 0, rank, 3)) for rank in range(3)]
    assert [len(part) for part in parts] == [3, 3, 3]
    assert len(set(np.concatenate(parts).tolist())) == 9
