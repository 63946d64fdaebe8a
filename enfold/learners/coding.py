"""How a pack holds its latents: as the codec wrote them, or under tables that the whole pack shares.

    codec     each stream is that of the sample's .enf file: the fewest bytes; the codec's prior is
              run to read it
    static    one table for each channel, counted once on a few hundred samples and kept with the
              pack, and the value of every symbol beside it: a quarter more bytes, read many times
              faster, and without the codec's weights

Static tables hold for codecs whose latents are integers (C, h, w) that are dequantised one by one,
each as its channel has it (WaLLoC's are). Nothing is lost: what a table has no cell for is kept
beside the stream as a patch, and the codec writes the very same .enf file from the symbols again.
"""

from __future__ import annotations

import base64
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np

from enfold.codec import Latent
from enfold.entropy.static import StaticTables
from enfold.entropy.tables import Tables
from enfold.errors import BitstreamError, UsageError

CODINGS = ("static", "codec")
PATCH = np.dtype([("position", "<u4"), ("symbol", "<i4"), ("value", "<f4")])


@dataclass(frozen=True, eq=False)
class Counted:
    """A latent that tables are counted on, as it travels between processes. values: its symbols dequantised."""

    symbols: np.ndarray
    values: np.ndarray

    @classmethod
    def of(cls, latent: Latent) -> Counted:
        """Raises UsageError where its form is not that of static coding."""
        if latent.symbols.ndim != 3 or latent.symbols.dtype.kind not in "iu":
            raise UsageError(f"latents of {latent.codec} are {latent.symbols.dtype} of shape {latent.symbols.shape}, "
                             "static coding needs integers (C, h, w): pack with coding='codec'")
        return cls(latent.symbols, _dequantised(latent.dequantise, latent.symbols))


@dataclass(frozen=True, eq=False)
class StaticCoding:
    """tables: of symbols. values: (cells,) float32, what each cell is dequantised to."""

    tables: StaticTables
    values: np.ndarray

    @classmethod
    def of(cls, latents: Sequence[Counted], dequantise: Callable[[np.ndarray], np.ndarray]) -> StaticCoding:
        """Tables and values for latents like these. dequantise: the codec's, at the pack's quality.

        Raises UsageError where they do not fit the form.
        """
        tables = StaticTables.of(latent.symbols for latent in latents)
        made = cls(tables, _values(tables, dequantise))
        for latent in latents:
            clipped, out = tables.clip(latent.symbols)
            mine, theirs = made.values[made._cells(clipped)].ravel(), latent.values.ravel()
            mine[out] = theirs[out]
            if not np.array_equal(mine, theirs):
                raise UsageError("latents are not dequantised one by one, channel by channel: pack with "
                                 "coding='codec'")
        return made

    @property
    def channels(self) -> int:
        return len(self.tables.tables)

    def encode(self, latent: Latent) -> tuple[bytes, bytes | None]:
        """(stream, patches or None) of a latent."""
        if latent.symbols.ndim != 3 or len(latent.symbols) != self.channels:
            raise UsageError(f"a latent of shape {latent.symbols.shape} in a pack of {self.channels} channels")
        clipped, out = self.tables.clip(latent.symbols)
        patches = None
        if out.size:
            patch = np.empty(out.size, PATCH)
            patch["position"], patch["symbol"] = out, latent.symbols.ravel()[out]
            patch["value"] = latent.values.ravel()[out]
            patches = patch.tobytes()
        return self.tables.encode(clipped), patches

    def decode(self, data: Any, bounds: np.ndarray, shape: tuple[int, int, int], *,
               patches: Sequence[bytes | None] = (), symbols: bool = False) -> np.ndarray:
        """Streams of one shape → (B, *shape): float32 values, or int32 symbols.

        data, bounds: see `StaticTables.decode`. patches: of each stream. Raises BitstreamError.
        """
        out = self.tables.decode(data, bounds, shape, self._symbols if symbols else self.values)
        for number, packed in enumerate(patches):
            if packed is not None:
                if len(packed) % PATCH.itemsize:
                    raise BitstreamError(f"patches of {len(packed)} bytes, no multiple of {PATCH.itemsize}: damaged")
                patch = np.frombuffer(packed, PATCH)
                if patch["position"].max(initial=0) >= out[number].size:
                    raise BitstreamError("a patch beyond the end of its latent: damaged")
                out[number].reshape(-1)[patch["position"]] = patch["symbol" if symbols else "value"]
        return out

    def to_json(self) -> dict[str, Any]:
        """Plain lists and strings, exact."""
        tables, counts = self.tables.tables, self.tables.tables.counts.tolist()
        ends = (tables.first + tables.size + 1).tolist()
        return {"precision": tables.precision, "low": tables.low.tolist(),
                "counts": [counts[first:end] for first, end in zip(tables.first.tolist(), ends, strict=True)],
                "values": base64.b64encode(self.values.astype("<f4").tobytes()).decode()}

    @classmethod
    def from_json(cls, made: dict[str, Any]) -> StaticCoding:
        """The inverse of `to_json`. Raises UsageError on anything inconsistent."""
        try:
            rows = made["counts"]
            tables = Tables(made["precision"], np.array(made["low"]), np.array([len(row) - 1 for row in rows]),
                            np.array([count for row in rows for count in row]))
            values = np.frombuffer(base64.b64decode(made["values"], validate=True), "<f4")
        except (KeyError, TypeError, ValueError) as error:
            raise UsageError(f"static tables that are none: {error!r}; the pack's metadata were changed") from None
        if values.shape != tables.counts.shape:
            raise UsageError(f"{len(values)} values for {len(tables.counts)} cells; the pack's metadata were changed")
        return cls(StaticTables(tables), values)

    @cached_property
    def _symbols(self) -> np.ndarray:
        return self.tables.symbols()

    def _cells(self, clipped: np.ndarray) -> np.ndarray:
        tables = self.tables.tables
        return clipped + (tables.first - tables.low).reshape(-1, 1, 1)


def _dequantised(dequantise: Callable[[np.ndarray], np.ndarray], symbols: np.ndarray) -> np.ndarray:
    try:
        return np.asarray(dequantise(symbols), np.float32)
    except (TypeError, ValueError, IndexError) as error:    # a codec of others', asked for what it was not made for
        raise UsageError(f"symbols cannot be dequantised by themselves ({error}): pack with coding='codec'") from None


def _values(tables: StaticTables, dequantise: Callable[[np.ndarray], np.ndarray]) -> np.ndarray:
    """The value of every cell: dequantised as a grid of one row, a channel's symbols side by side."""
    first, size = tables.tables.first, tables.tables.size
    row = np.arange(int(size.max()) + 1)
    grid = np.minimum(row, size[:, None]) + tables.tables.low[:, None]
    values = _dequantised(dequantise, grid[:, None, :].astype(np.int16))
    if values.shape != (len(size), 1, len(row)):
        raise UsageError(f"symbols of shape {(len(size), 1, len(row))} become values of shape {values.shape}: "
                         "pack with coding='codec'")
    out = np.empty(len(tables.tables.counts), np.float32)
    for channel, (start, count) in enumerate(zip(first.tolist(), size.tolist(), strict=True)):
        out[start:start + count + 1] = values[channel, 0, :count + 1]
    return out
