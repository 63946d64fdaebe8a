"""The demo of sounds runs, on what it makes and on a file, and leaves what it says."""

from __future__ import annotations

import importlib.util
from pathlib import Path

import pytest

from enfold.sounds import read_sound, write_sound
from enfold.testing_sounds import sample_sound

pytest.importorskip("soundfile", reason="sounds are written by soundfile")


def test_sounds_are_coded_damaged_and_written(tmp_path, capsys, monkeypatch):
    path = Path(__file__).parents[1] / "demos" / "sounds.py"
    spec = importlib.util.spec_from_file_location("sounds", path)
    demo = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(demo)
    monkeypatch.setattr(demo, "QUALITIES", (30, 90))
    song = sample_sound(44100 * 12)
    write_sound(song, tmp_path / "song.wav")
    demo.main([str(tmp_path / "song.wav")], tmp_path / "out")
    shown = capsys.readouterr().out
    assert "song.wav: 12.0 s, 2 channels, 44100 Hz" in shown
    assert "1 of 2 sections are lost: silence at 0.00 to 10.01 s" in shown and "17 % of all samples" in shown
    assert sorted(p.name for p in (tmp_path / "out").iterdir()) == ["song-20x.wav", "song-5x.wav", "song-damaged.wav"]
    assert not read_sound(tmp_path / "out" / "song-damaged.wav").samples[:400_000].any()
