"""Training codebooks: a run of a few steps on a small cascade. It learns, goes on where it stopped, and is refused in
words; and codes are latents like any others."""

from __future__ import annotations

import json
from dataclasses import replace

import numpy as np
import pytest
import torch
from PIL import Image

from enfold import registry
from enfold.errors import UsageError
from enfold.learners import Classifier, LatentDataset, Schedule, pack
from enfold.learners.train_codes import CODES, CodesRecipe
from enfold.pretrained import find
from enfold.pretrained.writing import write_model
from enfold.testing import sample

NAME = "mcquic-rgb"
RECIPE = CodesRecipe(transforms_of="hyper-rgb", steps=8, rounds=2, batch=2, side=8, least_scale=0.6, greatest_scale=0.8,
                     learning_rate=0.02)


@pytest.fixture(scope="module")
def small():
    """The codec's class with three codebooks for each band."""
    entry = registry.entry(NAME)
    model = registry.resolve(entry.trainable)
    configs = registry.resolve(entry.latents.replace(":McquicLatents", ":CONFIGS"))
    whole = configs[NAME]
    configs[NAME] = replace(whole, channels=26, books=(((1, 15), (4, 16), (20, 16)), ((2, 25), (24, 32))) * 2)
    yield model
    configs[NAME] = whole


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    where = tmp_path_factory.mktemp("pictures")
    for seed in range(4):
        Image.fromarray(sample(100, 120, seed=seed)).save(where / f"{seed}.png")
    return where


@pytest.fixture(scope="module")
def run(small, folder, tmp_path_factory):
    out, reports = tmp_path_factory.mktemp("run"), []
    torch.manual_seed(0)
    arrays = CODES.train(small(NAME), RECIPE, folder, out, threads=1, report=reports.append, start=None)
    return arrays, out, reports


def test_a_run_reports_each_round_and_says_what_its_prior_is_worth(run):
    _, out, reports = run
    ends = [report for report in reports if CODES.is_milestone(report)]
    assert [(report.band, report.round) for report in ends] == [divmod(number, 2) for number in range(8)]
    assert ends[-1].fraction == 1.0 and "held out" in CODES.words(ends[-1])
    history = CODES.history(out)
    assert [row["band"] for row in history["prior"]] == [0, 1, 2, 3] and history["steps"] == 4 * 8
    assert history["transforms"] == {"codec": "hyper-rgb", "fingerprint": find("hyper-rgb").fingerprint.hex()}
    for ours, static, fixed in (row["held_out"][0] for row in history["prior"]):
        assert 0 < ours < fixed and 0 < static < fixed


def test_a_run_that_was_stopped_goes_on_where_it_stopped(run, small, folder, tmp_path):
    arrays, out, _ = run
    (tmp_path / "checkpoint.safetensors").write_bytes((out / "checkpoint.safetensors").read_bytes())
    (tmp_path / "checkpoint.json").write_text(json.dumps({"rounds": 7, "minutes": 1.0}))
    reports = []
    CODES.train(small(NAME), RECIPE, folder, tmp_path, threads=1, report=reports.append, start=None)
    assert [(report.band, report.round) for report in reports if CODES.is_milestone(report)] == [(3, 1)]
    assert json.loads((tmp_path / "checkpoint.json").read_text())["rounds"] == 8
    assert set(arrays) == set(small(NAME).frozen() | arrays)


def test_training_lowers_what_codes_cost(run, small):
    arrays, _, _ = run
    model = small(NAME)
    model.load(arrays)
    codes = torch.from_numpy(np.stack(model.codes(0, [model.latents(sample(128, 128, seed=9), 0, 3)], [3])))
    optimiser = torch.optim.Adam(model.prior_of(0).parameters(), 0.02)
    costs = []
    for _ in range(12):
        bits = model.bits(0, codes, torch.tensor([3])).sum()
        optimiser.zero_grad()
        bits.backward()
        optimiser.step()
        costs.append(bits.item())
    assert costs[-1] < 0.9 * costs[0]


def test_words_move_to_the_means_of_what_chose_them_and_do_not_die(run, small):
    arrays, _, _ = run
    model = small(NAME)
    model.load(arrays)
    latents = [model.latents(sample(160, 160, seed=seed), 1, 5) for seed in range(3)]
    codes = model.codes(1, latents, [5] * 3)
    before = {name: array.copy() for name, array in model.words[1].items()}
    model.refine(1, latents, codes)
    used = np.bincount(np.concatenate([x[4].ravel() for x in codes]), minlength=25)
    moved = np.abs(model.words[1]["words.2.0"] - before["words.2.0"]).max(1) > 1e-6
    assert moved[used > 20].any() and not moved[used == 0].any()


def test_what_is_trained_encodes_decodes_and_starts_another_run(run, small, folder, tmp_path):
    arrays, _, _ = run
    codec = registry.resolve(registry.entry(NAME).codec)(NAME, arrays, b"test")
    for quality in (1, 30, 60, 100):
        picture = sample(50, 70)
        assert np.asarray(codec.decode(codec.encode(picture, quality=quality))).shape == picture.shape
    again = CODES.train(small(NAME), replace(RECIPE, steps=2, transforms_of=""), folder, tmp_path, threads=1,
                        report=lambda progress: None, start=arrays)
    np.testing.assert_array_equal(again["synthesis.linear.weight"], arrays["synthesis.linear.weight"])


def test_transforms_must_come_from_somewhere(small, folder, tmp_path):
    with pytest.raises(UsageError, match="transforms_of"):
        CODES.train(small(NAME), CodesRecipe(), folder, tmp_path, threads=1, report=lambda p: None, start=None)
    with pytest.raises(UsageError, match="no folder"):
        CODES.about(folder / "0.png")


def test_a_start_of_its_own_codes_pictures(small):
    """`initialise`: principal components and their codebooks, without another model."""
    model = small(NAME)
    crops = torch.from_numpy(np.stack([sample(64, 64, seed=seed) for seed in range(6)])).permute(0, 3, 1, 2).float()
    model.initialise(crops)
    loss = model.loss(crops[:2], torch.tensor([0.2, 0.9]), hard=True)
    assert torch.isfinite(loss.total) and loss.bpp[1] > loss.bpp[0] > 0 and loss.mse[1] < loss.mse[0]


def test_codes_are_packed_and_learned_from(run, tmp_path, monkeypatch):
    """An embedding of indices is a latent: what they stand for, by `LatentDataset`, tells plain classes apart."""
    write_model(tmp_path / "weights", NAME, run[0], {})
    monkeypatch.setenv("ENFOLD_WEIGHTS", str(tmp_path / "weights"))
    random = np.random.default_rng(0)
    for number in range(24):
        pixels = random.normal((200, 50)[number % 2], 12, (48, 48, 3)).clip(0, 255).astype(np.uint8)
        path = tmp_path / "in" / ("bright", "dark")[number % 2] / f"{number}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(pixels).save(path)
    report = pack(tmp_path / "in", tmp_path / "p", codec=NAME, quality=60)
    assert report.coding == "codec"
    dataset = LatentDataset(tmp_path / "p")
    schedule = Schedule(epochs=4, batch_size=8, learning_rate=5e-3)
    assert Classifier(features=8, depth=1, schedule=schedule).fit(dataset).score(dataset) == 1.0
