"""WaLLoC while it is trained: everything learnable, the loss, and the way to frozen weights.

A loss of rate plus distortion over random qualities. The rate is that of the real prior, run by
a `Meter`; distortion's weight follows the step as theory has it for a uniform quantiser.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from enfold.codecs.walloc import Analysis, Synthesis, drawn
from enfold.codecs.walloc_latents import BLOCK, CONFIGS, WallocConfig
from enfold.entropy.densities import GaussianScaleMixture
from enfold.entropy.interlaced import OCTAVES, code_grid, freeze, thaw, weight_shapes
from enfold.entropy.meter import Meter, round_through
from enfold.layers.distortion import distortion
from enfold.layers.parts import load_parts
from enfold.layers.quality import ANCHORS, ByQuality, qualities, rate_distortion
from enfold.layers.trainable import Loss, Trainable, TrainablePrior
from enfold.media import pad_to_multiple

FLOOR_BITS = 6              # scales' floors are multiples of 2^-6
HIDDEN = 48                 # of the prior
TABLES: dict[str, Any] = {"scales": 49, "largest": 256.0, "fraction_bits": 3}     # finer means: 0.1 to 0.4 %
LEAST_SCALE_WEIGHT = 1e-5   # at zero, a square has no gradient


class PriorWeights(nn.Module):
    """The context's weights while they are trained: scales are squares, so they stay positive."""

    def __init__(self, channels: int, groups: tuple[int, ...], octaves: int = 0, hidden: int = 0) -> None:
        super().__init__()
        self.raw = nn.ParameterDict()
        for name, shape in weight_shapes(channels, groups, octaves, hidden).items():
            start = torch.zeros(shape)
            if name.startswith("scale"):
                start += (0.4 / shape[1]) ** 0.5
            elif name.startswith(("near", "active", "missed")):     # `out` is zero, so these must not be
                start.normal_(0, 0.4 / shape[1] ** 0.5)
            self.raw[name] = nn.Parameter(start)

    def forward(self) -> dict[str, Tensor]:
        return {name: raw.square() if name.startswith("scale") else raw for name, raw in self.raw.items()}

    @torch.no_grad()
    def load(self, weights: Mapping[str, Tensor]) -> None:
        """Takes up weights as `forward` gives them. An octave that they lack starts as the next finer one, what a
        hidden layer has more than theirs as it is."""
        for name, raw in self.raw.items():
            kind, number, *order = name.split("_")
            octave = [*range(int(number), 6, -3), (int(number) - 1) % 3 + 1] if int(number) > 6 else [number]
            found = (weights.get("_".join([kind, str(at), *order])) for at in octave)
            weight = next((weight for weight in found if weight is not None), None)
            if weight is not None and all(size <= room for size, room in zip(weight.shape, raw.shape, strict=True)):
                raw[tuple(map(slice, weight.shape))] = _raw(name, weight)

    def replace(self, weights: Mapping[str, Tensor]) -> None:
        """Takes up weights as `forward` gives them, whatever octaves and hidden layer they have."""
        self.raw = nn.ParameterDict({name: nn.Parameter(_raw(name, weight)) for name, weight in weights.items()})


def _raw(name: str, weight: Tensor) -> Tensor:
    return weight.clamp_min(LEAST_SCALE_WEIGHT).sqrt() if name.startswith("scale") else weight.clone()


def frozen_prior(context: PriorWeights, floor: ByQuality, density: GaussianScaleMixture,
                 tables: Mapping[str, Any] = TABLES) -> dict[str, np.ndarray]:
    """The arrays of a model file that are its prior's. tables: how they are frozen, as `Density.freeze` takes it."""
    floors = (floor(qualities()) * 2 ** FLOOR_BITS).round().clamp_min(1) / 2 ** FLOOR_BITS
    weights = freeze({name: weight.numpy() for name, weight in context().items()})
    return {"floor": floors.numpy(), **{f"context.{name}": weight for name, weight in weights.items()},
            **density.freeze(**tables).to_arrays("density."),
            **{f"density_shape.{name}": value.numpy() for name, value in density.state_dict().items()}}


class WallocModel(Trainable):
    """Everything of a WaLLoC codec that is learned."""

    def __init__(self, name: str) -> None:
        super().__init__()
        self.config = config = CONFIGS[name]
        self.analysis = Analysis(config)
        self.synthesis = Synthesis(config)
        self.steps = ByQuality(config.latents, config.coarsest_step, config.finest_step)
        self.floor = ByQuality(config.latents, 0.5, 0.5)
        self.context = PriorWeights(config.latents, config.groups)
        self.density = GaussianScaleMixture()

    @torch.no_grad()
    def initialise(self, pixels: Tensor) -> None:
        """Closed-form start from a sample of crops (B, 3, H, W): principal components."""
        x = self.analysis.packets.analysis(pixels - 128.0).permute(1, 0, 2, 3).flatten(1)
        covariance = (x @ x.T / x.shape[1]).double()
        values, vectors = torch.linalg.eigh(covariance)
        keep = self.config.latents
        basis = vectors[:, -keep:].flip(1).float()
        spread = values[-keep:].flip(0).float().sqrt()
        self.analysis.linear.weight.copy_(basis.T[:, :, None, None])
        self.synthesis.skip.weight.copy_(basis[:, :, None, None])
        self.synthesis.spread.copy_(spread[:, None, None])
        # each latent's scale where nothing is known, over the range of steps
        at = self.steps.log.anchors.exp()
        self.floor.log.anchors.copy_((0.5 * spread / at + 0.1).log())

    def loss(self, pixels: Tensor, position: Tensor, *, hard: bool) -> Loss:
        """pixels (B, 3, H, W) in 0…255, position (B,) in [0, 1]. hard: the encoder is frozen
        and the rate is that of rounded latents."""
        config = self.config
        with torch.set_grad_enabled(not hard):
            companded = self.analysis(pixels)
            steps = self.steps(position)[:, :, None, None]
            scaled = companded / steps
        if hard:        # what the encoder of use does
            scaled = drawn(scaled, position)
        meter = Meter(noisy=not hard)
        code_grid(meter, self.density, self.context(), self.floor(position)[:, :, None],
                  config.groups, tuple(scaled.shape), scaled)
        latents = self.analysis.compand.expand(round_through(scaled) * steps)
        if hard:
            latents = latents.detach()
        decoded = self.synthesis(latents, position)
        error, mse = distortion(self.distortion, decoded, pixels)
        bpp = meter.bits() / (pixels.shape[-1] * pixels.shape[-2])
        return rate_distortion(bpp, error, position, config.coarsest_step, config.finest_step, mse=mse)

    def load(self, arrays: Mapping[str, np.ndarray]) -> None:
        load_parts({"analysis.": self.analysis, "synthesis.": self.synthesis, "density_shape.": self.density}, arrays)
        self.steps.load(torch.from_numpy(arrays["steps"]))
        self.floor.load(torch.from_numpy(arrays["floor"]))
        self.context.replace(_context(arrays))

    def prior(self, arrays: Mapping[str, np.ndarray]) -> WallocPrior:
        return WallocPrior(self.config, arrays)

    @torch.no_grad()
    def frozen(self) -> dict[str, np.ndarray]:
        """The arrays of a model file: transforms, curves by quality, context and tables."""
        position = qualities()
        arrays = {"steps": self.steps(position).numpy(), "compand.power": self.analysis.compand.power.numpy()}
        arrays |= frozen_prior(self.context, self.floor, self.density)
        arrays |= {f"analysis.{name}": value.numpy() for name, value in self.analysis.state_dict().items()}
        # half precision: the network runs in bfloat16, which keeps fewer digits
        arrays |= {f"synthesis.{name}": value.numpy().astype(np.float16 if value.dim() == 4 else np.float32)
                   for name, value in self.synthesis.state_dict().items()}
        return arrays


class WallocPrior(TrainablePrior):
    """The prior of a trained WaLLoC codec, in full: in the crops of `WallocModel` there is little to learn for
    octaves and a hidden layer."""

    def __init__(self, config: WallocConfig, arrays: Mapping[str, np.ndarray]) -> None:
        super().__init__()
        self._config, self._arrays = config, arrays
        self._steps = torch.from_numpy(arrays["steps"])
        self._analysis = [Analysis(config)]         # in a list: none of its parameters is ours
        self.floor = ByQuality(config.latents, 0.5, 0.5)
        at = torch.linspace(0, 99, ANCHORS).round().long()
        self.floor.log.anchors.data.copy_(torch.from_numpy(arrays["floor"])[at].log())
        self.context = PriorWeights(config.latents, config.groups, OCTAVES, HIDDEN)
        self.context.load(_context(arrays))
        self.density = GaussianScaleMixture()
        load_parts({"analysis.": self._analysis[0], "density_shape.": self.density}, arrays)

    @torch.no_grad()
    def latents(self, rgb: np.ndarray) -> np.ndarray:
        return self._analysis[0].of_bytes(pad_to_multiple(rgb, BLOCK))[0].numpy()

    def bits(self, latents: Tensor, position: Tensor) -> Tensor:
        steps = self._steps[(position * 99).round().long()]
        symbols = drawn(latents / steps[:, :, None, None], position).round()
        meter = Meter(noisy=False)
        code_grid(meter, self.density, self.context(), self.floor(position)[:, :, None], self._config.groups,
                  tuple(symbols.shape), symbols)
        return meter.bits()

    @torch.no_grad()
    def frozen(self) -> dict[str, np.ndarray]:
        kept = {name: array for name, array in self._arrays.items() if not name.startswith(("context.", "density"))}
        return kept | frozen_prior(self.context, self.floor, self.density)


def _context(arrays: Mapping[str, np.ndarray]) -> dict[str, Tensor]:
    return {name: torch.from_numpy(weight) for name, weight in thaw(arrays, "context.").items()}
