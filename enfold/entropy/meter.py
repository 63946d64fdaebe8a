"""The coder of training: relaxes what it is given and sums differentiable bits.

A `Meter` stands where an `Encoder` or a `Decoder` stands in the same prior. Contexts and the
decoder see rounded latents, with gradients passed straight through; the bits are those of the
latents plus uniform noise of one quantisation step, or, when `noisy` is false, of the rounded
latents themselves: then they are what an Encoder would write, but for its tables' rounding.

A `Quantizer` here is to a Meter what that of `coders` is to an Encoder.

Source: Ballé et al. 2017 (noise for the rate); Minnen & Singh 2020 (rounding for the rest).
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from enfold.entropy.exact import TOP


def _sixteenths(x: Tensor) -> Tensor:
    return x + ((x.detach() * 16 + 0.5).floor() / 16 - x.detach())


def round_through(x: Tensor) -> Tensor:
    """Rounds; the gradient is that of the identity."""
    return x + (x.round() - x).detach()


class _Through(torch.autograd.Function):
    """Clips; the gradient passes inside the range, and outside where it leads back."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, least: float, largest: float) -> Tensor:
        ctx.save_for_backward(x)
        ctx.range = least, largest
        return x.clip(least, largest)

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, None, None]:
        x, (least, largest) = ctx.saved_tensors[0], ctx.range
        blocked = ((x < least) & (gradient > 0)) | ((x > largest) & (gradient < 0))
        return gradient.masked_fill(blocked, 0), None, None


def clip_through(x: Tensor, least: float, largest: float) -> Tensor:
    """Clips x; where it was clipped, only gradients that lead back into the range pass."""
    return _Through.apply(x, least, largest)  # type: ignore[no-untyped-call]


class _Grid:
    def __init__(self, latent: Tensor, margin: int, limit: float) -> None:
        self._latent, self.limit = latent, limit
        self.known = round_through(latent)
        self.seen = torch.nn.functional.pad(self.known.clip(-limit, limit), (margin,) * 4)

    def take(self, cell: Any) -> Tensor:
        return self._latent[cell]

    def put(self, cell: Any, values: Tensor) -> None:
        """Nothing to do: `known` holds every rounded latent, and a prior reads only the past."""


class Meter:
    """bits(): the sum of what was coded, a tensor of shape (B,), one number a sample."""

    def __init__(self, *, noisy: bool = True) -> None:
        self.noisy = noisy
        self._coded: list[tuple[Any, Tensor, Any]] = []
        self._like = torch.zeros(())

    def grid(self, shape: tuple[int, ...], latent: Tensor, margin: int = 0, limit: float = math.inf) -> _Grid:
        if tuple(latent.shape) != tuple(shape):
            raise ValueError(f"latent of shape {tuple(latent.shape)} where {tuple(shape)} is coded")
        self._like = latent
        return _Grid(latent, margin, limit)

    def zeros(self, shape: tuple[int, ...]) -> Tensor:
        return self._like.new_zeros(shape)

    def linear(self, weight: Tensor, features: Tensor, base: Tensor | None = None) -> Tensor:
        return weight @ features if base is None else base + weight @ features

    def adjust(self, mean: Tensor, scale: Tensor, missed: Tensor, maps: Sequence[Any],
               hidden: Tensor | None, top: float) -> tuple[Tensor, Tensor]:
        to_mean, to_scale, to_hidden, out = maps
        size = missed.abs()
        mean, scale = mean + to_mean @ missed, scale + to_scale @ size
        if to_hidden is None or out is None or hidden is None:
            return mean, scale
        more = out @ self.rectify(hidden + to_hidden @ torch.cat([missed, size], -2), top)
        outputs = mean.shape[-2]
        return mean + more[..., :outputs, :], scale + more[..., outputs:, :]

    def project(self, features: Tensor, weight: Tensor) -> Tensor:
        return features @ weight

    def look(self, table: Tensor, index: Tensor) -> Tensor:
        return table[index.detach().long()]

    def own(self, weight: Tensor, taps: Tensor) -> Tensor:
        return (taps * weight.T[..., None]).sum(-3)

    def snap(self, x: Tensor, fraction_bits: int) -> Tensor:
        if self.noisy:
            return x
        return x + (((x.detach() * 2 ** fraction_bits + 0.5).floor() / 2 ** fraction_bits) - x.detach())

    def rectify(self, x: Tensor, top: float = TOP) -> Tensor:
        return _sixteenths(x.clip(0, top))

    def logarithm(self, x: Tensor) -> Tensor:
        return _sixteenths(x.sign() * x.abs().log1p() / math.log(2))

    def limit(self, x: Tensor, least: float, largest: float) -> Tensor:
        return clip_through(x, least, largest)

    def channels(self, shape: tuple[int, ...]) -> Tensor:
        return torch.arange(shape[-3])[:, None, None].expand(shape)

    def concat(self, parts: list[Tensor], axis: int) -> Tensor:
        return torch.cat(parts, axis)

    def gather(self, x: Tensor, windows: Sequence[Any]) -> Tensor:
        return torch.cat([x[window] for window in windows], -3).flatten(-2)

    def activity(self, near: Tensor, pairs: Sequence[tuple[int, int]], channels: int) -> Tensor:
        taps = near.unflatten(-2, (-1, channels))
        first, second = zip(*pairs, strict=True)
        change = taps[..., first, :, :] - taps[..., second, :, :]
        return torch.cat([near, change.flatten(-3, -2)], -2).abs()

    def settle(self, grid: _Grid, cell: Any, values: Tensor, mean: Tensor, fraction_bits: int) -> Tensor:
        return (values - mean).clip(-grid.limit, grid.limit)

    def code(self, density: Any, context: Any, values: Tensor) -> Tensor:
        rounded = round_through(values)
        relaxed = values + (torch.rand_like(values) - 0.5) if self.noisy else rounded
        self._coded.append((density, relaxed, context))
        return rounded

    def bits(self) -> Tensor:
        """Bits of everything coded so far, (B,). Densities are evaluated once, on all of it."""
        by_density: dict[int, tuple[Any, list[tuple[Tensor, ...]]]] = {}
        total = torch.zeros(())
        for density, relaxed, context in self._coded:
            parts = context if isinstance(context, tuple) else (context,)
            if parts[0].dim() > relaxed.dim():          # a row of logits for each value
                total = total + density.bits(relaxed, context).flatten(1).sum(1)
                continue
            flat = tuple(part.expand_as(relaxed).flatten(1) for part in parts)
            by_density.setdefault(id(density), (density, []))[1].append((relaxed.flatten(1), *flat))
        for density, rows in by_density.values():
            values, *contexts = (torch.cat(column, 1) for column in zip(*rows, strict=True))
            context = contexts[0] if len(contexts) == 1 else tuple(contexts)
            total = total + density.bits(values, context).sum(1)
        return total


class _GrowingGrid:
    """As `coders.Grid`, of tensors."""

    def __init__(self, latent: Tensor, margin: int, limit: float) -> None:
        self._latent, self.limit = latent, limit
        self.known = torch.zeros_like(latent)
        self.seen = torch.nn.functional.pad(self.known, (margin,) * 4)
        rows, columns = latent.shape[-2:]
        self._inner = self.seen[..., margin:margin + rows, margin:margin + columns]

    def take(self, cell: Any) -> Tensor:
        return self._latent[cell]

    def put(self, cell: Any, values: Tensor) -> None:
        self.known[cell] = values
        self._inner[cell] = values.clip(-self.limit, self.limit)


class Quantizer(Meter):
    """Chooses integers for real latents as `coders.Quantizer` does, without gradients; a prior returns them."""

    def __init__(self, price: float | Tensor) -> None:
        """price: one, or a tensor (B,), one for each sample."""
        super().__init__(noisy=False)
        self._price = price

    def grid(self, shape: tuple[int, ...], latent: Tensor, margin: int = 0, limit: float = math.inf) -> Any:
        self._like = latent
        return _GrowingGrid(latent, margin, limit)

    def settle(self, grid: Any, cell: Any, values: Tensor, mean: Tensor, fraction_bits: int) -> Tensor:
        grid.put(cell, values)
        return (values - self.snap(mean, fraction_bits)).clip(-grid.limit, grid.limit)

    @torch.no_grad()
    def code(self, density: Any, context: Any, values: Tensor) -> Tensor:
        price = self._price if isinstance(self._price, float) else self._price.view(-1, *(1,) * (values.dim() - 1))
        chosen: Tensor = density.quantise(context, values, price)
        return chosen
