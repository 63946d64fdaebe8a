"""Learning what a scan begins with: EM over photographs, a pass being one step, checkpoints, and it goes on.

Each pass codes every picture with the weights as they are, and counts what part of a context's sum node
each sample came from; the next pass begins with those counts, normalised. So weights are learned where
they will be used: with experts, and with weights, that adapt to the picture. Pictures are made smaller
first, because those at hand were JPEG files, whose blocks no other picture has.

What is trained is any `trees.scan` model; `PHOTOGRAPHS` is what the registry names.
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from enfold.errors import UsageError
from enfold.learners.train_codec import pictures
from enfold.learners.trainer import Report, Trainer, log_rows
from enfold.trees.bells import learned
from enfold.trees.scan import ScanModel, encode

SAY_EVERY = 20              # pictures


@dataclass(frozen=True)
class ScanRecipe:
    """scale: what pictures are scaled by. every: of the pictures, each so many-th. prior, worth: see `trees.bells`."""

    passes: int = 3
    scale: float = 0.5
    every: int = 1
    prior: float = 20.0
    worth: float = 8.0
    checkpoint_minutes: float = 2.0


@dataclass(frozen=True)
class ScanProgress:
    """Where a run stands. bits: a sample, of the pictures of this pass; held_out: the same, None but at its end."""

    done: int
    pictures: int
    minutes: float
    fraction: float
    bits: float
    held_out: float | None = None


def green_first(rgb: np.ndarray) -> np.ndarray:
    """uint8 (H, W, 3) → (3, H, W)."""
    return np.ascontiguousarray(rgb.transpose(2, 0, 1)[[1, 0, 2]])


class ScanTrainer(Trainer):
    recipe = ScanRecipe
    data = "a folder of photographs"

    def about(self, data: Path) -> dict[str, Any]:
        trained_on, held_out = pictures(data)
        if not trained_on:
            raise UsageError(f"{data} holds {len(held_out)} pictures, too few to train on: name a folder with more")
        return {"folder": data.resolve().name, "pictures": len(trained_on), "held_out": len(held_out)}

    def train(self, trainable: Any, recipe: Any, data: Path, out: Path, *, threads: int, report: Report,
              start: Mapping[str, np.ndarray] | None) -> dict[str, np.ndarray]:
        return train_scan(dict(trainable if start is None else start), recipe, data, out, report)

    def history(self, out: Path) -> dict[str, Any]:
        rows = log_rows(out / "log.jsonl")
        if not rows:
            return {}
        curve = [{"step": number + 1, "minutes": round(row["minutes"], 1), "bits": round(row["bits"], 4),
                  "held_out_bits": round(row["held_out"], 4)} for number, row in enumerate(rows)]
        return {"steps": len(rows), "minutes": round(rows[-1]["minutes"], 1), "curve": curve}

    def words(self, progress: Any) -> str:
        where = f"{progress.done:,} pictures, {progress.minutes:.1f} min: {progress.bits:.4f} bits a sample"
        return where if progress.held_out is None else f"{where}, held out {progress.held_out:.4f}"

    def is_milestone(self, progress: Any) -> bool:
        return progress.held_out is not None


PHOTOGRAPHS = ScanTrainer()


def train_scan(arrays: dict[str, np.ndarray], recipe: ScanRecipe, data: Path, out: Path,
               report: Callable[[ScanProgress], None] = lambda progress: None) -> dict[str, np.ndarray]:
    """Arrays of a model file from arrays of one, by the pictures in a folder; goes on from `out/checkpoint.npz`.

    The log, a line a pass, goes to `out/log.jsonl`.
    """
    trained_on, held_out = pictures(data)
    trained_on = trained_on[::recipe.every]
    out.mkdir(parents=True, exist_ok=True)
    run = _Run(arrays, out / "checkpoint.npz")
    last_saved, count = time.monotonic(), len(trained_on)

    def progress(held: float | None = None) -> ScanProgress:
        return ScanProgress(run.done, count, run.minutes, run.done / (recipe.passes * count),
                            run.bits / max(1, run.samples), held)

    model = ScanModel.from_arrays(run.arrays)
    while run.done < recipe.passes * count:
        samples = _picture(trained_on[run.done % count], recipe.scale)
        run.bits += 8 * len(encode(model, samples, run.counted, run.moments))
        run.samples += samples.size
        run.done += 1
        if run.done % count == 0:
            run.arrays["gates"], run.arrays["start"] = learned(run.counted, run.moments, run.samples // 3, recipe.prior,
                                                               recipe.worth)
            model = ScanModel.from_arrays(run.arrays)
            row = progress(bits_a_sample(model, held_out, recipe.scale))
            with (out / "log.jsonl").open("a") as log:
                log.write(json.dumps(asdict(row)) + "\n")
            report(row)
            run.next_pass()
            run.save()
        elif run.done % SAY_EVERY == 0:
            report(progress())
            if time.monotonic() - last_saved > 60 * recipe.checkpoint_minutes:
                run.save()
                last_saved = time.monotonic()
    return run.arrays


class _Run:
    """Where a training stands. counted, moments, samples, bits: of this pass."""

    def __init__(self, arrays: dict[str, np.ndarray], file: Path) -> None:
        self._file, self._started, self._before = file, time.monotonic(), 0.0
        self.arrays, self.done = dict(arrays), 0
        self.next_pass()
        if file.exists():
            with np.load(file, allow_pickle=False) as before:
                self.arrays = {name: before[f"model_{name}"] for name in arrays}
                self.counted, self.moments = before["counted"], before["moments"]
                self.done, self.samples = int(before["done"]), int(before["samples"])
                self.bits, self._before = float(before["bits"]), float(before["minutes"])

    @property
    def minutes(self) -> float:
        return self._before + (time.monotonic() - self._started) / 60

    def next_pass(self) -> None:
        self.counted = np.zeros(self.arrays["gates"].shape, np.int64)
        self.moments = np.zeros(self.arrays["start"].shape, np.int64)
        self.samples, self.bits = 0, 0.0

    def save(self) -> None:
        """Whole or not at all."""
        partial = self._file.with_suffix(".partial.npz")
        np.savez(partial, counted=self.counted, moments=self.moments, done=self.done, samples=self.samples,
                 bits=self.bits, minutes=self.minutes, **{f"model_{name}": a for name, a in self.arrays.items()})
        partial.replace(self._file)


def bits_a_sample(model: ScanModel, files: list[Path], scale: float = 1.0) -> float:
    """Mean over all samples of pictures."""
    found = [(8 * len(encode(model, samples)), samples.size) for samples in (_picture(f, scale) for f in files)]
    bits, count = np.sum(found, 0)
    return float(bits / count)


def _picture(path: Path, scale: float) -> np.ndarray:
    picture = Image.open(path).convert("RGB")
    size = (max(1, round(picture.width * scale)), max(1, round(picture.height * scale)))
    return green_first(np.asarray(picture.resize(size, Image.Resampling.LANCZOS)))
