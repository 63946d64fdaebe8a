"""hyper-rgb while it is trained: everything learnable, the loss, and the way to frozen weights."""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from enfold.codecs.hyper import PRICE, Analysis, HyperAnalysis, Synthesis, density, hyper_density, preliminary
from enfold.codecs.hyper_latents import CONFIGS
from enfold.entropy.exact_weights import ExactWeights
from enfold.entropy.hyperprior import LEVEL_UNIT, code_hyperprior
from enfold.entropy.meter import Meter, Quantizer, round_through
from enfold.layers.distortion import distortion
from enfold.layers.parts import load_parts
from enfold.layers.quality import ByQuality, Curves, qualities, rate_distortion
from enfold.layers.trainable import Loss, Trainable

NEIGHBOURS = 0.3            # units of level, at the start, for each doubling of a latent's neighbours


class HyperModel(Trainable):
    """Everything of a hyper-rgb codec that is learned."""

    def __init__(self, name: str) -> None:
        super().__init__()
        self.config = config = CONFIGS[name]
        self.analysis, self.synthesis = Analysis(config), Synthesis(config)
        self.hyper_analysis = HyperAnalysis(config)
        self.steps = ByQuality(config.prior.channels, config.coarsest_step, config.finest_step)
        self.context = ExactWeights(config.prior.sums, lambda n: Curves(n, 0.0, 0.0), ("mean", "level"))
        self.density, self.hyper_density = density(), hyper_density(config)

    @torch.no_grad()
    def initialise(self, pixels: Tensor) -> None:
        """Closed-form start from a sample of crops (B, 3, H, W): principal components."""
        x = self.analysis.packets.analysis(pixels - 128.0).permute(1, 0, 2, 3).flatten(1)
        values, vectors = torch.linalg.eigh((x @ x.T / x.shape[1]).double())
        keep = self.config.prior.channels
        basis = vectors[:, -keep:].flip(1).float()
        spread = values[-keep:].flip(0).float().sqrt()
        self.analysis.linear.weight.copy_(basis.T[:, :, None, None])
        self.synthesis.linear.weight.copy_(basis[:, :, None, None])
        self.synthesis.spread.copy_(spread[:, None, None])
        # each latent's scale: half from what it usually is at each step, half from its neighbours
        scale = 0.5 * spread / self.steps.log.anchors.exp() + 0.1
        usual = (1 + 0.7 * scale).log2() * NEIGHBOURS
        level = self.density.level(scale) / LEVEL_UNIT - usual
        start = 0
        for order, size in enumerate(self.config.prior.groups):
            curve: Any = self.context.biases[f"level_{order}"]
            curve.anchors.copy_(level[:, start:start + size])
            start += size
        for name, weight in self.context.raw.items():
            if name.startswith("own"):
                weight.fill_(NEIGHBOURS / weight.shape[1])

    def loss(self, pixels: Tensor, position: Tensor, *, hard: bool) -> Loss:
        """pixels (B, 3, H, W) in 0…255, sides multiples of 16, position (B,) in [0, 1].

        hard: the encoder is frozen, its latents are rounded as in use, and so is what the rate is of.
        """
        config = self.config
        with torch.set_grad_enabled(not hard):
            steps = self.steps(position)[:, :, None, None]
            scaled = self.analysis(pixels, position) / steps
        prior = partial(code_hyperprior, density=self.density, hyper_density=self.hyper_density, config=config.prior,
                        weights=self.context(), biases=self.context.biases_at(position), shape=tuple(scaled.shape))
        if hard:        # what the encoder of use does
            with torch.no_grad():
                scaled = prior(Quantizer(PRICE), latent=scaled, hyper=self.hyper_analysis(preliminary(scaled)))
        meter = Meter(noisy=not hard)
        prior(meter, latent=scaled, hyper=self.hyper_analysis(round_through(scaled)))
        latents = round_through(scaled) * steps
        decoded = self.synthesis(latents.detach() if hard else latents, position)
        error, mse = distortion(self.distortion, decoded, pixels)
        bpp = meter.bits() / (pixels.shape[-1] * pixels.shape[-2])
        return rate_distortion(bpp, error, position, config.coarsest_step, config.finest_step, mse=mse)

    @property
    def _parts(self) -> dict[str, nn.Module]:
        """Those that a model file holds as they are, by the prefix of their arrays."""
        return {"density_shape.": self.density, "hyper_density_shape.": self.hyper_density, "analysis.": self.analysis,
                "synthesis.": self.synthesis, "hyper_analysis.": self.hyper_analysis}

    def load(self, arrays: Mapping[str, np.ndarray]) -> None:
        load_parts(self._parts, arrays)
        self.steps.load(torch.from_numpy(arrays["steps"]))
        self.context.load(arrays)

    @torch.no_grad()
    def frozen(self) -> dict[str, np.ndarray]:
        """The arrays of a model file: transforms, steps by quality, prior and tables."""
        arrays: dict[str, np.ndarray] = {"steps": self.steps(qualities()).numpy()}
        arrays |= self.context.frozen(qualities())
        arrays |= self.density.freeze().to_arrays("density.")
        arrays |= self.hyper_density.freeze().to_arrays("hyper_density.")
        for prefix, part in self._parts.items():
            for name, value in part.state_dict().items():
                # half precision: the networks run in bfloat16, which keeps fewer digits; the linear maps do not
                half = value.dim() == 4 and not name.startswith("linear")
                arrays[f"{prefix}{name}"] = value.numpy().astype(np.float16 if half else np.float32)
        return arrays
