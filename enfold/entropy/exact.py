"""A context network in exact arithmetic: the same numbers on every machine, device and thread count.

Every number is a dyadic rational n / 2^b, so coarse that float32 adds it without rounding: then
neither the order of a sum nor fused multiply-adds can change it, and ordinary fast matrix products
may be used. Two non-linear maps lead from one sum to the next,

    rectify     clip to [0, 16), to the nearest sixteenth
    logarithm   sign(x) · log2(1 + |x|), to the nearest sixteenth, by table look-up

and every sum is described by a `Sum`: a bias, and weights times features whose largest magnitude
and finest fraction are known. From these follows how finely a row of weights may be rounded.

Guarantee (`row_bits`): with all weights of a row multiples of 2^-b, and features multiples of 2^-f,
a partial sum is a multiple of 2^-(b+f) and smaller than 2^(24-b-f), so float32 holds it exactly;
float64 does as well. Training uses the very same rounded weights, with gradients passed straight
through, so freezing them changes nothing.

Source of the problem: Ballé et al. 2019, "Integer networks for data compression".
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

FRACTION_BITS = 4           # of what `rectify` and `logarithm` return
TOP = 16.0 - 1 / 16         # the largest that they return
LOGARITHM_FRACTION_BITS = 2 # of what `logarithm` takes
LOGARITHM_RANGE = 1 << 12   # `logarithm` takes magnitudes up to this many quarters
MOST_BITS, LEAST_BITS = 12, 4
SIGNIFICAND = 24
_SLACK = 1.02               # rounding weights may lengthen a row by this much

_units = np.arange(LOGARITHM_RANGE + 1)
LOGARITHMS = (np.floor(16 * np.log2(1 + _units / 4) + 0.5) / 16).astype(np.float32)


@dataclass(frozen=True)
class Part:
    """Weights (outputs, features) of one kind of feature in a sum."""

    name: str
    features: int
    largest: float          # no feature is larger in magnitude
    fraction_bits: int      # every feature is a multiple of 2^-fraction_bits


@dataclass(frozen=True)
class Sum:
    """`outputs` rows: weights times features, part by part, plus a bias no larger than `bias`, in sixteenths."""

    outputs: int
    parts: tuple[Part, ...]
    bias: float


def row_bits(lengths: np.ndarray, fraction_bits: int) -> np.ndarray:
    """How many fraction bits the weights of each row may have.

    lengths: (rows,) the largest magnitude that a row's sum can take. Below LEAST_BITS there is no
    way to add that row exactly.
    """
    room = SIGNIFICAND - fraction_bits - np.ceil(np.log2(np.maximum(lengths * _SLACK, 1e-6)))
    return np.clip(room, 0, MOST_BITS).astype(np.int64)


def freeze(sums: Mapping[str, Sum], weights: Mapping[str, np.ndarray],
           bits: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
    """Proves the bound and packs: for each part `name`, int16 `name` and uint8 `name.bits` (a row each).

    weights: dyadic already, as training used them. bits: for each sum, of its rows. Raises
    ValueError for a row that cannot be added exactly.
    """
    packed: dict[str, np.ndarray] = {}
    for name, total in sums.items():
        finest = max(part.fraction_bits for part in total.parts)
        length = np.full(total.outputs, total.bias)
        for part in total.parts:
            units = np.asarray(weights[part.name], np.float64) * 2.0 ** bits[name][:, None]
            if not np.array_equal(units, np.round(units)) or np.abs(units).max(initial=0) > np.iinfo(np.int16).max:
                raise ValueError(f"weights {part.name!r} are not 16-bit multiples of 2^-bits")
            length += part.largest * np.abs(weights[part.name], dtype=np.float64).sum(1)
            packed[part.name] = units.astype(np.int16)
            packed[f"{part.name}.bits"] = bits[name].astype(np.uint8)
        if np.any(bits[name] < LEAST_BITS) or np.any(length * 2.0 ** (bits[name] + finest) >= 2 ** SIGNIFICAND):
            raise ValueError(f"a row of {name!r} reaches {length.max():.3g}, too far to add exactly: "
                             "train with a smaller step")
    return packed


def thaw(packed: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
    """What `freeze` packed, as float32 weights by name."""
    return {name: np.ldexp(packed[name].astype(np.float32), -packed[f"{name}.bits"].astype(np.int32)[:, None])
            for name in packed if not name.endswith(".bits")}
