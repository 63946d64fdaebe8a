"""Training on sound: songs are held out whole, stems are remixed, and what is trained codes sound."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch

from enfold.codecs.walloc_sound import WallocSound
from enfold.codecs.walloc_sound_model import SoundModel
from enfold.errors import UsageError
from enfold.learners.train_sound import HELD_OUT_EVERY, SOUNDS, Segments, SoundRecipe, held_out_segments, songs
from enfold.sounds import write_sound
from enfold.testing_sounds import sample_sound

pytest.importorskip("soundfile", reason="sounds are read by soundfile")
pytest.importorskip("torchaudio", reason="copies at another speed are made by torchaudio")
RECIPE = SoundRecipe(steps=3, batch=2, crop=128 * 24, checkpoint_minutes=0.0, seed=1)


@pytest.fixture(scope="module")
def folder(tmp_path_factory) -> Path:
    where = tmp_path_factory.mktemp("songs")
    for number in range(4):
        write_sound(sample_sound(6000, 1 + number % 2, 8000, seed=number), where / f"song{number}_1.wav")
    (where / "band_010s").mkdir()
    for seed, stem in enumerate(("vocals", "drums")):
        write_sound(sample_sound(7000, 2, 8000, seed=seed), where / "band_010s" / f"{stem}.wav")
    return where


def model() -> SoundModel:
    torch.manual_seed(0)
    return SoundModel("walloc-speech")


def test_excerpts_of_a_song_stay_together_and_every_sixth_song_is_held_out(tmp_path):
    for number in range(2 * HELD_OUT_EVERY):
        for start in (35, 70):
            (tmp_path / f"piece{number:02}_{start}.ogg").touch()
    for start in ("008s", "016s"):
        (tmp_path / f"zz_{start}").mkdir()
        for stem in ("bass", "other"):
            (tmp_path / f"zz_{start}" / f"{stem}.ogg").touch()
    training, held_out = songs(tmp_path)
    assert sorted(held_out) == ["piece00", "piece06", "zz"]
    assert len(training) == 10 and all(len(excerpts) == 2 for excerpts in training.values())
    assert [sorted(path.name for path in excerpt) for excerpt in held_out["zz"]] == [["bass.ogg", "other.ogg"]] * 2


def test_segments_have_the_shape_that_the_model_wants(folder):
    training, _ = songs(folder)
    excerpts = [excerpt for found in training.values() for excerpt in found]
    batch = next(Segments(excerpts, model(), RECIPE, 0))
    assert batch.shape == (2, 128, 24) and batch.dtype == torch.float32
    assert torch.isfinite(batch).all() and batch.abs().max() > 100


def test_stems_are_mixed_anew(folder):
    stems = tuple(sorted((folder / "band_010s").iterdir()))
    recipe = SoundRecipe(batch=8, crop=128 * 54, least_gain_db=0, greatest_gain_db=0, least_speed=1, greatest_speed=1)
    batch = next(Segments([stems], model(), recipe, 0))
    loud = batch.square().mean((1, 2)).sqrt()
    assert len(set(loud.round().tolist())) > 3


def test_held_out_segments_are_the_same_each_time(folder):
    _, held_out = songs(folder)
    first, second = (held_out_segments(held_out, model(), 128 * 24) for _ in range(2))
    assert len(first) == len(held_out) and all(map(np.array_equal, first, second))


def test_a_run_trains_validates_and_writes_weights_that_code(folder, tmp_path):
    reports = []
    arrays = SOUNDS.train(model(), RECIPE, folder, tmp_path, threads=1, report=reports.append, start=None)
    assert reports[-1].step == 3 and len(reports[-1].validation) == 5
    history = SOUNDS.history(tmp_path)
    assert history["steps"] == 3 and "bits" in SOUNDS.words(reports[-1])
    codec = WallocSound("walloc-speech", arrays, b"test")
    sound = sample_sound(9000, 1, 8000)
    decoded = codec.decode(codec.encode(sound, quality=90)).samples.astype(float)
    assert np.square(decoded - sound.samples).mean() < 0.2 * np.square(sound.samples.astype(float)).mean()
    fine, coarse = (len(codec.encode(sound, quality=quality)) for quality in (90, 10))
    assert coarse < fine


def test_the_closed_form_start_keeps_the_lowest_bands(folder):
    fresh, sound = model(), sample_sound(128 * 60, 1, 8000)
    bands = torch.from_numpy(fresh.prepared(sound.samples.T.astype(np.float32)))[None]
    fresh.initialise(bands)
    back = fresh.synthesis.skip.weight @ fresh.analysis.linear.weight
    assert (back - torch.eye(128))[:30, :30].abs().max() < 0.1


def test_a_frozen_encoder_gets_no_gradient_and_the_rest_does(folder):
    fresh = model()
    bands = torch.from_numpy(fresh.prepared(sample_sound(128 * 40, 1, 8000).samples.T.astype(np.float32)))[None]
    fresh.initialise(bands)
    fresh.loss(bands, torch.tensor([0.7]), hard=True).total.backward()
    assert all(p.grad is None for p in (*fresh.analysis.parameters(), *fresh.steps.parameters()))
    assert fresh.synthesis.tail.weight.grad.abs().sum() > 0
    assert fresh.context.raw["scale_4"].grad.abs().sum() > 0


def test_a_run_goes_on_from_weights(folder, tmp_path):
    arrays = SOUNDS.train(model(), RECIPE, folder, tmp_path / "a", threads=1, report=lambda _: None, start=None)
    still = SoundRecipe(**{**RECIPE.__dict__, "steps": 1, "learning_rate": 0.0})
    again = SOUNDS.train(model(), still, folder, tmp_path / "b", threads=1, report=lambda _: None, start=arrays)
    assert set(again) == set(arrays)
    np.testing.assert_allclose(again["analysis.linear.weight"], arrays["analysis.linear.weight"], atol=1e-4)
    np.testing.assert_allclose(again["steps"], arrays["steps"], rtol=1e-2)


def test_the_log_is_one_row_a_validation(folder, tmp_path):
    SOUNDS.train(model(), RECIPE, folder, tmp_path, threads=1, report=lambda _: None, start=None)
    rows = [json.loads(line) for line in (tmp_path / "log.jsonl").read_text().splitlines()]
    assert rows[-1]["step"] == 3 and all(np.isfinite(row["loss"]) for row in rows)


@pytest.mark.parametrize("crop", [5, 127])
def test_segments_shorter_than_a_column_are_refused(folder, tmp_path, crop):
    with pytest.raises(UsageError, match="must be 128 samples or more"):
        SOUNDS.train(model(), SoundRecipe(crop=crop), folder, tmp_path, threads=1, report=print, start=None)


def test_a_folder_without_songs_is_refused(tmp_path):
    with pytest.raises(UsageError, match="too few to train on"):
        SOUNDS.about(tmp_path)
    with pytest.raises(UsageError, match="no folder"):
        SOUNDS.about(tmp_path / "gone")


