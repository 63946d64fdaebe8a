"""Small networks that take latents as they would patches of pixels.

    (B, C, h, w) ─ patch embedding, p×p → 1 token ─┬─ conv: residual 3×3 blocks, halved half-way ─┐
                                                   └─ vit:  attention over all tokens             ┴─ mean ─ classes

Latents come with patch 1: a token each. Pixels of p times the size, with patch p, give as many tokens to
the very same network: only the embedding differs. `ImageToImage` keeps the grid instead of taking the mean.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn

from enfold.errors import UsageError

KINDS = ("conv", "vit")


@dataclass(frozen=True)
class Shape:
    """A network. channels: of the input; patch: pixels or latents a side of a token; outputs: classes, or
    channels of an output on the same grid; height, width: of the input, which only a vit depends on."""

    kind: str
    channels: int
    height: int
    width: int
    patch: int
    features: int
    depth: int
    outputs: int

    def __post_init__(self) -> None:
        if self.kind not in KINDS:
            raise UsageError(f"network {self.kind!r}: it is one of {', '.join(KINDS)}")
        if self.height % self.patch or self.width % self.patch:
            raise UsageError(f"inputs of {self.height}×{self.width} do not divide into patches of {self.patch}")

    @property
    def tokens(self) -> int:
        return self.height // self.patch * (self.width // self.patch)


class Block(nn.Module):
    """x + conv(relu(norm(conv(relu(norm(x))))))."""

    def __init__(self, features: int) -> None:
        super().__init__()
        self.body = nn.Sequential(nn.BatchNorm2d(features), nn.ReLU(), nn.Conv2d(features, features, 3, padding=1),
                                  nn.BatchNorm2d(features), nn.ReLU(), nn.Conv2d(features, features, 3, padding=1))
        for start in self.body[-1].parameters():        # each block begins as the identity
            nn.init.zeros_(start)

    def forward(self, x: Tensor) -> Tensor:
        return x + self.body(x)


class ConvClassifier(nn.Module):
    """Tokens (B, features, h, w) → logits: `depth` blocks, half the grid and twice the features, as many again."""

    def __init__(self, shape: Shape) -> None:
        super().__init__()
        wide = 2 * shape.features
        self.body = nn.Sequential(*(Block(shape.features) for _ in range(shape.depth)), nn.BatchNorm2d(shape.features),
                                  nn.Conv2d(shape.features, wide, 3, stride=2, padding=1),
                                  *(Block(wide) for _ in range(shape.depth)), nn.BatchNorm2d(wide), nn.ReLU())
        self.head = nn.Linear(wide, shape.outputs)

    def forward(self, tokens: Tensor) -> Tensor:
        return self.head(self.body(tokens).mean((2, 3)))


class VitClassifier(nn.Module):
    """Tokens (B, features, h, w) → logits: a learned place for each, `depth` layers of attention, the mean."""

    def __init__(self, shape: Shape) -> None:
        super().__init__()
        self.place = nn.Parameter(0.02 * torch.randn(1, shape.tokens, shape.features))
        layer = nn.TransformerEncoderLayer(shape.features, max(1, shape.features // 32), 4 * shape.features, 0.0,
                                           "gelu", batch_first=True, norm_first=True)
        self.body = nn.TransformerEncoder(layer, shape.depth, nn.LayerNorm(shape.features), enable_nested_tensor=False)
        self.head = nn.Linear(shape.features, shape.outputs)

    def forward(self, tokens: Tensor) -> Tensor:
        return self.head(self.body(tokens.flatten(2).transpose(1, 2) + self.place).mean(1))


class Classifying(nn.Module):
    """Inputs (B, channels, height, width), normalised by what was measured on the training set → logits."""

    mean: Tensor
    std: Tensor

    def __init__(self, shape: Shape) -> None:
        super().__init__()
        self.register_buffer("mean", torch.zeros(shape.channels, 1, 1))
        self.register_buffer("std", torch.ones(shape.channels, 1, 1))
        self.embed = nn.Conv2d(shape.channels, shape.features, shape.patch, stride=shape.patch)
        self.rest = (ConvClassifier if shape.kind == "conv" else VitClassifier)(shape)

    def forward(self, inputs: Tensor) -> Tensor:
        return self.rest(self.embed((inputs - self.mean) / self.std))


class ImageToImage(nn.Module):
    """(B, channels, h, w) → (B, outputs, h, w), both in their own units.

    A linear map of each place, and on top what `depth` residual blocks make of its surroundings.
    """

    mean: Tensor
    std: Tensor
    out_mean: Tensor
    out_std: Tensor

    def __init__(self, shape: Shape) -> None:
        super().__init__()
        for name, channels in (("mean", shape.channels), ("out_mean", shape.outputs)):
            self.register_buffer(name, torch.zeros(channels, 1, 1))
        for name, channels in (("std", shape.channels), ("out_std", shape.outputs)):
            self.register_buffer(name, torch.ones(channels, 1, 1))
        self.skip = nn.Conv2d(shape.channels, shape.outputs, 1)
        self.body = nn.Sequential(nn.Conv2d(shape.channels, shape.features, 3, padding=1),
                                  *(Block(shape.features) for _ in range(shape.depth)), nn.ReLU(),
                                  nn.Conv2d(shape.features, shape.outputs, 3, padding=1))
        for start in self.body[-1].parameters():        # before training, the linear map alone
            nn.init.zeros_(start)

    def forward(self, inputs: Tensor) -> Tensor:
        seen = (inputs - self.mean) / self.std
        return (self.skip(seen) + self.body(seen)) * self.out_std + self.out_mean
