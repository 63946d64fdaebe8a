"""vqgan-rgb: the smallest file in which a picture can still be recognised, a few hundred bytes.

    pixels ─ analysis ─ points ─ nearest words ─ prior ─ bytes
              (a point for 16×16 pixels)             one masked network, see `entropy.masked`
    pixels ─ synthesis ─ words of one of six codebooks ─ quality

Not close to the original pixel by pixel, but alike to the eye as far as so few bytes allow: both networks
learn from distances between features of an ImageNet network, and at the end from a critic. `quality` picks
a codebook, from 8 to 4,096 words; the synthesis has a reading of its own for each. In packets a file
survives the loss of some: what they held is guessed from what is left.

Source: Mao et al. 2024, "Extreme image compression using fine-tuned VQGANs"; Esser et al. 2021 (VQGAN).
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import replace

import numpy as np
import torch
from torch import Tensor, nn

from enfold.codec import Latent, PictureCodec
from enfold.codecs.vqgan_latents import BLOCK, VqganConfig, VqganLatents, check_packets, packet_sections
from enfold.container import Container, Limits
from enfold.errors import UsageError
from enfold.geometry import ImageGeometry
from enfold.layers.parts import load_parts, ready
from enfold.layers.residual import Residual
from enfold.media import Picture, crop, pad_to_multiple

FINEST = 4                  # pixels a side that a sample of the analysis' finest grid stands for
OUTPUT_SCALE = 64.0         # grey levels for one unit of what networks see and say
TILE = 64                   # blocks a side that are transformed at once
HALO = 12                   # blocks: the synthesis sees 10


class Analysis(nn.Module):
    """Pixels (B, 3, H, W) in 0…255, sides multiples of 16 → points (B, D, H/16, W/16), of mean 0 and variance 1."""

    def __init__(self, config: VqganConfig) -> None:
        super().__init__()
        _, fine, middle, coarse = config.widths
        self.head = nn.Conv2d(3 * FINEST ** 2, fine, 3, padding=1)
        self.fine = Residual(fine)
        self.to_middle = nn.Conv2d(4 * fine, middle, 1)
        self.middle = Residual(middle)
        self.to_coarse = nn.Conv2d(4 * middle, coarse, 1)
        self.coarse = nn.Sequential(*(Residual(coarse) for _ in range(config.analysis_blocks)))
        self.tail = nn.Conv2d(coarse, config.dimensions, 1)

    def forward(self, pixels: Tensor) -> Tensor:
        seen = nn.functional.pixel_unshuffle((pixels - 128) / OUTPUT_SCALE, FINEST).to(self.head.weight.dtype)
        seen = seen.contiguous(memory_format=torch.channels_last)
        with torch.autocast("cpu", torch.bfloat16, enabled=self.training):
            x = self.fine(self.head(seen).relu())
            x = self.middle(self.to_middle(nn.functional.pixel_unshuffle(x.relu(), 2)))
            x = self.coarse(self.to_coarse(nn.functional.pixel_unshuffle(x.relu(), 2)))
            points = self.tail(x.relu())
        points = points.float().permute(0, 2, 3, 1)
        return nn.functional.layer_norm(points, points.shape[-1:]).permute(0, 3, 1, 2)


class Synthesis(nn.Module):
    """Words (B, D, h, w) and the number of their codebook (B,) → pixels (B, 3, 16h, 16w).

    A coarse picture of one sample for 16×16 pixels, interpolated, and all else by networks on ever finer
    grids; neighbours are mixed at every one, against grids that show.
    """

    def __init__(self, config: VqganConfig) -> None:
        super().__init__()
        finest, fine, middle, coarse = config.widths
        self.head = nn.Conv2d(config.dimensions, coarse, 1)
        self.coarse = nn.Sequential(*(Residual(coarse) for _ in range(config.synthesis_blocks)))
        self.ground = nn.Conv2d(coarse, 3, 3, padding=1)
        self.to_middle, self.middle = Up(coarse, middle), nn.Sequential(Residual(middle), Residual(middle))
        self.to_fine, self.fine = Up(middle, fine), Residual(fine)
        self.to_finest, self.finest = Up(fine, finest), Residual(finest)
        self.tail = _alike(nn.Conv2d(finest, 12, 3, padding=1))
        # what a codebook adds on each grid: fewer words are to be read with more caution
        self.tones = nn.ModuleList(_silent(nn.Embedding(len(config.sizes), width)) for width in (coarse, middle, fine))

    def forward(self, words: Tensor, book: Tensor) -> Tensor:
        words = words.to(self.head.weight.dtype).contiguous(memory_format=torch.channels_last)
        coarse, middle, fine = (tone(book)[:, :, None, None] for tone in self.tones)
        with torch.autocast("cpu", torch.bfloat16, enabled=self.training):
            x = self.coarse(self.head(words) + coarse).relu()
            ground = self.ground(x)
            x = self.middle(self.to_middle(x) + middle).relu()
            x = self.fine(self.to_fine(x) + fine).relu()
            x = self.finest(self.to_finest(x)).relu()
            detail = nn.functional.pixel_shuffle(self.tail(x), 2)
        smooth = nn.functional.interpolate(ground.float(), scale_factor=BLOCK, mode="bilinear")
        return (smooth + detail.float()) * OUTPUT_SCALE + 128


class Up(nn.Module):
    """(B, C, h, w) → (B, C', 2h, 2w), each sample's four alike before anything is learnt."""

    def __init__(self, inputs: int, outputs: int) -> None:
        super().__init__()
        self.map = _alike(nn.Conv2d(inputs, 4 * outputs, 1))

    def forward(self, x: Tensor) -> Tensor:
        return nn.functional.pixel_shuffle(self.map(x), 2)


class Vqgan(nn.Module, PictureCodec):
    """A trained vqgan-rgb codec.

    encode, decode and latents are those of every picture codec; encode takes a number of packets, and decode
    fills what is lost. `forward` takes pixels (B, 3, H, W) in 0…255, H and W multiples of 16, and a quality,
    and returns what a file of them would decode to, gradients passed straight through the words, and the bits
    (B,) that it would take, without gradients. Source: see the module.
    """

    default_quality = 75

    def __init__(self, name: str, weights: Mapping[str, np.ndarray], fingerprint: bytes) -> None:
        super().__init__()
        self.name, self.fingerprint = name, fingerprint
        self.latent_codec = VqganLatents(name, weights, fingerprint)
        config = self.latent_codec.config
        self.analysis, self.synthesis = Analysis(config), Synthesis(config)
        load_parts({"analysis.": self.analysis, "synthesis.": self.synthesis}, weights)
        self.spoken = {size: torch.from_numpy(weights[f"spoken.{size}"].astype(np.float32)) for size in config.sizes}
        self.prices = weights["prices"]                                     # (100,) in squared distance a bit
        ready(self, (self.analysis, self.synthesis))

    def extra_repr(self) -> str:
        return f"name={self.name!r}, fingerprint={self.fingerprint.hex()}"

    def forward(self, pixels: Tensor, quality: int | None = None) -> tuple[Tensor, Tensor]:
        quality = self.default_quality if quality is None else quality
        points = self.analysis(pixels)
        symbols = [self._chosen(one, quality) for one in points.detach().numpy()]
        words = torch.stack([self._spoken(one, quality) for one in symbols])
        bits = torch.tensor([self.latent_codec.cost_bits(one, quality) for one in symbols])
        return self.synthesis(points + (words - points).detach(), self._book(quality).expand(len(pixels))), bits

    @torch.inference_mode()
    def analyse(self, rgb: np.ndarray, quality: int, geometry: ImageGeometry) -> Latent:
        half = self.latent_codec
        padded = pad_to_multiple(rgb, BLOCK)
        height, width = half.blocks(geometry.height), half.blocks(geometry.width)
        points = np.empty((half.config.dimensions, height, width), np.float32)
        for seen, inside, (y, x) in _tiles(height, width):
            part = padded[_pixels(seen[0]), _pixels(seen[1])]
            found = self.analysis(torch.from_numpy(part).permute(2, 0, 1)[None].float())[0]
            points[:, y, x] = found[(slice(None), *inside)].numpy()
        return half.wrap(self._chosen(points, quality), quality, geometry)

    def write(self, latent: Latent) -> tuple[bytes, list[bytes]]:
        return self.write_packets(latent, 1)

    def write_packets(self, latent: Latent, packets: int) -> tuple[bytes, list[bytes]]:
        check_packets(packets)
        streams = self.latent_codec.write(latent.symbols, latent.quality, packets)
        return bytes([latent.quality, packets][:1 + (packets > 1)]), packet_sections(streams)

    def cost_bits(self, latent: Latent) -> float:
        """What the model says that a latent costs; `write` adds the byte coder's share."""
        return self.latent_codec.cost_bits(latent.symbols, latent.quality)

    def read(self, container: Container, limits: Limits) -> Latent:
        return self.latent_codec.latent(container, limits)

    def read_partial(self, container: Container, limits: Limits) -> Latent:
        return self.latent_codec.latent(container, limits, allow_partial=True)

    def decode(self, data: bytes, *, limits: Limits = Limits(), allow_partial: bool = False,
               lost: np.ndarray | None = None) -> Picture:
        """The picture in a file. allow_partial: packets may be damaged or missing, and are filled, with a
        `DamageWarning`. lost: bool (h, w), a position for 16×16 pixels, to be filled as if it had not come."""
        if lost is None:
            return super().decode(data, limits=limits, allow_partial=allow_partial)
        container = self.opened(data, limits, allow_partial=allow_partial)
        latent = (self.read_partial if allow_partial else self.read)(container, limits)
        lost = np.asarray(lost)
        if lost.dtype != bool or lost.shape != latent.symbols.shape[1:]:
            raise UsageError(f"lost is {lost.dtype} of shape {lost.shape}; it must be bool of shape "
                             f"{latent.symbols.shape[1:]}, a position for {BLOCK}×{BLOCK} pixels")
        filled = self.latent_codec.fill(latent.symbols, latent.quality, lost)
        return self.rendered(container, replace(latent, symbols=filled))

    @torch.inference_mode()
    def synthesise(self, latent: Latent) -> np.ndarray:
        height, width = latent.symbols.shape[-2:]
        out = np.empty((height * BLOCK, width * BLOCK, 3), np.uint8)
        for seen, inside, (y, x) in _tiles(height, width):
            words = self._spoken(latent.symbols[(slice(None), *seen)], latent.quality)[None]
            tile = self.synthesis(words, self._book(latent.quality))[0]
            tile = tile[:, _pixels(inside[0]), _pixels(inside[1])]
            out[_pixels(y), _pixels(x)] = tile.permute(1, 2, 0).clamp(0, 255).round_().to(torch.uint8).numpy()
        return crop(out, *latent.geometry.shape[:2])

    def _chosen(self, points: np.ndarray, quality: int) -> np.ndarray:
        return self.latent_codec.quantise(points, quality, float(self.prices[quality - 1]))

    def _spoken(self, symbols: np.ndarray, quality: int) -> Tensor:
        """(1, h, w) → what the synthesis is told, (D, h, w)."""
        words = self.spoken[self.latent_codec.size(quality)]
        return words[torch.from_numpy(symbols[0].astype(np.int64))].permute(2, 0, 1)

    def _book(self, quality: int) -> Tensor:
        half = self.latent_codec
        return torch.tensor([half.config.sizes.index(half.size(quality))])


def _silent(tone: nn.Embedding) -> nn.Embedding:
    """One that adds nothing yet."""
    nn.init.zeros_(tone.weight)
    return tone


def _tiles(height: int, width: int) -> Iterator[tuple[tuple[slice, slice], tuple[slice, slice], tuple[slice, slice]]]:
    """Of a grid of blocks, tile by tile: what to transform, what of that to keep, and where it belongs."""
    for y in range(0, height, TILE):
        for x in range(0, width, TILE):
            top, left = max(0, y - HALO), max(0, x - HALO)
            bottom, right = min(y + TILE, height), min(x + TILE, width)
            yield ((slice(top, min(bottom + HALO, height)), slice(left, min(right + HALO, width))),
                   (slice(y - top, bottom - top), slice(x - left, right - left)), (slice(y, bottom), slice(x, right)))


def _pixels(blocks: slice) -> slice:
    return slice(blocks.start * BLOCK, blocks.stop * BLOCK)


def _alike(layer: nn.Conv2d) -> nn.Conv2d:
    """A layer before a shuffle by 2 that begins as repetition does, without a grid."""
    with torch.no_grad():
        layer.weight.copy_(layer.weight[::4].repeat_interleave(4, 0))
        if layer.bias is not None:
            layer.bias.copy_(layer.bias[::4].repeat_interleave(4, 0))
    return layer
