"""What `train` promises: a run that can be resumed, and a model with its card at the end."""

from __future__ import annotations

import json
import os
import tomllib
from dataclasses import asdict
from pathlib import Path

import pytest

import enfold as face
from enfold.pretrained import read_card, weights

QUICK = ("--batch", 2, "--crop", 16)


@pytest.fixture
def data(photo) -> str:
    for number in range(3):
        photo(f"data/{number:03}.png", 40, 40)
    return "data"


def test_training_leaves_weights_and_their_card(enfold, data):
    result = enfold("train", "plain", data, "run", "--steps", 3, "--seed", 7, "--note", "noise", *QUICK)
    assert result.exit_code == 0
    card = read_card(Path("run/plain.toml"))
    assert list(weights(card)) == ["mean"]
    assert card.fingerprint.hex() in result.stderr
    about = tomllib.loads(Path("run/plain.toml").read_text())
    assert about["steps"] == 3 and about["recipe"]["seed"] == 7 and about["recipe"]["crop"] == 16
    assert about["data"] == {"folder": "data", "pictures": 2, "held_out": 1, "note": "noise"}
    (row,) = about["curve"]
    assert row["step"] == 3 and [len(point) for point in row["held_out"]] == 5 * [3]


def test_what_was_trained_can_be_used_at_once(enfold, data, photo, monkeypatch):
    photo("photo.png")
    enfold("train", "plain", data, "run", "--steps", 1, *QUICK)
    monkeypatch.setenv("ENFOLD_WEIGHTS", "run")
    assert enfold("encode", "photo.png", "-c", "plain").exit_code == 0
    header = face.info(Path("photo.enf").read_bytes()).header
    assert header.fingerprint == read_card(Path("run/plain.toml")).fingerprint


def test_same_command_again_goes_on(enfold, data):
    command = ("train", "plain", data, "run", "--steps", 2, *QUICK, "--json")
    enfold(*command)
    first = Path("run/plain.safetensors").read_bytes()
    os.remove("run/plain.safetensors")
    again = enfold(*command)
    assert again.exit_code == 0
    assert json.loads(again.stdout.splitlines()[-1])["codec"] == "plain"
    assert Path("run/plain.safetensors").read_bytes() == first


def test_another_run_is_not_mixed_in(enfold, data):
    enfold("train", "plain", data, "run", "--steps", 1, *QUICK)
    result = enfold("train", "plain", data, "run", "--steps", 1, *QUICK, "--seed", 9)
    assert result.exit_code == 2
    assert "run holds a run with seed 0, this one has 9" in result.stderr


def test_a_run_may_be_made_longer(enfold, data):
    enfold("train", "plain", data, "run", "--minutes", 0.001, *QUICK)
    steps = read_card(Path("run/plain.toml")).about["steps"]
    result = enfold("train", "plain", data, "run", "--minutes", 0.05, *QUICK)
    assert result.exit_code == 0 and read_card(Path("run/plain.toml")).about["steps"] > steps


def test_progress_is_json_on_request(enfold, data):
    result = enfold("train", "plain", data, "run", "--steps", 1, *QUICK, "--json")
    *rows, made = map(json.loads, result.stdout.splitlines())
    assert rows[-1]["step"] == 1 and len(rows[-1]["validation"]) == 5
    assert made["weights"] == "run/plain.safetensors"


def test_folder_without_pictures_is_refused(enfold, data):
    os.mkdir("empty")
    for folder, reason in (("nowhere", "nothing is there"), ("empty", "too few to train on")):
        result = enfold("train", "plain", folder, "run", "--steps", 1)
        assert result.exit_code == 2
        assert reason in result.stderr


def test_picture_that_cannot_be_read_is_named(enfold, data):
    Path("data/broken.png").write_text("no picture")
    result = enfold("train", "plain", data, "run", "--steps", 1, *QUICK)
    assert result.exit_code == 7
    assert "broken.png" in result.stderr


def test_what_is_not_said_is_the_recipes(enfold, data):
    from enfold.learners.train_codec import Recipe

    assert enfold("train", "plain", data, "run", "--steps", 1, *QUICK, "--set", "hard_from=0.5").exit_code == 0
    recipe = tomllib.loads(Path("run/plain.toml").read_text())["recipe"]
    assert recipe == asdict(Recipe(steps=1, batch=2, crop=16, hard_from=0.5))


@pytest.mark.parametrize(("setting", "reason"), [("colour=3", "colour is no part of this codec's recipe"),
                                                 ("clip=much", "clip is 'much'; it must be a number like 1.0"),
                                                 ("clip", "it takes NAME=X")])
def test_a_setting_that_means_nothing_is_refused(enfold, data, setting, reason):
    result = enfold("train", "plain", data, "run", "--set", setting)
    assert result.exit_code == 2 and reason in result.stderr.replace("\n", " ")


def test_a_run_begins_with_the_weights_in_use(enfold, data, monkeypatch):
    enfold("train", "plain", data, "run", "--steps", 3, *QUICK, "--note", "noise")
    monkeypatch.setenv("ENFOLD_WEIGHTS", "run")
    before = read_card(Path("run/plain.toml"))
    command = ("train", "plain", data, "run2", "--steps", 1, *QUICK, "--learning-rate", 0, "--seed", 9)
    result = enfold(*command, "--from-weights")
    assert result.exit_code == 0
    after = read_card(Path("run2/plain.toml"))
    assert weights(after)["mean"] == pytest.approx(weights(before)["mean"], abs=1e-4)
    past = after.about["before"]
    assert past["sha256"] == before.sha256 and past["steps"] == 3 and past["data"]["note"] == "noise"
    assert "curve" not in past and after.about["steps"] == 1
    assert enfold(*command, "--from-weights").exit_code == 0                # goes on
    result = enfold(*command)
    assert result.exit_code == 2
    assert f"run with from_weights '{before.fingerprint.hex()}', this one has None" in result.stderr.replace("\n", " ")
    result = enfold("train", "plain", data, "run", *QUICK, "--from-weights")
    assert result.exit_code == 2 and "another folder" in result.stderr


def test_a_prior_that_is_not_there_is_not_trained(enfold, data, monkeypatch):
    enfold("train", "plain", data, "run", "--steps", 1, *QUICK)
    monkeypatch.setenv("ENFOLD_WEIGHTS", "run")
    result = enfold("train", "plain", data, "run2", "--prior-only")
    assert result.exit_code == 2 and "no prior" in result.stderr
    result = enfold("train", "plain", data, "run", "--prior-only")
    assert result.exit_code == 2 and "another folder" in result.stderr


def test_a_prior_is_trained_alone(enfold, photo):
    for number in range(3):
        photo(f"data/{number:03}.png", 60, 50)
    result = enfold("train", "walloc-rgb-16x", "data", "run", "--prior-only", "--steps", 2)
    assert result.exit_code == 0 and "bits a latent" in result.stderr
    about = tomllib.loads(Path("run/walloc-rgb-16x.toml").read_text())
    assert about["prior"]["recipe"]["steps"] == 2 and len(about["prior"]["held_out"]) == 2
    assert "measured" not in about and about["curve"]
