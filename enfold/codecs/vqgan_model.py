"""vqgan-rgb while it is trained: everything learnable, and the losses of its three stages.

    networks    analysis and synthesis alone, so that there are points to make words of
    words       k-means makes the largest codebook of points; its words follow them as running means
    books       the analysis stays as it is; k-means over the words makes the smaller codebooks, the
                synthesis learns to read them all, and a critic joins in

Points are of mean 0 and variance 1 each, so they cannot run away from their words, and a commitment draws
them near. What the losses see is moved about by a random number of pixels: an ImageNet network has grids
of its own, and a synthesis that always met them in one place would learn to show them.

The masked network is trained afterwards: see `vqgan_prior`.
"""

from __future__ import annotations

from collections.abc import Mapping
from itertools import pairwise

import numpy as np
import torch
from torch import Tensor, nn

from enfold.codecs.vqgan import Analysis, Synthesis
from enfold.codecs.vqgan_latents import BLOCK, CONFIGS, book_of
from enfold.codecs.vqgan_prior import Masked, VqganPrior, positions_of
from enfold.errors import UsageError
from enfold.layers.critic import Critic, praise, schooling
from enfold.layers.perceptual import FeatureDistance
from enfold.layers.staged import Crops, Losses, Stage, Staged
from enfold.layers.vector import RunningMeans, kmeans, nearest, straight_through, totals

COMMITMENT = 1.0
PIXELS = (0.15, 0.15, 0.2, 0.3)         # weights of mean absolute differences of means of 1, 2², 4² and 8² pixels
LATTICE = 2.0                           # weight of what errors have in common in all cells of 8×8 pixels
CELL = 8
CRITIC = 0.02
POOL = 40_000                           # points that k-means sees
KNOWN_BITS = 0.5                        # of each that a codebook has more than another: what prediction leaves
PRICE_RANGE = 2.0                       # by how much a bit's price differs from the middle of a codebook's qualities
REVIVED_UNTIL = 0.75                    # of the stage


class VqganModel(Staged):
    """Everything of a vqgan-rgb codec that is learned."""

    price: Tensor
    stages = (Stage("networks", 0.08, 1.0, 1.0), Stage("words", 0.67, 1.0, 0.2), Stage("books", 1.0, 0.5, 0.0))

    def __init__(self, name: str) -> None:
        super().__init__()
        self.name, self.config = name, CONFIGS[name]
        self.sizes = self.config.sizes
        self.analysis, self.synthesis, self.critic = Analysis(self.config), Synthesis(self.config), Critic()
        for size in self.sizes:
            self.register_buffer(f"sought_{size}", torch.zeros(size, self.config.dimensions))
            self.register_buffer(f"shares_{size}", torch.full((size,), 1 / size))
        self.running = RunningMeans(self.sought(self.sizes[-1]))
        self.spoken = nn.ParameterDict({str(size): nn.Parameter(torch.zeros(size, self.config.dimensions))
                                        for size in self.sizes})
        self.register_buffer("price", torch.zeros(len(self.sizes)))         # squared distance that a bit is worth
        self._distance: list[FeatureDistance] = []                          # in a list: it is not trained

    def sought(self, size: int) -> Tensor:
        """The words (K, D) among which a point looks for the nearest."""
        return getattr(self, f"sought_{size}")

    def shares(self, size: int) -> Tensor:
        """How often each is chosen, (K,)."""
        return getattr(self, f"shares_{size}")

    @property
    def distance(self) -> FeatureDistance:
        if not self._distance:
            try:
                self._distance.append(FeatureDistance())
            except ImportError:
                raise UsageError(f"training {self.name} needs the network whose features it compares: "
                                 "pip install 'enfold[measures]'") from None
        return self._distance[0]

    def learnt(self, stage: int) -> list[nn.Parameter]:
        parts: tuple[nn.Module, ...] = (self.analysis, self.synthesis) if stage < 2 else \
            (self.synthesis, self.spoken, self.critic)
        return [parameter for part in parts for parameter in part.parameters()]

    @torch.no_grad()
    def begin(self, stage: int, crops: Crops) -> None:
        if stage == 0:
            return
        found: list[Tensor] = []
        while sum(map(len, found)) < POOL:
            found.append(_flat(self.analysis(next(crops))))
        points, words = torch.cat(found), self.sought(self.sizes[-1])
        if stage == 1:
            words.copy_(kmeans(points, len(words), steps=8))
            counts, _ = totals(points, nearest(points, words), len(words))
            self.running.counts.copy_((counts + 0.5) * len(found[0]) / len(points))
            self.running.sums.copy_(words * self.running.counts[:, None])
            return
        counts, _ = totals(points, nearest(points, words), len(words))
        for size in self.sizes:
            if size < len(words):
                self.sought(size).copy_(kmeans(words, size, steps=40, weights=counts))
        errors = []
        for size in self.sizes:
            index = nearest(points, self.sought(size))
            chosen = torch.bincount(index, minlength=size) + 0.5
            self.shares(size).copy_(chosen / chosen.sum())
            self.spoken[str(size)].copy_(self.sought(size))
            errors.append(float((points - self.sought(size)[index]).square().sum(1).mean()))
        # a bit is worth what the next larger codebook makes of it; there is none for the largest
        gains = [(first - second) / (KNOWN_BITS * np.log2(larger / size))
                 for (first, second), (size, larger) in zip(pairwise(errors), pairwise(self.sizes), strict=True)]
        last = gains[-1] * min(1.0, max(0.0, gains[-1] / gains[-2])) if gains[-2] > 0 else gains[-1]
        self.price.copy_(torch.tensor([*gains, last]).clamp_min(0))

    def loss(self, pixels: Tensor, stage: int, progress: float) -> Losses:
        if stage == 2:
            book = (torch.arange(len(pixels)) + int(torch.randint(len(self.sizes), ()))) % len(self.sizes)
            with torch.no_grad():
                points = self.analysis(pixels)
            words, commitment = self._read(points, book), points.new_zeros(())
        else:
            book = torch.full((len(pixels),), len(self.sizes) - 1)
            points = self.analysis(pixels)
            words, commitment = (points, points.new_zeros(())) if stage == 0 else self._quantised(points, progress)
        decoded = self.synthesis(words, book)
        top, left = (int(torch.randint(BLOCK, ())) for _ in range(2))
        window = (..., slice(top, pixels.shape[-2] - BLOCK + top), slice(left, pixels.shape[-1] - BLOCK + left))
        original, made = pixels[window], decoded[window]
        with torch.autocast("cpu", torch.bfloat16):
            with torch.no_grad():
                aims = self.distance.features(original)
            seen = self.distance.features(made)
            features = self.distance.between(aims, seen)
            total = features.mean() + pixel_loss(original, made) + LATTICE * lattice(decoded - pixels) + \
                COMMITMENT * commitment
            if stage == 2:
                fixed = {name: parameter.detach() for name, parameter in self.critic.named_parameters()}
                total = total + CRITIC * min(1.0, 4 * progress) * \
                    praise(torch.func.functional_call(self.critic, fixed, (made, seen)))
                total = total + schooling(self.critic(original, aims),
                                          self.critic(made.detach(), [level.detach() for level in seen]))
        return Losses(total, features.detach(), (decoded.detach() - pixels).square().mean((1, 2, 3)))

    def _quantised(self, points: Tensor, progress: float) -> tuple[Tensor, Tensor]:
        """Points (B, D, h, w) → the nearest words of the largest codebook, and the commitment to them."""
        flat, words = _flat(points), self.sought(self.sizes[-1])
        with torch.no_grad():
            index = nearest(flat, words)
            found = words[index]
            if self.training:
                self.running.update(words, flat, index)
                if progress < REVIVED_UNTIL:
                    self.running.revive(words, flat)
        batch, width, *grid = points.shape
        taken = straight_through(flat, found).view(batch, *grid, width).permute(0, 3, 1, 2)
        return taken, (flat - found).square().mean()

    def _read(self, points: Tensor, books: Tensor) -> Tensor:
        """Points (B, D, h, w) → what the synthesis is told, each sample's codebook by its number."""
        words = []
        for one, book in zip(points, books.tolist(), strict=True):
            price = self.price[book].item() * PRICE_RANGE * torch.rand(()).item() if self.training else 0.0
            words.append(nn.functional.embedding(self._chosen(one, book, price), self.spoken[str(self.sizes[book])]))
        return torch.stack(words).permute(0, 3, 1, 2)

    @torch.no_grad()
    def _chosen(self, points: Tensor, book: int, price: float) -> Tensor:
        """(D, h, w) → (h, w), bits by how often words are chosen at a price."""
        size = self.sizes[book]
        index = nearest(points.flatten(1).T.contiguous(), self.sought(size), -price * self.shares(size).log2())
        return index.view(points.shape[1:])

    @torch.no_grad()
    def validate(self, pixels: Tensor, stage: int) -> list[tuple[float, float, float, float]]:
        rows = []
        for number, size in enumerate(self.sizes):
            if stage < 2 and size < self.sizes[-1]:
                continue
            features, mse = [], []
            for part in pixels.split(4):
                points = self.analysis(part)
                book = torch.full((len(part),), number)
                words = points if stage == 0 else self._quantised(points, 1.0)[0] if stage == 1 else \
                    self._read(points, book)
                made = self.synthesis(words, book).clamp(0, 255)
                features.append(self.distance(part, made))
                mse.append((made - part).square().mean((1, 2, 3)))
            psnr_db = 10 * torch.log10(255 ** 2 / torch.cat(mse).clamp_min(1e-3))
            rows.append((float(positions_of(len(self.sizes))[number]), float(np.log2(size)) / BLOCK ** 2,
                         float(psnr_db.mean()), float(torch.cat(features).mean())))
        return rows

    def prior(self, arrays: Mapping[str, np.ndarray]) -> VqganPrior:
        return VqganPrior(self.name, arrays)

    @torch.no_grad()
    def frozen(self) -> dict[str, np.ndarray]:
        """The arrays of a model file, with a masked network that knows how frequent words are, and no more."""
        arrays = {"prices": self._prices()}
        for size in self.sizes:
            arrays[f"words.{size}"] = self.sought(size).numpy().astype(np.float16)
            arrays[f"shares.{size}"] = self.shares(size).numpy()
            arrays[f"spoken.{size}"] = self.spoken[str(size)].numpy().astype(np.float16)
        for prefix, part in (("analysis.", self.analysis), ("synthesis.", self.synthesis)):
            for name, value in part.state_dict().items():
                # half precision: the networks run in bfloat16, which keeps fewer digits
                arrays[f"{prefix}{name}"] = value.numpy().astype(np.float16 if value.dim() > 1 else np.float32)
        masked = Masked(self.name)
        masked.begin({size: self.sought(size) for size in self.sizes}, {size: self.shares(size) for size in self.sizes})
        return arrays | masked.frozen()

    def _prices(self) -> np.ndarray:
        """(100,) what a bit is worth at each quality: less and less within a codebook."""
        books, prices = len(self.sizes), np.empty(100, np.float32)
        for quality in range(1, 101):
            book = book_of(quality, books)
            first = -(-100 * book // books) + 1
            count = -(-100 * (book + 1) // books) + 1 - first
            place = (quality - first + 0.5) / count
            prices[quality - 1] = float(self.price[book]) * PRICE_RANGE ** (1 - 2 * place)
        return prices


def pixel_loss(a: Tensor, b: Tensor) -> Tensor:
    """Mean absolute differences at four scales, weighed, in units of 64 grey levels."""
    total, change = a.new_zeros(()), (a - b) / 64
    for number, weight in enumerate(PIXELS):
        if number:
            change = nn.functional.avg_pool2d(change, 2)
        total = total + weight * change.abs().mean()
    return total


def lattice(change: Tensor) -> Tensor:
    """Of errors (B, 3, H, W), sides multiples of 8: how much of them comes again in every cell of 8×8 pixels, as the
    mean absolute difference from their mean, in units of 64 grey levels."""
    batch, colours, height, width = change.shape
    cell = change.view(batch, colours, height // CELL, CELL, width // CELL, CELL).mean((2, 4)) / 64
    return (cell - cell.mean((2, 3), keepdim=True)).abs().mean()


def _flat(points: Tensor) -> Tensor:
    """(B, D, h, w) → (B·h·w, D)."""
    return points.permute(0, 2, 3, 1).flatten(0, 2)
