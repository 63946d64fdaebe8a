"""Separation: a voice from a mixture of made latents, and latents of sound that come out as latents again."""

from __future__ import annotations

import numpy as np
import pytest

from enfold.codec import Latent
from enfold.errors import FingerprintError, UsageError
from enfold.learners import Schedule, Separator, Stems
from enfold.learners.samples import Origin

OURS = Origin("made", "0a", 60)


def made(count=8, seed=0, columns=16, origin=OURS):
    """Voices in the upper half of the channels or, at other moments, in the lower; the rest is quieter, everywhere."""
    random = np.random.default_rng(seed)
    mixtures, voices = [], []
    for _ in range(count):
        shape = 50 * (1 + random.random((12, 40)))
        there = np.zeros((12, 40))
        there[6:, :20], there[:6, 20:] = 1, 1
        voice = shape * there * random.choice([-1, 1], (12, 40))
        mixtures.append((voice + random.normal(0, 4, (12, 40))).astype(np.float32))
        voices.append(voice.astype(np.float32))
    return Stems(mixtures, voices, origin, columns)


@pytest.fixture(scope="module")
def fitted():
    return Separator(features=16, depth=1, schedule=Schedule(epochs=60, batch_size=8, learning_rate=1e-2)).fit(made(12))


def test_a_few_steps_find_a_voice_never_heard(fitted):
    asked = made(3, seed=1)
    assert fitted.score(asked) > 10             # dB nearer than half of the mixture
    quiet = fitted.predict(asked)[0][:6, :18]
    assert np.square(quiet).mean() < 0.5 * np.square(asked.inputs[0][:6, :18]).mean()


def test_untrained_it_says_half_of_everything():
    hardly = Schedule(epochs=1, batch_size=32, learning_rate=1e-12)
    learner = Separator(features=4, depth=1, schedule=hardly).fit(made())
    np.testing.assert_allclose(learner.predict(made(1))[0], made(1).inputs[0] / 2, atol=1e-3)
    assert abs(learner.score(made(2))) < 1e-3


def test_saved_and_loaded_it_separates_the_same(fitted, tmp_path):
    fitted.save(tmp_path / "separator.safetensors")
    loaded = Separator.load(tmp_path / "separator.safetensors")
    np.testing.assert_allclose(loaded.predict(made(1))[0], fitted.predict(made(1))[0], rtol=1e-4, atol=1e-3)


def test_stems_of_a_latent_are_latents_that_add_up_to_it(fitted):
    stems = made(1)
    latent = Latent(stems.inputs[0], np.asarray, "made", b"\x0a", 60, None)
    voice, rest = fitted.separate(latent)
    np.testing.assert_allclose(voice.values, fitted.predict(stems)[0], rtol=1e-5, atol=1e-4)
    np.testing.assert_allclose(voice.values + rest.values, latent.values, rtol=1e-5, atol=1e-4)
    assert (voice.codec, voice.fingerprint, voice.quality) == ("made", b"\x0a", 60)


def test_latents_of_another_quality_or_other_weights_are_refused(fitted):
    with pytest.raises(UsageError, match="fitted on made at quality 60, and this is made at quality 30"):
        fitted.predict(made(1, origin=Origin("made", "0a", 30)))
    with pytest.raises(FingerprintError, match="latents of those weights"):
        fitted.predict(made(1, origin=Origin("made", "0b", 60)))


def test_windows_are_other_ones_in_each_epoch_and_voices_lie_with_their_mixtures():
    stems = made(3)
    assert len(stems) == 6
    first, again, other = (next(iter(stems.examples(6, shuffle=True, epoch=epoch))) for epoch in (0, 0, 1))
    assert first.inputs.shape == first.targets.shape == (6, 12, 1, 16)
    assert (first.inputs == again.inputs).all() and not (first.inputs == other.inputs).all()
    assert (first.inputs - first.targets).abs().max() < 30         # what is left is the quiet rest


def test_what_is_no_mixture_is_refused():
    stems = made(2)
    with pytest.raises(UsageError, match="2 mixtures and 1 voices"):
        Stems(stems.inputs, stems.targets[:1], stems.origin)
    with pytest.raises(UsageError, match=r"both are \(C, T\), T at least 64"):
        Stems(stems.inputs, stems.targets, stems.origin, 64)
    with pytest.raises(UsageError, match="this separator was not fitted"):
        Separator().predict(stems)
