"""Exact networks while they are trained, on torch; see `exact` for what makes them exact."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from enfold.entropy.exact import FRACTION_BITS, Sum, freeze, row_bits, thaw


class ExactWeights(nn.Module):
    """An exact network's weights and biases while they are trained: what it gives is dyadic already.

    curve:  of a number of channels, makes the module that gives their biases (B, n) at positions (B,); a sum
            whose largest bias is 0 has none.
    silent: sums whose names start with one of these begin with weights of zero.
    """

    def __init__(self, sums: Mapping[str, Sum], curve: Callable[[int], nn.Module], silent: tuple[str, ...]) -> None:
        super().__init__()
        self.sums = sums
        self.raw = nn.ParameterDict()
        for name, total in self.sums.items():
            features = sum(part.features for part in total.parts)
            for part in total.parts:
                weight = torch.zeros(total.outputs, part.features) if name.startswith(silent) else \
                    torch.randn(total.outputs, part.features) * (0.5 / math.sqrt(features))
                self.raw[part.name] = nn.Parameter(weight)
        self.biases = nn.ModuleDict({name: curve(total.outputs) for name, total in sums.items() if total.bias})

    @torch.no_grad()
    def bits(self, total: Sum) -> np.ndarray:
        """Fraction bits of each row of a sum's weights: as many as sums leave room for, and 16-bit integers."""
        length, largest = torch.full((total.outputs,), total.bias), torch.full((total.outputs,), 1e-6)
        for part in total.parts:
            length += part.largest * self.raw[part.name].abs().sum(1)
            largest = largest.maximum(self.raw[part.name].abs().amax(1))
        fitting = np.floor(np.log2(np.iinfo(np.int16).max / largest.numpy()))
        return np.minimum(row_bits(length.numpy(), max(part.fraction_bits for part in total.parts)), fitting
                          ).astype(np.int64)

    def forward(self) -> dict[str, Tensor]:
        weights = {}
        for total in self.sums.values():
            unit = torch.exp2(-torch.from_numpy(self.bits(total)).float())[:, None]
            for part in total.parts:
                raw = self.raw[part.name]
                weights[part.name] = raw + ((raw.detach() / unit).round() * unit - raw.detach())
        return weights

    def biases_at(self, position: Tensor) -> dict[str, Tensor]:
        """position (B,) → for each name (B, n, 1)."""
        fine = 1 << FRACTION_BITS
        at = {name: curve(position).clip(-self.sums[name].bias, self.sums[name].bias)[..., None]
              for name, curve in self.biases.items()}
        return {name: bias + ((bias.detach() * fine).round() / fine - bias.detach()) for name, bias in at.items()}

    @torch.no_grad()
    def frozen(self, positions: Tensor) -> dict[str, np.ndarray]:
        """The arrays of a model file: weights, packed, and biases (Q, n) at Q positions."""
        weights = {name: weight.numpy() for name, weight in self.forward().items()}
        packed = freeze(self.sums, weights, {name: self.bits(total) for name, total in self.sums.items()})
        arrays = {f"prior.{name}": array for name, array in packed.items()}
        return arrays | {f"bias.{name}": bias[..., 0].numpy().astype(np.float16)
                         for name, bias in self.biases_at(positions).items()}

    @torch.no_grad()
    def load(self, arrays: Mapping[str, np.ndarray]) -> None:
        """Takes up what `frozen` gave at the positions of all qualities.

        Freezing that gives the same weights, but for rows within rounding of a length at which they
        have one bit less; and the same biases, but for some that fall on the next sixteenth.
        """
        packed = {name.removeprefix("prior."): array for name, array in arrays.items() if name.startswith("prior.")}
        for name, weight in thaw(packed).items():
            self.raw[name].copy_(torch.from_numpy(weight))
        for name in self.biases:
            curve: Any = self.biases[name]
            curve.load(torch.from_numpy(arrays[f"bias.{name}"]).float())
