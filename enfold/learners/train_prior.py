"""Training a prior alone: the analysis stays as it is, so its latents are computed once and kept.

A model's transforms are trained on small crops, where a prior sees little but borders; on the
latents of whole pictures it learns what lies further away, in minutes. Pictures are rescaled by a
random factor, as in `train_codec`, but each only once. Neither what a file decodes to nor how well
changes, only its size; still, what is written is another model, with another fingerprint.

What a codec must offer is `layers.trainable.TrainablePrior`. No codec family is named here.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from torch import Tensor, nn

from enfold.layers.trainable import TrainablePrior
from enfold.learners.train_codec import POSITIONS, drawn_positions, pictures

CACHE = "latents.npz"
WARM_UP = 30                # steps


@dataclass(frozen=True)
class PriorRecipe:
    """How a prior is trained. side: of a batch's crops at most, in latents; batch: how many. power: that of the bits
    of a crop which is their share in the loss: 1 saves bits, most of them where qualities are fine; near 0, shares of
    them, as much where they are coarse."""

    steps: int = 3000
    batch: int = 6
    side: int = 56
    least_scale: float = 0.9
    greatest_scale: float = 2.0
    learning_rate: float = 6e-3
    average: float = 0.98
    clip: float = 1.0
    power: float = 0.5
    seed: int = 0


@dataclass(frozen=True)
class PriorProgress:
    """Where a run stands. bits: of the last batch, for each latent. held_out: the same at each of POSITIONS,
    on pictures that are never trained on; at the start and at the end."""

    step: int
    minutes: float
    fraction: float
    bits: float
    held_out: tuple[float, ...] = ()


def cache(prior: TrainablePrior, recipe: PriorRecipe, folder: Path, kept: Path, model: str
          ) -> tuple[list[np.ndarray], list[np.ndarray]]:
    """(training, held-out) latents of the pictures of a folder, float16 (C, h, w).

    kept: the file that holds them from one run to the next, if they are those of `model` and the recipe's scales.
    """
    trained_on, held_out = pictures(folder)
    said = f"{model} {recipe.seed} {recipe.least_scale} {recipe.greatest_scale}"
    names = [f"{number:06}" for number in range(len(trained_on) + len(held_out))]
    if kept.exists():
        with np.load(kept) as old:
            if str(old["model"]) == said and set(names) <= set(old.files):
                found = [old[name] for name in names]
                return found[:len(trained_on)], found[len(trained_on):]
    random = np.random.default_rng(recipe.seed)
    found = []
    for file in (*trained_on, *held_out):
        picture = Image.open(file).convert("RGB")
        factor = math.exp(random.uniform(math.log(recipe.least_scale), math.log(recipe.greatest_scale)))
        size = (max(1, round(picture.width * factor)), max(1, round(picture.height * factor)))
        rgb = np.asarray(picture.resize(size, Image.Resampling.BICUBIC))
        found.append(prior.latents(rgb).astype(np.float16))
    np.savez(kept, model=said, **dict(zip(names, found, strict=True)))
    return found[:len(trained_on)], found[len(trained_on):]


class Batches:
    """Crops (B, C, h, w) of latents, as large as the recipe and the smallest of B pictures of about one size allow."""

    def __init__(self, latents: list[np.ndarray], recipe: PriorRecipe) -> None:
        if not latents:
            raise ValueError("no pictures to train on: the folder holds no PNG, JPEG or WebP file")
        self._latents = sorted(latents, key=lambda x: (min(x.shape[1:]), max(x.shape[1:])))
        self._recipe, self._random = recipe, np.random.default_rng(recipe.seed)

    def __next__(self) -> Tensor:
        random, count = self._random, min(self._recipe.batch, len(self._latents))
        first = random.integers(len(self._latents) - count + 1)
        chosen = self._latents[first:first + count]
        height, width = (min(self._recipe.side, *(x.shape[axis] for x in chosen)) for axis in (1, 2))
        corners = [(random.integers(x.shape[1] - height + 1), random.integers(x.shape[2] - width + 1)) for x in chosen]
        crops = [x[:, top:top + height, left:left + width] for x, (top, left) in zip(chosen, corners, strict=True)]
        return torch.from_numpy(np.stack(crops)).float()


@torch.no_grad()
def validate(prior: TrainablePrior, latents: list[np.ndarray]) -> tuple[float, ...]:
    """Bits for each latent, at each of POSITIONS."""
    count = sum(x.size for x in latents)
    return tuple(sum(prior.bits(torch.from_numpy(x)[None].float(), torch.tensor([position])).item() for x in latents)
                 / max(count, 1) for position in POSITIONS)


def train_prior(prior: TrainablePrior, recipe: PriorRecipe, folder: Path, out: Path, model: str,
                report: Callable[[PriorProgress], None] = lambda progress: None) -> TrainablePrior:
    """Trains `prior`, which `model` (a fingerprint) is the name of, on the pictures of `folder`; returns it.

    The latents are kept in `out/latents.npz`. A run takes minutes; one that is interrupted starts anew.
    `report` is called every few seconds.
    """
    out.mkdir(parents=True, exist_ok=True)
    latents, held_out = cache(prior, recipe, folder, out / CACHE, model)
    batches = Batches(latents, recipe)
    torch.manual_seed(recipe.seed)
    optimiser = torch.optim.Adam(prior.parameters(), recipe.learning_rate, betas=(0.9, 0.98))
    average = [p.detach().clone() for p in prior.parameters()]
    started = said = time.monotonic()
    report(PriorProgress(0, 0.0, 0.0, math.nan, validate(prior, held_out)))
    for step in range(recipe.steps):
        x = next(batches)
        position = drawn_positions(len(x))
        rate = recipe.learning_rate * (0.5 + 0.5 * math.cos(math.pi * step / recipe.steps)) + 1e-6
        for group in optimiser.param_groups:
            group["lr"] = rate * min(1.0, (step + 1) / WARM_UP)
        bits = prior.bits(x, position) / x[0].numel()
        loss = bits.pow(recipe.power).mean()
        optimiser.zero_grad(set_to_none=True)
        loss.backward()
        if torch.isfinite(nn.utils.clip_grad_norm_(prior.parameters(), recipe.clip)):
            optimiser.step()
        with torch.no_grad():
            torch._foreach_lerp_(average, list(prior.parameters()), 1 - min(recipe.average, (step + 1) / (step + 10)))
        if (now := time.monotonic()) - said > 10:
            said = now
            report(PriorProgress(step + 1, (now - started) / 60, (step + 1) / recipe.steps, bits.mean().item()))
    with torch.no_grad():
        for parameter, mean in zip(prior.parameters(), average, strict=True):
            parameter.copy_(mean)
    report(PriorProgress(recipe.steps, (time.monotonic() - started) / 60, 1.0, math.nan, validate(prior, held_out)))
    return prior
