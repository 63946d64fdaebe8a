"""Densities: differentiable bits in training, frozen integer tables in coding.

    bits = density.bits(values, context)        of each value, in training
    frozen = density.freeze()                   what the coders take, made once, after training

    density                                         context                         frozen
    Gaussian, Laplace, GaussianScaleMixture         mean and scale of each value    FrozenLocationScale
    Factorized, Categorical                         index of each value             FrozenIndexed

A value's likelihood is the mass of the unit interval around it. Guarantees: bits never exceed
30, about what an escape costs, and neither they nor their gradients are ever infinite; frozen
tables price samples as `bits` does to within 0.5 %, for scales within their grid; tables come
from `freeze` alone, which changes nothing, and there is nothing to call before use.
"""

from __future__ import annotations

import copy
import math
from collections.abc import Callable

import numpy as np
import torch
from torch import Tensor, nn

from enfold.entropy.frozen import FrozenIndexed, FrozenLocationScale
from enfold.entropy.tables import PRECISION, Tables
from enfold.errors import UsageError

_LEAST_SCALE = 0.02
_LEAST_LIKELIHOOD = 1e-9


class LocationScale(nn.Module):
    """A symmetric, unimodal density of one shape, around a mean and stretched by a scale."""

    def upper(self, z: Tensor) -> Tensor:
        """P(Z > z) at mean 0 and scale 1."""
        raise NotImplementedError

    def likelihood(self, distance: Tensor, scale: Tensor) -> Tensor:
        """Mass of the unit interval centred at `distance` >= 0 above the mean.

        Above, because there the tail is a small number that keeps its digits.
        """
        return self.upper((distance - 0.5) / scale) - self.upper((distance + 0.5) / scale)

    def bits(self, values: Tensor, context: tuple[Tensor, Tensor]) -> Tensor:
        """Bits of `values` (any shape) given (mean, scale) of the same shape."""
        mean, scale = context
        return _bits(self.likelihood((values - mean).abs(), scale.clamp_min(_LEAST_SCALE)))

    @torch.no_grad()
    def freeze(self, *, scales: int = 40, least: float = 0.1, largest: float = 64.0, fraction_bits: int = 2,
               scale_bits: int = 8, precision: int = PRECISION) -> FrozenLocationScale:
        """Tables for `scales` log-spaced scales and 2^fraction_bits fractions of the mean.

        A scale, rounded down to a multiple of 2^-scale_bits, gets the table nearest in ratio.
        """
        if scales < 1 or not 0 < least <= largest:
            raise UsageError(f"{scales} scales from {least} to {largest}: expected at least one, ascending")
        exact = copy.deepcopy(self).cpu().double()
        grid = np.geomspace(least, largest, scales)
        of_grid = torch.from_numpy(grid)
        worth = _worth_a_count(precision)
        radius = _last(lambda d: exact.likelihood(d, of_grid) >= worth, 0 * of_grid, 1e3 * of_grid + 1)
        probabilities, lows = [], []
        for scale, reach in zip(of_grid, radius.tolist(), strict=True):
            for fraction in np.arange(1 << fraction_bits) / (1 << fraction_bits):
                low, high = math.floor(fraction - reach), math.ceil(fraction + reach)
                support = torch.arange(low, high + 1, dtype=torch.float64)
                probabilities.append(exact.likelihood((support - fraction).abs(), scale).numpy())
                lows.append(low)
        multiples = (np.arange(math.ceil(largest * 2**scale_bits)) + 0.5) / 2**scale_bits
        levels = np.searchsorted(np.sqrt(grid[1:] * grid[:-1]), multiples)
        return FrozenLocationScale(Tables.from_probabilities(probabilities, lows, precision),
                                   fraction_bits, scale_bits, levels)


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
        for inputs, outputs in zip(sizes[:-1], sizes[1:], strict=True):
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
        side = -torch.sign(lower + upper).detach()      # far from the side where sigmoids are 1
        return (torch.sigmoid(side * upper) - torch.sigmoid(side * lower)).abs()

    def bits(self, values: Tensor, context: Tensor) -> Tensor:
        """Bits of `values` (any shape) in the channels `context`, integers of the same shape."""
        channels = len(self.biases[0])
        channel = context.reshape(-1).long()
        order = channel.argsort(stable=True)
        sizes = torch.bincount(channel, minlength=channels)
        rows = channel[order]
        columns = torch.arange(len(order), device=order.device) - (sizes.cumsum(0) - sizes)[rows]
        by_channel = values.new_zeros(channels, int(sizes.max(initial=0) if False else sizes.max()))
        by_channel = by_channel.index_put((rows, columns), values.reshape(-1)[order])
        bits = torch.empty_like(values.reshape(-1)).index_put((order,), _bits(self.likelihood(by_channel))[rows, columns])
        return bits.view(values.shape)
