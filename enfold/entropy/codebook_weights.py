"""The prior of codebook indices while it is trained, on torch; see `codebooks` for what it does."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from enfold.entropy.codebooks import LOOK_BITS, LOOK_RANGE, CascadeConfig
from enfold.entropy.exact import Sum
from enfold.entropy.exact_weights import ExactWeights

_MOST_UNITS = 127               # weights fit a byte
_MOST_WEIGHT = 7.9              # so that a byte leaves four bits of fraction
_LEAST_SHARE = 2.0 ** -12       # of a word, before anything is learned


class _Bytes(ExactWeights):
    """Exact weights of a byte each."""

    @torch.no_grad()
    def bits(self, total: Sum) -> np.ndarray:
        largest = torch.stack([self.raw[part.name].abs().amax(1) for part in total.parts]).amax(0)
        room = np.floor(np.log2(_MOST_UNITS / largest.clamp(1e-3, _MOST_WEIGHT).numpy()))
        return np.minimum(super().bits(total), room).astype(np.int64)

    def forward(self) -> dict[str, Tensor]:
        with torch.no_grad():
            for weight in self.raw.values():
                weight.clip_(-_MOST_WEIGHT, _MOST_WEIGHT)
        return super().forward()


class _Fixed(nn.Module):
    """A bias that knows no quality."""

    def __init__(self, count: int) -> None:
        super().__init__()
        self.value = nn.Parameter(torch.zeros(count))

    def forward(self, position: Tensor) -> Tensor:
        return self.value.expand(len(position), -1)

    @torch.no_grad()
    def load(self, values: Tensor) -> None:
        self.value.copy_(values[0])


class _Line(nn.Module):
    """A bias that goes from one value to another with the position in [0, 1]."""

    def __init__(self, count: int) -> None:
        super().__init__()
        self.ends = nn.Parameter(torch.zeros(2, count))

    def forward(self, position: Tensor) -> Tensor:
        return torch.lerp(self.ends[:1], self.ends[1:], position[:, None])

    @torch.no_grad()
    def load(self, values: Tensor) -> None:
        """Takes up the line that comes closest to values (Q, count) at even positions."""
        position = torch.linspace(0, 1, len(values), dtype=torch.float64)
        shares = torch.stack([1 - position, position], 1)
        self.ends.copy_(torch.linalg.lstsq(shares, values.double()).solution)


class CascadeWeights(nn.Module):
    """What a cascade's prior learns: exact weights and the tables of vectors."""

    def __init__(self, config: CascadeConfig) -> None:
        super().__init__()
        self.config = config
        self.exact = _Bytes(config.sums, _Line, ("book",))
        for level, books in enumerate(config.levels):
            for book, words in enumerate(books):
                self.exact.biases[f"book_{level}_{book}"] = _Fixed(words)
        self.looks = nn.ParameterDict()
        for name, (words, hidden, known) in config.looks.items():
            table = 0.1 * torch.randn(words, hidden + known)
            table[:, hidden:] += 0.3                    # what is told of a position lies in the range that counts
            self.looks[name] = nn.Parameter(table)

    @torch.no_grad()
    def begin(self, level: int, book: int, counts: Tensor) -> None:
        """The bias of a book's words begins with how often each is chosen, (K,)."""
        share = (counts / counts.sum()).clamp_min(_LEAST_SHARE)
        bias: Any = self.exact.biases[f"book_{level}_{book}"]
        bias.value.copy_(share.log2() - share.log2().mean())

    def forward(self, position: Tensor) -> tuple[dict[str, Tensor], dict[str, Tensor], dict[str, Tensor]]:
        """(weights, biases, looks) as `code_cascade` takes them, at positions (B,) in [0, 1]."""
        weights = {name: weight.T for name, weight in self.exact().items()}
        biases = {name: bias.swapaxes(-1, -2) for name, bias in self.exact.biases_at(position).items()}
        return weights, biases, {name: _in_units(table) for name, table in self.looks.items()}

    @torch.no_grad()
    def frozen(self, positions: Tensor) -> dict[str, np.ndarray]:
        """The arrays of a model file: weights and looks of a byte each, biases at Q positions from 0 to 1 or, where
        they know no quality, one for all."""
        arrays = {}
        for name, array in self.exact.frozen(positions).items():
            if name.startswith("prior."):
                array = array.astype(np.int8 if array.dtype == np.int16 else array.dtype)
            arrays[name] = array[:1] if name.startswith("bias.book_") else array
        return arrays | {f"prior.{name}": (_in_units(table) * 2 ** LOOK_BITS).numpy().astype(np.int8)
                         for name, table in self.looks.items()}

    @torch.no_grad()
    def load(self, arrays: Mapping[str, np.ndarray]) -> None:
        """Takes up what `frozen` gave."""
        self.exact.load({name: array for name, array in arrays.items() if not name.startswith("prior.look_")})
        for name, table in self.looks.items():
            table.copy_(torch.from_numpy(arrays[f"prior.{name}"].astype(np.float32)) / 2 ** LOOK_BITS)


def _in_units(table: Tensor) -> Tensor:
    fine = 1 << LOOK_BITS
    clipped = table.clip(-LOOK_RANGE + 1 / fine, LOOK_RANGE - 1 / fine)
    return clipped + ((clipped.detach() * fine).round() / fine - clipped.detach())
