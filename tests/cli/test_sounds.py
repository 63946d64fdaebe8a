"""What the command line promises for sounds: as for pictures, and in parts, and when damaged."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

import enfold as face
from enfold.container import peek
from enfold.sounds import Sound, read_sound, write_sound
from enfold.testing_sounds import sample_sound

pytest.importorskip("soundfile", reason="sounds are read by soundfile")
CODEC = ("-c", "walloc-stereo-20x")


@pytest.fixture
def song(workplace):
    """Writes a sound: song("a/b.wav") → it."""
    def write(name: str = "song.flac", seconds: float = 0.5, dtype: str = "int16") -> Sound:
        sound = sample_sound(round(44100 * seconds), 2, 44100, dtype, len(name))
        (workplace / name).parent.mkdir(parents=True, exist_ok=True)
        write_sound(sound, workplace / name)
        return sound
    return write


def test_a_sound_goes_there_and_back_beside_itself(enfold, song):
    original = song()
    made = enfold("encode", "song.flac", *CODEC)
    assert made.exit_code == 0 and "kbit/s" in made.stderr
    assert enfold("decode", "song.enf").exit_code == 0
    decoded = read_sound("song.wav")
    assert (decoded.samples.shape, decoded.samples.dtype, decoded.rate_hz) == (original.samples.shape, np.int16, 44100)


def test_the_suffix_chooses_the_codec(enfold, song):
    song()
    assert enfold("encode", "song.flac").exit_code == 0
    assert face.info(Path("song.enf").read_bytes()).header.codec == face.DEFAULT_SOUND_CODEC


def test_folders_of_sounds_keep_their_structure(enfold, song):
    song("music/a.wav")
    song("music/b/c.flac")
    assert enfold("encode", "music", "small", *CODEC).exit_code == 0
    assert enfold("decode", "small", "back").exit_code == 0
    assert sorted(str(p) for p in Path("back").rglob("*.*")) == ["back/a.wav", "back/b/c.wav"]


@pytest.mark.parametrize("suffix", [".wav", ".flac"])
def test_the_name_of_out_is_the_format(enfold, song, suffix):
    song()
    enfold("encode", "song.flac", "x.enf", *CODEC)
    assert enfold("decode", "x.enf", f"y{suffix}").exit_code == 0
    assert len(read_sound(f"y{suffix}").samples) == 22050


def test_a_sound_is_not_written_as_a_picture(enfold, song):
    song()
    enfold("encode", "song.flac", *CODEC)
    refused = enfold("decode", "song.enf", "song.png")
    assert refused.exit_code == 2
    assert "holds a sound, which is written as .wav, .flac, not as .png" in refused.stderr


def test_pipes_carry_sounds(shell, song):
    original = song()
    encoded = shell("encode", "-", "-", *CODEC, stdin=Path("song.flac").read_bytes())
    assert encoded.returncode == 0
    decoded = shell("decode", "-", stdin=encoded.stdout)
    assert read_sound(decoded.stdout).samples.shape == original.samples.shape


def test_a_part_is_decoded(enfold, song):
    song()
    enfold("encode", "song.flac", *CODEC)
    assert enfold("decode", "song.enf", "part.wav", "--start", 0.1, "--stop", 0.3).exit_code == 0
    whole = np.asarray(face.decode(Path("song.enf").read_bytes()))
    np.testing.assert_array_equal(read_sound("part.wav").samples, whole[4410:13230])


def test_what_is_damaged_is_refused_or_left_silent_and_named(enfold, song):
    song(seconds=12)
    enfold("encode", "song.flac", *CODEC)
    data = bytearray(Path("song.enf").read_bytes())
    data[peek(bytes(data)).entries[0].data_start + 50] ^= 1
    Path("song.enf").write_bytes(data)
    assert enfold("decode", "song.enf").exit_code == 3
    assert not Path("song.wav").exists()
    partial = enfold("decode", "song.enf", "--allow-partial")
    assert partial.exit_code == 0
    assert "song.enf: 1 of 2 sections are lost: silence at 0.00 to 10.01 s" in partial.stderr
    assert not read_sound("song.wav").samples[:400_000].any()


def test_another_rate_is_said(enfold, workplace):
    pytest.importorskip("torchaudio", reason="resampling is torchaudio's")
    write_sound(sample_sound(5000, 1, 22050), workplace / "low.wav")
    made = enfold("encode", "low.wav", *CODEC)
    assert made.exit_code == 0 and "of 22050 Hz is resampled to 44100 Hz" in made.stderr
    enfold("decode", "low.enf", "back.wav")
    assert read_sound("back.wav").samples.shape == (5000, 1)


def test_info_and_verify_know_sounds(enfold, song):
    song()
    enfold("encode", "song.flac", *CODEC)
    said = enfold("info", "song.enf").stdout
    assert "audio      22050 × 2 int16" in said and "kbit/s" in said
    assert json.loads(enfold("info", "song.enf", "--json").stdout)["kbps"] > 0
    assert enfold("verify", "--decode", "song.enf").stdout == "song.enf: sound\n"


def test_what_cannot_be_read_does_not_stop_the_others(enfold, song):
    song("music/a.wav")
    Path("music/b.wav").write_bytes(b"RIFF, but no more")
    result = enfold("encode", "music", "small", *CODEC)
    assert result.exit_code == 7 and "b.wav: " in result.stderr
    assert Path("small/a.enf").exists()
