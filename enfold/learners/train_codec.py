"""Training a codec: crops, a loss, a schedule, checkpoints.

A run is told its length in steps or in minutes of wall clock; the learning rate, and the switch
to hard-rounded latents with a frozen encoder, follow the fraction that is done. It writes
checkpoints as it goes and takes up where the last one stopped. What is shipped is a moving
average of the weights.

What a codec must offer is `layers.trainable.Trainable`. No codec family is named here. `PICTURES` is what
the registry names.
"""

from __future__ import annotations

import json
import math
import queue
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image
from safetensors.torch import load_file
from torch import Tensor, nn

from enfold.errors import UsageError
from enfold.layers.distortion import DISTORTIONS, WINDOW
from enfold.layers.trainable import Trainable
from enfold.learners.checkpoints import follow, restore, save
from enfold.learners.trainer import Report, Trainer, log_rows, thinned

HELD_OUT_CROP = 256          # side of the centre crop that is validated on
HELD_OUT_EVERY = 40          # every so many-th picture is for validation, never trained on
PATIENCE = 20                # steps skipped in a row before the last checkpoint is put back
POSITIONS = (0.1, 0.3, 0.5, 0.7, 0.9)
Row = tuple[float, float, float]


@dataclass(frozen=True)
class Recipe:
    """How a codec is trained. Zero steps: as many as `minutes` allow. distortion: see `layers.distortion`. finest:
    up to which position qualities are drawn, 1 for all of them."""

    steps: int = 0
    minutes: float = 60.0
    batch: int = 16
    crop: int = 128
    least_scale: float = 0.5
    greatest_scale: float = 2.0
    learning_rate: float = 1e-3
    hard_from: float = 0.75
    average: float = 0.999
    clip: float = 1.0
    seed: int = 0
    checkpoint_minutes: float = 3.0
    distortion: str = "mse"
    finest: float = 1.0


@dataclass(frozen=True)
class Progress:
    """Where a run stands. `validation`: (position, bpp, PSNR in dB) on held-out pictures."""

    step: int
    minutes: float
    fraction: float
    learning_rate: float
    loss: float
    bpp: float
    psnr_db: float
    skipped: int
    validation: tuple[Row, ...] = ()


def pictures(folder: Path) -> tuple[list[Path], list[Path]]:
    """(training, held-out) picture files of a folder, in a fixed order."""
    files = sorted(p for p in Path(folder).rglob("*")
                   if p.suffix.lower() in {".png", ".jpg", ".jpeg", ".webp", ".bmp", ".tif"})
    return ([p for i, p in enumerate(files) if i % HELD_OUT_EVERY],
            [p for i, p in enumerate(files) if not i % HELD_OUT_EVERY])


class Crops:
    """An endless stream of batches (B, 3, crop, crop), made in a thread of its own.

    Pictures are rescaled by a random factor: training photographs are small and sharp, and what
    people compress is neither. Each rescaled picture gives a few crops, mixed in a pool.
    """

    PER_PICTURE = 4
    POOL = 512

    def __init__(self, files: list[Path], recipe: Recipe, seed: int) -> None:
        if not files:
            raise ValueError("no pictures to train on: the folder holds no PNG, JPEG or WebP file")
        self._recipe = recipe
        self._random = np.random.default_rng(seed)
        self._pictures = [np.asarray(Image.open(f).convert("RGB")) for f in files]
        self._queue: queue.Queue[np.ndarray] = queue.Queue(8)
        threading.Thread(target=self._fill, daemon=True).start()

    def _crops(self) -> Iterator[np.ndarray]:
        recipe, random = self._recipe, self._random
        while True:
            picture = self._pictures[random.integers(len(self._pictures))]
            height, width = picture.shape[:2]
            least = max(recipe.least_scale, (recipe.crop + 1) / min(height, width))
            scale = math.exp(random.uniform(math.log(least),
                                            math.log(max(least, recipe.greatest_scale))))
            size = (max(recipe.crop, round(width * scale)), max(recipe.crop, round(height * scale)))
            resized = np.asarray(Image.fromarray(picture).resize(size, Image.Resampling.BICUBIC))
            for _ in range(self.PER_PICTURE):
                y = random.integers(size[1] - recipe.crop + 1)
                x = random.integers(size[0] - recipe.crop + 1)
                crop = resized[y:y + recipe.crop, x:x + recipe.crop]
                yield crop[:, ::-1] if random.random() < 0.5 else crop

    def _fill(self) -> None:
        crops, random = self._crops(), self._random
        pool = [next(crops) for _ in range(self.POOL)]
        while True:
            batch = []
            for _ in range(self._recipe.batch):
                at = random.integers(self.POOL)
                batch.append(pool[at])
                pool[at] = next(crops)
            self._queue.put(np.stack(batch))

    def __next__(self) -> Tensor:
        return torch.from_numpy(self._queue.get()).permute(0, 3, 1, 2).float().contiguous()


@torch.no_grad()
def validate(model: Trainable, files: list[Path]) -> tuple[Row, ...]:
    """(position, mean bpp, mean PSNR in dB) at each of POSITIONS, over centre crops of one size."""
    held_out = [np.asarray(Image.open(file).convert("RGB")) for file in files]
    size = min([HELD_OUT_CROP, *(side for picture in held_out for side in picture.shape[:2])]) // 8 * 8
    if not held_out or not size:
        return ()
    corners = [((p.shape[0] - size) // 2, (p.shape[1] - size) // 2) for p in held_out]
    batch = torch.stack([torch.from_numpy(p[y:y + size, x:x + size].copy())
                         for p, (y, x) in zip(held_out, corners, strict=True)])
    batch = batch.permute(0, 3, 1, 2).float()
    rows = []
    for position in POSITIONS:
        parts = [model.loss(x, torch.full((len(x),), position), hard=True) for x in batch.split(8)]
        mse = torch.cat([part.mse for part in parts]).clamp_min(1e-3)
        bpp = torch.cat([part.bpp for part in parts])
        rows.append((position, bpp.mean().item(),
                     (10 * torch.log10(255 ** 2 / mse)).mean().item()))
    return tuple(rows)


def drawn_positions(count: int) -> Tensor:
    """Qualities of a batch: stratified, and denser towards fine ones, where there is most to learn."""
    return ((torch.rand(count) + torch.arange(count)) / count) ** 0.7


def train(model: Trainable, recipe: Recipe, folder: Path, out: Path,
          report: Callable[[Progress], None] = lambda progress: None,
          start: Mapping[str, np.ndarray] | None = None) -> Trainable:
    """Trains `model` on the pictures of `folder`; see `run`."""
    train_files, held_out = pictures(folder)
    if recipe.distortion not in DISTORTIONS:
        raise UsageError(f"distortion is {recipe.distortion!r}; it must be {' or '.join(DISTORTIONS)}")
    if recipe.distortion == "ms_ssim" and recipe.crop < WINDOW:
        raise UsageError(f"crops of {recipe.crop} pixels are too small for MS-SSIM, whose window is {WINDOW}: make "
                         "them 161 or more, for all its five scales")
    model.distortion = recipe.distortion
    return run(model, recipe, partial(Crops, train_files, recipe), partial(validate, files=held_out), out, report,
               start)


def run(model: Trainable, recipe: Any, stream: Callable[[int], Any],
        check: Callable[[Trainable], tuple[Row, ...]], out: Path,
        report: Callable[[Progress], None] = lambda progress: None,
        start: Mapping[str, np.ndarray] | None = None, peak: float = 255.0) -> Trainable:
    """Trains `model`, whatever its medium; returns it with the averaged weights.

    recipe: of the fields of `Recipe` all but those of crops. stream: makes, of a seed, an endless iterator of batches.
    check: what a model reaches on what is held out. Checkpoints go to `out/checkpoint.safetensors`, the log to
    `out/log.jsonl`. If there is a checkpoint already, the run goes on from it. `report` is called every few seconds.
    start: the arrays of a model file, that the run begins with in the place of a closed-form start; to go on
    with such a run takes the same. peak: what PSNR is counted from.
    """
    out.mkdir(parents=True, exist_ok=True)
    if start is not None:
        model.load(start)
    model.to(memory_format=torch.channels_last)
    optimiser = torch.optim.Adam(model.parameters(), recipe.learning_rate, betas=(0.9, 0.99))
    checkpoint, state_file = out / "checkpoint.safetensors", out / "checkpoint.json"
    step, skipped, streak, before_s, typical = 0, 0, 0, 0.0, math.nan
    average: dict[str, Tensor] = {}
    if checkpoint.exists():
        state = json.loads(state_file.read_text())
        step, before_s, skipped = state["step"], state["seconds"], state["skipped"]
        average = restore(model, optimiser, load_file(checkpoint))
    torch.manual_seed(recipe.seed + step)
    batches = stream(recipe.seed + step)
    if not average:
        if start is None:
            model.initialise(torch.cat([next(batches) for _ in range(16)]))
        average = {name: p.detach().clone() for name, p in model.state_dict().items()}
    started = last_saved = last_said = time.monotonic()

    def fraction() -> float:
        done = step / recipe.steps if recipe.steps else \
            (before_s + time.monotonic() - started) / (60 * recipe.minutes)
        return min(done, 1.0)

    while (done := fraction()) < 1.0:
        batch = next(batches)
        position = drawn_positions(len(batch)) * recipe.finest
        hard = done >= recipe.hard_from
        rate = recipe.learning_rate * min(1.0, (step + 1) / 200) * \
            (0.5 + 0.5 * math.cos(math.pi * done)) + 1e-6
        for group in optimiser.param_groups:
            group["lr"] = rate
        loss = model.loss(batch, position, hard=hard)
        optimiser.zero_grad(set_to_none=True)
        loss.total.backward()
        norm = nn.utils.clip_grad_norm_(model.parameters(), recipe.clip)
        value = loss.total.item()
        if math.isfinite(value) and torch.isfinite(norm) and not value > 5 * typical:
            optimiser.step()
            typical = value if math.isnan(typical) else 0.98 * typical + 0.02 * value
            streak = 0
        else:
            skipped, streak = skipped + 1, streak + 1
            typical *= 1.02
        if streak > PATIENCE and checkpoint.exists():       # not one bad batch: the weights are broken
            average = restore(model, optimiser, load_file(checkpoint))
            typical, streak = math.nan, 0
        step += 1
        follow(average, model, min(recipe.average, (step + 1) / (step + 10)))
        now = time.monotonic()
        if now - last_said > 10:
            last_said = now
            report(Progress(step, (before_s + now - started) / 60, done, rate, value,
                            loss.bpp.mean().item(),
                            (10 * torch.log10(peak ** 2 / loss.mse.clamp_min(1e-3))).mean().item(),
                            skipped))
        if (now - last_saved > 60 * recipe.checkpoint_minutes and not streak) or fraction() >= 1.0:
            seconds = before_s + now - started
            save(out, model, optimiser, average, step, seconds, skipped)
            progress = Progress(step, seconds / 60, done, rate, value, loss.bpp.mean().item(), 0.0,
                                skipped, _validated(model, average, check))
            with (out / "log.jsonl").open("a") as log:
                log.write(json.dumps(asdict(progress)) + "\n")
            report(progress)
            last_saved = time.monotonic()
    model.load_state_dict(average)
    return model


def _validated(model: Trainable, average: dict[str, Tensor], check: Callable[[Trainable], tuple[Row, ...]]
               ) -> tuple[Row, ...]:
    """`check` with the averaged weights in place; puts the model's own back."""
    own = {name: value.clone() for name, value in model.state_dict().items()}
    model.load_state_dict(average)
    try:
        return check(model)
    finally:
        model.load_state_dict(own)


class PictureTrainer(Trainer):
    """`train` as the command line knows it."""

    recipe: type[Any] = Recipe
    data = "a folder of pictures"

    def about(self, data: Path) -> dict[str, Any]:
        if not data.is_dir():
            raise UsageError(f"DATA is {str(data)!r}, which is no folder: name {self.data}")
        trained_on, held_out = pictures(data)
        if not trained_on:
            raise UsageError(f"{data} holds {len(held_out)} pictures, too few to train on: name a folder with more")
        return {"folder": data.resolve().name, "pictures": len(trained_on), "held_out": len(held_out)}

    def train(self, trainable: Any, recipe: Any, data: Path, out: Path, *, threads: int, report: Report,
              start: Mapping[str, np.ndarray] | None) -> dict[str, np.ndarray]:
        return train(trainable, recipe, data, out, report, start).frozen()

    def history(self, out: Path) -> dict[str, Any]:
        rows = log_rows(out / "log.jsonl")
        if not rows:
            return {}
        curve = [{"step": row["step"], "minutes": round(row["minutes"], 1), "loss": round(row["loss"], 4),
                  "held_out": [[round(number, 4) for number in point] for point in row["validation"]]}
                 for row in thinned(rows)]
        last = rows[-1]
        return {"steps": last["step"], "minutes": round(last["minutes"], 1), "skipped_steps": last["skipped"],
                "curve": curve}

    def words(self, progress: Progress) -> str:
        where = f"step {progress.step:,}, {progress.minutes:.1f} min"
        if not progress.validation:
            return f"{where}: loss {progress.loss:.3f}, {progress.bpp:.2f} bpp"
        held_out = "  ".join(f"{bpp:.2f} bpp {psnr_db:.1f} dB" for _, bpp, psnr_db in progress.validation)
        return f"{where}, held out: {held_out}"

    def is_milestone(self, progress: Progress) -> bool:
        return bool(progress.validation)


PICTURES = PictureTrainer()
