"""mcquic-rgb: a picture as a grid of codebook indices, coarse to fine.

    pixels ─ analysis ─ ÷ steps ─ search ─ codes at 1/64, 1/32, 1/16 ─ prior ─ bytes
    pixels ─ synthesis ─ × steps ─ words of the codes, added to what is predicted ─┘

The transforms are those of `layers.transforms`. Latents are not rounded one by one: groups of channels are
vectors, each the number of a word (`mcquic_search`), and what a number costs depends on all that was decoded
before it (`entropy.codebooks`). The search for codes has both in view, errors and bits.

Source: Zhu et al. 2022, "Unified multivariate Gaussian mixture for efficient neural image compression" (the
cascade of levels, codebooks side by side, words as a mixture's means); its tables are static.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor, nn

from enfold.codec import Latent, PictureCodec
from enfold.codecs.mcquic_latents import BLOCK, McquicLatents, split
from enfold.container import Container, Limits
from enfold.entropy.codebooks import Codes, code_cascade
from enfold.entropy.coders import Encoder
from enfold.entropy.densities import Softmax
from enfold.entropy.meter import Meter
from enfold.errors import UsageError
from enfold.geometry import ImageGeometry
from enfold.layers.bytes import unpacked
from enfold.layers.parts import load_parts, ready
from enfold.layers.transforms import Analysis, Synthesis, pixels_of, tiles
from enfold.media import crop, pad_to_multiple

PRICE = 0.1                 # squared steps for a bit, when codes are chosen; theory has 0.116


@dataclass(frozen=True, eq=False, repr=False)
class Chosen(Latent):
    """A latent with the coders, strip by strip, that wrote it while its codes were chosen."""

    coders: tuple[Encoder, ...] = ()


class Mcquic(nn.Module, PictureCodec):
    """A trained mcquic-rgb codec.

    encode, decode and latents are those of every picture codec. `forward` takes pixels (B, 3, H, W) in 0…255,
    H and W multiples of 16, and a quality, and returns what a file of them would decode to and the bits (B,) that
    it would take: differentiable, the choice of codes passed straight through. Source: see the module.
    """

    default_quality = 60

    def __init__(self, name: str, weights: Mapping[str, np.ndarray], fingerprint: bytes) -> None:
        super().__init__()
        self.name, self.fingerprint = name, fingerprint
        self.latent_codec = McquicLatents(name, weights, fingerprint)
        config = self.latent_codec.config
        self.analysis, self.synthesis = Analysis(config), Synthesis(config)
        load_parts({"analysis.": self.analysis, "synthesis.": self.synthesis}, unpacked(weights))
        ready(self, (*self.analysis.network, *self.synthesis.network))

    def extra_repr(self) -> str:
        return f"name={self.name!r}, fingerprint={self.fingerprint.hex()}"

    def forward(self, pixels: Tensor, quality: int | None = None) -> tuple[Tensor, Tensor]:
        quality = self.default_quality if quality is None else quality
        half, steps = self.latent_codec, self._steps(quality)
        position = self._position(quality).expand(len(pixels))
        latents = self.analysis(pixels, position)
        codes = np.stack([half.quantise(one, quality, PRICE)[0] for one in (latents / steps).detach().numpy()])
        values = torch.from_numpy(np.stack([half.values(one, quality) for one in codes]))
        meter, (band, place) = Meter(noisy=False), half.band(quality)
        weights, looks = ({name: torch.from_numpy(array) for name, array in part.items()}
                          for part in (band.weights, band.looks))
        biases = {name: torch.from_numpy(bias[min(place, len(bias) - 1)]) for name, bias in band.biases.items()}
        grids = [torch.from_numpy(grid.astype(np.float32)) for grid in split(band.cascade, codes)]
        (batch, _, rows, columns), cascade = codes.shape, band.cascade
        code_cascade(meter, Softmax(), weights, biases, looks, cascade, (batch,), rows, columns,
                     Codes(cascade, (batch,), rows, columns, grids))
        return self.synthesis(latents + (values - latents).detach(), position), meter.bits()

    def _steps(self, quality: int) -> Tensor:
        return torch.from_numpy(self.latent_codec.steps[quality - 1])[:, None, None]

    def _position(self, quality: int) -> Tensor:
        return torch.tensor([self.latent_codec.config.position(quality)])

    @torch.inference_mode()
    def analyse(self, rgb: np.ndarray, quality: int, geometry: ImageGeometry) -> Latent:
        half = self.latent_codec
        symbols, coders = half.quantise(self.scaled(rgb, quality), quality, PRICE)
        return Chosen(**vars(half.wrap(symbols, quality, geometry)), coders=tuple(coders))

    def scaled(self, rgb: np.ndarray, quality: int) -> np.ndarray:
        """uint8 (H, W, 3) → latents before codes are chosen, float32 (C, h, w), in steps."""
        return tiled(self.analysis, rgb, self._position(quality)) / self._steps(quality).numpy()

    def write(self, latent: Latent) -> tuple[bytes, list[bytes]]:
        if isinstance(latent, Chosen):
            return bytes([latent.quality]), [coder.finish() for coder in latent.coders]
        return bytes([latent.quality]), self.latent_codec.write(latent.symbols, latent.quality)

    def cost_bits(self, latent: Latent) -> float:
        """What the model says that a latent costs; `write` adds the byte coder's share."""
        return self.latent_codec.cost_bits(latent.symbols, latent.quality)

    def log2_likelihood(self, rgb: np.ndarray, quality: int) -> float:
        """log2 of the density of a picture's latents, in steps, under the mixture of Gaussians that words, their
        variances and the prior are: summed over positions and channels."""
        if rgb.ndim != 3 or rgb.dtype != np.uint8:
            raise UsageError(f"a picture of shape {rgb.shape}, {rgb.dtype}: give uint8 (H, W, 3)")
        return self.latent_codec.log2_density(self.scaled(rgb, quality), quality, PRICE)

    def read(self, container: Container, limits: Limits) -> Latent:
        return self.latent_codec.latent(container, limits)

    @torch.inference_mode()
    def synthesise(self, latent: Latent) -> np.ndarray:
        height, width = latent.symbols.shape[-2:]
        values = torch.from_numpy(latent.values)
        out = np.empty((height * BLOCK, width * BLOCK, 3), np.uint8)
        for seen, inside, (y, x) in tiles(height, width):
            tile = self.synthesis(values[(slice(None), *seen)][None], self._position(latent.quality))[0]
            tile = tile[:, pixels_of(inside[0]), pixels_of(inside[1])]
            out[pixels_of(y), pixels_of(x)] = tile.permute(1, 2, 0).clamp(0, 255).round_().to(torch.uint8).numpy()
        return crop(out, *latent.geometry.shape[:2])


@torch.inference_mode()
def tiled(analysis: Analysis, rgb: np.ndarray, position: Tensor) -> np.ndarray:
    """uint8 (H, W, 3) of any size → latents, float32 (C, h, w), in grey levels."""
    padded = pad_to_multiple(rgb, BLOCK)
    height, width = (side // BLOCK for side in padded.shape[:2])
    out = np.empty((analysis.linear.out_channels, height, width), np.float32)
    for seen, inside, (y, x) in tiles(height, width):
        pixels = torch.from_numpy(padded[pixels_of(seen[0]), pixels_of(seen[1])]).permute(2, 0, 1)[None].float()
        out[:, y, x] = analysis(pixels, position)[0][(slice(None), *inside)].numpy()
    return out
