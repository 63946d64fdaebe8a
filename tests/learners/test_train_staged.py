"""What training in stages promises: their order, each from the averages of the last, a run that can be resumed."""

from __future__ import annotations

import json
from dataclasses import replace

import numpy as np
import pytest
import torch
from PIL import Image
from torch import nn

from enfold.errors import UsageError
from enfold.layers.staged import Losses, Stage, Staged
from enfold.layers.trainable import TrainablePrior
from enfold.learners.train_staged import STAGED, StagedProgress, StagedRecipe, train
from enfold.testing import sample

RECIPE = StagedRecipe(steps=12, batch=2, crop=16, prior_steps=2, average=0.5)


class Frequencies(TrainablePrior):
    def __init__(self, arrays):
        super().__init__()
        self._arrays, self.level = arrays, nn.Parameter(torch.zeros(()))

    def latents(self, rgb):
        return rgb[::8, ::8].astype(np.float32).transpose(2, 0, 1) / 255

    def bits(self, latents, position):
        return (1 + (latents - self.level).square()).flatten(1).sum(1)

    def frozen(self):
        return {**self._arrays, "level": self.level.detach().numpy()}


class Two(Staged):
    """First a mean, then a scale."""

    stages = (Stage("mean", 0.5, 1.0, 1.0), Stage("scale", 1.0, 0.5, 0.0))

    def __init__(self):
        super().__init__()
        self.mean, self.scale = nn.Parameter(torch.zeros(3)), nn.Parameter(torch.ones(3))
        self.begun = []

    def begin(self, stage, crops):
        self.begun.append((stage, self.mean.detach().clone(), next(crops).shape))

    def learnt(self, stage):
        return [self.mean] if stage == 0 else [self.scale]

    def loss(self, pixels, stage, progress):
        error = (pixels.mean((2, 3)) / 255 * self.scale - self.mean).square()
        return Losses(error.mean(), error.mean(1).detach(), error.mean(1).detach())

    def validate(self, pixels, stage):
        return [(0.5, 0.01, 20.0, self.mean.sum().item())]

    def frozen(self):
        return {"mean": self.mean.detach().numpy().copy(), "scale": self.scale.detach().numpy().copy()}

    def prior(self, arrays):
        return Frequencies(arrays)


@pytest.fixture
def folder(tmp_path):
    for number in range(4):
        Image.fromarray(sample(40, 48, seed=number)).save(tmp_path / f"{number}.png")
    return tmp_path


def test_each_stage_changes_its_own_and_begins_with_the_averages_of_the_last(folder, tmp_path):
    model, said = Two(), []
    train(model, RECIPE, folder, tmp_path / "run", said.append)
    assert [stage for stage, *_ in model.begun] == [0, 1]
    assert model.begun[0][2] == (2, 3, 16, 16)
    # the second stage leaves the mean as it found it, and moves the scale
    torch.testing.assert_close(model.mean.detach(), model.begun[1][1])
    assert not torch.equal(model.scale.detach(), torch.ones(3))
    validated = [progress for progress in said if progress.validation]
    assert [progress.stage for progress in validated] == ["mean", "scale"]
    rows = [json.loads(line) for line in (tmp_path / "run" / "log.jsonl").read_text().splitlines()]
    assert [row["step"] for row in rows] == [6, 12]


def test_a_run_goes_on_where_it_stopped_without_beginning_its_stage_again(folder, tmp_path):
    class Stops(Two):
        def loss(self, pixels, stage, progress):
            if stage == 1 and progress > 0.5:
                raise KeyboardInterrupt
            return super().loss(pixels, stage, progress)

    recipe = StagedRecipe(**{**RECIPE.__dict__, "checkpoint_minutes": 0.0})
    with pytest.raises(KeyboardInterrupt):
        train(Stops(), recipe, folder, tmp_path / "run")
    model = Two()
    train(model, recipe, folder, tmp_path / "run")
    assert model.begun == []
    assert json.loads((tmp_path / "run" / "checkpoint.json").read_text())["step"] == 12


def test_the_prior_comes_last_and_the_card_tells_of_both(folder, tmp_path):
    out, said = tmp_path / "run", []
    arrays = STAGED.train(Two(), RECIPE, folder, out, threads=1, report=said.append, start=None)
    assert sorted(arrays) == ["level", "mean", "scale"]
    about = STAGED.history(out)
    assert about["steps"] == 12 and [point["stage"] for point in about["curve"]] == ["mean", "scale"]
    assert len(about["prior_held_out"]) == 2
    lines = [STAGED.words(progress) for progress in said if STAGED.is_milestone(progress)]
    assert lines[0].startswith("mean, step 6") and "prior, step 2" in lines[-1]


def test_a_run_that_was_lengthened_makes_its_latents_anew(folder, tmp_path):
    out, longer = tmp_path / "run", replace(RECIPE, steps=14)
    kept = []
    for recipe in (RECIPE, RECIPE, longer):
        STAGED.train(Two(), recipe, folder, out, threads=1, report=lambda progress: None, start=None)
        kept.append(str(np.load(out / "latents.npz")["model"]))
    assert kept[0] == kept[1] != kept[2]


def test_weights_to_begin_with_are_refused_in_words(folder, tmp_path):
    with pytest.raises(UsageError, match="--from-weights"):
        STAGED.train(Two(), RECIPE, folder, tmp_path / "run", threads=1, report=print, start={"mean": np.zeros(3)})


def test_progress_without_a_validation_is_no_milestone():
    progress = StagedProgress("mean", 3, 0.1, 0.2, 0.5, 0.4, 20.0, 0)
    assert not STAGED.is_milestone(progress)
    assert STAGED.words(progress) == "mean, step 3, 0.1 min: loss 0.500, features 0.400, 20.0 dB"
