"""Training codebooks and the prior of their codes, on an analysis that another model lends.

The analysis stays as it is, so each picture's latents are computed once: rescaled by a random factor, at a
random quality of the band. Then, band after band, a few rounds of

    codes       that the encoder of use chooses, with the bits of the prior as it is now in view
    words       move to the means of what chose them (`refine`)
    prior       learns these codes, on crops of whole grids

In the first round the prior knows only how often each word comes. A run leaves a checkpoint after each round
and goes on from it. What a codec must offer is `layers.trainable.CodeTrainable`. No codec family is named here.
"""

from __future__ import annotations

import json
import math
import time
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image
from safetensors.numpy import load_file, save_file
from torch import Tensor, nn

from enfold.errors import UsageError
from enfold.layers.trainable import CodeTrainable
from enfold.learners.train_codec import pictures
from enfold.learners.trainer import Report, Trainer, log_rows
from enfold.pretrained import find, weights

GRAIN = 4                   # crops of codes lie on multiples of it
SAMPLE = 120                # pictures that codebooks begin with
WARM_UP = 40                # steps
TRANSFORMS = "transforms.json"      # in a run's folder: whose they are


@dataclass(frozen=True)
class CodesRecipe:
    """How codebooks are trained. transforms_of: the codec that lends them. steps: of a band's prior, all rounds
    together. side: of a crop at most, in positions; batch: how many. limit: pictures at most,
    evenly spread over the folder; 0 for all."""

    transforms_of: str = ""
    steps: int = 1500
    rounds: int = 2
    batch: int = 12
    side: int = 20
    least_scale: float = 0.6
    greatest_scale: float = 2.0
    learning_rate: float = 4e-3
    average: float = 0.98
    clip: float = 1.0
    seed: int = 0
    limit: int = 0


@dataclass(frozen=True)
class CodesProgress:
    """Where a run stands. bits: of a position, all codes together, in the last batch. held_out, at the end of a round:
    bits of a position on pictures never trained on, by level from coarse to fine: under this prior, under tables
    that know nothing but how often each code comes, and if all words were alike."""

    band: int
    round: int
    step: int
    minutes: float
    fraction: float
    bits: float
    held_out: tuple[tuple[float, float, float], ...] = ()


class CodesTrainer(Trainer):
    recipe = CodesRecipe
    data = "a folder of pictures"

    def about(self, data: Path) -> dict[str, Any]:
        if not data.is_dir():
            raise UsageError(f"DATA is {str(data)!r}, which is no folder: name {self.data}")
        trained_on, held_out = pictures(data)
        if not trained_on or not held_out:
            raise UsageError(f"{data} holds {len(held_out)} pictures, too few to train on: name a folder with more")
        return {"folder": data.resolve().name, "pictures": len(trained_on), "held_out": len(held_out)}

    def train(self, trainable: CodeTrainable, recipe: CodesRecipe, data: Path, out: Path, *, threads: int,
              report: Report, start: Mapping[str, np.ndarray] | None) -> dict[str, np.ndarray]:
        out.mkdir(parents=True, exist_ok=True)
        done = _State.read(out)
        if done.rounds:
            trainable.load(load_file(out / "checkpoint.safetensors"))
        elif start is not None:
            trainable.load(start)
        else:
            if not recipe.transforms_of:
                raise UsageError("codebooks are trained on transforms of another model: name its codec, as in "
                                 "--set transforms_of=hyper-rgb")
            trained_on, _ = pictures(data)
            sample = [_rescaled(file, 1.0) for file in trained_on[::max(1, len(trained_on) // SAMPLE)]]
            lender = find(recipe.transforms_of)
            trainable.adopt(weights(lender), sample)
            about = {"codec": lender.codec, "fingerprint": lender.fingerprint.hex()}
            distortion = lender.about.get("recipe", {}).get("distortion")
            (out / TRANSFORMS).write_text(json.dumps(about | ({"distortion": distortion} if distortion else {})))
        run = _Run(trainable, recipe, data, out, report, done, fresh=start is None)
        for band in range(done.rounds // recipe.rounds, trainable.bands):
            run.band(band)
        return trainable.frozen()

    def history(self, out: Path) -> dict[str, Any]:
        rows = log_rows(out / "log.jsonl")
        if not rows:
            return {}
        last: dict[int, dict[str, Any]] = {row["band"]: row for row in rows}
        lent = out / TRANSFORMS
        transforms = {"transforms": json.loads(lent.read_text())} if lent.exists() else {}
        return {**transforms, "steps": sum(row["step"] for row in last.values()),
                "minutes": round(rows[-1]["minutes"], 1),
                "prior": [{"band": band, "held_out": [[round(bits, 3) for bits in level] for level in row["held_out"]]}
                          for band, row in last.items()]}

    def words(self, progress: CodesProgress) -> str:
        where = f"band {progress.band}, round {progress.round}, step {progress.step:,}, {progress.minutes:.1f} min"
        if not progress.held_out:
            return f"{where}: {progress.bits:.2f} bits a position"
        levels = "  ".join(f"{ours:.2f} of {static:.2f} of {fixed:.1f}" for ours, static, fixed in progress.held_out)
        return f"{where}, held out, bits a position by level (static, fixed length): {levels}"

    def is_milestone(self, progress: CodesProgress) -> bool:
        return bool(progress.held_out)


CODES = CodesTrainer()


@dataclass(frozen=True)
class _State:
    """rounds: finished, all bands together. minutes: that they took."""

    rounds: int = 0
    minutes: float = 0.0

    @classmethod
    def read(cls, out: Path) -> _State:
        path = out / "checkpoint.json"
        return cls(**json.loads(path.read_text())) if path.exists() else cls()


class _Run:
    def __init__(self, model: CodeTrainable, recipe: CodesRecipe, data: Path, out: Path, report: Report, done: _State,
                 *, fresh: bool) -> None:
        self._model, self._recipe, self._out, self._report, self._fresh = model, recipe, out, report, fresh
        self._rounds, self._minutes, self._started = done.rounds, done.minutes, time.monotonic()
        trained_on, held_out = pictures(data)
        every = -(-len(trained_on) // recipe.limit) if recipe.limit else 1
        self._files = trained_on[::every], held_out

    def band(self, band: int) -> None:
        model, recipe = self._model, self._recipe
        random = np.random.default_rng([recipe.seed, band])
        torch.manual_seed(recipe.seed + band)
        (latents, places), (others, other_places) = (self._latents(files, band, random) for files in self._files)
        if self._rounds % recipe.rounds == 0 and self._fresh:
            model.lay(band, latents[::max(1, len(latents) // SAMPLE)], recipe.seed)
        for number in range(self._rounds % recipe.rounds, recipe.rounds):
            codes = model.codes(band, latents, places)
            model.refine(band, latents, codes)
            self._learn(band, number, codes, places)
            held_out = _measured(model, band, codes, model.codes(band, others, other_places), other_places)
            self._keep(band, number, held_out)

    def _latents(self, files: Sequence[Path], band: int, random: np.random.Generator
                 ) -> tuple[list[np.ndarray], list[int]]:
        least, greatest = math.log(self._recipe.least_scale), math.log(self._recipe.greatest_scale)
        places = [int(random.integers(self._model.places)) for _ in files]
        scales = [math.exp(random.uniform(least, greatest)) for _ in files]
        return [self._model.latents(_rescaled(file, scale), band, place).astype(np.float16).astype(np.float32)
                for file, scale, place in zip(files, scales, places, strict=True)], places

    def _learn(self, band: int, number: int, codes: list[np.ndarray], places: list[int]) -> None:
        recipe, prior = self._recipe, self._model.prior_of(band)
        batches = _Batches(codes, places, recipe, number)
        optimiser = torch.optim.Adam(prior.parameters(), recipe.learning_rate, betas=(0.9, 0.98))
        average = [p.detach().clone() for p in prior.parameters()]
        steps, said = recipe.steps // recipe.rounds, time.monotonic()
        for step in range(steps):
            x, place = next(batches)
            rate = recipe.learning_rate * (0.5 + 0.5 * math.cos(math.pi * step / steps)) + 1e-6
            for group in optimiser.param_groups:
                group["lr"] = rate * min(1.0, (step + 1) / WARM_UP)
            bits = self._model.bits(band, x, place).sum() / (x.shape[0] * x.shape[2] * x.shape[3])
            optimiser.zero_grad(set_to_none=True)
            bits.backward()
            if torch.isfinite(nn.utils.clip_grad_norm_(prior.parameters(), recipe.clip)):
                optimiser.step()
            with torch.no_grad():
                decay = min(recipe.average, (step + 1) / (step + 10))
                torch._foreach_lerp_(average, list(prior.parameters()), 1 - decay)
            if time.monotonic() - said > 10:
                said = time.monotonic()
                self._report(self._progress(band, number, number * steps + step + 1, bits.item()))
        with torch.no_grad():
            for parameter, mean in zip(prior.parameters(), average, strict=True):
                parameter.copy_(mean)

    def _keep(self, band: int, number: int, held_out: tuple[tuple[float, float, float], ...]) -> None:
        self._rounds += 1
        step = (number + 1) * (self._recipe.steps // self._recipe.rounds)
        progress = self._progress(band, number, step, sum(bits for bits, _, _ in held_out), held_out)
        partial = self._out / "checkpoint.partial"
        save_file({name: np.ascontiguousarray(array) for name, array in self._model.frozen().items()}, partial)
        partial.rename(self._out / "checkpoint.safetensors")
        (self._out / "checkpoint.json").write_text(json.dumps({"rounds": self._rounds, "minutes": progress.minutes}))
        with (self._out / "log.jsonl").open("a") as log:
            log.write(json.dumps(asdict(progress)) + "\n")
        self._report(progress)

    def _progress(self, band: int, number: int, step: int, bits: float,
                  held_out: tuple[tuple[float, float, float], ...] = ()) -> CodesProgress:
        minutes = self._minutes + (time.monotonic() - self._started) / 60
        fraction = (band * self._recipe.steps + step) / (self._model.bands * self._recipe.steps)
        return CodesProgress(band, number, step, minutes, min(1.0, fraction), bits, held_out)


class _Batches:
    """Crops (B, M, h, w) of codes of pictures of about one size, and their places (B,)."""

    def __init__(self, codes: list[np.ndarray], places: list[int], recipe: CodesRecipe, number: int) -> None:
        order = sorted(range(len(codes)), key=lambda k: (min(codes[k].shape[1:]), max(codes[k].shape[1:])))
        self._codes, self._places = [codes[k] for k in order], [places[k] for k in order]
        self._recipe, self._random = recipe, np.random.default_rng([recipe.seed, number])

    def __next__(self) -> tuple[Tensor, Tensor]:
        random, count = self._random, min(self._recipe.batch, len(self._codes))
        first = int(random.integers(len(self._codes) - count + 1))
        chosen = self._codes[first:first + count]
        height, width = (min(self._recipe.side, *(x.shape[axis] for x in chosen)) for axis in (1, 2))
        crops = []
        for x in chosen:
            top, left = (GRAIN * int(random.integers((side - crop) // GRAIN + 1))
                         for side, crop in zip(x.shape[1:], (height, width), strict=True))
            crops.append(x[:, top:top + height, left:left + width])
        return torch.from_numpy(np.stack(crops)), torch.tensor(self._places[first:first + count])


@torch.no_grad()
def _measured(model: CodeTrainable, band: int, seen: list[np.ndarray], codes: list[np.ndarray], places: list[int]
              ) -> tuple[tuple[float, float, float], ...]:
    """See CodesProgress.held_out. The first of three is of all levels together, for the prior knows no others."""
    books = model.books(band)
    positions = sum(x[0].size for x in codes)
    ours = sum(model.bits(band, torch.from_numpy(x)[None], torch.tensor([place])).item()
               for x, place in zip(codes, places, strict=True)) / positions
    static = fixed = 0.0
    for channel, (words, step) in enumerate(books):
        times = np.full(words, 0.5)
        for x in seen:
            times += np.bincount(x[channel, ::step, ::step].reshape(-1), minlength=words)
        cost = -np.log2(times / times.sum())
        static += sum(float(cost[x[channel, ::step, ::step]].sum()) for x in codes) / positions
        fixed += math.log2(words) * sum(x[channel, ::step, ::step].size for x in codes) / positions
    return ((ours, static, fixed),)


def _rescaled(file: Path, factor: float) -> np.ndarray:
    picture = Image.open(file).convert("RGB")
    size = (max(1, round(picture.width * factor)), max(1, round(picture.height * factor)))
    return np.asarray(picture.resize(size, Image.Resampling.BICUBIC))
