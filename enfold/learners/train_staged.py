"""Training a codec in stages, its prior last.

Each stage has its own parameters, learning rate and beginning, and goes on from the averaged weights of the
one before. As in `train_codec`, a run is told its length in minutes or steps, writes checkpoints as it goes and
takes up where the last one stopped. When the stages are over, the prior is trained on the latents of whole
pictures, as `train_prior` does.

What a codec must offer is `layers.staged.Staged`. No codec family is named here. `STAGED` is what the
registry names.
"""

from __future__ import annotations

import json
import math
import time
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image
from safetensors.torch import load_file
from torch import Tensor, nn

from enfold.errors import UsageError
from enfold.layers.staged import Staged
from enfold.learners.checkpoints import follow, restore, save
from enfold.learners.train_codec import PICTURES, Crops, pictures
from enfold.learners.train_codec import Recipe as CropRecipe
from enfold.learners.train_prior import PriorProgress, PriorRecipe, train_prior
from enfold.learners.trainer import Report, Trainer, log_rows, thinned

HELD_OUT_CROP = 240         # side of the corner that is validated on
MOST_HELD_OUT = 16          # pictures
WARM_UP = 60                # steps of each stage
VALIDATED_MINUTES = 10.0


@dataclass(frozen=True)
class StagedRecipe:
    """How a codec is trained. Zero steps: as many as `minutes` allow; the prior's are apart."""

    steps: int = 0
    minutes: float = 44.0
    batch: int = 8
    crop: int = 128
    least_scale: float = 0.5
    greatest_scale: float = 2.0
    learning_rate: float = 1.5e-3
    average: float = 0.995
    clip: float = 1.0
    seed: int = 0
    checkpoint_minutes: float = 3.0
    prior_steps: int = 320
    prior_learning_rate: float = 2e-3


@dataclass(frozen=True)
class StagedProgress:
    """Where a run stands. features, psnr_db: of the last batch. validation: see `Staged.validate`."""

    stage: str
    step: int
    minutes: float
    fraction: float
    loss: float
    features: float
    psnr_db: float
    skipped: int
    validation: tuple[tuple[float, ...], ...] = ()


def train(model: Staged, recipe: StagedRecipe, folder: Path, out: Path,
          report: Report = lambda progress: None) -> Staged:
    """Trains `model` on the pictures of `folder`; returns it with the averaged weights.

    Checkpoints go to `out/checkpoint.safetensors`, the log to `out/log.jsonl`. If there is a checkpoint already,
    the run goes on from it. `report` is called every few seconds.
    """
    out.mkdir(parents=True, exist_ok=True)
    files, held_out = pictures(folder)
    held = _corners(held_out)
    model.to(memory_format=torch.channels_last)
    checkpoint, state_file = out / "checkpoint.safetensors", out / "checkpoint.json"
    step, at_stage, skipped, before_s, typical = 0, 0, 0, 0.0, math.nan
    average: dict[str, Tensor] = {}
    optimiser: Any = None

    def prepared(stage: int) -> Any:
        return torch.optim.Adam(model.learnt(stage), recipe.learning_rate, betas=(0.9, 0.98))

    if checkpoint.exists():
        state, tensors = json.loads(state_file.read_text()), load_file(checkpoint)
        step, before_s, skipped, at_stage = state["step"], state["seconds"], state["skipped"], WARM_UP
        optimiser = prepared(int(tensors["model.stage"]))
        average = restore(model, optimiser, tensors)
    torch.manual_seed(recipe.seed + step)
    crops = Crops(files, CropRecipe(batch=recipe.batch, crop=recipe.crop, least_scale=recipe.least_scale,
                                    greatest_scale=recipe.greatest_scale), recipe.seed + step)
    started = last_saved = last_said = last_validated = time.monotonic()

    def fraction() -> float:
        done = step / recipe.steps if recipe.steps else (before_s + time.monotonic() - started) / (60 * recipe.minutes)
        return min(done, 1.0)

    def validated() -> None:
        """Says and logs what the averaged weights are worth; puts the model's own back."""
        own = {name: value.clone() for name, value in model.state_dict().items()}
        model.load_state_dict(average)
        model.eval()
        rows = tuple(model.validate(held, int(model.stage))) if len(held) else ()
        model.load_state_dict(own)
        model.train()
        progress = StagedProgress(model.stages[int(model.stage)].name, step, _minutes(before_s, started), fraction(),
                                  typical, math.nan, math.nan, skipped, rows)
        with (out / "log.jsonl").open("a") as log:
            log.write(json.dumps(asdict(progress)) + "\n")
        report(progress)

    model.train()
    while (done := fraction()) < 1.0:
        stage = next(number for number, stage in enumerate(model.stages) if done < stage.until)
        if stage != int(model.stage):
            if average:
                validated()
                model.load_state_dict(average)
            model.eval()
            model.begin(stage, crops)
            model.train()
            model.stage.fill_(stage)
            average = {name: value.detach().clone() for name, value in model.state_dict().items()}
            optimiser, at_stage, typical = prepared(stage), 0, math.nan
        plan, since = model.stages[stage], model.stages[stage - 1].until if stage else 0.0
        progress = (done - since) / (plan.until - since)
        share = plan.last_rate + (plan.first_rate - plan.last_rate) * (0.5 + 0.5 * math.cos(math.pi * progress))
        for group in optimiser.param_groups:
            group["lr"] = recipe.learning_rate * share * min(1.0, (at_stage + 1) / WARM_UP)
        loss = model.loss(next(crops), stage, progress)
        optimiser.zero_grad(set_to_none=True)
        loss.total.backward()
        norm = nn.utils.clip_grad_norm_(model.learnt(stage), recipe.clip)
        value = loss.total.item()
        if math.isfinite(value) and torch.isfinite(norm) and not value > 5 * typical:
            optimiser.step()
            typical = value if math.isnan(typical) else 0.98 * typical + 0.02 * value
        else:
            skipped += 1
        step, at_stage = step + 1, at_stage + 1
        follow(average, model, min(recipe.average, (at_stage + 1) / (at_stage + 10)))
        now = time.monotonic()
        if now - last_said > 10:
            last_said = now
            psnr_db = 10 * torch.log10(255 ** 2 / loss.mse.clamp_min(1e-3)).mean().item()
            report(StagedProgress(plan.name, step, _minutes(before_s, started), done, typical,
                                  loss.features.mean().item(), psnr_db, skipped))
        if now - last_saved > 60 * recipe.checkpoint_minutes or fraction() >= 1.0:
            save(out, model, optimiser, average, step, before_s + now - started, skipped)
            last_saved = time.monotonic()
        if now - last_validated > 60 * VALIDATED_MINUTES or fraction() >= 1.0:
            validated()
            last_validated = time.monotonic()
    model.load_state_dict(average)
    model.eval()
    return model


def _minutes(before_s: float, started: float) -> float:
    return (before_s + time.monotonic() - started) / 60


def _corners(files: list[Path]) -> Tensor:
    """(N, 3, side, side): the upper left corners of some pictures, as large as they all are."""
    rgb = [np.asarray(Image.open(file).convert("RGB")) for file in files[:MOST_HELD_OUT]]
    side = min([HELD_OUT_CROP, *(side for one in rgb for side in one.shape[:2])]) // 16 * 16
    if not rgb or not side:
        return torch.empty(0)
    return torch.stack([torch.from_numpy(one[:side, :side].copy()) for one in rgb]).permute(0, 3, 1, 2).float()


class StagedTrainer(Trainer):
    """`train`, and then the prior, as the command line knows it."""

    recipe = StagedRecipe
    data = PICTURES.data

    def about(self, data: Path) -> dict[str, Any]:
        return PICTURES.about(data)

    def train(self, trainable: Any, recipe: Any, data: Path, out: Path, *, threads: int, report: Report,
              start: Mapping[str, np.ndarray] | None) -> dict[str, np.ndarray]:
        if start is not None:
            raise UsageError("a codec that is trained in stages begins from nothing: leave --from-weights out; its "
                             "prior alone can be trained further, with --prior-only")
        arrays = train(trainable, recipe, data, out, report).frozen()
        if not recipe.prior_steps:
            return arrays
        held_out: list[list[float]] = []

        def told(progress: PriorProgress) -> None:
            if progress.held_out:
                held_out.append([round(bits, 4) for bits in progress.held_out])
            report(progress)

        plan = PriorRecipe(steps=recipe.prior_steps, learning_rate=recipe.prior_learning_rate, seed=recipe.seed)
        step = json.loads((out / "checkpoint.json").read_text())["step"]        # a run may be lengthened
        prior = train_prior(trainable.prior(arrays), plan, data, out, f"{step} steps of seed {recipe.seed}", told)
        (out / "prior.json").write_text(json.dumps(held_out))
        return prior.frozen()

    def history(self, out: Path) -> dict[str, Any]:
        rows, prior = log_rows(out / "log.jsonl"), out / "prior.json"
        if not rows:
            return {}
        curve = [{"stage": row["stage"], "step": row["step"], "minutes": round(row["minutes"], 1),
                  "loss": round(row["loss"], 4),
                  "held_out": [[round(number, 4) for number in point] for point in row["validation"]]}
                 for row in thinned(rows)]
        last = rows[-1]
        about = {"steps": last["step"], "minutes": round(last["minutes"], 1), "skipped_steps": last["skipped"]}
        if prior.exists():
            about["prior_held_out"] = json.loads(prior.read_text())
        return {**about, "curve": curve}

    def words(self, progress: StagedProgress | PriorProgress) -> str:
        if isinstance(progress, PriorProgress):
            held_out = "  ".join(f"{bits:.3f}" for bits in progress.held_out)
            return f"prior, step {progress.step:,}, {progress.minutes:.1f} min" + \
                (f", held out: {held_out} bits a number" if held_out else f": {progress.bits:.3f} bits a number")
        where = f"{progress.stage}, step {progress.step:,}, {progress.minutes:.1f} min"
        if not progress.validation:
            return f"{where}: loss {progress.loss:.3f}, features {progress.features:.3f}, {progress.psnr_db:.1f} dB"
        held_out = "  ".join(f"{features:.4f} {psnr_db:.2f} dB" for _, _, psnr_db, features in progress.validation)
        return f"{where}, loss {progress.loss:.3f}, held out, features: {held_out}"

    def is_milestone(self, progress: StagedProgress | PriorProgress) -> bool:
        return bool(progress.held_out if isinstance(progress, PriorProgress) else progress.validation)


STAGED = StagedTrainer()
