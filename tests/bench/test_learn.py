"""`enfold bench learn`: every input has as many tokens and the same network, and none has the answers."""

from __future__ import annotations

import json
from dataclasses import replace

import numpy as np
import pytest
from PIL import Image

from enfold.bench import learn, learn_colorize, learn_inputs
from enfold.bench.learn_runs import FILE, Learning, Run, RunFile, Score
from enfold.errors import MediaError, UsageError
from enfold.learners import LatentDataset, pack
from enfold.learners.fitting import Schedule
from enfold.testing import sample

CODEC = "walloc-rgb-16x"
SHORT = Learning("conv", 8, 1, Schedule(epochs=3, batch_size=6, learning_rate=5e-3), seeds=2)


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
    said = []
    results = learn.bench_learn(folders / "train", folders / "test", tmp_path, codec=CODEC, learning=SHORT,
                                say=said.append)
    rows = {row.input: row for row in results.rows}
    assert tuple(rows) == learn.INPUTS and len(said) == 12
    for row in rows.values():
        assert row.tokens == 4 * 5 and len(row.accuracy.each) == 2 and row.cost.epochs == 3
        assert row.accuracy.error is not None and row.cost.seconds > 0 and row.cost.cpu_seconds > 0
    assert np.prod(rows["resized"].shape) == np.prod(rows["latents"].shape) == np.prod(rows["dct"].shape) == 240
    assert rows["full"].shape == (3, 32, 40) and rows["thumbnail"].shape == (3, 4, 5)
    assert rows["latents"].parameters < rows["full"].parameters < 1.5 * rows["latents"].parameters
    assert (results.train, results.test) == (12, 6)
    assert rows["full"].cost.bytes == sum(path.stat().st_size for path in (folders / "train").rglob("*.jpg"))
    written = json.loads((tmp_path / learn.RESULTS).read_text())
    assert written["rows"][0]["accuracy"]["mean"] == results.rows[0].accuracy.mean
    assert str(tmp_path) not in json.dumps(written)


def test_codes_of_larger_blocks_are_learnt_beside_whole_pictures(folders, tmp_path):
    results = learn.bench_learn(folders / "train", folders / "test", tmp_path, codec="vqgan-rgb",
                                inputs=["latents", "thumbnail", "full"], learning=replace(SHORT, seeds=1))
    shapes = {row.input: row.shape for row in results.rows}
    assert shapes == {"latents": (32, 2, 3), "thumbnail": (3, 2, 3), "full": (3, 32, 48)}
    assert {row.tokens for row in results.rows} == {6}
    with pytest.raises(UsageError, match="a token for 16×16"):
        learn.bench_learn(folders / "train", folders / "test", tmp_path, codec="vqgan-rgb", inputs=["latents", "dct"])


def test_the_mean_of_seeds_has_the_standard_error_of_a_mean():
    runs = [Run("latents", seed, {"accuracy": value}, 1, 1, 1, 1, 1, 1, 1, 1) for seed, value in
            enumerate((0.4, 0.5, 0.9))]
    score = Score.of(runs, "accuracy")
    assert score.mean == pytest.approx(0.6) and score.error == pytest.approx((0.14 / 2 / 3) ** 0.5)
    assert Score.of(runs[:1], "accuracy").error is None and score.words(1, 100) == "60.0 ± 15.3"


def test_runs_survive_an_interruption_and_are_not_made_again(tmp_path):
    made = []

    def make(name, schedule):
        if len(made) == 3:
            raise KeyboardInterrupt
        made.append((name, schedule.seed))
        return Run(name, schedule.seed, {"accuracy": 0.5}, 1, 1, 1, 1, 1, 1.0, 1.0, 1.0)

    def every(about):
        return RunFile(tmp_path, about).every(("latents", "full"), SHORT, make, lambda text: None)

    with pytest.raises(KeyboardInterrupt):
        every(["digest"])
    assert made == [("latents", 0), ("full", 0), ("latents", 1)]       # seed by seed
    with (tmp_path / FILE).open("a") as file:
        file.write('{"key": "cut sho')
    made.pop()
    assert {name: [run.seed for run in runs] for name, runs in every(["digest"]).items()} == \
        {"latents": [0, 1], "full": [0, 1]}
    assert made[2:] == [("full", 1)]
    made.clear()
    with pytest.raises(KeyboardInterrupt):
        every(["other data"])


def test_colours_are_scored_on_the_pictures_that_come_out(folders, tmp_path):
    said = []
    learning = replace(SHORT, schedule=replace(SHORT.schedule, epochs=12, weight_decay=0.0))
    results = learn_colorize.bench_colorize(folders / "train", folders / "test", tmp_path, codec=CODEC,
                                            learning=learning, say=said.append)
    rows, unlearnt = {row.input: row for row in results.rows}, {row.name: row for row in results.unlearnt}
    assert tuple(rows) == learn_colorize.INPUTS and len(said) == 4 and len(unlearnt) == 2
    for row in rows.values():
        assert row.tokens == 4 * 5 and row.cost.epochs == 12 and row.cost.cpu_seconds > 0
        assert row.psnr_db.mean < row.chroma_psnr_db.mean               # brightness is the larger part of an error
    assert rows["latents"].shape == (12, 4, 5) and rows["pixels"].shape == (64, 4, 5)
    originals = [np.asarray(Image.open(path)).astype(float) for path in (folders / "test").rglob("*.jpg")]
    greys = [np.asarray(Image.open(path).convert("L")).astype(float) for path in (folders / "test").rglob("*.jpg")]
    missed = np.mean([np.square(grey[..., None] - rgb).mean() for grey, rgb in zip(greys, originals, strict=True)])
    assert unlearnt["grey"].psnr_db == pytest.approx(10 * np.log10(255**2 / missed))
    assert unlearnt["codec"].chroma_psnr_db > rows["latents"].chroma_psnr_db.mean
    assert json.loads((tmp_path / learn_colorize.RESULTS).read_text())["unlearnt"][0]["name"] == "grey"


def test_no_colour_of_a_grey_picture_reaches_the_network(folders):
    files = tuple(sorted((folders / "train").rglob("*.jpg")))
    (examples,) = learn_inputs.GreyPixels(files, 32, 40).examples(12)
    assert examples.inputs.shape == (12, 64, 4, 5) and examples.targets.shape == (12, 192, 4, 5)
    for number, path in enumerate(files):
        grey = np.asarray(Image.open(path).convert("L")).astype(np.float32)
        assert np.array_equal(examples.inputs[number, :, 1, 2].numpy().reshape(8, 8), grey[8:16, 16:24] - 128)


def test_blocks_become_the_pictures_they_were_of(tmp_path):
    pixels = sample(27, 33)                 # no multiple of a block
    Image.fromarray(pixels).save(tmp_path / "a.png")
    samples = learn_inputs.GreyPixels((tmp_path / "a.png",), 27, 33)
    (examples,) = samples.examples(1)
    assert np.array_equal(samples.pictures(examples.targets.numpy())[0], pixels)


def test_what_cannot_be_compared_is_refused(folders, tmp_path):
    with pytest.raises(UsageError, match=r"latents, thumbnail, resized, full, dct, pca"):
        learn.bench_learn(folders / "train", folders / "test", tmp_path, codec=CODEC, inputs=["smells"])
    with pytest.raises(MediaError):
        learn.bench_learn(tmp_path, folders / "test", tmp_path / "out", codec=CODEC)
    with pytest.raises(UsageError, match="'vit': pictures are coloured by conv"):
        learn_colorize.bench_colorize(folders / "train", folders / "test", tmp_path, codec=CODEC,
                                      learning=replace(SHORT, network="vit"))
    (tmp_path / "in").mkdir()
    for side in (32, 40):
        Image.fromarray(sample(side, side)).save(tmp_path / "in" / f"{side}.jpg")
    with pytest.raises(UsageError, match="pictures of 2 sizes"):
        learn_colorize.bench_colorize(tmp_path / "in", folders / "test", tmp_path / "out", codec=CODEC)


def test_dct_and_pca_vectors_are_orthonormal_and_hold_the_picture(folders, tmp_path):
    vectors = learn_inputs._dct(192)
    luma = vectors[:64].reshape(64, 3, 64).sum(1)           # luma weights add up to 1
    assert len(vectors) == 160                              # 64 of luma, all there are, and 48 of each chroma
    assert np.allclose(luma @ luma.T, np.eye(64), atol=1e-9)
    pack(folders / "train", tmp_path, codec=CODEC)
    dataset = LatentDataset(tmp_path)
    pictures = learn_inputs.Pictures(learn_inputs.Source(folders / "train").files(dataset), dataset.labels, 32, 40)
    (whole,) = learn_inputs.block_coefficients(pictures, [], 192, pca=True)
    blocks = learn_inputs._blocks(pictures.pixels([0]))
    energy = np.square(blocks).sum(), np.square(whole.inputs[:1].astype(np.float32)).sum()
    assert energy[1] == pytest.approx(energy[0], rel=1e-2)
