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

from collections.abc import Iterator, Mapping

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
from enfold.layers.packets import WaveletPackets
from enfold.layers.parts import load_parts, ready
from enfold.layers.quality import qualities
from enfold.layers.residual import Residual
from enfold.media import crop, pad_to_multiple

LEVELS = 4
BANDS = 3 * BLOCK ** 2
FINE = 8                    # pixels a side that a sample of the finer grid stands for
TILE = 96                   # blocks a side that are transformed at once
HALO = 8                    # blocks: a network sees 4 and 4 of half the size, the packets 4
PRICE = 0.04                # steps for a bit: how far rounding is drawn to the mean; 9 % of the rate at equal PSNR
PRELIMINARY = 0.12          # steps by which latents are drawn to zero where their means are not known yet
OUTPUT_SCALE = 32.0         # grey levels for one unit of a network's output


class Analysis(nn.Module):
    """Pixels (B, 3, H, W) in 0…255 and position (B,) → latents (B, C, H/16, W/16), in grey levels."""

    def __init__(self, config: HyperConfig) -> None:
        super().__init__()
        channels = config.prior.channels
        self.packets = WaveletPackets(LEVELS)
        self.linear = nn.Conv2d(BANDS, channels, 1, bias=False)
        self.head = nn.Conv2d(3 * FINE ** 2 + 1, config.fine_width, 1)
        self.fine = nn.Sequential(*(Residual(config.fine_width) for _ in range(config.analysis_blocks[0])))
        self.down = nn.Conv2d(4 * config.fine_width, config.coarse_width, 1)
        self.coarse = nn.Sequential(*(Residual(config.coarse_width) for _ in range(config.analysis_blocks[1])))
        self.tail = _closed(nn.Conv2d(config.coarse_width, channels, 1))

    @property
    def network(self) -> tuple[nn.Module, ...]:
        """What runs in bfloat16."""
        return self.head, self.fine, self.down, self.coarse, self.tail

    def forward(self, pixels: Tensor, position: Tensor) -> Tensor:
        centred = pixels - 128.0
        seen = nn.functional.pixel_unshuffle(centred / 64, FINE)
        seen = torch.cat([seen, _plane(position, seen)], 1).to(self.head.weight.dtype)
        seen = seen.contiguous(memory_format=torch.channels_last)
        with torch.autocast("cpu", torch.bfloat16, enabled=self.training):
            fine = self.fine(self.head(seen).relu())
            coarse = self.coarse(self.down(nn.functional.pixel_unshuffle(fine, 2)))
            correction = self.tail(coarse.relu())
        return _mapped(self.linear, self.packets.analysis(centred)) + correction.float() * OUTPUT_SCALE


class Synthesis(nn.Module):
    """Latents (B, C, h, w) in grey levels and position (B,) → pixels (B, 3, 16h, 16w)."""

    spread: Tensor                                      # (C, 1, 1) of each latent: what the network sees is O(1)

    def __init__(self, config: HyperConfig) -> None:
        super().__init__()
        channels = config.prior.channels
        self.packets = WaveletPackets(LEVELS)
        self.linear = nn.Conv2d(channels, BANDS, 1, bias=False)
        self.register_buffer("spread", torch.ones(channels, 1, 1))
        self.head = nn.Conv2d(channels + 1, config.coarse_width, 1)
        self.coarse = nn.Sequential(*(Residual(config.coarse_width) for _ in range(config.synthesis_blocks[1])))
        self.up = nn.Conv2d(config.coarse_width, 4 * config.fine_width, 1)
        self.fine = nn.Sequential(*(Residual(config.fine_width) for _ in range(config.synthesis_blocks[0])))
        self.tail = _closed(nn.Conv2d(config.fine_width, 3 * FINE ** 2, 1))

    @property
    def network(self) -> tuple[nn.Module, ...]:
        """What runs in bfloat16."""
        return self.head, self.coarse, self.up, self.fine, self.tail

    def forward(self, latents: Tensor, position: Tensor) -> Tensor:
        seen = torch.cat([latents / self.spread, _plane(position, latents)], 1).to(self.head.weight.dtype)
        seen = seen.contiguous(memory_format=torch.channels_last)
        with torch.autocast("cpu", torch.bfloat16, enabled=self.training):
            coarse = self.coarse(self.head(seen))
            fine = self.fine(nn.functional.pixel_shuffle(self.up(coarse.relu()), 2))
            correction = nn.functional.pixel_shuffle(self.tail(fine.relu()), FINE)
        return self.packets.synthesis(_mapped(self.linear, latents)) + correction.float() * OUTPUT_SCALE + 128.0


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
        half, position = self.latent_codec, _position(quality).expand(len(pixels))
        scaled = self.analysis(pixels, position) / self._steps(quality)
        symbols = np.stack([self._chosen(one, quality) for one in scaled.detach().numpy()])
        latents = scaled + (torch.from_numpy(symbols) - scaled).detach()
        meter = Meter(noisy=False)
        code_hyperprior(meter, self.density, self.hyper_density,
                        {name: torch.from_numpy(weight) for name, weight in half.weights.items()},
                        {name: torch.from_numpy(bias[quality - 1]) for name, bias in half.biases.items()},
                        half.config.prior, tuple(latents.shape), latents, self.hyper_analysis(latents))
        return self.synthesis(latents * self._steps(quality), position), meter.bits()

    def _steps(self, quality: int) -> Tensor:
        return torch.from_numpy(self.latent_codec.steps[quality - 1])[:, None, None]

    @torch.inference_mode()
    def analyse(self, rgb: np.ndarray, quality: int, geometry: ImageGeometry) -> Latent:
        half = self.latent_codec
        padded = pad_to_multiple(rgb, BLOCK)
        height, width = half.blocks(geometry.height), half.blocks(geometry.width)
        scaled = np.empty((half.channels, height, width), np.float32)
        for seen, inside, (y, x) in _tiles(height, width):
            part = padded[_pixels(seen[0]), _pixels(seen[1])]
            pixels = torch.from_numpy(part).permute(2, 0, 1)[None].float()
            latents = self.analysis(pixels, _position(quality)[None])[0] / self._steps(quality)
            scaled[:, y, x] = latents[(slice(None), *inside)].numpy()
        return half.wrap(self._chosen(scaled, quality), quality, geometry)

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
        for seen, inside, (y, x) in _tiles(height, width):
            values = torch.from_numpy(latent.dequantise(latent.symbols[(slice(None), *seen)]))[None]
            tile = self.synthesis(values, _position(latent.quality)[None])[0]
            tile = tile[:, _pixels(inside[0]), _pixels(inside[1])]
            out[_pixels(y), _pixels(x)] = tile.permute(1, 2, 0).clamp(0, 255).round_().to(torch.uint8).numpy()
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


def _position(quality: int) -> Tensor:
    return qualities()[quality - 1]


def _mapped(linear: nn.Conv2d, x: Tensor) -> Tensor:
    """A 1×1 map as a matrix product, in float32: (B, C, h, w) → (B, D, h, w)."""
    return nn.functional.linear(x.permute(0, 2, 3, 1), linear.weight.flatten(1)).permute(0, 3, 1, 2)


def _plane(position: Tensor, like: Tensor) -> Tensor:
    """Position (B,) as a plane of numbers from -1 to 1 beside `like`."""
    return (2 * position - 1).view(-1, 1, 1, 1).expand(len(like), 1, *like.shape[-2:])


def _closed(layer: nn.Conv2d) -> nn.Conv2d:
    """A last layer that says nothing yet: before training, the linear transform alone codes."""
    for parameter in layer.parameters():
        nn.init.zeros_(parameter)
    return layer
