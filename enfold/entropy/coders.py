"""The coders of use: what a prior talks to when bytes are written and when they are read.

    values = coder.code(density, context, values)

A prior is one function. Under an `Encoder` this writes the values and returns them; under a
`Decoder` it ignores them, reads, and returns what it read; the prior cannot tell which. Beside
`code`, a coder lends the array operations that a prior needs, so that the same lines run here
on NumPy arrays and in training on tensors (`meter.Meter`).

Which byte coder? "bulk" (rANS in C) unless a prior hands over a few symbols at a time, each
given the ones before: then "sequential" (a range coder) pays less per call.

Guarantee: what the Decoder returns is what the Encoder was given, for every int32 value,
whatever the offset: their difference is coded modulo 2^32. NumPy only.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Protocol

import numpy as np

from enfold.entropy.contexts import activity, adjust, gather, look_up, product, rectify, settle
from enfold.entropy.exact import LOGARITHM_FRACTION_BITS, LOGARITHMS, TOP
from enfold.entropy.rans import RansDecoder, RansEncoder
from enfold.entropy.tables import as_int32
from enfold.errors import UsageError


class Frozen(Protocol):
    """A density as the coders know it; see `frozen` for those of tables, `softmax` for one that has none."""

    def encode(self, coder: Any, context: Any, values: np.ndarray) -> None:
        """Hands int32 values to a byte coder, as the context says."""

    def decode(self, coder: Any, context: Any) -> np.ndarray:
        """Reads int32 values from a byte coder."""

    def quantise(self, context: Any, values: np.ndarray, price: float) -> np.ndarray:
        """Integers for real values, of the context's shape: see `Quantizer`."""


class Grid:
    """An array that gets known cell by cell.

    known: float32, zero where nothing was put yet. seen: the same for contexts, clipped to
    ±limit and with `margin` zeros around its last two axes.
    """

    def __init__(self, shape: tuple[int, ...], latent: np.ndarray | None, margin: int, limit: float) -> None:
        if latent is not None and latent.shape != tuple(shape):
            raise UsageError(f"latent of shape {latent.shape} where {tuple(shape)} is coded")
        *outer, rows, columns = shape
        self.known = np.zeros(shape, np.float32)
        self.seen = np.zeros((*outer, rows + 2 * margin, columns + 2 * margin), np.float32)
        self.inner = self.seen[..., margin:margin + rows, margin:margin + columns]
        self._latent, self.limit = latent, limit

    def take(self, cell: Any) -> np.ndarray | None:
        """The part of the latent to code; None under a Decoder."""
        return None if self._latent is None else self._latent[cell]

    def put(self, cell: Any, values: np.ndarray) -> None:
        self.known[cell] = values
        seen = self.inner[cell]
        np.minimum(np.maximum(self.known[cell], -self.limit, out=seen), self.limit, out=seen)


class _Arrays:
    """The array operations of a prior, in float32 throughout."""

    def grid(self, shape: tuple[int, ...], latent: np.ndarray | None, margin: int = 0, limit: float = np.inf) -> Grid:
        return Grid(shape, latent, margin, limit)

    def zeros(self, shape: tuple[int, ...]) -> np.ndarray:
        return np.zeros(shape, np.float32)

    def linear(self, weight: np.ndarray, features: np.ndarray, base: np.ndarray | None = None) -> np.ndarray:
        """weight (O, F), features (..., F, n) → (..., O, n), added to base where there is one; exact only if every
        partial sum of the product is."""
        return product(weight, features, base)

    def adjust(self, mean: np.ndarray, scale: np.ndarray, missed: np.ndarray, maps: Sequence[Any],
               hidden: np.ndarray | None, top: float) -> tuple[np.ndarray, np.ndarray]:
        """Mean and scale (..., O, n) once it is known what was missed (..., K, n): see `contexts.adjust`."""
        return adjust(mean, scale, missed, maps, hidden, top)

    def project(self, features: np.ndarray, weight: np.ndarray) -> np.ndarray:
        """features (..., n, F), weight (F, O) → (..., n, O); exact only if every partial sum is."""
        return product(features.reshape(-1, len(weight)), weight).reshape(*features.shape[:-1], weight.shape[1])

    def look(self, table: np.ndarray, index: np.ndarray) -> np.ndarray:
        """Rows of a table (K, D): index (...) → (..., D)."""
        return table.take(index, 0)

    def own(self, weight: np.ndarray, taps: np.ndarray) -> np.ndarray:
        """weight (C, T), taps (..., T, C, n) → (..., C, n): each channel's own taps, weighted and added."""
        out = weight[:, 0, None] * taps[..., 0, :, :]
        for number in range(1, weight.shape[1]):
            out += weight[:, number, None] * taps[..., number, :, :]
        return out

    def snap(self, x: np.ndarray, fraction_bits: int) -> np.ndarray:
        """x to the nearest multiple of 2^-fraction_bits, halves up."""
        step = np.float32(2.0**fraction_bits)
        return np.floor(x * step + np.float32(0.5)) / step

    def settle(self, grid: Grid, cell: Any, values: np.ndarray, mean: np.ndarray, fraction_bits: int) -> np.ndarray:
        """Puts values into their cell of a grid; returns what the mean, snapped, missed of them, clipped likewise."""
        return settle(values, mean, grid.known[cell], grid.inner[cell], fraction_bits, grid.limit)

    def rectify(self, x: np.ndarray, top: float = TOP) -> np.ndarray:
        """x clipped to [0, top], [0, 16) by default, to the nearest sixteenth, halves up."""
        return rectify(x, top)

    def logarithm(self, x: np.ndarray) -> np.ndarray:
        """sign(x) · log2(1 + |x|) to the nearest sixteenth; x in quarters, no larger than 2^10."""
        return look_up(x, LOGARITHMS, LOGARITHM_FRACTION_BITS)

    def limit(self, x: np.ndarray, least: float, largest: float) -> np.ndarray:
        return np.clip(x, np.float32(least), np.float32(largest))

    def channels(self, shape: tuple[int, ...]) -> np.ndarray:
        """The channel of each element of an array (..., C, h, w)."""
        return np.broadcast_to(np.arange(shape[-3], dtype=np.int32)[:, None, None], shape)

    def concat(self, parts: Sequence[np.ndarray], axis: int) -> np.ndarray:
        return np.concatenate(parts, axis)

    def gather(self, x: np.ndarray, windows: Sequence[Any]) -> np.ndarray:
        """(..., C, h, w) → (..., K·C, n): K windows of n positions, one after the other."""
        return gather([x[window] for window in windows])

    def activity(self, near: np.ndarray, pairs: Sequence[tuple[int, int]], channels: int) -> np.ndarray:
        """(..., K·C, n) → (..., (K + P)·C, n): magnitudes, then those of P differences of windows."""
        return activity(near, pairs, channels)


class Encoder(_Arrays):
    """Writes. `byte_coder` is "bulk" or "sequential", and the Decoder must be given the same."""

    def __init__(self, byte_coder: str = "bulk") -> None:
        self._bytes = _byte_coder(byte_coder)[0]()

    @property
    def bits(self) -> float:
        """Exact cost by the tables of all that was coded so far."""
        return self._bytes.bits

    def code(self, density: Frozen, context: Any, values: np.ndarray | None = None) -> np.ndarray:
        """Codes integer-valued `values`, of the context's shape, and returns them as int32."""
        values = _integers(values)
        density.encode(self._bytes, context, values)
        return values

    def finish(self) -> bytes:
        """All that was coded, as bytes."""
        return self._bytes.finish()


class Quantizer(_Arrays):
    """Writes nothing, but chooses what to write: integers for real numbers, bits in mind.

    A number becomes the nearest integer, or the next towards its mean: the threshold between two is
    shifted by `price` steps for each bit that the latter saves. With squared errors and bits weighed
    as rate-distortion theory has it for a uniform quantiser, the price is ln 2 / 12 = 0.058.
    """

    def __init__(self, price: float) -> None:
        self._price = price

    def code(self, density: Frozen, context: Any, values: np.ndarray | None = None) -> np.ndarray:
        """Rounds `values`, of the context's shape, and returns them as int32."""
        if values is None:
            raise UsageError("no values to round: the prior was run under a Quantizer without a latent")
        return density.quantise(context, values, self._price)


class Chooser(Encoder):
    """A Quantizer and an Encoder in one: chooses what to write, and writes it, while the prior runs once."""

    def __init__(self, price: float) -> None:
        super().__init__()
        self._price = price

    def code(self, density: Frozen, context: Any, values: np.ndarray | None = None) -> np.ndarray:
        """As `Quantizer.code`; what it returns is written."""
        if values is None:
            raise UsageError("nothing to choose by: the prior was run under a Chooser without a latent")
        return super().code(density, context, density.quantise(context, values, self._price))


class Guesser(_Arrays):
    """Reads nothing, but fills in what is likeliest: the values that a density would give the fewest bits."""

    def code(self, density: Any, context: Any, values: None = None) -> np.ndarray:
        """int32 values, as many as the context is of; of a density that has `likeliest`, see `masked.WordSoftmax`."""
        return density.likeliest(context)


class Decoder(_Arrays):
    """Reads what an Encoder of the same `byte_coder` wrote. Damage raises BitstreamError."""

    def __init__(self, data: bytes, byte_coder: str = "bulk") -> None:
        self._bytes = _byte_coder(byte_coder)[1](data)

    def code(self, density: Frozen, context: Any, values: None = None) -> np.ndarray:
        """Reads int32 values, of the context's shape."""
        return density.decode(self._bytes, context)

    def finish(self) -> None:
        """Checks that the bytes were read to their end; without this, a cut may go unnoticed."""
        self._bytes.finish()


def _byte_coder(name: str) -> tuple[type, type]:
    if name == "bulk":
        return RansEncoder, RansDecoder
    if name == "sequential":
        from enfold.entropy.sequential import SequentialDecoder, SequentialEncoder

        return SequentialEncoder, SequentialDecoder
    raise UsageError(f'byte coder {name!r}: give "bulk" or "sequential"')


def _integers(values: np.ndarray | None) -> np.ndarray:
    """Integer-valued numbers as int32."""
    if values is None:
        raise UsageError("no values to encode: the prior was run under an Encoder without a latent")
    values = np.asarray(values)
    if values.dtype.kind == "f":
        whole = np.rint(values)
        if not np.array_equal(whole, values) or np.abs(whole).max(initial=0) > 1 << 31:
            raise UsageError("values to encode that are not 32-bit integers: round them first")
        values = whole.astype(np.int64)
    return as_int32("values", values)
