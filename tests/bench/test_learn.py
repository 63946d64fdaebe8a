"""`enfold bench learn`: every input has as many tokens and the same network, and none has the answers."""

from __future__ import annotations

import numpy as np
import pytest
from PIL import Image

from enfold.bench import learn, learn_inputs
from enfold.errors import MediaError, UsageError
from enfold.learners.fitting import Schedule
from enfold.testing import sample

CODEC = "walloc-rgb-16x"


@pytest.fixture(scope="module")
def folders(tmp_path_factory):
    where = tmp_path_factory.mktemp("learn")
    for part, count in (("train", 12), ("test", 6)):
        for number in range(count):
            path = where / part / ("bright", "dark")[number % 2] / f"{number}.jpg"
            path.parent.mkdir(parents=True, exist_ok=True)
            pixels = sample(32, 40, seed=number).astype(float) * 0.3 + (150, 10)[number % 2]
            Image.fromarray(pixels.astype(np.uint8)).save(path)
    return where


def test_every_input_is_learnt_alike(folders, tmp_path):
    learning = learn.Learning("conv", 8, 1, Schedule(epochs=3, batch_size=6, learning_rate=5e-3), seeds=2)
    said = []
    results = learn.bench_learn(folders / "train", folders / "test", tmp_path, codec=CODEC, learning=learning,
                                say=said.append)
    rows = {row.input: row for row in results.rows}
    assert tuple(rows) == learn.INPUTS and len(said) == 10
    for row in rows.values():
        assert row.tokens == 4 * 5 and len(row.accuracies) == 2 and row.epochs == 3
        assert row.accuracy == pytest.approx(sum(row.accuracies) / 2) and row.error is not None
        assert row.seconds > 0 and row.cpu_seconds > 0
    assert np.prod(rows["resized"].shape) == np.prod(rows["latents"].shape) == np.prod(rows["dct"].shape) == 240
    assert rows["full"].shape == (3, 32, 40)
    assert rows["latents"].parameters < rows["full"].parameters < 1.5 * rows["latents"].parameters
    assert (results.train, results.test) == (12, 6)


def test_what_cannot_be_compared_is_refused(folders, tmp_path):
    with pytest.raises(UsageError, match=r"latents, resized, full, dct, pca"):
        learn.bench_learn(folders / "train", folders / "test", tmp_path, codec=CODEC, inputs=["smells"])
    with pytest.raises(MediaError):
        learn.bench_learn(tmp_path, folders / "test", tmp_path / "out", codec=CODEC)


def test_dct_and_pca_vectors_are_orthonormal_and_hold_the_picture(folders):
    vectors = learn_inputs._dct(192)
    luma = vectors[:64].reshape(64, 3, 64).sum(1)           # luma weights add up to 1
    assert len(vectors) == 160                              # 64 of luma, all there are, and 48 of each chroma
    assert np.allclose(luma @ luma.T, np.eye(64), atol=1e-9)
    pictures = learn._pictures(folders / "train", 32, 40)
    (whole,) = learn_inputs.block_coefficients(pictures, [], 192, pca=True)
    blocks = learn_inputs._blocks(pictures.pixels([0]))
    energy = np.square(blocks).sum(), np.square(whole.inputs[:1].astype(np.float32)).sum()
    assert energy[1] == pytest.approx(energy[0], rel=1e-2)
