"""The byte coders themselves: symbols a second and bytes against entropy, on the same symbols.

    one      all symbols under one table
    mixed    each under one of 64, by its place: what a latent's prior asks for

Symbols are drawn from the tables' own counts, discretised Gaussians of 64 widths at 14 bits. The
others code the same symbols: CompressAI's rANS under the same integer counts (scaled to its 16
bits, which changes no probability); constriction under the same counts where one table serves all,
and, as it takes no table by index, under its own quantised Gaussians of the same widths in `mixed`.

Arrays (CompressAI: lists) are ready before the clock starts; a table's look-ups are made before,
too. Two threads code a half each.
"""

from __future__ import annotations

import math
import warnings
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from importlib.util import find_spec
from typing import Any

import numpy as np

from enfold.bench.machine import Machine, this_machine
from enfold.bench.results import Speed
from enfold.bench.timing import Contestant, race
from enfold.entropy.rans import RansDecoder, RansEncoder
from enfold.entropy.sequential import SequentialDecoder, SequentialEncoder
from enfold.entropy.tables import Tables
from enfold.errors import UsageError

PACKAGES = ("enfold", "constriction", "compressai", "numpy")
ROUNDS = 3
TABLES, LEAST, LARGEST = 64, 0.15, 24.0
COMPRESSAI_BITS = 16


@dataclass(frozen=True)
class CoderResult:
    """One coder on one workload. overhead: bytes over what the tables say, less 1."""

    coder: str
    workload: str
    threads: int
    encode_msym_per_s: float
    decode_msym_per_s: float
    bytes: int
    overhead: float


@dataclass(frozen=True)
class CoderResults:
    """entropy_bits: what the tables say a symbol costs, for each workload."""

    symbols: int
    entropy_bits: dict[str, float]
    rows: tuple[CoderResult, ...]
    machine: Machine
    command: str
    date: str
    notes: tuple[str, ...]


@dataclass(frozen=True)
class Workload:
    """index, values: int32 arrays; scales: of each table's Gaussian."""

    name: str
    tables: Tables
    scales: np.ndarray
    index: np.ndarray
    values: np.ndarray

    def part(self, number: int, of: int) -> Workload:
        cut = slice(len(self.index) * number // of, len(self.index) * (number + 1) // of)
        return Workload(self.name, self.tables, self.scales, self.index[cut], self.values[cut])


Pair = tuple[Callable[[], Any], Callable[[Any], Any]]       # encode, and decode what it gave


def bench_coder(symbols: int = 1 << 19, *, command: str = "", date: str = "") -> CoderResults:
    """Every coder that is installed, on both workloads, on one thread and on two."""
    coders: dict[str, Callable[[Workload], Pair]] = {
        "enfold rANS": _rans, "enfold sequential": _sequential,
        "constriction ANS": partial(_constriction, stack=True),
        "constriction range": partial(_constriction, stack=False)}
    notes = []
    if find_spec("compressai") is None:
        notes.append("CompressAI is not installed and left out: pip install 'enfold[compressai]'")
    else:
        coders["CompressAI rANS"] = _compressai
    rows, entropy = [], {}
    for workload in (draw("one", symbols), draw("mixed", symbols)):
        cost = float(workload.tables.cost_bits(workload.index, workload.values).sum())
        entropy[workload.name] = cost / symbols
        for threads in (1, 2):
            parts = [workload.part(number, threads) for number in range(threads)]
            pairs = {name: [make(part) for part in parts] for name, make in coders.items()}
            sizes = {name: _proven(name, made, workload) for name, made in pairs.items()}
            speeds = _race(pairs, threads, symbols)
            rows += [CoderResult(name, workload.name, threads, speeds[name].encode, speeds[name].decode, size,
                                 8 * size / cost - 1) for name, size in sizes.items()]
    return CoderResults(symbols, entropy, tuple(rows), this_machine(PACKAGES), command, date, tuple(notes))


def draw(name: str, symbols: int) -> Workload:
    """The workload of that name: the same for everybody, whatever the machine."""
    scales = np.geomspace(LEAST, LARGEST, TABLES) if name == "mixed" else np.array([2.0])
    reaches = [math.ceil(6 * scale) + 1 for scale in scales]
    tables = Tables.from_probabilities([_masses(scale, reach) for scale, reach in zip(scales, reaches, strict=True)],
                                       [-reach for reach in reaches])
    random = np.random.default_rng(0)
    index = random.integers(0, len(scales), symbols, dtype=np.int32)
    slots = random.integers(0, 1 << tables.precision, symbols)
    values = np.empty(symbols, np.int32)
    for table, (low, size, first) in enumerate(zip(tables.low, tables.size, tables.first, strict=True)):
        own = index == table
        ends = np.cumsum(tables.counts[first:first + size], dtype=np.int64)
        values[own] = low + np.searchsorted(ends, slots[own], "right").clip(max=size - 1)   # no escapes
    return Workload(name, tables, scales, index, values)


def _masses(scale: float, reach: int) -> np.ndarray:
    edges = np.arange(-reach, reach + 2) - 0.5
    below = np.array([math.erf(edge / scale / math.sqrt(2)) for edge in edges])
    return np.diff(below) / 2


def _proven(name: str, pairs: Sequence[Pair], workload: Workload) -> int:
    """The bytes that a coder takes, once its symbols were seen to come back."""
    size, came = 0, []
    for encode, decode in pairs:
        data = encode()
        size += len(data) if isinstance(data, bytes) else data.nbytes
        came.append(decode(data))
    if not np.array_equal(np.concatenate(came), workload.values):
        raise UsageError(f"{name} gave other symbols back than it was given")
    return size


def _race(pairs: dict[str, list[Pair]], threads: int, symbols: int) -> dict[str, Speed]:
    with ThreadPoolExecutor(threads) as pool:
        def contestant(name: str, halves: list[Pair]) -> Contestant:
            def each(step: Callable[[int], Any]) -> list[Any]:
                return [step(0)] if threads == 1 else list(pool.map(step, range(threads)))

            return Contestant(name, 0, lambda _media, _quality: each(lambda n: halves[n][0]()),
                              lambda data: each(lambda n: halves[n][1](data[n])))

        return race([contestant(*entry) for entry in pairs.items()], [(None, symbols / 1e6)], ROUNDS)


def _rans(work: Workload) -> Pair:
    return _ours(work, RansEncoder, RansDecoder)


def _sequential(work: Workload) -> Pair:
    return _ours(work, SequentialEncoder, SequentialDecoder)


def _ours(work: Workload, encoder: type, decoder: type) -> Pair:
    def encode() -> bytes:
        coder = encoder()
        coder.encode(work.tables, work.index, work.values)
        return coder.finish()

    def decode(data: bytes) -> np.ndarray:
        coder = decoder(data)
        values = coder.decode(work.tables, work.index)
        coder.finish()
        return values

    return encode, decode


def _constriction(work: Workload, *, stack: bool) -> Pair:
    model: Any
    told: tuple[Any, ...]
    asked: tuple[Any, ...]
    from constriction import stream

    reach = int(-work.tables.low.min())
    if len(work.tables) == 1:           # categories count from 0
        weights = work.tables.counts[:-1].astype(np.float32)
        model, shift, told, asked = stream.model.Categorical(weights, perfect=False), reach, (), (len(work.index),)
    else:
        parameters = (np.zeros(len(work.index)), work.scales[work.index])
        model, shift, told, asked = stream.model.QuantizedGaussian(-reach, reach), 0, parameters, parameters
    values = work.values + np.int32(shift)

    def encode() -> np.ndarray:
        coder = stream.stack.AnsCoder() if stack else stream.queue.RangeEncoder()
        (coder.encode_reverse if stack else coder.encode)(values, model, *told)
        return coder.get_compressed()

    def decode(data: np.ndarray) -> np.ndarray:
        coder = stream.stack.AnsCoder(data) if stack else stream.queue.RangeDecoder(data)
        return coder.decode(model, *asked) - shift

    return encode, decode


def _compressai(work: Workload) -> Pair:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", FutureWarning)      # importing it on a recent torch warns
        from compressai import ans

    tables, scale = work.tables, 1 << COMPRESSAI_BITS - work.tables.precision
    cdfs = [[0, *(np.cumsum(tables.counts[first:first + size + 1], dtype=np.int64) * scale).tolist()]
            for first, size in zip(tables.first.tolist(), tables.size.tolist(), strict=True)]
    sizes, lows = [len(cdf) for cdf in cdfs], tables.low.tolist()
    index, values = work.index.tolist(), work.values.tolist()

    def encode() -> bytes:
        return ans.RansEncoder().encode_with_indexes(values, index, cdfs, sizes, lows)

    def decode(data: bytes) -> list[int]:
        return ans.RansDecoder().decode_with_indexes(data, index, cdfs, sizes, lows)

    return encode, decode
