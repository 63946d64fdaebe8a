"""What the bench of sounds promises: metrics worked by hand, real bytes, delays taken off."""

from __future__ import annotations

import logging
import math
import sys
from pathlib import Path

import numpy as np
import pytest

from enfold.bench import audio_metrics
from enfold.bench.audio_metrics import lsd_db, psnr_db, resampled, si_sdr_db
from enfold.bench.running import chosen
from enfold.errors import MediaError, UsageError

RATE_HZ = 44100


def waves(seconds: float = 1.0, channels: int = 2, rate_hz: int = RATE_HZ) -> np.ndarray:
    """Chords that swell, with a little noise: what any codec can do well."""
    t = np.arange(round(seconds * rate_hz)) / rate_hz
    noise = np.random.default_rng(3).normal(0, 1e-3, (len(t), channels))
    tones = [sum(np.sin(2 * np.pi * f * (1 + channel / 7) * t) for f in (220, 331, 563)) for channel in range(channels)]
    return (0.2 * np.stack(tones, 1) * (0.6 + 0.4 * np.sin(5 * t))[:, None] + noise).astype(np.float32)


# Metrics.


def test_si_sdr_of_orthogonal_noise_is_worked_by_hand():
    # noise orthogonal to the signal, of 1/100 of its energy: 20 dB
    x, noise = np.array([3.0, -3, 4, -4])[:, None], np.array([0.4, -0.4, -0.3, 0.3])[:, None]
    assert si_sdr_db(x, x + noise) == pytest.approx(20, abs=1e-9)


def test_psnr_counts_from_the_whole_range():
    # an error of a hundredth of the range from -1 to 1: 40 dB
    x = np.array([0.5, -0.5])[:, None]
    assert psnr_db(x, x + 0.02) == pytest.approx(40, abs=1e-9)
    assert psnr_db(x, x) == math.inf


def test_si_sdr_does_not_change_with_scale():
    x, noise = waves(), np.random.default_rng(1).normal(0, 0.01, (RATE_HZ, 2))
    assert si_sdr_db(x, 0.3 * (x + noise)) == pytest.approx(si_sdr_db(x, x + noise), abs=1e-9)
    assert si_sdr_db(x.astype(np.float64), 0.3 * x.astype(np.float64)) == math.inf


def test_si_sdr_does_not_hear_an_offset():
    x, y = waves(0.2), waves(0.2) + 0.01 * np.random.default_rng(1).normal(size=(RATE_HZ // 5, 2))
    assert si_sdr_db(x + np.array([0.5, -0.2]), y) == pytest.approx(si_sdr_db(x, y - 0.3), abs=1e-4)


def test_si_sdr_of_nothing_left_is_the_least():
    x = np.array([1.0, -1, 0, 0])[:, None]
    assert si_sdr_db(x, x[::-1]) == si_sdr_db(x, 0 * x) == -100


def test_si_sdr_refuses_a_silent_original():
    with pytest.raises(UsageError, match="silent"):
        si_sdr_db(np.full((8, 1), 0.25), np.ones((8, 1)))


def test_log_spectral_distance_of_equal_sounds_is_zero():
    assert lsd_db(waves(), waves()) == 0


def test_log_spectral_distance_of_a_gain_is_the_gain():
    # white noise far above the floor: every bin of every window moves by 20·log10(2) = 6.0206 dB
    x = np.random.default_rng(0).normal(0, 0.3, (8192, 1))
    x = np.concatenate([x] * 4)
    assert lsd_db(x, 2 * x) == pytest.approx(6.0206, abs=0.01)


def test_log_spectral_distance_hears_no_difference_below_the_floor():
    x = waves(0.2)
    assert lsd_db(np.zeros_like(x), np.full_like(x, 1e-6)) == 0


def test_log_spectral_distance_does_not_depend_on_the_blocks(monkeypatch):
    x, y = waves(0.5), waves(0.5) + 1e-2
    whole = lsd_db(x, y)
    monkeypatch.setattr(audio_metrics, "BLOCK", 7)
    assert lsd_db(x, y) == pytest.approx(whole, abs=1e-9)


@pytest.mark.parametrize("other", [np.zeros((10, 2), np.int16), np.zeros(10), np.zeros((11, 2)), np.zeros((10, 1))])
def test_sounds_that_cannot_be_compared_are_refused(other):
    for metric in (si_sdr_db, lsd_db):
        with pytest.raises(UsageError, match=r"must be floats|one length"):
            metric(np.ones((10, 2)), other)


def test_resampling_there_and_back_keeps_the_place():
    pytest.importorskip("scipy", reason="resampling is scipy's")
    x = waves(0.3)[:, :1]
    back = resampled(resampled(x, 44100, 48000), 48000, 44100)[:len(x)]
    assert si_sdr_db(x[2000:-2000], back[2000:-2000]) > 45      # but for the noise above 20 kHz


def test_visqol_prefers_less_noise():
    pytest.importorskip("visqol", reason="ViSQOL is visqol-python's")
    logging.getLogger("numba").setLevel(logging.WARNING)
    x = waves(1.2, 1)
    noise = np.random.default_rng(2).normal(0, 1, x.shape).astype(np.float32)
    same, little, much = (audio_metrics.visqol(x, x + level * noise, RATE_HZ) for level in (0, 1e-3, 3e-2))
    assert 4.5 < same <= 5
    assert same > little > much >= 1


def test_metric_whose_package_is_missing_is_left_out_in_words(monkeypatch):
    monkeypatch.setattr("enfold.bench.running.find_spec", lambda name: None if name == "visqol" else name)
    metrics, notes = chosen(audio_metrics.METRICS, tuple(audio_metrics.METRICS), "measures")
    assert [metric.name for metric in metrics] == ["psnr_db", "si_sdr_db", "lsd_db"]
    assert notes == ["ViSQOL left out: it needs visqol: pip install 'enfold[measures]'"]
    with pytest.raises(UsageError, match="ViSQOL left out"):
        chosen(audio_metrics.METRICS, ["visqol"], "measures")
    with pytest.raises(UsageError, match="no metric is called 'loudness'"):
        chosen(audio_metrics.METRICS, ["loudness"], "measures")


# Codecs.


@pytest.fixture
def peers():
    pytest.importorskip("av", reason="Opus, AAC and MP3 are PyAV's")
    pytest.importorskip("soundfile", reason="reading sounds is soundfile's")
    pytest.importorskip("scipy", reason="resampling is scipy's")
    from enfold.bench import audio_peers

    return audio_peers


@pytest.mark.parametrize("name", ["opus", "aac", "mp3"])
@pytest.mark.parametrize(("rate_hz", "channels"), [(44100, 2), (48000, 1), (16000, 1), (11025, 1)])
def test_delay_is_taken_off(peers, name, rate_hz, channels):
    sound, by = peers.Sound(waves(1.0, channels, rate_hz), rate_hz), peers.coder(name)
    decoded = peers.fitted(by.decode(by.encode(sound, 96)), sound)
    assert decoded.samples.shape == sound.samples.shape
    inside = slice(rate_hz // 10, -rate_hz // 10)
    score = si_sdr_db(sound.samples[inside], decoded.samples[inside])
    assert score > 25
    for lag in (-1, 1):                 # no other place fits better
        assert si_sdr_db(sound.samples[inside], np.roll(decoded.samples, lag, 0)[inside]) < score


@pytest.mark.parametrize(("name", "start"), [("opus", b"OggS"), ("aac", b"\xff\xf1"), ("mp3", b"\xff\xfb")])
def test_bytes_are_a_whole_stream_and_nothing_else(peers, name, start):
    sound, by = peers.Sound(waves(1.0), RATE_HZ), peers.coder(name)
    small, large = by.encode(sound, 32), by.encode(sound, 64)
    assert large.startswith(start)
    assert 32 * 2 * 1000 / 8 * 0.5 < len(small) < len(large) < 64 * 2 * 1000 / 8 * 1.5
    for text in (b"Xing", b"Info", b"ID3", b"LAME", b"encoder="):
        assert text not in large[:600]


@pytest.mark.parametrize("samples", [1, 100])
@pytest.mark.parametrize("name", ["opus", "aac", "mp3"])
def test_shortest_sounds_come_back_in_their_length(peers, name, samples):
    sound, by = peers.Sound(waves()[:samples], RATE_HZ), peers.coder(name)
    assert peers.fitted(by.decode(by.encode(sound, 64)), sound).samples.shape == (samples, 2)


def test_more_than_two_channels_are_refused(peers):
    with pytest.raises(MediaError, match="6 channels"):
        peers.coder("opus").encode(peers.Sound(waves(0.1, 6), RATE_HZ), 64)


def test_flac_gives_every_sample_back(peers):
    sound = peers.Sound((waves(0.5) * 32767).astype(np.int16), RATE_HZ)
    by = peers.coder("flac")
    data = by.encode(sound, 0)
    assert data.startswith(b"fLaC")
    assert len(data) < sound.samples.nbytes
    assert np.array_equal(by.decode(data).samples, sound.samples)
    with pytest.raises(UsageError, match="FLAC takes int16"):
        by.encode(peers.Sound(waves(0.1), RATE_HZ), 0)


# The whole bench.


@pytest.fixture
def folder(peers, tmp_path) -> Path:
    import soundfile

    folder = tmp_path / "sounds"
    folder.mkdir()
    soundfile.write(folder / "chords.wav", waves(0.6), RATE_HZ, subtype="PCM_16")
    soundfile.write(folder / "hall.flac", waves(0.6, 1, 16000), 16000, subtype="PCM_24")
    soundfile.write(folder / "rest.wav", np.zeros((800, 1)), 8000)
    (folder / "broken.wav").write_bytes(b"RIFF????")
    return folder


def test_bench_of_sounds_measures_what_can_be_and_says_what_not(folder, tmp_path):
    pytest.importorskip("bjontegaard", reason="BD-rates are bjontegaard's")
    from enfold.bench.audio import bench_audio
    from enfold.bench.running import Plan

    plan = Plan(folder, tmp_path / "out", (), ("opus", "mp3"), "opus", {"opus": (24, 64), "mp3": (64,)}, timing=False)
    results = bench_audio(plan, ["si_sdr_db", "lsd_db"], seconds=0.5)
    assert (results.medium, results.rate_unit, results.data.items) == ("sounds", "kbit/s", 2)
    low, high = results.curve("opus").points
    assert low.rate < high.rate
    assert low.scores["si_sdr_db"] < high.scores["si_sdr_db"]
    assert low.scores["lsd_db"] > high.scores["lsd_db"]
    assert results.notes[0] == "the first 0.5 seconds of each sound"
    assert results.notes[1].startswith("broken.wav is left out: not a sound that can be read")
    assert results.notes[2] == "rest.wav is left out: it is silent"
    assert str(tmp_path) not in (tmp_path / "out" / "results.json").read_text()


def test_our_codecs_are_measured_beside_the_others(folder, tmp_path):
    pytest.importorskip("bjontegaard", reason="BD-rates are bjontegaard's")
    pytest.importorskip("torchaudio", reason="resampling is torchaudio's")
    from enfold.bench.audio import bench_audio
    from enfold.bench.running import Plan

    name = "walloc-stereo-20x"
    plan = Plan(folder, tmp_path / "out", (name,), ("opus",), "opus", {"opus": (24, 64), name: (20, 60)}, timing=False)
    results = bench_audio(plan, ["psnr_db", "si_sdr_db"], seconds=0.5)
    low, high = results.curve(name).points
    assert results.curve(name).ours and results.data.items == 2
    assert low.rate < high.rate and low.scores["psnr_db"] < high.scores["psnr_db"]
    assert {rate.metric for rate in results.bd_rates} == {"psnr_db", "si_sdr_db"}


def test_lossless_bench_of_sounds_counts_bits_a_sample(folder, tmp_path):
    pytest.importorskip("bjontegaard", reason="BD-rates are bjontegaard's")
    from enfold.bench.audio import lossless
    from enfold.bench.running import Plan, bench

    results = bench(Plan(folder, tmp_path / "out", (), ("flac",), "flac", limit=1, timing=False), lossless(), ())
    assert results.data.items == 1
    assert 1 < results.curve("flac").points[0].rate < 16


def test_missing_pyav_is_said_with_what_to_do(monkeypatch):
    from enfold.bench import audio_peers

    monkeypatch.setitem(sys.modules, "av", None)
    audio_peers.coder.cache_clear()
    with pytest.raises(UsageError, match=r"needs PyAV.*pip install 'enfold\[bench\]'"):
        audio_peers.coder("opus")
