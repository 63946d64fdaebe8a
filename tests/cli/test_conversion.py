"""What `encode` and `decode` promise about files."""

from __future__ import annotations

import json
import os
import pty
import subprocess
import sys
from io import BytesIO
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from enfold import decode
from enfold.container import is_enf
from enfold.media import read_picture

PLAIN = ("-c", "plain")


def pixels_of(path: str) -> np.ndarray:
    return np.asarray(Image.open(path))


def files() -> list[str]:
    return sorted(str(path) for path in Path().rglob("*") if path.is_file())


def test_out_is_beside_in_unless_named(enfold, photo):
    original = photo("photo.png")
    assert enfold("encode", "photo.png", *PLAIN).exit_code == 0
    os.remove("photo.png")
    assert enfold("decode", "photo.enf").exit_code == 0
    assert files() == ["photo.enf", "photo.png"]
    assert np.array_equal(pixels_of("photo.png"), original)


def test_out_may_be_a_folder(enfold, photo):
    photo("photo.png")
    os.mkdir("there")
    assert enfold("encode", "photo.png", "there", *PLAIN).exit_code == 0
    assert enfold("encode", "photo.png", "new/", *PLAIN).exit_code == 0
    assert files() == ["new/photo.enf", "photo.png", "there/photo.enf"]


def test_effort_makes_another_file_that_decodes_alike(enfold, photo):
    photo("photo.png")
    assert enfold("encode", "photo.png", "plain.enf").exit_code == 0
    assert enfold("encode", "photo.png", "searched.enf", "--effort", 2).exit_code == 0
    assert Path("plain.enf").read_bytes() != Path("searched.enf").read_bytes()
    assert enfold("decode", "searched.enf", "again.png").exit_code == 0
    refused = enfold("encode", "photo.png", "other.enf", "--effort", 2, *PLAIN)
    assert refused.exit_code == 2 and "cannot search for latents" in refused.stderr.replace("\n", " ")


def test_refuses_to_overwrite_without_force(enfold, photo):
    photo("photo.png")
    Path("photo.enf").write_text("precious")
    refused = enfold("encode", "photo.png", *PLAIN)
    assert refused.exit_code == 7
    assert "photo.enf exists" in refused.stderr and "--force" in refused.stderr
    assert Path("photo.enf").read_text() == "precious"
    assert enfold("encode", "photo.png", *PLAIN, "-f").exit_code == 0
    assert is_enf(Path("photo.enf").read_bytes())


def test_pipe_carries_only_bytes(shell, photo):
    original = photo("photo.png")
    encoded = shell("encode", "-", "-", *PLAIN, stdin=Path("photo.png").read_bytes())
    assert encoded.returncode == 0
    assert np.array_equal(decode(encoded.stdout), original)
    decoded = shell("decode", "-", stdin=encoded.stdout)     # what comes from a pipe goes to one
    assert np.array_equal(np.asarray(Image.open(BytesIO(decoded.stdout))), original)
    assert files() == ["photo.png"]


def test_pipe_can_be_one_side_only(enfold, coded):
    assert enfold("decode", "-", "out.webp", stdin=Path("photo.enf").read_bytes()).exit_code == 0
    assert np.array_equal(pixels_of("out.webp"), coded)
    out = enfold("decode", "photo.enf", "-", "--format", "webp").stdout_bytes
    assert Image.open(BytesIO(out)).format == "WEBP"


def test_bytes_are_not_poured_into_a_terminal(coded):
    terminal, end = pty.openpty()
    process = subprocess.run([sys.executable, "-m", "enfold", "decode", "photo.enf", "-"],
                             stdout=end, stderr=subprocess.PIPE, text=True)
    os.close(end)
    os.close(terminal)
    assert process.returncode == 2
    assert "stdout is a terminal" in process.stderr


def test_folder_keeps_its_structure(enfold, photo):
    first, second = photo("in/a.png"), photo("in/deep/er/b.JPG", quality=90)
    Path("in/notes.txt").write_text("not a picture")
    assert enfold("encode", "in", "small", *PLAIN).exit_code == 0
    assert sorted(map(str, Path("small").rglob("*.enf"))) == ["small/a.enf", "small/deep/er/b.enf"]
    Path("small/notes.txt").write_text("not a picture")
    assert enfold("decode", "small", "out", "--format", "tiff").exit_code == 0
    assert np.array_equal(pixels_of("out/a.tiff"), first)
    assert pixels_of("out/deep/er/b.tiff").shape == second.shape


def test_one_bad_file_does_not_stop_the_others(enfold, photo):
    photo("in/a.png")
    photo("in/c.png")
    Path("in/b.png").write_bytes(b"\x89PNG but not quite")
    result = enfold("encode", "in", "out", *PLAIN)
    assert result.exit_code == 7
    assert [path.name for path in sorted(Path("out").iterdir())] == ["a.enf", "c.enf"]
    *_, count, reason = result.stderr.splitlines()
    assert "1 of 3 files failed" in count
    assert reason.startswith("enfold: in/b.png: not a readable picture")


def test_exit_code_is_that_of_the_first_failure(enfold, coded):
    data = Path("photo.enf").read_bytes()
    os.mkdir("in")
    Path("in/a.enf").write_bytes(data)
    Path("in/b.enf").write_bytes(data[:-9])
    Path("in/c.enf").write_bytes(data)
    Path("in/c.png").write_text("precious")
    assert enfold("decode", "in").exit_code == 3
    assert enfold("decode", "in").exit_code == 7              # now a.png exists as well


def test_two_sources_of_one_target_are_not_lost(enfold, photo):
    first = photo("in/a.bmp")
    photo("in/a.png")
    result = enfold("encode", "in", "out", *PLAIN, "--force")
    assert result.exit_code == 7
    assert "in/a.bmp has become out/a.enf already" in result.stderr
    assert np.array_equal(decode(Path("out/a.enf").read_bytes()), first)


def test_folder_without_pictures_is_named(enfold):
    os.mkdir("empty")
    result = enfold("encode", "empty", "out", *PLAIN)
    assert result.exit_code == 7
    assert "empty holds no file that ends in" in result.stderr


def test_folder_does_not_fit_into_a_pipe(enfold, photo):
    photo("in/a.png")
    result = enfold("encode", "in", "-", *PLAIN)
    assert result.exit_code == 2
    assert "name a folder to write to" in result.stderr


def test_json_is_one_object_for_each_file(enfold, photo):
    photo("in/a.png", 40, 50)
    Path("in/b.png").write_bytes(b"no")
    result = enfold("encode", "in", "out", *PLAIN, "--json")
    good, bad = map(json.loads, result.stdout.splitlines())
    size = Path("out/a.enf").stat().st_size
    assert good == {"file": "in/a.png", "out": "out/a.enf", "bytes_in": Path("in/a.png").stat().st_size,
                    "bytes_out": size, "bpp": pytest.approx(8 * size / 2000), "kbps": None}
    assert (bad["file"], bad["error"], bad["exit_code"]) == ("in/b.png", "MediaError", 7)


def test_json_and_bytes_do_not_share_a_pipe(enfold, coded):
    result = enfold("decode", "photo.enf", "-", "--json")
    assert result.exit_code == 2 and result.stdout == ""


def test_no_half_written_file_is_left(enfold, photo, monkeypatch):
    photo("photo.png")

    def full(*_):
        raise OSError(28, "No space left on device")
    monkeypatch.setattr(os, "replace", full)
    result = enfold("encode", "photo.png", *PLAIN)
    assert result.exit_code == 7
    assert "No space left on device" in result.stderr
    assert files() == ["photo.png"]


def test_limit_is_an_option_and_zero_lifts_it(enfold, coded):
    refused = enfold("decode", "photo.enf", "--max-pixels", 500, "-f")
    assert refused.exit_code == 6
    assert "it asks for 768, the limit is 500" in refused.stderr and "--max-pixels" in refused.stderr
    assert enfold("decode", "photo.enf", "--max-pixels", 0, "-f").exit_code == 0
    assert enfold("encode", "photo.png", *PLAIN, "--max-pixels", 500, "-f").exit_code == 6


def test_format_is_checked_before_anything_is_decoded(enfold, coded):
    for arguments in (["out.gif"], ["out.png", "--format", "gif"], ["out"]):
        result = enfold("decode", "photo.enf", *arguments)
        assert result.exit_code == 2
        assert "pictures are written as .png" in result.stderr


def test_metadata_is_kept_on_request_only(enfold, photo):
    exif = Image.Exif()
    exif[0x010E] = "a caption"
    photo("photo.jpg", exif=exif)
    for options, kept in (([], False), (["--keep-metadata"], True)):
        enfold("encode", "photo.jpg", "photo.enf", *PLAIN, "-f", *options)
        enfold("decode", "photo.enf", "photo.png", "-f")
        found = read_picture("photo.png", keep_metadata=True).exif or b""
        assert (b"a caption" in found) is kept
