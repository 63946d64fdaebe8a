"""Short sounds: where they lie among frames, how loud they are, and a classifier that tells them apart."""

from __future__ import annotations

import numpy as np
import pytest

from enfold.errors import UsageError
from enfold.learners import Classifier, Clips, Schedule
from enfold.learners.loudness import loudness_db, silence_db
from enfold.learners.samples import Origin


def clips(count=40, frames=12, seed=0):
    """Sounds that rise or fall over eight bands, of several lengths."""
    random = np.random.default_rng(seed)
    inputs, labels = [], np.arange(count) % 2
    for label in labels:
        sound = random.integers(-1, 2, (8, 8))
        for at in range(8):
            sound[at if label else 7 - at, at] += random.choice([-9, 9])
        inputs.append(loudness_db(sound[:, :random.integers(6, 9)]))
    return Clips(inputs, labels, frames, silence_db(8), Origin("made"), ("falls", "rises"))


def test_sounds_lie_between_silence_and_elsewhere_in_each_epoch():
    some = clips(1)
    whole, = some.examples(1)
    assert whole.inputs.shape == (1, 8, 1, 12)
    spare = 12 - some.inputs[0].shape[1]
    assert (whole.inputs[0, :, 0, :spare // 2] == silence_db(8)[:, None].max()).all()
    assert np.array_equal(whole.inputs[0, :, 0, spare // 2:spare // 2 + some.inputs[0].shape[1]], some.inputs[0])
    begins = {int((example.inputs[0, :, 0].numpy() > silence_db(1)[0] + 0.1).any(0).argmax())
              for epoch in range(20) for example in some.examples(1, shuffle=True, epoch=epoch)}
    assert len(begins) > 2


def test_of_a_longer_sound_the_middle_is_heard():
    sound = np.arange(20, dtype=np.float32)[None]
    heard, = Clips([sound], np.array([0]), 6, np.zeros(1, np.float32), Origin("made")).examples(1)
    assert heard.inputs[0, 0, 0].tolist() == [7, 8, 9, 10, 11, 12]


def test_rising_is_told_from_falling_whatever_the_signs():
    learner = Classifier(features=8, depth=1, schedule=Schedule(epochs=12, batch_size=8, learning_rate=1e-2))
    assert learner.fit(clips()).score(clips(20, seed=1)) > 0.9


def test_loudness_of_a_lone_symbol_is_shared_with_its_neighbours():
    lone = np.zeros((5, 5), np.int16)
    lone[2, 2] = -300
    found = loudness_db(lone)
    near = 10 * np.log10(90000 * np.outer([0.25, 0.5, 0.25], [0.25, 0.5, 0.25]) + 1 / 12)
    np.testing.assert_allclose(found[1:4, 1:4], near, atol=1e-4)
    assert (found[0] == silence_db(5)).all()
    np.testing.assert_allclose(loudness_db(np.full((3, 1), 10)), 10 * np.log10(100 + 1 / 12), rtol=1e-6)


def test_what_is_no_clip_is_refused():
    with pytest.raises(UsageError, match=r"sounds are \(C, T\)"):
        Clips([np.zeros((3, 4), np.float32)], np.array([0]), 4, np.zeros(2, np.float32), Origin("made"))
    with pytest.raises(UsageError, match="1 sounds, 2 targets"):
        Clips([np.zeros((3, 4), np.float32)], np.array([0, 1]), 4, np.zeros(3, np.float32), Origin("made"))
