"""Sound files come in and go out without losing anything, a stretch at a time."""

from __future__ import annotations

from io import BytesIO

import numpy as np
import pytest

from enfold.errors import MediaError, UsageError
from enfold.sounds import InMemory, Resampled, Sound, as_dtype, open_sound, read_sound, resampled_count, write_sound

soundfile = pytest.importorskip("soundfile", reason="sounds are read by soundfile")


def noise(count: int, channels: int = 2, dtype: str = "int16") -> np.ndarray:
    units = np.random.default_rng(count).normal(0, 5000, (channels, count)).astype(np.float32)
    return as_dtype(units, dtype)


@pytest.mark.parametrize(("subtype", "dtype", "factor"), [
    ("PCM_U8", "int16", 2**8), ("PCM_16", "int16", 1), ("PCM_24", "int32", 2**8), ("PCM_32", "int32", 1),
    ("FLOAT", "float32", 1), ("DOUBLE", "float64", 1)])
def test_every_depth_is_read_as_what_it_holds(tmp_path, subtype, dtype, factor):
    samples = noise(1000, 2, dtype)
    if factor > 1:
        samples = samples // factor * factor
    soundfile.write(tmp_path / "a.wav", samples, 8000, subtype=subtype)
    sound = read_sound(tmp_path / "a.wav")
    assert (sound.samples.dtype.name, sound.rate_hz) == (dtype, 8000)
    np.testing.assert_array_equal(sound.samples, samples)


@pytest.mark.parametrize(("suffix", "dtype"), [(".wav", "int16"), (".wav", "int32"), (".wav", "float32"),
                                               (".wav", "float64"), (".flac", "int16")])
def test_what_is_written_is_read_again(tmp_path, suffix, dtype):
    sound = Sound(noise(5000, 2, dtype), 44100)
    write_sound(sound, tmp_path / f"a{suffix}")
    again = read_sound(tmp_path / f"a{suffix}")
    assert again.samples.dtype == sound.samples.dtype
    np.testing.assert_array_equal(again.samples, sound.samples)
    assert [path.name for path in tmp_path.iterdir()] == [f"a{suffix}"]


def test_flac_keeps_24_bits_and_says_that_it_holds_no_floats(tmp_path):
    fine = noise(500, 1, "int32") >> 8 << 8
    write_sound(Sound(fine, 48000), tmp_path / "a.flac")
    np.testing.assert_array_equal(read_sound(tmp_path / "a.flac").samples, fine)
    with pytest.raises(MediaError, match=r"FLAC holds no float32: write \.wav"):
        write_sound(Sound(noise(500, 1, "float32"), 48000), tmp_path / "b.flac")
    assert not (tmp_path / "b.flac").exists()


def test_lossy_files_are_floats(tmp_path):
    soundfile.write(tmp_path / "a.ogg", noise(9000, 2, "float32"), 44100, format="OGG", subtype="VORBIS")
    sound = read_sound(tmp_path / "a.ogg")
    assert sound.samples.dtype == np.float32 and sound.samples.shape == (9000, 2)


def test_stretches_are_the_whole(tmp_path):
    samples = noise(700_000, 1)
    soundfile.write(tmp_path / "a.wav", samples, 8000)
    source = open_sound(tmp_path / "a.wav")
    for start, stop in ((0, 10), (5, 300_000), (290_000, 290_001), (600_000, 900_000), (700_000, 700_010)):
        np.testing.assert_array_equal(source.read(start, stop), samples[start:stop])


@pytest.mark.parametrize("make", [bytes, BytesIO, bytearray])
def test_bytes_and_file_objects_are_read(make):
    out = BytesIO()
    soundfile.write(out, noise(100, 2), 8000, format="WAV", subtype="PCM_16")
    np.testing.assert_array_equal(read_sound(make(out.getvalue())).samples, noise(100, 2))


def test_a_file_cut_short_is_named(tmp_path):
    out = BytesIO()
    soundfile.write(out, noise(5000, 1), 8000, format="FLAC", subtype="PCM_16")
    (tmp_path / "cut.flac").write_bytes(out.getvalue()[:len(out.getvalue()) // 2])
    with pytest.raises(MediaError, match=r"cut\.flac: (cut short|damaged near)"):
        read_sound(tmp_path / "cut.flac")


@pytest.mark.parametrize("data", [b"", b"no sound at all", bytes(1000)])
def test_what_is_no_sound_is_refused(data):
    with pytest.raises(MediaError, match="not a sound that can be read"):
        open_sound(data)


def test_a_path_that_is_not_there_is_named(tmp_path):
    with pytest.raises(MediaError, match=r"gone\.wav: there is no such file"):
        open_sound(tmp_path / "gone.wav")


@pytest.mark.parametrize("samples", [np.zeros(5, np.int16), np.zeros((5, 0), np.int16), np.zeros((5, 1), np.int8), [1]])
def test_samples_of_another_kind_are_refused(samples):
    with pytest.raises(UsageError, match="they must be int16, int32, float32, float64"):
        Sound(samples, 8000)


@pytest.mark.parametrize("rate", [0, -1, 44.1, True])
def test_rates_that_cannot_be_are_refused(rate):
    with pytest.raises(UsageError, match="rate_hz is"):
        Sound(np.zeros((5, 1), np.int16), rate)


def test_arrays_need_a_rate():
    with pytest.raises(UsageError, match="does not say its rate"):
        open_sound(np.zeros(100, np.int16))
    assert open_sound(np.zeros(100, np.int16), 8000).channels == 1


@pytest.mark.parametrize("bad", [np.nan, np.inf])
def test_what_is_no_number_is_refused(bad):
    samples = np.zeros((100, 1), np.float32)
    samples[50] = bad
    with pytest.raises(MediaError, match="no number"):
        InMemory(Sound(samples, 8000)).units(0, 100)


def test_whole_numbers_are_clipped_and_floats_are_not():
    loud = np.array([[40000.0, -40000.0, 0.4]], np.float32)
    assert as_dtype(loud, "int16")[:, 0].tolist() == [32767, -32768, 0]
    assert as_dtype(loud, "int32")[:2, 0].tolist() == [2**31 - 1, -2**31]
    assert as_dtype(loud, "float32")[0, 0] == pytest.approx(40000 / 32768)


@pytest.mark.parametrize(("here", "there"), [(22050, 44100), (44100, 16000), (8000, 44100), (96000, 44100)])
def test_resampled_in_stretches_is_what_it_is_at_once(here, there):
    pytest.importorskip("torchaudio", reason="resampling is torchaudio's")
    sound = InMemory(Sound(noise(here // 5, 2), here))
    whole = Resampled(sound, there)
    assert whole.count == resampled_count(here // 5, here, there)
    expected = whole.units(0, whole.count)
    assert expected.shape == (2, whole.count)
    again, at, step = Resampled(sound, there), 0, 777
    while at < again.count:
        np.testing.assert_allclose(again.units(at, at + step), expected[:, at:at + step], atol=0.05)
        at += step


def test_resampling_keeps_a_tone_in_its_place():
    pytest.importorskip("torchaudio", reason="resampling is torchaudio's")
    t = np.arange(22050) / 22050
    sound = Sound(np.sin(2 * np.pi * 440 * t)[:, None].astype(np.float32), 22050)
    made = Resampled(InMemory(sound), 44100).read(0, 44100)
    expected = np.sin(2 * np.pi * 440 * np.arange(44100) / 44100)
    assert np.abs(made[500:-500, 0] - expected[500:-500]).max() < 1e-3


def test_formats_that_are_not_written_are_refused(tmp_path):
    with pytest.raises(UsageError, match=r"written as \.wav, \.flac, not as '\.mp3'"):
        write_sound(Sound(noise(10), 8000), tmp_path / "a.mp3")


def test_what_libsndfile_does_not_know_is_read_by_ffmpeg(tmp_path):
    av = pytest.importorskip("av", reason="FFmpeg comes with PyAV")
    with av.open(str(tmp_path / "a.m4a"), "w") as file:
        stream = file.add_stream("aac", rate=44100, layout="mono")
        frame = av.AudioFrame.from_ndarray(noise(8192, 1, "float32").T.copy(), format="fltp", layout="mono")
        frame.sample_rate = 44100
        file.mux(stream.encode(frame))
        file.mux(stream.encode(None))
    sound = read_sound(tmp_path / "a.m4a")
    assert sound.rate_hz == 44100 and sound.samples.shape[1] == 1 and len(sound.samples) >= 8192
