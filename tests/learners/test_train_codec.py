"""Training: a few steps, never real training. It learns, resumes, and keeps its hands off held-out pictures."""

from __future__ import annotations

import json
from dataclasses import replace

import numpy as np
import pytest
import torch
from PIL import Image

from enfold import pretrained
from enfold.codecs.walloc_model import WallocModel
from enfold.errors import UsageError
from enfold.learners.train_codec import HELD_OUT_EVERY, Recipe, pictures, train
from enfold.testing import sample

RECIPE = Recipe(steps=6, batch=2, crop=64, checkpoint_minutes=0.0, seed=1)


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    where = tmp_path_factory.mktemp("pictures")
    for seed in range(4):
        Image.fromarray(sample(150, 170, seed=seed)).save(where / f"{seed}.png")
    return where


def model():
    torch.manual_seed(0)
    return WallocModel("walloc-rgb-16x")


def test_a_run_reports_logs_and_leaves_a_checkpoint(folder, tmp_path):
    reports = []
    train(model(), RECIPE, folder, tmp_path, reports.append)
    assert reports[-1].step == RECIPE.steps
    rows = [json.loads(line) for line in (tmp_path / "log.jsonl").read_text().splitlines()]
    assert [row["step"] for row in rows][-1] == RECIPE.steps
    assert all(np.isfinite(row["loss"]) for row in rows)
    assert rows[-1]["validation"]
    assert (tmp_path / "checkpoint.safetensors").exists()


def test_a_run_is_for_what_its_recipe_says(folder, tmp_path):
    trained = train(model(), replace(RECIPE, steps=2, distortion="ms_ssim", finest=0.2), folder, tmp_path / "run")
    assert trained.distortion == "ms_ssim"
    for wrong, reason in ((replace(RECIPE, distortion="beauty"), "'beauty'"),
                          (replace(RECIPE, distortion="ms_ssim", crop=8), "too small for MS-SSIM")):
        with pytest.raises(UsageError, match=reason):
            train(model(), wrong, folder, tmp_path / "other")


def test_qualities_are_drawn_up_to_the_finest(folder, tmp_path, monkeypatch):
    seen = []

    def loss(self, pixels, position, *, hard):
        seen.append(position)
        return whole(self, pixels, position, hard=hard)

    whole = WallocModel.loss
    monkeypatch.setattr(WallocModel, "loss", loss)
    train(model(), replace(RECIPE, steps=4, finest=0.25, checkpoint_minutes=9.0), folder, tmp_path)
    drawn = torch.cat(seen[:4])
    assert 0 < drawn.max() <= 0.25


def test_steps_lower_the_loss(folder, tmp_path):
    pixels = torch.from_numpy(sample(128, 128)).permute(2, 0, 1)[None].float()
    position = torch.tensor([0.5])
    fresh = model()
    fresh.initialise(pixels)
    optimiser = torch.optim.Adam(fresh.parameters(), 1e-3)
    losses = []
    for _ in range(12):
        loss = fresh.loss(pixels, position, hard=False).total
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
        losses.append(loss.item())
    assert np.mean(losses[-3:]) < 0.97 * np.mean(losses[:3])


def test_a_stopped_run_goes_on_where_it_stopped(folder, tmp_path):
    train(model(), Recipe(**{**RECIPE.__dict__, "steps": 3}), folder, tmp_path)
    reports = []
    train(model(), RECIPE, folder, tmp_path, reports.append)
    assert reports[0].step == 4
    assert reports[-1].step == RECIPE.steps


def test_a_run_starts_from_given_weights_and_goes_on(folder, tmp_path):
    arrays = pretrained.weights(pretrained.find("walloc-rgb-16x"))
    still = replace(RECIPE, steps=2, learning_rate=0.0)
    reports = []
    for steps in (1, 2):
        trained = train(model(), replace(still, steps=steps), folder, tmp_path, reports.append, arrays)
    assert [report.step for report in reports] == [1, 2]
    weight = trained.synthesis.head.weight.detach().numpy()
    np.testing.assert_allclose(weight, arrays["synthesis.head.weight"], atol=1e-4)
    assert set(trained.frozen()) == set(arrays)


def test_a_frozen_encoder_gets_no_gradient_and_the_rest_does(folder):
    fresh = model()
    pixels = torch.from_numpy(sample(64, 64)).permute(2, 0, 1)[None].float()
    fresh.initialise(pixels)
    fresh.loss(pixels, torch.tensor([0.7]), hard=True).total.backward()
    assert all(p.grad is None for p in (*fresh.analysis.parameters(), *fresh.steps.parameters()))
    assert fresh.synthesis.tail.weight.grad.abs().sum() > 0
    assert fresh.context.raw["scale_4"].grad.abs().sum() > 0


def test_a_diverging_step_is_skipped(folder, tmp_path, monkeypatch):
    diverging = model()
    loss = diverging.loss
    calls = []

    def sometimes(pixels, position, *, hard):
        calls.append(1)
        result = loss(pixels, position, hard=hard)
        return result if len(calls) != 3 else type(result)(result.total * float("nan"), result.bpp, result.mse)

    monkeypatch.setattr(diverging, "loss", sometimes)
    reports = []
    trained = train(diverging, Recipe(**{**RECIPE.__dict__, "checkpoint_minutes": 9.0}), folder, tmp_path,
                    reports.append)
    assert reports[-1].skipped == 1
    assert all(torch.isfinite(p).all() for p in trained.parameters())


def test_held_out_pictures_are_never_trained_on(tmp_path):
    for number in range(HELD_OUT_EVERY + 1):
        (tmp_path / f"{number:03}.png").touch()
    training, held_out = pictures(tmp_path)
    assert len(held_out) == 2 and len(training) == HELD_OUT_EVERY - 1
    assert not set(training) & set(held_out)


def test_a_folder_without_pictures_is_refused_in_words(tmp_path):
    with pytest.raises(ValueError, match="no pictures"):
        train(model(), RECIPE, tmp_path, tmp_path / "out")
