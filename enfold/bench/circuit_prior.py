"""A circuit as the prior of another codec: patches of its symbols, coded by a circuit that was trained on others.

    photographs ── codec's analysis ── symbols (C, h, w) ── patches (C, 4, 4) ──┬─ the codec's own prior
                                                                                 └─ a circuit over C · 16 variables

The circuit is trained here, for minutes, on pictures of one folder, and both code those of another. Symbols
are moved to begin at 0; what lies beyond 0 … 255 is clipped, which spares the circuit its cost. Ours are the
bytes of symbols' sections; the circuit's those of its streams, a patch at the edge cut off for both.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np

import enfold
from enfold.bench.images import load_rgb, medium
from enfold.bench.machine import Machine, this_machine
from enfold.bench.running import find
from enfold.container import SectionKind, unpack
from enfold.errors import UsageError
from enfold.learners.train_circuit import CircuitRecipe, train_circuit
from enfold.trees.flows import CircuitPlan
from enfold.trees.frozen import FrozenCircuit
from enfold.trees.walk import encode, schedule

SIDE = 4                    # of a patch, in latents
ZERO = 128                  # where a symbol of 0 is put


@dataclass(frozen=True)
class PriorRow:
    """Bytes of the same symbols, over all pictures. ratio: the circuit's over the codec's own."""

    codec: str
    quality: int
    symbols: int
    own_bytes: int
    circuit_bytes: int
    ratio: float
    patches: int
    held_out_bits: float


@dataclass(frozen=True)
class PriorResults:
    trained_on: str
    data: str
    pictures: int
    minutes: float
    rows: tuple[PriorRow, ...]
    machine: Machine
    command: str
    date: str


def bench_circuit_prior(training: Path, folder: Path, out: Path, codec: str, qualities: tuple[int, ...], *,
                        minutes: float = 5.0, states: int = 32, limit: int = 0, threads: int = 1, command: str = "",
                        date: str = "",
                        begin: Callable[[int], Callable[[], None]] = lambda count: lambda: None) -> PriorResults:
    """Raises UsageError, MediaError, MissingWeightsError. The training runs lie in `out`, and are gone on with."""
    learned_from, pictures = list(find(training, medium(), 0)[0]), list(find(folder, medium(), limit)[0])
    advance = begin(len(qualities) * (len(learned_from) + len(pictures) + 1))
    rows = []
    for quality in qualities:
        seen = []
        for path in learned_from:
            seen.append(patches(enfold.load(codec).latents(load_rgb(path), quality=quality).symbols))
            advance()
        samples = np.concatenate(seen)
        run = out / f"{codec}-{quality}"
        last: list[float] = []
        plan = CircuitPlan(samples.shape[1:], 256, states)
        circuit = FrozenCircuit.from_arrays(train_circuit(
            plan, CircuitRecipe(minutes=minutes, batch=500), samples, run, threads,
            lambda progress, last=last: last.append(progress.held_out) if progress.held_out else None))   # type: ignore[misc]
        advance()
        steps = schedule(circuit.tree)
        own = theirs = symbols = count = 0
        for path in pictures:
            rgb = load_rgb(path)
            whole = rgb[:rgb.shape[0] // 32 * 32, :rgb.shape[1] // 32 * 32]
            if not whole.size:
                raise UsageError(f"{path} has {rgb.shape[1]}×{rgb.shape[0]} pixels: no patch of 32×32 fits")
            data = enfold.encode(whole, codec, quality=quality)
            cut = patches(enfold.latents(data).symbols)
            own += sum(len(s.data) for s in unpack(data).sections if s.kind == SectionKind.SYMBOLS)
            streams = encode(circuit, steps, cut.reshape(len(cut), -1), max(1, len(cut) // 16))
            theirs += sum(len(stream) + 2 for stream in streams) - 2
            symbols, count = symbols + cut.size, count + len(cut)
            advance()
        rows.append(PriorRow(codec, quality, symbols, own, theirs, theirs / own, count, last[-1] if last else 0.0))
    return PriorResults(training.resolve().name, folder.resolve().name, len(pictures), minutes, tuple(rows),
                        this_machine(("enfold", "numpy")), command, date)


def patches(symbols: np.ndarray) -> np.ndarray:
    """Integers (C, h, w) → uint8 (patches, C, SIDE, SIDE), what does not fill one left out."""
    channels, height, width = symbols.shape
    down, across = height // SIDE, width // SIDE
    moved = (symbols[:, :down * SIDE, :across * SIDE].astype(np.int64) + ZERO).clip(0, 255).astype(np.uint8)
    cut = moved.reshape(channels, down, SIDE, across, SIDE)
    return np.ascontiguousarray(cut.transpose(1, 3, 0, 2, 4)).reshape(-1, channels, SIDE, SIDE)
