"""Shared by all tests: weights that were never trained, for tests that ask for any."""

from __future__ import annotations

import pytest

from enfold import registry
from enfold.pretrained import SHIPPED, read_card


def shipped_codecs(medium: str = "picture") -> list[str]:
    """Names of the codecs of a medium whose weights are in the repository."""
    shipped = {read_card(path).codec for path in SHIPPED.glob("*.toml")}
    return sorted(name for name, entry in registry.entries().items() if name in shipped and entry.medium == medium)


@pytest.fixture(params=shipped_codecs(), scope="session")
def codec(request):
    """Every codec of pictures that ships with weights."""
    import enfold

    return enfold.load(request.param)


@pytest.fixture(params=shipped_codecs("sound"), scope="session")
def sound_codec(request):
    """Every codec of sound that ships with weights."""
    import enfold

    return enfold.load(request.param)


def pytest_addoption(parser):
    parser.addoption("--rewrite-golden", action="store_true",
                     help="write golden files for weights that have none (see tests/codecs/test_golden.py)")
