"""Latents of sound as sound: a file's own, and those that a learner made."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

import enfold
from enfold.errors import FingerprintError, UsageError
from enfold.testing import sample
from enfold.testing_sounds import sample_sound

pytest.importorskip("soundfile", reason="sounds are read by soundfile")


@pytest.mark.parametrize("sections", [1, 2])
def test_latents_of_a_file_sound_as_it_does(sound_codec, sections):
    half = sound_codec.latent_codec
    count = half.block * (40 if sections == 1 else half.columns + 40) + 17
    sound = sample_sound(count, half.sound_channels, half.rates_hz[2], "float32")
    data = sound_codec.encode(sound)
    decoded, again = sound_codec.decode(data), sound_codec.sound_of(sound_codec.latents(data))
    assert (again.samples.shape, again.samples.dtype, again.rate_hz) == (sound.samples.shape, np.float32, sound.rate_hz)
    missed = np.square(again.samples - decoded.samples, dtype=np.float64).mean()
    assert missed < 1e-3 * np.square(decoded.samples, dtype=np.float64).mean()


def test_louder_latents_are_louder_sound(sound_codec):
    half = sound_codec.latent_codec
    latent = sound_codec.latents(sample_sound(20 * half.block, half.sound_channels, half.rates_hz[2], "float32"))
    halved = replace(latent, symbols=latent.values / 2, dequantise=np.asarray)
    loud, soft = (np.square(sound_codec.sound_of(one).samples, dtype=np.float64).mean() for one in (latent, halved))
    assert loud / soft == pytest.approx(4, rel=0.25)


def test_latents_of_others_are_refused(sound_codec, codec):
    half = sound_codec.latent_codec
    latent = sound_codec.latents(sample_sound(4 * half.block, 1, half.rates_hz[2]))
    with pytest.raises(FingerprintError):
        sound_codec.sound_of(replace(latent, fingerprint=b"\1\2\3\4"))
    with pytest.raises(UsageError, match=r"use enfold\.load\(latent\.codec\)"):
        sound_codec.sound_of(enfold.latents(sample(16, 16), codec.name))
    with pytest.raises(UsageError, match="latents of shape"):
        sound_codec.sound_of(replace(latent, symbols=latent.values[:, :2], dequantise=np.asarray))
