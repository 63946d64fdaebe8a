"""The arithmetic of exact contexts: small, on one thread, in C where there is a compiler.

    mean, scale = product(weights, features)        what is known makes a mean and a scale
    mean, scale = adjust(mean, scale, missed, …)    so does what was read at the same places just before
    index, offset = select(mean, scale, …)          and these choose a table
    error = settle(values, mean, …)                 what was read is known from here on
    values = choose(values, index, offset, …)       an encoder rounds, with the tables in view

A linear-algebra library would do for the product, and does where the C is missing: the sums are
exact, so any order gives the same bits. But its threads cost more than products this small, and
get in the way of those that a data loader or torch already runs.

Guarantee: without the C, NumPy gives the same bits.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from functools import lru_cache
from typing import Any

import numpy as np

try:
    if os.environ.get("ENFOLD_NO_C"):
        raise ImportError("asked for")
    from enfold.entropy import _contexts as _compiled  # type: ignore[attr-defined]
    from enfold.entropy import _lookups  # type: ignore[attr-defined]
except ImportError:
    _compiled = None

_LARGE = 1 << 26        # multiplications, from which on a linear-algebra library is worth its threads
_FARTHEST = np.float32(1 << 29)     # means and scales are clipped to where int32 holds them


def product(weight: np.ndarray, features: np.ndarray, base: np.ndarray | None = None) -> np.ndarray:
    """weight (O, F) times features (..., F, n) → (..., O, n), float32, added to base where there is one. Exact only if
    every partial sum of the product is."""
    weight = np.ascontiguousarray(weight, np.float32)
    features = np.ascontiguousarray(features, np.float32)
    (outputs, inputs), (*outer, _, n) = weight.shape, features.shape
    if _compiled is None or outputs * inputs * n > _LARGE:
        return np.matmul(weight, features) if base is None else base + np.matmul(weight, features)
    out = np.empty((*outer, outputs, n), np.float32)
    if base is not None and (base.shape != out.shape or not base.flags.c_contiguous):
        base = np.ascontiguousarray(np.broadcast_to(base, out.shape))
    if not outer:
        _compiled.product(weight, features, base, out, outputs, inputs, n)
    for index in np.ndindex(*outer) if outer else ():
        _compiled.product(weight, features[index], None if base is None else base[index], out[index], outputs, inputs,
                          n)
    return out


def adjust(mean: np.ndarray, scale: np.ndarray, missed: np.ndarray, maps: Sequence[Any],
           hidden: np.ndarray | None, top: float) -> tuple[np.ndarray, np.ndarray]:
    """Mean and scale (..., O, n) once it is known what was missed (..., K, n) of what goes before.

    maps: of what was missed to the mean (O, K); of its size to the scale (O, K); of both to a hidden layer (H, 2K),
    whose sums without them are `hidden` (..., H, n), and of this layer, rectified, to mean and scale (2O, H): the
    last two may be None.
    """
    to_mean, to_scale, to_hidden, out = maps
    if to_hidden is None or out is None:
        to_hidden = out = hidden = None
    if _compiled is not None and missed.ndim == 2:
        both = np.empty((2, *mean.shape), np.float32)
        _compiled.adjust(*(None if x is None else np.ascontiguousarray(x, np.float32)
                           for x in (mean, scale, missed, hidden, to_mean, to_scale, to_hidden, out)),
                         top, both, *mean.shape)
        return both[0], both[1]
    size = np.abs(missed)
    mean, scale = product(to_mean, missed, mean), product(to_scale, size, scale)
    if out is None:
        return mean, scale
    felt = rectify(product(to_hidden, np.concatenate([missed, size], -2), hidden), top)
    outputs = mean.shape[-2]
    return product(out[:outputs], felt, mean), product(out[outputs:], felt, scale)


def activity(near: np.ndarray, pairs: Sequence[tuple[int, int]], channels: int) -> np.ndarray:
    """float32 (..., K·C, n), K windows → (..., (K + P)·C, n): magnitudes, then those of P differences of windows."""
    *outer, features, n = near.shape
    out = np.empty((*outer, features + len(pairs) * channels, n), np.float32)
    if _compiled is not None and not outer:
        _compiled.activity(np.ascontiguousarray(near, np.float32), _numbers(tuple(pairs)), out, channels * n)
        return out
    np.abs(near, out=out[..., :features, :])
    for number, (first, second) in enumerate(pairs):
        change = out[..., features + number * channels:features + (number + 1) * channels, :]
        np.subtract(near[..., first * channels:(first + 1) * channels, :],
                    near[..., second * channels:(second + 1) * channels, :], out=change)
        np.abs(change, out=change)
    return out


@lru_cache
def _numbers(pairs: tuple[tuple[int, int], ...]) -> np.ndarray:
    return np.array(pairs, np.int64).reshape(-1)


def gather(grids: Sequence[np.ndarray]) -> np.ndarray:
    """K float32 arrays (..., C, h, w) of one shape → (..., K·C, h·w), one after the other."""
    *outer, channels, rows, columns = grids[0].shape
    out = np.empty((*outer, len(grids) * channels, rows * columns), np.float32)
    if _compiled is not None and not outer:
        _compiled.gather(tuple(grids), out)
        return out
    parts = out.reshape(*outer, len(grids), channels, rows, columns)
    for number, grid in enumerate(grids):
        parts[..., number, :, :, :] = grid
    return out


def settle(values: np.ndarray, mean: np.ndarray, known: np.ndarray, seen: np.ndarray, fraction_bits: int,
           limit: float) -> np.ndarray:
    """Writes int32 values into `known` and, clipped to ±limit, into `seen`, views of float32 (..., C, h, w) both.

    Returns what the mean, to the nearest multiple of 2^-fraction_bits, missed of the values, clipped likewise.
    """
    if _compiled is not None and values.ndim == 3:
        error = np.empty(values.shape, np.float32)
        _compiled.settle(np.ascontiguousarray(values, np.int32), np.ascontiguousarray(mean, np.float32), known, seen,
                         fraction_bits, limit, error)
        return error
    known[...] = values
    np.clip(known, -limit, limit, out=seen)
    fine = np.float32(1 << fraction_bits)
    return np.clip(known - np.floor(mean * fine + np.float32(0.5)) / fine, -limit, limit)


def select(mean: np.ndarray, scale: np.ndarray, levels: np.ndarray, fraction_bits: int,
           scale_bits: int) -> tuple[np.ndarray, np.ndarray]:
    """(index, offset), int32 of the shape of mean and scale, which are float32 and are broadcast.

    mean to the nearest multiple of 2^-fraction_bits, halves up: its floor is the offset, what is
    left is added to the index. levels (int32): the index for each multiple of 2^-scale_bits of
    scale, rounded down; the last for larger ones.
    """
    mean, scale = np.asarray(mean, np.float32), np.asarray(scale, np.float32)
    if mean.shape != scale.shape:
        mean, scale = np.broadcast_arrays(mean, scale)
    if _compiled is not None:
        index, offset = np.empty(mean.shape, np.int32), np.empty(mean.shape, np.int32)
        _lookups.select(np.ascontiguousarray(mean), np.ascontiguousarray(scale), levels, fraction_bits, scale_bits,
                         index, offset)
        return index, offset
    with np.errstate(over="ignore"):        # what overflows is clipped
        fine = np.floor(mean * np.float32(1 << fraction_bits) + np.float32(0.5))
        multiple = scale * np.float32(1 << scale_bits)
    units = np.clip(fine, -_FARTHEST, _FARTHEST).astype(np.int32)
    index = levels.take(np.clip(multiple, 0, _FARTHEST).astype(np.int32), mode="clip")
    return index + (units & (1 << fraction_bits) - 1), units >> fraction_bits


def choose(values: np.ndarray, index: np.ndarray, offset: np.ndarray, shift: np.ndarray,
           fraction_bits: int) -> np.ndarray:
    """float32 values → int32: the nearest integers, or the next towards the mean.

    index, offset: int32, as `select` gives them. shift: float32 (tables, 2·reach + 1), in steps, for the nearest
    integer less the offset, clipped to ±reach: by how much the threshold to the next lies beyond the half.
    """
    values, shift = np.ascontiguousarray(values, np.float32), np.ascontiguousarray(shift, np.float32)
    reach = shift.shape[1] // 2
    if _compiled is not None:
        chosen = np.empty(values.shape, np.int32)
        _lookups.choose(values, np.ascontiguousarray(index), np.ascontiguousarray(offset), shift, reach, fraction_bits,
                         chosen)
        return chosen
    near = np.rint(values)
    step = near - offset.astype(np.float32)
    side = np.sign(step - (index & (1 << fraction_bits) - 1) * np.float32(2.0 ** -fraction_bits))
    bound = shift[index, step.clip(-reach, reach).astype(np.int32) + reach]
    moved = (values - near) * side < bound - np.float32(0.5)
    return np.where(moved, near - side, near).clip(-_FARTHEST, _FARTHEST).astype(np.int32)


def look_up(x: np.ndarray, table: np.ndarray, fraction_bits: int) -> np.ndarray:
    """An odd function of float32 x, by its float32 table for multiples of 2^-fraction_bits, rounded down; the last
    entry goes for all larger ones."""
    x, fine = np.ascontiguousarray(x, np.float32), np.float32(1 << fraction_bits)
    if _compiled is not None:
        out = np.empty(x.shape, np.float32)
        _lookups.look_up(x, table, fine, out)
        return out
    return np.copysign(table.take((np.abs(x) * fine).astype(np.int32), mode="clip"), x)


def rectify(x: np.ndarray, top: float) -> np.ndarray:
    """float32 x clipped to [0, top], to the nearest sixteenth, halves up."""
    if _compiled is not None:
        x = np.ascontiguousarray(x, np.float32)
        out = np.empty(x.shape, np.float32)
        _compiled.rectify(x, top, out)
        return out
    return np.floor(np.clip(x, 0, np.float32(top)) * np.float32(16) + np.float32(0.5)) / np.float32(16)
