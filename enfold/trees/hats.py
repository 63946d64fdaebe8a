"""Hats: the few distributions over values that all leaves of a circuit are mixtures of.

    probability          ╱╲    ╱╲        a value lies under two hats, and under each as far as it is near;
        │         ╱╲   ╱  ╲  ╱  ╲        within a hat, values are as frequent as in the data
      | │       ╱   ╲╱    ╲╱     ╲  |
      0 ┴──────────────────────────255   a value that is frequent by itself, as black is, has a hat of its own

A state of a node says how much of each hat its variables hold: 48 numbers where there are 256 values.
What a few hundred samples can teach fits in that, so images that were not trained on cost less (on
FashionMNIST 0.017 bits a pixel, states and training being the same), and the model is a fifth as large.
An alphabet no larger than the hats has one for each value.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from enfold.errors import UsageError

HATS = 48
PRECISION = 24              # bits: a hat's values sum to about 2^24


@dataclass(frozen=True, eq=False)
class Hats:
    """Of each value: its first hat, uint8, and what share of that hat, and of the next, it has; uint32 / 2^24.

    size: how many hats there are. Raises UsageError where arrays do not fit together.
    """

    first: np.ndarray
    near: np.ndarray
    beyond: np.ndarray

    def __post_init__(self) -> None:
        shapes = {array.shape for array in (self.first, self.near, self.beyond)}
        if len(shapes) != 1 or self.first.ndim != 1 or not 1 <= len(self.first) <= 256 \
                or self.first.dtype != np.uint8 or {self.near.dtype, self.beyond.dtype} != {np.dtype(np.uint32)} \
                or max(self.near.max(), self.beyond.max()) > 2 << PRECISION:
            raise UsageError("hats that do not fit together: of each value there is its first, uint8, and two shares "
                             f"in 2^{PRECISION}, uint32; here {self.first.dtype}{self.first.shape}, "
                             f"{self.near.dtype}{self.near.shape}, {self.beyond.dtype}{self.beyond.shape}")

    @property
    def size(self) -> int:
        return int(self.second.max()) + 1

    @property
    def second(self) -> np.ndarray:
        """(values,) uint8: the next hat, or the first again where there is no share of it."""
        return self.first + (self.beyond > 0).astype(np.uint8)

    @property
    def shares(self) -> tuple[np.ndarray, np.ndarray]:
        """float32 (values,) each: probabilities of a value in its two hats."""
        return (self.near / (1 << PRECISION)).astype(np.float32), (self.beyond / (1 << PRECISION)).astype(np.float32)

    def to_arrays(self) -> dict[str, np.ndarray]:
        return {"hat": self.first, "near": self.near, "beyond": self.beyond}

    @classmethod
    def from_arrays(cls, arrays: Mapping[str, np.ndarray]) -> Hats:
        """From a model file's arrays; where it has none, each value of its leaves has a hat."""
        if "hat" not in tuple(arrays):
            values = arrays["leaf"].shape[1]
            return cls(np.arange(values, dtype=np.uint8), np.full(values, 1 << PRECISION, np.uint32),
                       np.zeros(values, np.uint32))
        return cls(arrays["hat"], arrays["near"], arrays["beyond"])


def hats_of(data: np.ndarray, values: int, size: int = HATS) -> Hats:
    """Hats for data like these, integers below `values`."""
    seen = np.bincount(data.reshape(-1), minlength=values).astype(np.float64)
    weight = np.sqrt(seen) + 1e-3
    size = min(size, values)
    alone = _alone(seen, weight, size) if values > size else np.ones(values, bool)
    rest, hats = np.flatnonzero(~alone), size - int(alone.sum())
    first, near, beyond = np.zeros(values, np.uint8), np.ones(values), np.zeros(values)
    if rest.size:
        ends = np.cumsum(weight[rest])
        middle = ends - weight[rest] / 2
        place = (middle - middle[0]) / (middle[-1] - middle[0]) * (hats - 1)
        first[rest] = np.minimum(place, hats - 2)
        beyond[rest] = place - first[rest]
        near[rest] = 1 - beyond[rest]
    first[alone] = (hats if rest.size else 0) + np.arange(alone.sum())
    second = np.minimum(first + 1, size - 1)
    usual = seen + 1
    mass = np.bincount(first, near * usual, size) + np.bincount(second, beyond * usual, size)
    whole = float(1 << PRECISION)
    return Hats(first, np.rint(near * usual / mass[first] * whole).astype(np.uint32),
                np.rint(beyond * usual / np.maximum(mass[second], 1e-300) * whole).astype(np.uint32))


def _alone(seen: np.ndarray, weight: np.ndarray, size: int) -> np.ndarray:
    """Values that have a hat to themselves: those that fill one, and peaks of twice their neighbours."""
    beside = np.maximum(np.append(seen[1:], 0), np.append(0, seen[:-1]))
    wanted = (weight > weight.sum() / size) | ((seen > 2 * beside) & (seen > seen.sum() / 1000))
    order = np.argsort(-seen * wanted, kind="stable")[:size // 2]
    alone = np.zeros(len(seen), bool)
    alone[order] = wanted[order]
    return alone
