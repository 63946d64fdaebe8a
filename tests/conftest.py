"""Shared by all tests: weights that were never trained, for tests that ask for any."""

from __future__ import annotations

import pytest

from enfold import registry
from enfold.pretrained import SHIPPED, read_card


def shipped_codecs() -> list[str]:
    """Names of the codecs whose weights are in the repository."""
    return sorted({read_card(path).codec for path in SHIPPED.glob("*.toml")} & set(registry.entries()))


@pytest.fixture(params=shipped_codecs(), scope="session")
def codec(request):
    """Every codec that ships with weights."""
    import enfold

    return enfold.load(request.param)


def pytest_addoption(parser):
    parser.addoption("--rewrite-golden", action="store_true",
                     help="write golden files for weights that have none (see tests/codecs/test_golden.py)")
