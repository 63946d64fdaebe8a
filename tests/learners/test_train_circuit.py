"""Training a circuit: it learns, goes on where it stopped, and says where it stands; what it reads."""

from __future__ import annotations

import gzip
import json

import numpy as np
import pytest
from PIL import Image

from enfold.errors import MediaError, UsageError
from enfold.learners.tensors import read_tensors
from enfold.learners.train_circuit import TENSORS, CircuitRecipe, train_circuit
from enfold.pretrained.writing import write_model
from enfold.trees.flows import CircuitPlan
from enfold.trees.frozen import FrozenCircuit
from enfold.trees.marginals import log2_likelihood

PLAN = CircuitPlan((3, 4), 6, 8)


@pytest.fixture(scope="module")
def samples() -> np.ndarray:
    """(600, 3, 4): two kinds of stripes, some noise."""
    random = np.random.default_rng(0)
    stripes = np.stack([np.tile([0, 5], (3, 2)), np.tile([[0], [4], [1]], (1, 4))])[random.integers(0, 2, 600)]
    return np.where(random.random(stripes.shape) < 0.05, random.integers(0, 6, stripes.shape), stripes).astype(np.uint8)


def test_what_is_learned_is_better_than_independent_pixels(samples, tmp_path):
    seen = []
    arrays = train_circuit(PLAN, CircuitRecipe(epochs=20, batch=50, prior=1.0), samples, tmp_path, 2, seen.append)
    bits = -log2_likelihood(FrozenCircuit.from_arrays(arrays), samples.reshape(600, -1)).mean() / 12
    share = np.stack([(samples == value).mean(0) for value in range(6)])
    alone = -(share * np.log2(share)).sum() / 12
    assert bits < 0.6 * alone
    rows = [json.loads(line) for line in (tmp_path / "log.jsonl").read_text().splitlines()]
    assert len(rows) == 20 and rows[0]["held_out"] < alone
    assert abs(rows[-1]["held_out"] - bits) < 0.15
    assert [progress.held_out for progress in seen if progress.held_out] == [row["held_out"] for row in rows]


def test_a_card_says_what_was_done(samples, tmp_path):
    np.save(tmp_path / "stripes.npy", samples)
    recipe = TENSORS.made_recipe({"epochs": "30", "batch": 100})
    assert recipe == CircuitRecipe(epochs=30, batch=100)
    lines = []
    arrays = TENSORS.train(PLAN, recipe, tmp_path / "stripes.npy", tmp_path / "run", threads=1,
                           report=lambda progress: lines.append(TENSORS.words(progress)), start=None)
    assert {"leaf", "transition", "root", "weights", "parent", "owner", "hat", "near", "beyond"} == arrays.keys()
    about = {**TENSORS.history(tmp_path / "run"), "data": TENSORS.about(tmp_path / "stripes.npy")}
    assert about["steps"] == 180 and len(about["curve"]) <= 24 and "held out" in lines[-1]
    assert about["data"] == {"name": "stripes.npy", "samples": 585, "held_out": 15}
    card = write_model(tmp_path, "circuit-mnist", arrays, about)
    assert card.about["curve"][-1]["step"] == 180


def test_probabilities_are_not_trained_further(samples, tmp_path):
    np.save(tmp_path / "stripes.npy", samples)
    with pytest.raises(UsageError, match="not the counts"):
        TENSORS.train(PLAN, CircuitRecipe(), tmp_path / "stripes.npy", tmp_path / "run", threads=1,
                      report=print, start={})


def test_a_run_goes_on_as_if_it_had_not_stopped(samples, tmp_path):
    recipe = CircuitRecipe(epochs=4, batch=100, checkpoint_minutes=0.0, seed=3)
    whole = train_circuit(PLAN, recipe, samples, tmp_path / "whole")

    def interrupt(progress):
        if progress.held_out is not None and progress.epoch >= 2:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        train_circuit(PLAN, recipe, samples, tmp_path / "parts", report=interrupt)
    parts = train_circuit(PLAN, recipe, samples, tmp_path / "parts")
    assert sorted(whole) == sorted(parts)
    for name in ("parent", "owner", "weights"):
        np.testing.assert_array_equal(whole[name], parts[name])
    for name in ("root", "transition", "leaf"):
        assert np.abs(whole[name].astype(int) - parts[name]).max() <= 1


@pytest.mark.parametrize("wrong", [np.zeros((600, 4, 3), np.uint8), np.full((600, 3, 4), 6, np.uint8),
                                   np.zeros((600, 3, 4), np.int16)])
def test_other_samples_are_refused(wrong, tmp_path):
    with pytest.raises(UsageError, match=r"\(samples, 3, 4\) below 6"):
        train_circuit(PLAN, CircuitRecipe(epochs=1), wrong, tmp_path)


def test_too_few_samples_are_refused(samples, tmp_path):
    with pytest.raises(UsageError, match="50 samples are too few"):
        train_circuit(PLAN, CircuitRecipe(epochs=1), samples[:50], tmp_path)


def idx(array: np.ndarray) -> bytes:
    return bytes([0, 0, 8, array.ndim]) + b"".join(n.to_bytes(4, "big") for n in array.shape) + array.tobytes()


def test_samples_come_from_idx_npy_and_pictures(samples, tmp_path):
    (tmp_path / "train-images-idx3-ubyte.gz").write_bytes(gzip.compress(idx(samples)))
    (tmp_path / "t10k-images-idx3-ubyte.gz").write_bytes(gzip.compress(idx(samples[:3])))
    np.save(tmp_path / "all.npy", samples)
    (tmp_path / "pictures").mkdir()
    for number, image in enumerate(samples[:5]):
        Image.fromarray(image).save(tmp_path / "pictures" / f"{number}.png")
    for source, expected in ((tmp_path, samples), (tmp_path / "all.npy", samples),
                             (tmp_path / "t10k-images-idx3-ubyte.gz", samples[:3]),
                             (tmp_path / "pictures", samples[:5])):
        np.testing.assert_array_equal(read_tensors(source), expected)


def test_what_is_no_data_set_is_named(samples, tmp_path):
    (tmp_path / "cut.idx").write_bytes(idx(samples)[:-1])
    (tmp_path / "text.idx").write_bytes(b"hello world")
    np.save(tmp_path / "float.npy", np.zeros((3, 3)))
    (tmp_path / "empty").mkdir()
    (tmp_path / "mixed").mkdir()
    for size in (4, 5):
        Image.fromarray(np.zeros((size, 4), np.uint8)).save(tmp_path / "mixed" / f"{size}.png")
    for name, error, text in (("cut.idx", MediaError, "no IDX file"), ("text.idx", MediaError, "no IDX file"),
                              ("missing.idx", MediaError, "cannot be read"), ("float.npy", UsageError, "float64"),
                              ("empty", MediaError, "neither pictures"), ("mixed", UsageError, "all must have one")):
        with pytest.raises(error, match=text):
            read_tensors(tmp_path / name)
