"""The conformance kit over every codec that ships, and proof that the kit can fail."""

from __future__ import annotations

import numpy as np
import pytest

from enfold.media import Picture
from enfold.testing import CHECKS, damaged


@pytest.mark.parametrize("check", CHECKS, ids=lambda check: check.__name__.removeprefix("check_"))
def test_codec_conforms(codec, check):
    check(codec)


class _Broken:
    """A codec that is right but for one method."""

    def __init__(self, codec, **methods):
        self._codec, self._methods = codec, methods

    def __getattr__(self, name):
        return self._methods.get(name) or getattr(self._codec, name)

    def __repr__(self):
        return self._methods["repr"]() if "repr" in self._methods else repr(self._codec)


def _faults(codec):
    grey = np.zeros((5, 5), np.uint8)
    counter = iter(range(10**6))
    lossless = getattr(codec, "lossless", False)
    return {
        "round_trip_keeps_size_mode_and_alpha": {"decode": lambda data, **_: Picture(grey)},
        "quality_orders_bytes_and_error": {"decode": lambda data, **_: Picture(grey)} if lossless else
                                          {"encode": lambda media, **_: codec.encode(media)},
        "colour_profile_is_kept": {"encode": lambda media, **_: codec.encode(np.asarray(media))},
        "encoding_is_deterministic": {"encode": lambda media, **_: codec.encode(media[next(counter) % 9:])},
        "latents_of_media_and_bytes_agree": {"latents": lambda source, quality=9: codec.latents(
            source if isinstance(source, bytes) else 255 - source, quality=quality)},
        "bad_quality_is_refused_in_words": {"encode": lambda media, **_: codec.encode(media)},
        "limits_hold": {"decode": lambda data, **_: codec.decode(data)},
        "repr_names_codec_and_weights": {"repr": lambda: "codec"},
        "every_damage_is_named": {"decode": lambda data, **_: None},
    }


@pytest.mark.parametrize("check", [c for c in CHECKS if "estimated" not in c.__name__],
                         ids=lambda check: check.__name__.removeprefix("check_"))
def test_the_kit_catches_a_fault_of_each_kind(codec, check):
    fault = _faults(codec)[check.__name__.removeprefix("check_")]
    with pytest.raises((AssertionError, ValueError)):
        check(_Broken(codec, **fault))


def test_damage_never_leaves_a_file_as_it_was():
    files = [bytes(range(100)), bytes(60)]
    kinds = set()
    for kind, broken in damaged(files, 400):
        assert broken not in files
        kinds.add(kind)
    assert len(kinds) == 7
