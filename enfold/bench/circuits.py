"""Circuits beside what one would use instead, on a data set of small pictures; and what a circuit's size costs.

    coders    bytes of the whole data set, decoded again and compared: by the circuit in one file, by the
              circuit a file each, by picture codecs a file each, by zstd at once
    costs     time of a picture against how many of its pixels are coded, D, and against the circuit's
              parameters, |p|: of circuits of the same tree with other states, which know nothing

A walk should cost O(|p|): each transition twice, each leaf once.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from io import BytesIO
from typing import Any

import numpy as np
from PIL import Image

import enfold
from enfold.bench.machine import Machine, this_machine
from enfold.bench.peers import coder
from enfold.errors import UsageError
from enfold.trees.frozen import FrozenCircuit, freeze
from enfold.trees.hats import hats_of
from enfold.trees.walk import decode, encode, schedule

STATES = (8, 16, 32, 64)
PEERS = ("png", "webp-lossless", "jxl-lossless")
COSTED = 256                # pictures that costs are measured on


@dataclass(frozen=True)
class CoderRow:
    """bytes: of all files. encode, decode: pictures a second of processor time, of all threads together."""

    coder: str
    version: str
    bytes: int
    bits_per_dim: float
    encode: float
    decode: float


@dataclass(frozen=True)
class CostRow:
    """Milliseconds of processor time a picture, all of them in streams of one call."""

    states: int
    dimensions: int
    parameters: int
    encode_ms: float
    decode_ms: float


@dataclass(frozen=True)
class CircuitResults:
    data: str
    pictures: int
    shape: tuple[int, ...]
    coders: tuple[CoderRow, ...]
    costs: tuple[CostRow, ...]
    machine: Machine
    command: str
    date: str


def bench_circuits(images: np.ndarray, codec: str, *, name: str = "", command: str = "", date: str = "",
                   begin: Callable[[int], Callable[[], None]] = lambda count: lambda: None) -> CircuitResults:
    """images: uint8 (N, H, W). Raises UsageError where something does not come back, or is no such data set."""
    if images.ndim != 3 or images.dtype != np.uint8 or not images.size:
        raise UsageError(f"pictures {images.dtype}{images.shape}: a data set of grey pictures is uint8 (N, H, W)")
    model: Any = enfold.load(codec)
    version = f"enfold {enfold.__version__}, weights {model.fingerprint.hex()}"
    advance = begin(3 + len(PEERS) + 2 * len(STATES))
    rows = []

    def add(label: str, by: str, write: Callable[[], list[bytes]], read: Callable[[list[bytes]], np.ndarray]) -> None:
        began = time.process_time()
        files = write()
        wrote = time.process_time()
        back = read(files)
        done = time.process_time()
        if not np.array_equal(back, images):
            raise UsageError(f"{label} is not lossless: pictures came back changed")
        size = sum(map(len, files))
        rows.append(CoderRow(label, by, size, 8 * size / images.size, len(images) / (wrote - began),
                             len(images) / (done - wrote)))
        advance()

    add(f"{codec}, one file", version, lambda: [model.encode(images)], lambda files: model.decode(files[0]))
    add(f"{codec}, a file each", version, lambda: model.encode_many(list(images)),
        lambda files: np.stack([latent.symbols[0] for latent in enfold.many_latents(files)]))
    for peer in PEERS:
        by = coder(peer)
        add(by.label, by.version, lambda by=by: [by.encode(image, 0) for image in images],          # type: ignore[misc]
            lambda files: np.stack([_grey(data) for data in files]))
    zstd = coder("zstd")
    add(f"{zstd.label}, all at once", zstd.version, lambda: [zstd.encode(images, 0)],
        lambda files: zstd.decode(files[0]))
    costs = tuple(_costs(images[:COSTED], model, advance))
    return CircuitResults(name, len(images), images.shape[1:], tuple(rows), costs,
                          this_machine(("enfold", "numpy", "pillow", "pillow-jxl-plugin", "pyarrow")), command, date)


def _grey(data: bytes) -> np.ndarray:
    return np.asarray(Image.open(BytesIO(data)).convert("L"))


def _costs(images: np.ndarray, model: Any, advance: Callable[[], None]) -> list[CostRow]:
    tree, flat = model.latent_codec.circuit.tree, images.reshape(len(images), -1)
    random = np.random.default_rng(0)
    nodes, variables = len(tree.parent), len(tree.owner)
    rows = []
    for states in STATES:
        mixture = random.dirichlet(np.ones(48), (variables, states)).transpose(0, 2, 1)
        circuit = FrozenCircuit.from_arrays(freeze(tree, hats_of(images, 256, 48), np.full(states, 1 / states),
                                                   random.dirichlet(np.ones(states), (nodes, states)), mixture))
        for share in (1.0, 0.5):
            known = np.arange(variables) < share * variables
            steps = schedule(tree, known)
            inside = len(np.unique(steps[steps[:, 0] > 0, 1]))
            began = time.process_time()
            streams = encode(circuit, steps, flat, len(flat))
            wrote = time.process_time()
            back = decode(circuit, steps, streams, len(flat))
            done = time.process_time()
            if not np.array_equal(back[:, known], flat[:, known]):
                raise UsageError("a circuit that knows nothing gave other pictures back")
            used = int(known.sum()) * states * 255 + inside * states * (states - 1)
            rows.append(CostRow(states, int(known.sum()), used, 1e3 * (wrote - began) / len(flat),
                                1e3 * (done - wrote) / len(flat)))
            advance()
    return rows
