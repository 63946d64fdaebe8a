"""Learning on indices: a codebook's words are a latent like any other."""

from __future__ import annotations

import numpy as np
import pytest
from PIL import Image

import enfold
from enfold.learners import Classifier, LatentDataset, Schedule, pack
from enfold.testing import sample


@pytest.fixture(scope="module")
def packed(tmp_path_factory):
    """Bright, dark and striped pictures as indices of vqgan-rgb."""
    where = tmp_path_factory.mktemp("codes")
    random = np.random.default_rng(0)
    for number in range(24):
        kind = number % 3
        pixels = random.normal((200, 50, 128)[kind], 12, (48, 64, 3))
        if kind == 2:
            pixels[:, ::16] += 90
            pixels[:, 1::16] += 90
        path = where / "in" / ("bright", "dark", "striped")[kind] / f"{number}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(pixels.clip(0, 255).astype(np.uint8)).save(path)
    pack(where / "in", where / "p", codec="vqgan-rgb", quality=90)
    return where


def test_a_pack_of_indices_reads_as_their_words(packed):
    data = LatentDataset(packed / "p")
    codec = enfold.load("vqgan-rgb")
    batch = data.batch(np.arange(4))
    assert batch.latents.shape == (4, codec.latent_codec.config.dimensions, 3, 4)
    keys = data.reading.pack.keys()
    picture = np.asarray(Image.open(next((packed / "in").rglob(f"{keys[2].split('/')[-1].split('.')[0]}.png"))))
    np.testing.assert_array_equal(batch.latents[2].numpy(), codec.latents(picture, quality=90).values)


@pytest.mark.parametrize("network", ["conv", "vit"])
def test_a_few_steps_on_words_tell_plain_classes_apart(packed, network):
    data = LatentDataset(packed / "p")
    few = Schedule(epochs=12, batch_size=8, learning_rate=5e-3)
    assert Classifier(network, features=16, depth=1, schedule=few).fit(data).score(data) > 0.9


def test_a_picture_takes_fewer_bytes_than_its_thumbnail_has_numbers(packed):
    """One index for 16×16 pixels: a 48×64 picture is a dozen of them."""
    assert len(enfold.encode(sample(48, 64), "vqgan-rgb", quality=90)) < 64
