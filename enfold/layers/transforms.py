"""Pixels ↔ latents by a linear map and a network beside it, in both directions.

    pixels ─ wavelet packets ─ 1×1 ─────────────┬─ + ─ latents, one vector for 16×16 pixels
         └── 8×8 unshuffled ─ network ─ 16×16 ──┘

    latents ─ 1×1 ─ wavelet packets⁻¹ ──────────┬─ + ─ pixels
         └── network ─ 16×16 ─ 8×8 shuffled ────┘

Both halves know the quality, as a plane of one number. `tiles` cuts large grids for them. What latents
become in between, and what they cost, is the codec's business.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Protocol

import torch
from torch import Tensor, nn

from enfold.layers.packets import WaveletPackets
from enfold.layers.residual import Residual

LEVELS = 4
BLOCK = 1 << LEVELS         # pixels a side that a latent's position stands for
BANDS = 3 * BLOCK ** 2
FINE = 8                    # pixels a side that a sample of the finer grid stands for
TILE = 96                   # blocks a side that are transformed at once
HALO = 8                    # blocks: a network sees 4 and 4 of half the size, the packets 4
OUTPUT_SCALE = 32.0         # grey levels for one unit of a network's output


class Sizes(Protocol):
    """What a codec's configuration says of its transforms: channels of a latent, widths of the networks at one sample
    for 8×8 and for 16×16 pixels, and how many residual blocks each has."""

    @property
    def channels(self) -> int: ...
    @property
    def fine_width(self) -> int: ...
    @property
    def coarse_width(self) -> int: ...
    @property
    def analysis_blocks(self) -> tuple[int, int]: ...
    @property
    def synthesis_blocks(self) -> tuple[int, int]: ...


class Analysis(nn.Module):
    """Pixels (B, 3, H, W) in 0…255 and position (B,) → latents (B, C, H/16, W/16), in grey levels."""

    def __init__(self, config: Sizes) -> None:
        super().__init__()
        channels = config.channels
        self.packets = WaveletPackets(LEVELS)
        self.linear = nn.Conv2d(BANDS, channels, 1, bias=False)
        self.head = nn.Conv2d(3 * FINE ** 2 + 1, config.fine_width, 1)
        self.fine = nn.Sequential(*(Residual(config.fine_width) for _ in range(config.analysis_blocks[0])))
        self.down = nn.Conv2d(4 * config.fine_width, config.coarse_width, 1)
        self.coarse = nn.Sequential(*(Residual(config.coarse_width) for _ in range(config.analysis_blocks[1])))
        self.tail = closed(nn.Conv2d(config.coarse_width, channels, 1))

    @property
    def network(self) -> tuple[nn.Module, ...]:
        """What runs in bfloat16."""
        return self.head, self.fine, self.down, self.coarse, self.tail

    def forward(self, pixels: Tensor, position: Tensor) -> Tensor:
        centred = pixels - 128.0
        seen = nn.functional.pixel_unshuffle(centred / 64, FINE)
        seen = torch.cat([seen, plane(position, seen)], 1).to(self.head.weight.dtype)
        seen = seen.contiguous(memory_format=torch.channels_last)
        with torch.autocast("cpu", torch.bfloat16, enabled=self.training):
            fine = self.fine(self.head(seen).relu())
            coarse = self.coarse(self.down(nn.functional.pixel_unshuffle(fine, 2)))
            correction = self.tail(coarse.relu())
        return mapped(self.linear, self.packets.analysis(centred)) + correction.float() * OUTPUT_SCALE


class Synthesis(nn.Module):
    """Latents (B, C, h, w) in grey levels and position (B,) → pixels (B, 3, 16h, 16w)."""

    spread: Tensor                                      # (C, 1, 1) of each latent: what the network sees is O(1)

    def __init__(self, config: Sizes) -> None:
        super().__init__()
        channels = config.channels
        self.packets = WaveletPackets(LEVELS)
        self.linear = nn.Conv2d(channels, BANDS, 1, bias=False)
        self.register_buffer("spread", torch.ones(channels, 1, 1))
        self.head = nn.Conv2d(channels + 1, config.coarse_width, 1)
        self.coarse = nn.Sequential(*(Residual(config.coarse_width) for _ in range(config.synthesis_blocks[1])))
        self.up = nn.Conv2d(config.coarse_width, 4 * config.fine_width, 1)
        self.fine = nn.Sequential(*(Residual(config.fine_width) for _ in range(config.synthesis_blocks[0])))
        self.tail = closed(nn.Conv2d(config.fine_width, 3 * FINE ** 2, 1))

    @property
    def network(self) -> tuple[nn.Module, ...]:
        """What runs in bfloat16."""
        return self.head, self.coarse, self.up, self.fine, self.tail

    def forward(self, latents: Tensor, position: Tensor) -> Tensor:
        seen = torch.cat([latents / self.spread, plane(position, latents)], 1).to(self.head.weight.dtype)
        seen = seen.contiguous(memory_format=torch.channels_last)
        with torch.autocast("cpu", torch.bfloat16, enabled=self.training):
            coarse = self.coarse(self.head(seen))
            fine = self.fine(nn.functional.pixel_shuffle(self.up(coarse.relu()), 2))
            correction = nn.functional.pixel_shuffle(self.tail(fine.relu()), FINE)
        return self.packets.synthesis(mapped(self.linear, latents)) + correction.float() * OUTPUT_SCALE + 128.0


def tiles(height: int, width: int) -> Iterator[tuple[tuple[slice, slice], tuple[slice, slice], tuple[slice, slice]]]:
    """Of a grid of blocks, tile by tile: what to transform, what of that to keep, and where it belongs."""
    for y in range(0, height, TILE):
        for x in range(0, width, TILE):
            top, left = max(0, y - HALO), max(0, x - HALO)
            bottom, right = min(y + TILE, height), min(x + TILE, width)
            yield ((slice(top, min(bottom + HALO, height)), slice(left, min(right + HALO, width))),
                   (slice(y - top, bottom - top), slice(x - left, right - left)), (slice(y, bottom), slice(x, right)))


def pixels_of(blocks: slice) -> slice:
    return slice(blocks.start * BLOCK, blocks.stop * BLOCK)


def mapped(linear: nn.Conv2d, x: Tensor) -> Tensor:
    """A 1×1 map as a matrix product, in float32: (B, C, h, w) → (B, D, h, w)."""
    return nn.functional.linear(x.permute(0, 2, 3, 1), linear.weight.flatten(1)).permute(0, 3, 1, 2)


def plane(position: Tensor, like: Tensor) -> Tensor:
    """Position (B,) as a plane of numbers from -1 to 1 beside `like`."""
    return (2 * position - 1).view(-1, 1, 1, 1).expand(len(like), 1, *like.shape[-2:])


def closed(layer: nn.Conv2d) -> nn.Conv2d:
    """A last layer that says nothing yet: before training, the linear transform alone codes."""
    for parameter in layer.parameters():
        nn.init.zeros_(parameter)
    return layer
