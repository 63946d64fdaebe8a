"""Densities: differentiable bits in training, frozen integer tables in coding.

    bits = density.bits(values, context)        of each value, in training
    frozen = density.freeze()                   what the coders take, made once, after training

    density                                         context                         frozen
    Gaussian, Laplace, GaussianScaleMixture         mean and scale of each value    FrozenLocationScale
    Leveled, of one of these                        mean and level of each value    FrozenLocationScale
    Factorized, Categorical                         index of each value             FrozenIndexed
    Softmax                                         logits of each value            FrozenSoftmax

A value's likelihood is the mass of the unit interval around it. Guarantees: bits never exceed
30, about what an escape costs, and neither they nor their gradients are ever infinite; frozen
tables price samples as `bits` does to within 0.5 %, for scales within their grid; tables come
from `freeze` alone, which changes nothing, and there is nothing to call before use.
"""

from __future__ import annotations

import copy
import math
from abc import ABC, abstractmethod
from collections.abc import Callable
from itertools import pairwise

import numpy as np
import torch
from torch import Tensor, nn

from enfold.entropy.frozen import FARTHEST_SHIFT, FrozenIndexed, FrozenLocationScale
from enfold.entropy.softmax import PRECISION as SOFTMAX_PRECISION
from enfold.entropy.softmax import FrozenSoftmax
from enfold.entropy.tables import PRECISION, Tables
from enfold.errors import UsageError

_LEAST_SCALE = 0.02
_LEAST_LIKELIHOOD = 1e-9
_TAIL_BITS = 4.0        # for each e-fold of distance, beyond it
_WIDEST = 1 << 14       # no support reaches further from the median


class LocationScale(nn.Module, ABC):
    """A symmetric, unimodal density of one shape, around a mean and stretched by a scale."""

    @abstractmethod
    def upper(self, z: Tensor) -> Tensor:
        """P(Z > z) at mean 0 and scale 1."""

    def likelihood(self, distance: Tensor, scale: Tensor) -> Tensor:
        """Mass of the unit interval centred at `distance` >= 0 above the mean.

        Above, because there the tail is a small number that keeps its digits.
        """
        return self.upper((distance - 0.5) / scale) - self.upper((distance + 0.5) / scale)

    def bits(self, values: Tensor, context: tuple[Tensor, Tensor]) -> Tensor:
        """Bits of `values` (any shape) given (mean, scale) of the same shape."""
        mean, scale = context
        distance, scale = (values - mean).abs(), scale.clamp_min(_LEAST_SCALE)
        likelihood = self.likelihood(distance, scale)
        # where no likelihood is left, the gradient is that of a heavy tail: it leads back
        far = (distance / scale).clamp_min(1).log() * _TAIL_BITS
        return _bits(likelihood) + (likelihood < _LEAST_LIKELIHOOD) * (far - far.detach())

    def quantise(self, context: tuple[Tensor, Tensor], values: Tensor, price: float | Tensor) -> Tensor:
        """As the frozen density does, but for the roundings of mean and scale."""
        mean, near = context[0], values.round()
        side = (near - mean).sign()
        shift = price * (self.bits(near, context) - self.bits(near - side, context))
        return torch.where((values - near) * side < shift.clamp_max(FARTHEST_SHIFT) - 0.5, near - side, near)

    @torch.no_grad()
    def freeze(self, *, scales: int = 40, least: float = 0.1, largest: float = 64.0, fraction_bits: int = 2,
               scale_bits: int = 8, precision: int = PRECISION) -> FrozenLocationScale:
        """Tables for `scales` log-spaced scales and 2^fraction_bits fractions of the mean.

        A scale, rounded down to a multiple of 2^-scale_bits, gets the table nearest in ratio.
        """
        if scales < 1 or not 0 < least <= largest:
            raise UsageError(f"{scales} scales from {least} to {largest}: expected at least one, ascending")
        grid = np.geomspace(least, largest, scales)
        multiples = (np.arange(math.ceil(largest * 2**scale_bits)) + 0.5) / 2**scale_bits
        levels = np.searchsorted(np.sqrt(grid[1:] * grid[:-1]), multiples)
        return FrozenLocationScale(self.tables(grid, fraction_bits, precision), fraction_bits, scale_bits, levels)

    @torch.no_grad()
    def tables(self, grid: np.ndarray, fraction_bits: int, precision: int) -> Tables:
        """For each scale of a grid, one for each of 2^fraction_bits fractions of the mean."""
        exact = copy.deepcopy(self).cpu().double()
        far = _bisect(lambda z: exact.upper(z) > 2.0 ** -(precision + 8), torch.zeros(1), torch.full((1,), 1e6))
        masses, lows = [], []
        for scale in torch.from_numpy(grid):
            reach = float(far * scale) + 1
            for fraction in np.arange(1 << fraction_bits) / (1 << fraction_bits):
                lows.append(math.floor(fraction - reach))
                support = torch.arange(lows[-1], math.ceil(fraction + reach) + 1, dtype=torch.float64)
                masses.append(exact.likelihood((support - fraction).abs(), scale).numpy())
        return _tables(masses, lows, precision)


class Gaussian(LocationScale):
    """scale: the standard deviation."""

    def upper(self, z: Tensor) -> Tensor:
        return 0.5 * torch.special.erfc(z * math.sqrt(0.5))


class Laplace(LocationScale):
    """scale: the mean distance from the mean."""

    def upper(self, z: Tensor) -> Tensor:
        tail = 0.5 * torch.exp(-z.abs())
        return torch.where(z > 0, tail, 1 - tail)


class GaussianScaleMixture(LocationScale):
    """K zero-mean Gaussians around a common mean, with learned weights and relative widths.

    What is left of a latent once a context has told its mean and scale is neither Gaussian nor
    Laplacian; a few widths around the told scale fit it.
    """

    def __init__(self, components: int = 3) -> None:
        super().__init__()
        spread = torch.linspace(-1, 1, components) if components > 1 else torch.zeros(1)
        self.logits = nn.Parameter(torch.zeros(components))
        self.log_ratios = nn.Parameter(spread * math.log(2.0))

    def upper(self, z: Tensor) -> Tensor:
        shape = (-1,) + (1,) * z.dim()
        weights = self.logits.softmax(0).view(shape)
        rates = (-self.log_ratios).exp().view(shape) * math.sqrt(0.5)
        return (0.5 * weights * torch.special.erfc(z * rates)).sum(0)


class Leveled(nn.Module):
    """A density of location and scale whose scale is told by a level, its logarithm.

    Level k + 1/2 means the k-th of `levels` scales, in equal ratios from `least` to `largest`;
    frozen, every level in [k, k + 1) does.
    """

    def __init__(self, density: LocationScale, levels: int, least: float, largest: float) -> None:
        super().__init__()
        self.density = density
        self._levels, self._least, self._largest = levels, least, largest

    @property
    def _log_ratio(self) -> float:
        return math.log(self._largest / self._least) / (self._levels - 1)

    def level(self, scale: Tensor) -> Tensor:
        """The level that means a scale."""
        return (scale / self._least).log() / self._log_ratio + 0.5

    def bits(self, values: Tensor, context: tuple[Tensor, Tensor]) -> Tensor:
        """Bits of `values` (any shape) given (mean, level) of the same shape."""
        return self.density.bits(values, self._scaled(context))

    def quantise(self, context: tuple[Tensor, Tensor], values: Tensor, price: float | Tensor) -> Tensor:
        """As the frozen density does, but for the roundings of mean and level."""
        return self.density.quantise(self._scaled(context), values, price)

    def _scaled(self, context: tuple[Tensor, Tensor]) -> tuple[Tensor, Tensor]:
        mean, level = context
        return mean, ((level - 0.5) * self._log_ratio).exp() * self._least

    def freeze(self, *, fraction_bits: int = 2, precision: int = PRECISION) -> FrozenLocationScale:
        """Tables for each level and 2^fraction_bits fractions of the mean; the context is (mean, level)."""
        tables = self.density.tables(np.geomspace(self._least, self._largest, self._levels), fraction_bits, precision)
        return FrozenLocationScale(tables, fraction_bits, 0, np.arange(self._levels))


class Factorized(nn.Module):
    """A density of its own for each of C channels: a small monotone network is its cumulative.

    Layers x → H x + b, each but the last followed by x → x + a · tanh(x), with H > 0 and
    |a| < 1, then a sigmoid. Source: Ballé et al. 2018, appendix 6.1.

    channels:  C; the context is the channel of each value.
    width:     about how far values spread before anything is learned.
    hidden:    sizes of the layers in between.
    """

    def __init__(self, channels: int, width: float = 10.0, hidden: tuple[int, ...] = (3, 3, 3)) -> None:
        super().__init__()
        sizes = (1, *hidden, 1)
        gain = width ** (1 / (len(sizes) - 1))
        self.matrices, self.biases, self.factors = nn.ParameterList(), nn.ParameterList(), nn.ParameterList()
        for inputs, outputs in pairwise(sizes):
            start = math.log(math.expm1(1 / (gain * outputs)))
            self.matrices.append(nn.Parameter(torch.full((channels, outputs, inputs), start)))
            self.biases.append(nn.Parameter(torch.rand(channels, outputs, 1) - 0.5))
        for outputs in hidden:
            self.factors.append(nn.Parameter(torch.zeros(channels, outputs, 1)))

    def logits(self, x: Tensor) -> Tensor:
        """(C, n) → (C, n): the cumulative's argument before the sigmoid, increasing in x."""
        x = x[:, None]
        for k, (matrix, bias) in enumerate(zip(self.matrices, self.biases, strict=True)):
            x = nn.functional.softplus(matrix) @ x + bias
            if k < len(self.factors):
                x = x + self.factors[k].tanh() * x.tanh()
        return x[:, 0]

    def likelihood(self, x: Tensor) -> Tensor:
        """(C, n) → (C, n): mass of the unit intervals around x."""
        lower, upper = self.logits(x - 0.5), self.logits(x + 0.5)
        side = torch.where(lower + upper > 0, -1.0, 1.0)    # away from where a sigmoid is nearly 1
        return (torch.sigmoid(side * upper) - torch.sigmoid(side * lower)).abs()

    def bits(self, values: Tensor, context: Tensor) -> Tensor:
        """Bits of `values` (any shape) in the channels `context`, integers of the same shape."""
        channels = len(self.biases[0])
        row = context.reshape(-1).long()
        size = row.bincount(minlength=channels)
        order = row.argsort(stable=True)
        column = torch.empty_like(row)      # a value's place among those of its channel
        column[order] = torch.arange(len(row), device=row.device) - (size.cumsum(0) - size)[row[order]]
        grouped = values.new_zeros(channels, int(size.max())).index_put((row, column), values.reshape(-1))
        return _bits(self.likelihood(grouped))[row, column].view(values.shape)

    def quantise(self, context: Tensor, values: Tensor, price: float | Tensor) -> Tensor:
        """values to the nearest integers, whatever the price."""
        return values.round()

    @torch.no_grad()
    def freeze(self, *, precision: int = PRECISION) -> FrozenIndexed:
        """One table for each channel."""
        exact = copy.deepcopy(self).cpu().double()
        far, middle = math.log(2.0 ** (precision + 8)), torch.zeros(len(self.biases[0]), 1)
        least, largest = middle - 1e6, middle + 1e6
        low = _bisect(lambda x: exact.logits(x) < -far, least, largest).round()
        median = _bisect(lambda x: exact.logits(x) < 0, least, largest).round()
        high = _bisect(lambda x: exact.logits(x) < far, least, largest).round()
        low, high = low.maximum(median - _WIDEST), high.minimum(median + _WIDEST)
        masses = exact.likelihood(low + torch.arange(int((high - low).max()) + 1)).numpy()
        rows = [row[:size] for row, size in zip(masses, (high - low).int().flatten() + 1, strict=True)]
        return FrozenIndexed(_tables(rows, low.int().flatten().tolist(), precision))


class Categorical(nn.Module):
    """Probabilities, learned one by one, of the values 0 ... symbols - 1, for each of T indices."""

    def __init__(self, indices: int, symbols: int) -> None:
        super().__init__()
        self.logits = nn.Parameter(torch.zeros(indices, symbols))

    def bits(self, values: Tensor, context: Tensor) -> Tensor:
        """Bits of integer `values` (any shape) at the indices `context` of the same shape.

        Differentiable in the logits; values between integers have no bits, they are rounded.
        """
        symbol = values.detach().round().long()
        return _bits(self.logits.softmax(1)[context.long(), symbol])

    @torch.no_grad()
    def freeze(self, *, precision: int = PRECISION) -> FrozenIndexed:
        """One table for each index."""
        probabilities = self.logits.cpu().double().softmax(1).numpy()
        return FrozenIndexed(Tables.from_probabilities(list(probabilities), [0] * len(probabilities), precision))


class Softmax(nn.Module):
    """Values 0 … K - 1 whose probabilities come with them: the context is their logits (..., K), in doublings.

    Bits are those of the counts that `softmax` makes, the share that all symbols have alike included, but for the
    rounding of logits to sixteenths: so they are never above `precision`.
    """

    def __init__(self, precision: int = SOFTMAX_PRECISION) -> None:
        super().__init__()
        self.precision = precision

    def bits(self, values: Tensor, context: Tensor) -> Tensor:
        """Bits of integer `values` (...) under logits (..., K); differentiable in these alone."""
        symbols, total = context.shape[-1], 1 << self.precision
        index = values.detach().round().long().clamp(0, symbols - 1)
        natural = (context * math.log(2)).flatten(0, -2)
        share = (-nn.functional.cross_entropy(natural, index.flatten(), reduction="none")).exp().view(values.shape)
        return -torch.log2((share * (total - symbols) + 1) / total)

    def quantise(self, context: Tensor, values: Tensor, price: float | Tensor) -> Tensor:
        """As the frozen density does: values (..., K) are errors."""
        weight = price if isinstance(price, float) else price.unsqueeze(-1)
        return (values - weight * context).argmin(-1).to(context.dtype)

    def freeze(self) -> FrozenSoftmax:
        """What the coders take."""
        return FrozenSoftmax(self.precision)


def _bits(likelihood: Tensor) -> Tensor:
    return -torch.log2(likelihood.clamp_min(_LEAST_LIKELIHOOD))


def _bisect(holds: Callable[[Tensor], Tensor], least: Tensor, largest: Tensor) -> Tensor:
    """Where, in float64, a condition that holds at first ceases to."""
    least, largest = least.double(), largest.double()
    for _ in range(80):
        middle = (least + largest) / 2
        held = holds(middle)
        least, largest = torch.where(held, middle, least), torch.where(held, largest, middle)
    return least


def _tables(masses: list[np.ndarray], lows: list[int], precision: int) -> Tables:
    """Tables of given masses, cut where a value is not worth a count of its own.

    The count takes 2^-precision from the others, 1.44 times that in bits; without it the value
    costs about 8 bits more, as an escape. They break even near 2^-(precision + 2.5).
    """
    kept, starts = [], []
    for mass, low in zip(masses, lows, strict=True):
        worth = 2.0 ** -(precision + 2.5)
        inside = np.flatnonzero(mass >= min(worth, mass.max()))
        while inside[-1] - inside[0] >= 1 << precision - 1:     # too flat a density: keep its middle
            worth *= 2
            inside = np.flatnonzero(mass >= min(worth, mass.max()))
        kept.append(mass[inside[0]:inside[-1] + 1])
        starts.append(low + int(inside[0]))
    return Tables.from_probabilities(kept, starts, precision)
