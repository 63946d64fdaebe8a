"""A shell to run `enfold` in, with a small, quick, lossless codec installed as others' codecs are."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from typer.testing import CliRunner

import enfold as face
from enfold import registry
from enfold.cli import app
from enfold.pretrained.writing import write_model

PLUGIN = Path(__file__).parent / "plugin"


@pytest.fixture(scope="session")
def weights(tmp_path_factory) -> Path:
    """A folder with weights for the codec `plain`."""
    folder = tmp_path_factory.mktemp("weights")
    row = {"data": "Kodak", "quality": 75, "bpp": 0.61, "psnr_db": 33.25}
    write_model(folder, "plain", {"nothing": np.zeros(1, np.float32)}, {"measured": [row]})
    return folder


@pytest.fixture(autouse=True)
def installed(weights, monkeypatch):
    """The plugin, in this process and in those it starts; gone afterwards."""
    monkeypatch.syspath_prepend(PLUGIN)
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join(filter(None, [str(PLUGIN), os.environ.get("PYTHONPATH")])))
    monkeypatch.setenv("ENFOLD_WEIGHTS", str(weights))
    registry.entries.cache_clear()
    yield
    registry.entries.cache_clear()


@pytest.fixture
def lose_weights(installed, monkeypatch):
    """Makes the weights of `plain` unavailable: lose_weights()."""
    def lose() -> None:
        monkeypatch.setenv("ENFOLD_WEIGHTS", "")
        face._loaded.cache_clear()
    return lose


@pytest.fixture(autouse=True)
def workplace(tmp_path, monkeypatch) -> Path:
    """An empty folder, the current one."""
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.fixture
def enfold(installed):
    """`enfold` within this process: enfold("encode", "a.png") → result with exit_code, stdout, stderr."""
    def run(*arguments: object, stdin: bytes | None = None):
        return CliRunner().invoke(app, list(map(str, arguments)), input=stdin, catch_exceptions=False)
    return run


@pytest.fixture
def shell(installed):
    """`enfold` as a process of its own, with bytes for stdin and stdout."""
    def run(*arguments: object, stdin: bytes = b"") -> subprocess.CompletedProcess:
        return subprocess.run([sys.executable, "-m", "enfold", *map(str, arguments)], input=stdin,
                              capture_output=True)
    return run


@pytest.fixture
def photo(workplace):
    """Writes a picture: photo("a/b.png") → its pixels."""
    def write(name: str = "photo.png", height: int = 24, width: int = 32, **save) -> np.ndarray:
        pixels = np.random.default_rng(len(name)).integers(0, 256, (height, width, 3), np.uint8)
        path = workplace / name
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(pixels).save(path, **save)
        return pixels
    return write


@pytest.fixture
def coded(photo, enfold):
    """Writes photo.enf, of a picture; returns the pixels."""
    pixels = photo()
    assert enfold("encode", "photo.png", "-c", "plain").exit_code == 0
    return pixels
