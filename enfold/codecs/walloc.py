"""WaLLoC: wavelet packets, a linear encoder, a compand, and a small network that decodes.

    pixels ─ wavelet packets ─ 1×1 ─ compand ─ ÷ step ─ round ─ prior ─ bytes
           (3·64 bands/block)  (192 → 12 or 48)                    │
    pixels ─ wavelet packets⁻¹ ─ linear skip + 3×3 network ─ expand ─ × step

Encoding is one linear map, so it is nearly free, and the latents (12 or 48 a block of 8×8
pixels) are regular enough that a network trains straight on them. `quality` sets the step, by
a learned curve for each latent; the network is told which.

What differs from the published codec: a rate term in training and a real prior
(`entropy.interlaced`) in place of a lossless image of the latents; a decoder of less than
30 kMAC a pixel; symmetric extension in place of wrap-around; a power-law compand.

Source: Jacobellis & Yadwadkar 2024.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from functools import partial

import numpy as np
import torch
from torch import Tensor, nn

from enfold.codec import Latent, PictureCodec
from enfold.codecs.walloc_latents import BLOCK, COMPAND_WIDTH, WallocConfig, WallocLatents
from enfold.container import Container, Limits
from enfold.entropy.densities import GaussianScaleMixture
from enfold.entropy.interlaced import code_grid
from enfold.entropy.meter import Meter, round_through
from enfold.geometry import ImageGeometry
from enfold.layers import lifting
from enfold.layers.compand import Compand
from enfold.layers.packets import WaveletPackets
from enfold.layers.parts import load_parts, ready
from enfold.layers.quality import bits_for_error, qualities
from enfold.layers.residual import Residual
from enfold.layers.search import Objective, refined
from enfold.media import crop, pad_to_multiple

LEVELS = 3
BANDS = 3 << (2 * LEVELS)
ANALYSIS_HALO = 4           # blocks that the 9/7 packets reach beyond a block
DEAD_ZONE = 0.1             # steps; at the coarsest quality, none at the finest: worth 0.08 to 0 dB
SYNTHESIS_TILE = 224        # blocks a side, decoded at once
SYNTHESIS_HALO = 16         # blocks: the network sees 9 and the inverse packets 4

SEARCH_TILE, SEARCH_HALO = 96, 32   # blocks; the coarsest phase of the prior comes again every 32


class Analysis(nn.Module):
    """Pixels (B, 3, H, W) in 0…255 → companded latents (B, C, H/8, W/8), in grey levels."""

    def __init__(self, config: WallocConfig) -> None:
        super().__init__()
        self.packets = WaveletPackets(LEVELS)
        self.linear = nn.Conv2d(BANDS, config.latents, 1, bias=False)
        self.compand = Compand(config.latents, COMPAND_WIDTH)

    def forward(self, pixels: Tensor) -> Tensor:
        coefficients = self.packets.analysis(pixels - 128.0).permute(0, 2, 3, 1)    # blocks outside, bands inside
        latents = nn.functional.linear(coefficients, self.linear.weight.flatten(1))
        return self.compand(latents.permute(0, 3, 1, 2))

    def of_bytes(self, rgb: np.ndarray) -> Tensor:
        """What `forward` gives of uint8 (H, W, 3), as (1, C, H/8, W/8), in a fraction of the time; no gradients."""
        if not lifting.HAVE_C:
            rows = torch.from_numpy(rgb).transpose(1, 2).float().contiguous()       # (H, 3, W)
            return self(rows.transpose(0, 1)[None])
        weight = lifting.prepare(self.linear.weight.detach().flatten(1).numpy())
        return self.compand(torch.from_numpy(lifting.project(rgb, weight))[None])


class Synthesis(nn.Module):
    """Latents (B, C, h, w) in grey levels and quality position (B,) → pixels (B, 3, 8h, 8w).

    The linear skip stays in float32; the network that corrects it runs in bfloat16 while it is
    trained, and in the type of its weights afterwards.
    """

    OUTPUT_SCALE = 32.0
    spread: Tensor                                      # (C, 1, 1) of each latent: what the network sees is O(1)

    def __init__(self, config: WallocConfig) -> None:
        super().__init__()
        self.packets = WaveletPackets(LEVELS)
        self.skip = nn.Conv2d(config.latents, BANDS, 1, bias=False)
        self.register_buffer("spread", torch.ones(config.latents, 1, 1))
        self.head = nn.Conv2d(config.latents + 1, config.width, 3, padding=1)
        self.body = nn.Sequential(*(Residual(config.width) for _ in range(config.blocks)))
        self.tail = nn.Conv2d(config.width, BANDS, 1)
        for start in self.tail.parameters():            # before training, the linear skip alone decodes
            nn.init.zeros_(start)

    def forward(self, latents: Tensor, position: Tensor) -> Tensor:
        return self.packets.synthesis(self._coefficients(latents, position)) + 128.0

    def to_bytes(self, latents: Tensor, position: Tensor) -> np.ndarray:
        """What `forward` gives of one sample, as uint8 (8h, 8w, 3), in less time; no gradients."""
        if not lifting.HAVE_C:
            return self(latents, position)[0].permute(1, 2, 0).clamp(0, 255).round_().to(torch.uint8).numpy()
        return lifting.restore(self._coefficients(latents, position)[0].permute(1, 2, 0).contiguous().numpy())

    def _coefficients(self, latents: Tensor, position: Tensor) -> Tensor:
        plane = (2 * position - 1).view(-1, 1, 1, 1).expand(-1, 1, *latents.shape[-2:])
        seen = torch.cat([latents / self.spread, plane], 1).to(self.head.weight.dtype)
        seen = seen.contiguous(memory_format=torch.channels_last)
        with torch.autocast("cpu", torch.bfloat16, enabled=self.training):
            guess = self.tail(self.body(self.head(seen)).relu())
        return self.skip(latents) + guess.float() * self.OUTPUT_SCALE


class Walloc(nn.Module, PictureCodec):
    """A trained WaLLoC codec.

    encode, decode and latents are those of every picture codec. `forward` takes pixels
    (B, 3, H, W) in 0…255, H and W multiples of 8, and a quality, and returns what a file of them
    would decode to and the bits (B,) that it would take: differentiable, rounding passed straight
    through. Source: see the module.
    """

    default_quality = 75

    def __init__(self, name: str, weights: Mapping[str, np.ndarray], fingerprint: bytes) -> None:
        super().__init__()
        self.name, self.fingerprint = name, fingerprint
        self.latent_codec = WallocLatents(name, weights, fingerprint)
        config = self.latent_codec.config
        self.analysis, self.synthesis = Analysis(config), Synthesis(config)
        self.density = GaussianScaleMixture()
        load_parts({"analysis.": self.analysis, "synthesis.": self.synthesis, "density_shape.": self.density}, weights)
        ready(self, (self.synthesis.head, self.synthesis.body, self.synthesis.tail))

    def extra_repr(self) -> str:
        return f"name={self.name!r}, fingerprint={self.fingerprint.hex()}"

    def forward(self, pixels: Tensor, quality: int | None = None) -> tuple[Tensor, Tensor]:
        quality = self.default_quality if quality is None else quality
        scaled = self._scaled(pixels, quality)
        return self._decoded(round_through(scaled), quality), self._bits(scaled, quality)

    def _scaled(self, pixels: Tensor, quality: int) -> Tensor:
        """What is rounded."""
        return drawn(self.analysis(pixels) / self._steps(quality), _position(quality))

    def _decoded(self, symbols: Tensor, quality: int) -> Tensor:
        latents = self.analysis.compand.expand(symbols * self._steps(quality))
        return self.synthesis(latents, _position(quality).expand(len(symbols)))

    def _bits(self, scaled: Tensor, quality: int) -> Tensor:
        """Of latents (B, C, h, w) once they are rounded: (B,)."""
        half, meter = self.latent_codec, Meter(noisy=False)
        code_grid(meter, self.density, {key: torch.from_numpy(value) for key, value in half.context.items()},
                  torch.from_numpy(half.floor[quality - 1])[:, None], half.config.groups, tuple(scaled.shape), scaled)
        return meter.bits()

    def _steps(self, quality: int) -> Tensor:
        return torch.from_numpy(self.latent_codec.steps[quality - 1])[:, None, None]

    @torch.inference_mode()
    def analyse(self, rgb: np.ndarray, quality: int, geometry: ImageGeometry) -> Latent:
        padded = pad_to_multiple(rgb, BLOCK)
        half = self.latent_codec
        height, width = half.blocks(geometry.height), half.blocks(geometry.width)
        symbols = np.empty((half.channels, height, width), np.int16)
        for rows in half.strips(height, width):
            top = max(0, rows.start - ANALYSIS_HALO)
            part = padded[top * BLOCK:(rows.stop + ANALYSIS_HALO) * BLOCK]
            companded = self.analysis.of_bytes(part)[:, :, rows.start - top:rows.stop - top]
            scaled = drawn(companded / self._steps(quality), _position(quality))
            symbols[:, rows] = scaled[0].round_().to(torch.int16).numpy()
        return half.wrap(symbols, quality, geometry)

    def search(self, rgb: np.ndarray, latent: Latent, effort: int) -> Latent:
        half, quality = self.latent_codec, latent.quality
        worth = bits_for_error(_position(quality), half.config.coarsest_step, half.config.finest_step).item() / 3
        spread = self.synthesis.skip.weight.flatten(1).square().sum(0)[:, None, None] * self._steps(quality).square()
        objective = Objective(partial(self._decoded, quality=quality), partial(self._bits, quality=quality), worth,
                              spread, BLOCK, SEARCH_TILE, SEARCH_HALO)
        symbols = refined(latent.symbols, rgb, pad_to_multiple(rgb, BLOCK), half.strips(*latent.symbols.shape[1:]),
                          objective, effort)
        return replace(latent, symbols=symbols)

    def write(self, latent: Latent) -> tuple[bytes, list[bytes]]:
        return bytes([latent.quality]), self.latent_codec.write(latent.symbols, latent.quality)

    def cost_bits(self, latent: Latent) -> float:
        """What the model says that a latent costs; `write` adds the byte coder's share."""
        return self.latent_codec.cost_bits(latent.symbols, latent.quality)

    def read(self, container: Container, limits: Limits) -> Latent:
        return self.latent_codec.latent(container, limits)

    @torch.inference_mode()
    def synthesise(self, latent: Latent) -> np.ndarray:
        height, width = latent.symbols.shape[-2:]
        out = np.empty((height * BLOCK, width * BLOCK, 3), np.uint8)
        for y in range(0, height, SYNTHESIS_TILE):
            for x in range(0, width, SYNTHESIS_TILE):
                top, left = max(0, y - SYNTHESIS_HALO), max(0, x - SYNTHESIS_HALO)
                bottom, right = min(y + SYNTHESIS_TILE, height), min(x + SYNTHESIS_TILE, width)
                symbols = latent.symbols[:, top:bottom + SYNTHESIS_HALO, left:right + SYNTHESIS_HALO]
                values = torch.from_numpy(latent.dequantise(symbols))[None]
                tile = self.synthesis.to_bytes(values, _position(latent.quality)[None])
                out[y * BLOCK:bottom * BLOCK, x * BLOCK:right * BLOCK] = \
                    tile[(y - top) * BLOCK:(bottom - top) * BLOCK, (x - left) * BLOCK:(right - left) * BLOCK]
        return crop(out, *latent.geometry.shape[:2])


def drawn(scaled: Tensor, position: Tensor) -> Tensor:
    """Latents (B, C, h, w) in steps → what is rounded: drawn a little towards zero, where bits are few.

    position: () or (B,), coarse to fine.
    """
    zone = (DEAD_ZONE * (1 - position)).view(-1, 1, 1, 1)
    return scaled - scaled.clamp(-zone, zone)


def _position(quality: int) -> Tensor:
    """Quality 1…100 as the network and the curves of steps know it: 0, coarse, to 1, fine."""
    return qualities()[quality - 1]
