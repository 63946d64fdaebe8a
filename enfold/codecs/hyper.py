"""hyper-rgb: the smallest file at a given quality, from networks that a CPU can run.

    pixels ─ wavelet packets ─ 1×1 ────────────────┬─ + ─ ÷ step ─ round ─ prior ─ bytes
         └── 8×8 unshuffled ─ network ─ 16×16 ─────┘            (hyper-latents, contexts)

    pixels ─ wavelet packets⁻¹ ─ 1×1 ──────────────┬─ × step ─
         └── 8×8 shuffled ─ network ─ 16×16 ───────┘

A linear transform that begins in closed form (principal components of wavelet packets, which is
already a fair codec), and beside it, in both directions, a network of 3×3 residual blocks that
learns what no linear map can do. All its convolutions run on grids of one sample for 8×8 or 16×16
pixels. `quality` sets the step by a learned curve for each latent.

Source: Ballé et al. 2018 (side information); Cui et al. 2021 (gains for variable rate);
Yang & Mandt 2023 (how little a synthesis may cost).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from functools import partial

import numpy as np
import torch
from torch import Tensor, nn

from enfold.codec import Latent, PictureCodec
from enfold.codecs.hyper_latents import BLOCK, HyperConfig, HyperLatents
from enfold.container import Container, Limits
from enfold.entropy.densities import Factorized, GaussianScaleMixture, Leveled
from enfold.entropy.hyperprior import LARGEST_SCALE, LEAST_SCALE, code_hyperprior
from enfold.entropy.hyperprior import LEVELS as SCALES
from enfold.entropy.meter import Meter
from enfold.geometry import ImageGeometry
from enfold.layers.parts import load_parts, ready
from enfold.layers.quality import bits_for_error, qualities
from enfold.layers.search import Objective, refined
from enfold.layers.transforms import Analysis, Synthesis, pixels_of, tiles
from enfold.media import crop, pad_to_multiple

SEARCH_TILE, SEARCH_HALO = 48, 16       # blocks
PRICE = 0.04                # steps for a bit: how far rounding is drawn to the mean; 9 % of the rate at equal PSNR
PRELIMINARY = 0.12          # steps by which latents are drawn to zero where their means are not known yet


class HyperAnalysis(nn.Module):
    """Latents (B, C, h, w) in steps → hyper-latents (B, Z, ⌈h/4⌉, ⌈w/4⌉), to be rounded."""

    def __init__(self, config: HyperConfig) -> None:
        super().__init__()
        width = config.hyper_width
        self.head = nn.Conv2d(2 * config.prior.channels, width, 1)
        self.first = nn.Conv2d(width, width, 3, stride=2, padding=1)
        self.second = nn.Conv2d(width, config.prior.hyper, 3, stride=2, padding=1)

    def forward(self, latents: Tensor) -> Tensor:
        magnitude = latents.abs().log1p()
        seen = torch.cat([magnitude * latents.sign(), magnitude], 1).to(self.head.weight.dtype)
        seen = seen.contiguous(memory_format=torch.channels_last)
        with torch.autocast("cpu", torch.bfloat16, enabled=self.training):
            return self.second(self.first(self.head(seen).relu()).relu()).float()


class Hyper(nn.Module, PictureCodec):
    """A trained hyper-rgb codec.

    encode, decode and latents are those of every picture codec. `forward` takes pixels
    (B, 3, H, W) in 0…255, H and W multiples of 16, and a quality, and returns what a file of them
    would decode to and the bits (B,) that it would take: differentiable, rounding passed straight
    through. Source: see the module.
    """

    default_quality = 60

    def __init__(self, name: str, weights: Mapping[str, np.ndarray], fingerprint: bytes) -> None:
        super().__init__()
        self.name, self.fingerprint = name, fingerprint
        self.latent_codec = HyperLatents(name, weights, fingerprint)
        config = self.latent_codec.config
        self.analysis, self.synthesis = Analysis(config), Synthesis(config)
        self.hyper_analysis = HyperAnalysis(config)
        self.density = density()
        self.hyper_density = hyper_density(config)
        load_parts({"analysis.": self.analysis, "synthesis.": self.synthesis, "hyper_analysis.": self.hyper_analysis,
                    "density_shape.": self.density, "hyper_density_shape.": self.hyper_density}, weights)
        ready(self, (*self.analysis.network, *self.synthesis.network, self.hyper_analysis))

    def extra_repr(self) -> str:
        return f"name={self.name!r}, fingerprint={self.fingerprint.hex()}"

    def forward(self, pixels: Tensor, quality: int | None = None) -> tuple[Tensor, Tensor]:
        quality = self.default_quality if quality is None else quality
        scaled = self.analysis(pixels, _position(quality).expand(len(pixels))) / self._steps(quality)
        symbols = np.stack([self._chosen(one, quality) for one in scaled.detach().numpy()])
        latents = scaled + (torch.from_numpy(symbols) - scaled).detach()
        return self._decoded(latents, quality), self._bits(latents, quality)

    def _decoded(self, symbols: Tensor, quality: int) -> Tensor:
        return self.synthesis(symbols * self._steps(quality), _position(quality).expand(len(symbols)))

    def _bits(self, latents: Tensor, quality: int) -> Tensor:
        """Of symbols (B, C, h, w) and their hyper-latents: (B,)."""
        half, meter = self.latent_codec, Meter(noisy=False)
        code_hyperprior(meter, self.density, self.hyper_density,
                        {name: torch.from_numpy(weight) for name, weight in half.weights.items()},
                        {name: torch.from_numpy(bias[quality - 1]) for name, bias in half.biases.items()},
                        half.config.prior, tuple(latents.shape), latents, self.hyper_analysis(latents))
        return meter.bits()

    def _steps(self, quality: int) -> Tensor:
        return torch.from_numpy(self.latent_codec.steps[quality - 1])[:, None, None]

    @torch.inference_mode()
    def analyse(self, rgb: np.ndarray, quality: int, geometry: ImageGeometry) -> Latent:
        half = self.latent_codec
        padded = pad_to_multiple(rgb, BLOCK)
        height, width = half.blocks(geometry.height), half.blocks(geometry.width)
        scaled = np.empty((half.channels, height, width), np.float32)
        for seen, inside, (y, x) in tiles(height, width):
            part = padded[pixels_of(seen[0]), pixels_of(seen[1])]
            pixels = torch.from_numpy(part).permute(2, 0, 1)[None].float()
            latents = self.analysis(pixels, _position(quality)[None])[0] / self._steps(quality)
            scaled[:, y, x] = latents[(slice(None), *inside)].numpy()
        return half.wrap(self._chosen(scaled, quality), quality, geometry)

    def search(self, rgb: np.ndarray, latent: Latent, effort: int) -> Latent:
        half, quality = self.latent_codec, latent.quality
        worth = bits_for_error(_position(quality), half.config.coarsest_step, half.config.finest_step).item() / 3
        spread = self.synthesis.linear.weight.flatten(1).square().sum(0)[:, None, None] * self._steps(quality).square()
        objective = Objective(partial(self._decoded, quality=quality), partial(self._bits, quality=quality), worth,
                              spread, BLOCK, SEARCH_TILE, SEARCH_HALO)
        symbols = refined(latent.symbols, rgb, pad_to_multiple(rgb, BLOCK), half.strips(*latent.symbols.shape[1:]),
                          objective, effort)
        return replace(latent, symbols=symbols)

    def _chosen(self, scaled: np.ndarray, quality: int) -> np.ndarray:
        """Latents (C, h, w) in steps → integers."""
        def hyper(strip: np.ndarray) -> np.ndarray:
            return self._hyper(preliminary(torch.from_numpy(strip)).numpy())

        return self.latent_codec.quantise(scaled, quality, PRICE, hyper)

    def write(self, latent: Latent) -> tuple[bytes, list[bytes]]:
        return bytes([latent.quality]), self.latent_codec.write(latent.symbols, latent.quality, self._hyper)

    def cost_bits(self, latent: Latent) -> float:
        """What the model says that a latent costs; `write` adds the byte coder's share."""
        return self.latent_codec.cost_bits(latent.symbols, latent.quality, self._hyper)

    @torch.inference_mode()
    def _hyper(self, symbols: np.ndarray) -> np.ndarray:
        """A strip's hyper-latents, integers (Z, ⌈h/4⌉, ⌈w/4⌉)."""
        latents = torch.from_numpy(np.ascontiguousarray(symbols)).float()[None]
        return self.hyper_analysis(latents)[0].round_().to(torch.int32).numpy()

    def read(self, container: Container, limits: Limits) -> Latent:
        return self.latent_codec.latent(container, limits)

    @torch.inference_mode()
    def synthesise(self, latent: Latent) -> np.ndarray:
        height, width = latent.symbols.shape[-2:]
        out = np.empty((height * BLOCK, width * BLOCK, 3), np.uint8)
        for seen, inside, (y, x) in tiles(height, width):
            values = torch.from_numpy(latent.dequantise(latent.symbols[(slice(None), *seen)]))[None]
            tile = self.synthesis(values, _position(latent.quality)[None])[0]
            tile = tile[:, pixels_of(inside[0]), pixels_of(inside[1])]
            out[pixels_of(y), pixels_of(x)] = tile.permute(1, 2, 0).clamp(0, 255).round_().to(torch.uint8).numpy()
        return crop(out, *latent.geometry.shape[:2])


def preliminary(scaled: Tensor) -> Tensor:
    """Latents in steps → about the integers that will be chosen for them, to make hyper-latents of."""
    return nn.functional.softshrink(scaled, PRELIMINARY).round()


def density() -> Leveled:
    """Of the latents."""
    return Leveled(GaussianScaleMixture(3), SCALES, LEAST_SCALE, LARGEST_SCALE)


def hyper_density(config: HyperConfig) -> Factorized:
    """Of the hyper-latents."""
    return Factorized(config.prior.hyper, width=4.0)


def _position(quality: int) -> Tensor:
    return qualities()[quality - 1]
