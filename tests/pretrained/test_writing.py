"""A model that is written can be found, and its card says what it was told."""

from __future__ import annotations

import tomllib

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from enfold import pretrained
from enfold.errors import FingerprintError, UsageError
from enfold.pretrained.writing import _table, write_model

SCALARS = st.booleans() | st.integers(-2**63, 2**63 - 1) | st.floats(allow_nan=False) | st.text(
    st.characters(codec="utf-8"))
VALUES = st.recursive(SCALARS, lambda inner: st.lists(inner, max_size=3), max_leaves=5)
TABLES = st.recursive(st.dictionaries(st.text(st.characters(codec="utf-8")), VALUES, max_size=3),
                      lambda inner: st.dictionaries(st.text(st.characters(codec="utf-8"), max_size=4),
                                                    VALUES | inner | st.lists(inner, min_size=1, max_size=2),
                                                    max_size=3), max_leaves=6)


@settings(max_examples=50, deadline=None)
@given(TABLES)
def test_cards_read_as_they_were_written(table):
    assert tomllib.loads("\n".join(_table(table))) == table


def test_written_model_is_found_with_its_arrays(tmp_path, monkeypatch):
    arrays = {"b": np.arange(6, dtype=np.int32).reshape(2, 3).T, "a": np.ones(2, np.float16),
              "c": np.array(2.5)}
    card = write_model(tmp_path, "some-codec", arrays, {"seed": 3, "codec": "not this", "recipe": {"crop": 128}})
    monkeypatch.setenv("ENFOLD_WEIGHTS", str(tmp_path))
    assert pretrained.find("some-codec", card.fingerprint) == card
    assert (card.codec, card.about["seed"], card.about["recipe"]) == ("some-codec", 3, {"crop": 128})
    read = pretrained.weights(card)
    assert set(read) == set(arrays)
    for name, array in arrays.items():
        assert read[name].dtype == array.dtype and np.array_equal(read[name], array)      # shapes are compared, too


def test_weights_that_are_not_the_cards_are_refused(tmp_path):
    card = write_model(tmp_path, "some-codec", {"a": np.ones(2)}, {})
    write_model(tmp_path / "other", "some-codec", {"a": np.zeros(2)}, {})
    (tmp_path / "other" / "some-codec.safetensors").rename(card.weights)
    with pytest.raises(FingerprintError, match="is not the file its card describes"):
        pretrained.weights(card)


def test_card_refuses_what_toml_cannot_hold(tmp_path):
    with pytest.raises(UsageError, match="not None"):
        write_model(tmp_path, "some-codec", {"a": np.ones(2)}, {"seed": None})
    assert list(tmp_path.iterdir()) == []
