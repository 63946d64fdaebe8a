"""`engine="ray"`: the same rows and bytes as the local engine makes."""

from __future__ import annotations

import subprocess
import sys
from importlib.util import find_spec

import pytest

from enfold.errors import UsageError
from enfold.learners import pack

from .conftest import CODEC, same_files

has_ray = pytest.mark.skipif(find_spec("ray") is None, reason="Ray is not installed: pip install 'enfold[ray]'")


@has_ray
def test_ray_makes_the_same_bytes(photos, packed, tmp_path):
    program = (f"from enfold.learners import pack; r = pack({str(photos)!r}, {str(tmp_path / 'p')!r}, "
               f"codec={CODEC!r}, shard_rows=7, engine='ray', jobs=2); print(r.samples)")
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True)   # its warnings are its own
    assert done.returncode == 0, done.stderr[-3000:]
    assert done.stdout.split()[-1] == "18"
    assert same_files(packed, tmp_path / "p")


@has_ray
def test_ray_passes_on_what_went_wrong(photos, tmp_path):
    (tmp_path / "in").mkdir()
    (tmp_path / "in" / "good.png").write_bytes((photos / "cat" / "00.png").read_bytes())
    (tmp_path / "in" / "bad.png").write_text("no picture")
    program = (f"from enfold.learners import pack; pack({str(tmp_path / 'in')!r}, {str(tmp_path / 'p')!r}, "
               f"codec={CODEC!r}, strict=True, engine='ray', jobs=1)")
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True)
    assert "MediaError: bad.png: not a readable picture" in done.stderr, done.stderr[-3000:]


@pytest.mark.skipif(find_spec("ray") is not None, reason="Ray is installed")
def test_missing_ray_is_named_with_the_way_to_get_it(photos, tmp_path):
    with pytest.raises(UsageError, match=r"pip install 'enfold\[ray\]'"):
        pack(photos, tmp_path / "p", codec=CODEC, engine="ray")
    assert not (tmp_path / "p").exists()
