"""`enfold bench documents`, `digits` and `separation`: equal tokens or bytes, and nothing learnt of the test."""

from __future__ import annotations

import json

import numpy as np
import pytest
from PIL import Image, ImageDraw

import enfold
from enfold.bench import learn_digits, learn_documents, learn_separation
from enfold.bench.learn_runs import Learning
from enfold.bench.separation_inputs import Components, Resampled, Song, mixed, read_songs
from enfold.errors import MediaError, MissingWeightsError, UsageError
from enfold.learners.documents import FIELDS, read_documents
from enfold.learners.fitting import Schedule

CODEC = "walloc-rgb-16x"
SHORT = Learning("conv", 8, 1, Schedule(epochs=2, batch_size=2, learning_rate=5e-3), seeds=1)


def needs(codec: str) -> None:
    try:
        enfold.load(codec)
    except MissingWeightsError as error:
        pytest.skip(f"no weights to try it with: {error}")


@pytest.fixture(scope="module")
def receipts(tmp_path_factory):
    """Receipts with a name, a date and a total, of three shops."""
    where = tmp_path_factory.mktemp("receipts")
    for number in range(6):
        fields = {"company": f"SHOP {'ABC'[number % 3] * 5}", "date": f"0{number + 1}/02/2019", "address": "",
                  "total": f"{number + 3}.50"}
        image = Image.new("L", (90, 120 + 8 * (number % 2)), 235)
        draw, lines = ImageDraw.Draw(image), []
        for at, text in enumerate((fields["company"], fields["date"], "TEA 1.00", f"TOTAL {fields['total']}")):
            left, top, right, bottom = draw.textbbox((6 + 5 * at, 12 + 26 * at), text)
            draw.text((6 + 5 * at, 12 + 26 * at), text, 20)
            lines.append({"box": [left, top, right, top, right, bottom, left, bottom], "text": text})
        image.save(where / f"{number}.png")
        (where / f"{number}.json").write_text(json.dumps({"fields": fields, "lines": lines}))
    return where


def test_pages_have_as_many_tokens_or_no_more_bytes(receipts):
    documents = read_documents(receipts)
    made, quality, tokens = learn_documents.inputs_of(documents, learn_documents.INPUTS, CODEC, 50)
    assert quality == 50 and tokens == (15 * 12 + 16 * 12) / 2
    for name, one in made.items():
        assert [page.shape[1] // one.pages.patch for page in one.pages.inputs] == [15, 16] * 3, name
    shapes = {name: one.pages.inputs[0].shape for name, one in made.items()}
    assert shapes == {"latents": (12, 15, 12), "thumbnail": (1, 15, 12), "resized": (1, 60, 48),
                      "jpeg": (1, 120, 96), "webp": (1, 120, 96), "full": (1, 120, 96), "blank": (1, 15, 12)}
    files = [enfold.encode(np.asarray(Image.open(document.path)), CODEC, quality=50) for document in documents]
    assert made["latents"].bytes == tuple(map(len, files))
    np.testing.assert_array_equal(made["latents"].pages.inputs[1], enfold.latents(files[1]).values)
    assert not made["blank"].pages.inputs[0].any()


def test_the_best_file_within_a_size_is_found(receipts):
    grey = np.asarray(Image.open(receipts / "0.png"))
    for kind in ("JPEG", "WEBP"):
        sizes = [len(learn_documents._saved(grey, kind, quality)) for quality in (0, 40, 100)]
        assert len(learn_documents._best_within(grey, kind, sizes[1])) <= sizes[1]
        assert len(learn_documents._best_within(grey, kind, sizes[1])) > sizes[0]
        assert len(learn_documents._best_within(grey, kind, 1)) == sizes[0]
        assert len(learn_documents._best_within(grey, kind, 10**6)) == sizes[2]


def test_documents_are_asked_once_each_and_scores_stand_against_latents(receipts, tmp_path, capsys):
    said = []
    names = ("latents", "jpeg", "blank")
    results = learn_documents.bench_documents(receipts, tmp_path, codec=CODEC, inputs=names, learning=SHORT, folds=3,
                                              say=said.append)
    assert tuple(row.input for row in results.rows) == names and len(said) == 3 + 9
    assert (results.documents, results.groups, results.folds) == (6, 3, 3)
    assert results.lines == dict(zip(FIELDS, (6, 6, 6, 0, 6), strict=True))
    ours, jpeg, _ = results.rows
    assert len(ours.text_f1.each) == 3 and ours.behind == {} and ours.numbers == 12 and jpeg.numbers == 64
    for name in learn_documents.SCORES:
        each = [b - a for a, b in zip(getattr(ours, name).each, getattr(jpeg, name).each, strict=True)]
        assert jpeg.behind[name].each == pytest.approx(each)
    learn_documents.show(results)
    assert "6 documents of 3 companies" in capsys.readouterr().out
    written = json.loads((tmp_path / learn_documents.RESULTS).read_text())
    assert written["rows"][1]["behind"]["text_f1"]["mean"] == jpeg.behind["text_f1"].mean
    again = learn_documents.bench_documents(receipts, tmp_path, codec=CODEC, inputs=names, learning=SHORT, folds=3)
    assert again.rows == results.rows                   # nothing is learnt twice
    with pytest.raises(UsageError, match="latents, thumbnail, resized, jpeg, webp, full, blank"):
        learn_documents.bench_documents(receipts, tmp_path, codec=CODEC, inputs=["smells"])


@pytest.fixture(scope="module")
def words(tmp_path_factory):
    """High and low tones, four takes to learn from and one to be tested on, of two speakers."""
    import soundfile

    where = tmp_path_factory.mktemp("words")
    random = np.random.default_rng(0)
    for label, hz in (("high", 900), ("low", 250)):
        for speaker in ("ann", "bob"):
            for take in (4, 5, 6, 7, 8):
                t = np.arange(random.integers(2500, 4500)) / 8000
                tone = np.sin(2 * np.pi * hz * random.uniform(0.9, 1.1) * t) * np.hanning(len(t))
                soundfile.write(where / f"{label}_{speaker}_{take}.wav", 0.4 * tone, 8000)
    return where


def test_words_are_told_apart_at_equal_frames(words, tmp_path, capsys):
    needs("walloc-speech")
    learning = Learning("conv", 8, 1, Schedule(epochs=8, batch_size=4, learning_rate=1e-2), seeds=2)
    results = learn_digits.bench_digits(words, tmp_path, codec="walloc-speech", learning=learning)
    rows = {row.input: row for row in results.rows}
    assert tuple(rows) == learn_digits.INPUTS and (results.train, results.test) == (16, 4)
    assert results.labels == ("high", "low") and len({row.tokens for row in results.rows}) == 1
    assert rows["latents"].shape == rows["signed"].shape and rows["logmel"].shape[0] == learn_digits.MELS
    tested = sorted(words.glob("*_4.wav"))
    assert rows["latents"].bytes == np.mean([len(enfold.encode(file, "walloc-speech")) for file in tested])
    assert rows["logmel"].bytes is None and rows["opus"].bytes > 0
    assert rows["logmel"].accuracy.mean == rows["latents"].accuracy.mean == 1
    learn_digits.show(results)
    assert "walloc-speech at quality" in capsys.readouterr().out
    assert json.loads((tmp_path / learn_digits.RESULTS).read_text())["rows"][1]["behind"]["mean"] == 0


def test_sounds_that_do_not_say_what_they_are_are_refused(words, tmp_path):
    for name in ("seven.wav", "7_ann_x.wav"):
        with pytest.raises(UsageError, match=r"is not called LABEL_SPEAKER_TAKE\.wav"):
            learn_digits.labelled([tmp_path / name])
    with pytest.raises(UsageError, match="0 of 0 sounds have a take below 5"):
        learn_digits.bench_digits(tmp_path, tmp_path / "out", codec="walloc-speech")


@pytest.fixture(scope="module")
def stems(tmp_path_factory):
    """Two songs, of two excerpts each: a warbling voice over noise and a drone."""
    import soundfile

    where = tmp_path_factory.mktemp("stems")
    random = np.random.default_rng(0)
    t = np.arange(24000) / 44100
    for song in ("one", "two"):
        for at in (3, 9):
            place = where / f"{song}_{at:03}s"
            place.mkdir()
            voice = 0.2 * np.sin(2 * np.pi * random.uniform(500, 900) * t + 3 * np.sin(9 * t))
            soundfile.write(place / "vocals.wav", np.stack([voice, voice], 1), 44100, subtype="FLOAT")
            soundfile.write(place / "drums.flac", random.normal(0, 0.05, (24000, 2)), 44100)
            soundfile.write(place / "other.wav", 0.1 * np.sin(2 * np.pi * 110 * t)[:, None].repeat(2, 1), 44100)
    return where


def test_songs_are_read_and_mixed_anew(stems):
    songs = read_songs(stems)
    assert [song.name for song in songs] == ["one", "one", "two", "two"]
    assert all(np.array_equal(song.mixture, song.voice + song.rest) for song in songs)
    more = mixed(songs, 3)
    assert len(more) == 16 and more[:4] == songs
    for song, again in zip(more[4:], mixed(songs, 3)[4:], strict=True):
        assert np.array_equal(song.mixture, again.mixture)
        gain = 20 * np.log10(np.abs(song.voice).max() / 0.2)
        assert abs(gain) < 3.1
    (stems / "empty_000s").mkdir()
    assert len(read_songs(stems)) == 4
    with pytest.raises(UsageError, match="holds no folders with vocals"):
        read_songs(stems / "empty_000s")


def test_columns_of_samples_become_sound_again(stems):
    song = read_songs(stems)[0]
    low = Song("low", *(np.repeat(np.sin(np.arange(24000) * pitch)[:, None], 2, 1).astype(np.float32) / 4
                        for pitch in (0.01, 0.03)), 44100)
    resampled, every = Resampled(108, 256), Components(512, 256, [song, low])
    for made, tolerance in ((resampled, 2e-2), (every, 1e-4)):
        columns = made.mixture(low)
        assert columns.shape == ((108 if made is resampled else 512), 94) and columns.dtype == np.float32
        back = made.sound(columns, low)
        assert back.shape == low.mixture.shape
        assert np.abs(back - low.mixture)[500:-500].max() < tolerance
    few = Components(108, 256, [song])
    lost = np.square(few.sound(few.mixture(song), song) - song.mixture).mean()
    assert lost < 0.9 * np.square(song.mixture - song.mixture.mean()).mean()


def test_each_song_is_told_by_what_was_learnt_from_the_others(stems, tmp_path, capsys, monkeypatch):
    needs("walloc-stereo-5x")
    monkeypatch.setattr(learn_separation, "COLUMNS", 32)
    learning = Learning("conv", 16, 1, Schedule(epochs=6, batch_size=4, learning_rate=1e-2), seeds=1)
    results = learn_separation.bench_separation(stems, tmp_path, codec="walloc-stereo-5x", learning=learning)
    rows = {row.input: row for row in results.rows}
    assert tuple(rows) == (*learn_separation.INPUTS, "mixture", "codec") and results.songs == ("one", "two")
    assert len({rows[name].shape for name in learn_separation.INPUTS}) == 1
    assert len({rows[name].parameters for name in learn_separation.INPUTS}) == 1
    for row in results.rows:
        assert set(row.scores) == set(learn_separation.SCORES) and len(row.scores["voice_psnr_db"].each) == 2
    ours, mixture, codec = (rows[name].scores["voice_psnr_db"].mean for name in ("latents", "mixture", "codec"))
    assert mixture < ours < codec
    assert rows["mixture"].scores["rest_sdr_db"].mean == pytest.approx(rows["mixture"].scores["rest_si_sdr_db"].mean,
                                                                       abs=0.3)
    learn_separation.show(results)
    assert "2 songs" in capsys.readouterr().out
    assert rows["pca"].behind["voice_psnr_db"].mean == pytest.approx(
        rows["pca"].scores["voice_psnr_db"].mean - ours)


def test_what_is_no_set_of_songs_is_refused(stems, tmp_path):
    import soundfile

    place = tmp_path / "song_001s"
    place.mkdir()
    soundfile.write(place / "vocals.wav", np.ones((100, 1)) / 2, 44100)
    soundfile.write(place / "drums.wav", np.ones((90, 1)) / 2, 44100)
    with pytest.raises(MediaError, match="song_001s: stems of 2 rates, lengths or channels"):
        read_songs(tmp_path)
    soundfile.write(place / "drums.wav", np.ones((100, 1)) / 2, 44100)
    with pytest.raises(UsageError, match="excerpts of 1 songs"):
        learn_separation.bench_separation(tmp_path, tmp_path / "out", codec="walloc-stereo-5x")
