"""What `pack` and `unpack` promise on the command line; `plain` is a lossless codec of others'."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from enfold import decode
from enfold.learners import open_pack

PLAIN = ("-c", "plain", "-j", "1")


def test_any_codec_packs_and_gives_the_pictures_back(enfold, photo):
    first, second = photo("in/a/x.png"), photo("in/b/y.webp", 20, 30, lossless=True)
    packed = enfold("pack", "in", "latents", *PLAIN)
    assert packed.exit_code == 0 and packed.stdout == ""
    assert "2 samples in 1 shards, plain, codec coding" in packed.stderr
    assert enfold("unpack", "latents", "out").exit_code == 0
    assert np.array_equal(np.asarray(Image.open("out/a/x.png")), first)
    assert np.array_equal(np.asarray(Image.open("out/b/y.png")), second)
    assert Path("out/labels.csv").read_text() == "file,label\na/x.png,a\nb/y.png,b\n"
    assert enfold("unpack", "latents", "enf", "--format", "enf").exit_code == 0
    assert np.array_equal(decode(Path("enf/a/x.enf").read_bytes()), first)


def test_refused_samples_are_counted_listed_and_set_the_exit_code(enfold, photo):
    photo("in/a.png")
    Path("in/b.png").write_text("no picture")
    Path("in/c.png").touch()
    result = enfold("pack", "in", "latents", *PLAIN)
    assert result.exit_code == 7
    assert "2 of 3 samples refused" in result.stderr
    assert "2 × not a readable picture in one of the formats" in result.stderr
    assert "b.png: not a readable picture" in result.stderr
    assert len(list(open_pack("latents").rows())) == 1
    again = enfold("pack", "in", "latents", *PLAIN, "--json")
    packed = json.loads(again.stdout)
    assert [refusal["key"] for refusal in packed["refused"]] == ["b.png", "c.png"]
    assert (packed["out"], packed["samples"], packed["resumed"]) == ("latents", 1, 1)
    assert packed["bytes_in"] == Path("in/a.png").stat().st_size and 0 < packed["bytes"] != packed["bytes_in"]


def test_strict_stops(enfold, photo):
    photo("in/z.png")
    Path("in/b.png").write_text("no picture")
    result = enfold("pack", "in", "latents", *PLAIN, "--strict")
    assert result.exit_code == 7 and "b.png" in result.stderr and "--strict" in result.stderr


def test_a_misspelt_codec_is_known_before_anything_is_looked_for(enfold):
    result = enfold("pack", "nowhere", "latents", "-c", "plane")
    assert result.exit_code == 2 and "'plane'" in result.stderr
    assert enfold("pack", "nowhere", "latents", *PLAIN).exit_code == 7


@pytest.mark.skipif(os.geteuid() == 0, reason="root writes anywhere")
def test_out_that_cannot_be_written_is_said(enfold, photo):
    photo("in/a.png")
    Path("locked").mkdir(mode=0o500)
    result = enfold("pack", "in", "locked/latents", *PLAIN)
    assert result.exit_code == 7 and "Permission denied" in result.stderr


def test_out_that_is_a_file_is_said(enfold, photo):
    photo("in/a.png")
    Path("latents").write_text("precious")
    result = enfold("pack", "in", "latents", *PLAIN)
    assert result.exit_code == 7 and "latents" in result.stderr
    assert Path("latents").read_text() == "precious"


def test_missing_arrow_is_named_with_the_way_to_get_it(photo):
    photo("in/a.png")
    program = ("import sys; sys.modules['pyarrow'] = None; sys.argv = 'enfold pack in latents -c plain -j 1'.split(); "
               "from enfold.cli import main; main()")
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True)
    assert done.returncode == 2 and "pip install 'enfold[data]'" in done.stderr
