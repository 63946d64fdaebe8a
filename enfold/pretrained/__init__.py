"""Weights and their cards: what ships, where else to look, and proof that they are the right ones.

A model is two files: `NAME.toml`, the card (what it is, how it was trained, what was measured,
the SHA-256 of the weights), and `NAME.safetensors`. The first four bytes of that hash are the
fingerprint that every .enf file carries. Further folders are searched when they are listed in
the environment variable ENFOLD_WEIGHTS (separated as PATH is), first found wins.

Guarantee: weights whose hash is not their card's are never used.
"""

from __future__ import annotations

import hashlib
import os
import tomllib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np

from enfold.errors import FingerprintError, MissingWeightsError

SHIPPED = Path(__file__).parent


@dataclass(frozen=True)
class Card:
    """A model's card. `about` is the whole TOML file as a dict."""

    codec: str
    sha256: str
    weights: Path
    about: Mapping[str, Any]

    @property
    def fingerprint(self) -> bytes:
        return bytes.fromhex(self.sha256[:8])


class Weights(Mapping[str, np.ndarray]):
    """The arrays of a model, read one by one as they are asked for."""

    def __init__(self, card: Card) -> None:
        from safetensors import safe_open

        self.card = card
        try:
            actual = hashlib.sha256(card.weights.read_bytes()).hexdigest()
        except FileNotFoundError:
            raise MissingWeightsError(card.codec, card.fingerprint,
                                      f"its card is there, {card.weights.name} is not: install enfold again") from None
        if actual != card.sha256:
            raise FingerprintError(card.codec, card.fingerprint, bytes.fromhex(actual[:8]),
                                   f"{card.weights} is not the file its card describes (SHA-256 {actual[:16]}…, "
                                   f"not {card.sha256[:16]}…): install it again")
        self._file = safe_open(card.weights, framework="numpy")
        self._names = tuple(self._file.keys())

    def __getitem__(self, name: str) -> np.ndarray:
        if name not in self._names:
            raise KeyError(name)
        return self._file.get_tensor(name)

    def __iter__(self) -> Iterator[str]:
        return iter(self._names)

    def __len__(self) -> int:
        return len(self._names)

    def under(self, prefix: str) -> dict[str, np.ndarray]:
        """The arrays whose names start with `prefix`, by the rest of their names."""
        return {name[len(prefix):]: self[name] for name in self._names if name.startswith(prefix)}


def cards() -> list[Card]:
    """Every card at hand: of ENFOLD_WEIGHTS' folders first, then those that ship."""
    listed = [Path(p) for p in os.environ.get("ENFOLD_WEIGHTS", "").split(os.pathsep) if p]
    return [read_card(path) for folder in (*listed, SHIPPED) for path in sorted(folder.glob("*.toml"))]


def read_card(path: Path) -> Card:
    """Reads NAME.toml; its weights are NAME.safetensors beside it."""
    about = tomllib.loads(path.read_text("utf-8"))
    return Card(about["codec"], about["sha256"], path.with_suffix(".safetensors"), about)


def find(codec: str, fingerprint: bytes | None = None) -> Card:
    """The card for a codec's name and, if given, its weights' fingerprint.

    Raises MissingWeightsError where the codec has no weights at hand, and FingerprintError where
    it has others than those asked for.
    """
    named = [card for card in cards() if card.codec == codec]
    for card in named:
        if fingerprint is None or card.fingerprint == fingerprint:
            return card
    if named and fingerprint is not None:
        raise FingerprintError(codec, fingerprint, named[0].fingerprint)
    raise MissingWeightsError(codec, fingerprint)


def weights(card: Card) -> Weights:
    """The weights beside a card, opened and checked once in a process."""
    return _opened(card.weights, card.sha256)


@lru_cache(maxsize=16)
def _opened(path: Path, sha256: str) -> Weights:
    return Weights(read_card(path.with_suffix(".toml")))
