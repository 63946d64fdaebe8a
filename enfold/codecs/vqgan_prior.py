"""vqgan-rgb's masked network while it is trained, on points of an analysis that stays as it is.

It learns to code, all groups of a picture or of a packet at once, each given those before; and now and then
to fill, where what is known and what is not is drawn at random.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import torch
from torch import Tensor, nn

from enfold.codecs.vqgan import Analysis
from enfold.codecs.vqgan_latents import BLOCK, CONFIGS, book_of
from enfold.entropy.densities import Softmax
from enfold.entropy.exact_weights import ExactWeights
from enfold.entropy.masked import Cells, cells, code_cells, empty, features_of, put
from enfold.entropy.meter import Meter
from enfold.layers.parts import load_parts, ready
from enfold.layers.trainable import TrainablePrior
from enfold.layers.vector import nearest
from enfold.media import pad_to_multiple

FILLING, IN_PACKETS = 0.25, 0.15        # how often a training sample is filled, or is one of a few packets
OTHER = 0.3                             # deviation of what words are told apart by beside their vectors, at the start


class ByBook(nn.Module):
    """Numbers (n,) of each codebook; positions (B,) in [0, 1) → (B, n)."""

    def __init__(self, books: int, count: int) -> None:
        super().__init__()
        self.values = nn.Parameter(torch.zeros(books, count))

    def forward(self, position: Tensor) -> Tensor:
        return self.values[[book_of(quality, len(self.values)) for quality in qualities_at(position)]]

    @torch.no_grad()
    def load(self, values: Tensor) -> None:
        self.values.copy_(values)


class Masked(nn.Module):
    """The weights of the masked network, and the words that it is told of. words: (K, D) of each codebook; shares:
    (K,) how often each is chosen."""

    def __init__(self, name: str) -> None:
        super().__init__()
        self.config = config = CONFIGS[name].prior
        self.weights = ExactWeights(config.sums, lambda count: ByBook(len(config.sizes), count), ("aim",))
        self.density = Softmax()

    @torch.no_grad()
    def begin(self, words: Mapping[int, Tensor], shares: Mapping[int, Tensor]) -> None:
        """A start in which words are as likely as they are in general, and lie where they lie."""
        for size, rows in words.items():
            raw = self.weights.raw[f"words_{size}"]
            raw.normal_(0, OTHER)
            raw[:, :rows.shape[1]] = rows
            self.weights.raw[f"usual_{size}"].copy_(shares[size].log2()[:, None])

    def frozen(self) -> dict[str, np.ndarray]:
        return self.weights.frozen(positions_of(len(self.config.sizes)))

    def load(self, arrays: Mapping[str, np.ndarray]) -> None:
        self.weights.load(arrays)

    def bits(self, indices: Tensor, position: Tensor, size: int, features: Tensor, groups: list[Cells],
             known: Tensor) -> Tensor:
        """Of the cells in groups, (1,): indices (h, w), of one picture."""
        meter = Meter(noisy=False)
        code_cells(meter, self.density, self.weights(), self.weights.biases_at(position), self.config, size, known,
                   groups, lambda values: features[values.long()],
                   lambda part: indices[part[0], part[1]].float()[None])
        return meter.bits()


class VqganPrior(TrainablePrior):
    """arrays: of a model file; its prior is where training begins."""

    def __init__(self, name: str, arrays: Mapping[str, np.ndarray]) -> None:
        super().__init__()
        self._arrays = dict(arrays)
        config = CONFIGS[name]
        self.config = config.prior
        analysis = Analysis(config)
        load_parts({"analysis.": analysis}, arrays)
        ready(analysis, (analysis,))
        self._analysis = [analysis]             # in a list: it is not trained
        self._words = {size: torch.from_numpy(arrays[f"words.{size}"].astype(np.float32)) for size in config.sizes}
        self._features = {size: torch.from_numpy(features_of(words.numpy())) for size, words in self._words.items()}
        self._shares = {size: torch.from_numpy(arrays[f"shares.{size}"].astype(np.float32)) for size in config.sizes}
        self._prices = arrays["prices"]
        self.masked = Masked(name)
        self.masked.load(arrays)

    @torch.inference_mode()
    def latents(self, rgb: np.ndarray) -> np.ndarray:
        pixels = torch.from_numpy(pad_to_multiple(rgb, BLOCK)).permute(2, 0, 1)[None].float()
        return self._analysis[0](pixels)[0].numpy()

    def bits(self, latents: Tensor, position: Tensor) -> Tensor:
        return torch.cat([self._bits(points, at[None]) for points, at in zip(latents, position, strict=True)])

    def _bits(self, points: Tensor, position: Tensor) -> Tensor:
        quality = qualities_at(position)[0]
        size, (height, width) = self.config.sizes[book_of(quality, len(self.config.sizes))], points.shape[1:]
        # the encoder minds its bits; this is about what it chooses
        price = float(self._prices[quality - 1]) * -self._shares[size].log2()
        indices = nearest(points.flatten(1).T.contiguous(), self._words[size], price).view(height, width)
        known = torch.from_numpy(empty(self.config, height, width))[None]
        groups, share = cells(height, width)[0], 1.0
        if torch.is_grad_enabled():             # not while it is validated
            draw = float(torch.rand(()))
            if draw < FILLING:
                there = torch.rand(height, width).numpy() < float(torch.rand(()))
                there[height // 2, width // 2] = False              # something is always missing
                put(known, np.nonzero(there), self._features[size][indices[torch.from_numpy(there)]][None])
                groups, share = [np.nonzero(~there)], max(1, int((~there).sum())) / there.size
            elif draw < FILLING + IN_PACKETS:
                packets = int(torch.randint(2, 9, ()))
                groups = cells(height, width, packets)[int(torch.randint(packets, ()))] or groups
                share = max(1, sum(len(rows) for rows, _ in groups)) / indices.numel()
        return self.masked.bits(indices, position, size, self._features[size], groups, known) / share

    def frozen(self) -> dict[str, np.ndarray]:
        return {**self._arrays, **self.masked.frozen()}


def qualities_at(position: Tensor) -> list[int]:
    """positions (B,) in [0, 1] → qualities from 1 to 100."""
    return [min(100, int(at * 100) + 1) for at in position.tolist()]


def positions_of(books: int) -> Tensor:
    """A position in the middle of those of each codebook."""
    return (torch.arange(books) + 0.5) / books
