"""Weights are found by name and fingerprint, and never used where they are not what their card says."""

from __future__ import annotations

import hashlib

import numpy as np
import pytest
from safetensors.numpy import save_file

import enfold
from enfold import pretrained
from enfold.container import Header, Section, SectionKind, pack
from enfold.errors import FingerprintError, MissingWeightsError, UsageError
from enfold.geometry import ImageGeometry

NAME = "walloc-rgb-16x"


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """A folder of ENFOLD_WEIGHTS with a model of two arrays."""
    save_file({"a.x": np.arange(3.0), "a.y": np.ones((2, 2)), "b": np.zeros(1)}, tmp_path / "m.safetensors")
    sha256 = hashlib.sha256((tmp_path / "m.safetensors").read_bytes()).hexdigest()
    (tmp_path / "m.toml").write_text(f'codec = "made-up"\nsha256 = "{sha256}"\n[recipe]\nseed = 3\n')
    monkeypatch.setenv("ENFOLD_WEIGHTS", str(tmp_path))
    return tmp_path


def file_by(codec: str, fingerprint: bytes) -> bytes:
    return pack(Header(codec, fingerprint, ImageGeometry(8, 8), b"\x32"), [Section(SectionKind.SYMBOLS, b"")])


def test_arrays_are_read_by_name_and_the_card_keeps_what_was_written(folder):
    card = pretrained.find("made-up")
    weights = pretrained.weights(card)
    assert sorted(weights) == ["a.x", "a.y", "b"] and len(weights) == 3
    assert weights.under("a.").keys() == {"x", "y"}
    assert weights["a.x"].tolist() == [0, 1, 2]
    assert "b" in weights and "c" not in weights and weights.get("c") is None
    assert card.about["recipe"]["seed"] == 3
    assert card.fingerprint.hex() == card.sha256[:8]


def test_weights_that_are_not_their_cards_are_refused(folder):
    card = pretrained.find("made-up")
    damaged = bytearray(card.weights.read_bytes())
    damaged[-1] ^= 1
    card.weights.write_bytes(damaged)
    with pytest.raises(FingerprintError, match="is not the file its card describes"):
        pretrained.Weights(card)


def test_a_card_without_its_weights_says_so(folder):
    (folder / "m.safetensors").unlink()
    with pytest.raises(MissingWeightsError, match="not: install"):
        pretrained.Weights(pretrained.find("made-up"))


def test_another_fingerprint_is_refused_and_both_are_named(folder):
    with pytest.raises(FingerprintError, match=r"01020304.*at hand have fingerprint"):
        pretrained.find("made-up", b"\1\2\3\4")


def test_a_file_of_unknown_weights_names_model_and_fingerprint():
    with pytest.raises(MissingWeightsError, match="'other-codec', fingerprint 01020304"):
        enfold.decode(file_by("other-codec", b"\1\2\3\4"))
    with pytest.raises(FingerprintError, match=f"{NAME}.*01020304"):
        enfold.latents(file_by(NAME, b"\1\2\3\4"))


def test_an_unknown_codec_is_answered_with_those_there_are():
    with pytest.raises(UsageError, match=f"'nonesuch'; there are .*{NAME}"):
        enfold.load("nonesuch")


def test_a_file_of_another_codec_is_sent_to_the_right_one():
    if len(enfold.codec_names()) < 2:
        pytest.skip("there is one codec only")
    first, second = enfold.codec_names()[:2]
    data = enfold.encode(np.zeros((8, 8, 3), np.uint8), codec=first)
    with pytest.raises(UsageError, match=f"written by '{first}'"):
        enfold.load(second).decode(data)


def test_every_shipped_card_says_how_its_weights_were_made():
    for path in pretrained.SHIPPED.glob("*.toml"):
        about = pretrained.read_card(path).about
        assert {"codec", "sha256", "recipe", "data", "measured"} <= about.keys(), path.name
        assert path.with_suffix(".safetensors").stat().st_size < 16_000_000
