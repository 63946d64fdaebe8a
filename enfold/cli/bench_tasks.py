"""`enfold bench documents`, `digits` and `separation`: what it gains to read, tell and separate in latents."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

import enfold
from enfold.cli import bench
from enfold.cli.bench_learning import Codec, Quality
from enfold.cli.failures import say
from enfold.cli.options import Json, print_json

READING = """\b
Examples:
  enfold bench documents receipts/
  enfold bench documents receipts/ --inputs latents,resized --folds 3 --epochs 30

FOLDER holds pictures, and beside each a .json of its fields and lines of text.
Every run stays in OUT: the same command goes on where it was interrupted."""

TELLING = """\b
Examples:
  enfold bench digits free-spoken-digit-dataset/recordings
  enfold bench digits recordings/ --quality 20 --inputs latents,logmel --seeds 5

Takes below 5 are tested on. Every run stays in OUT: the same command goes on where it was interrupted."""

SEPARATING = """\b
Examples:
  enfold bench separation stems/
  enfold bench separation stems/ --inputs latents,resampled --epochs 20

Each song in turn is tested on. Every run stays in OUT: the same command goes on where it was interrupted."""

Epochs = Annotated[int, typer.Option("--epochs", metavar="N", min=1, help="Passes over what is learnt from.")]
Batch = Annotated[int, typer.Option("--batch", metavar="N", min=1, help="Samples of a step.")]
Rate = Annotated[float, typer.Option("--learning-rate", metavar="X", help="At its highest.")]
Features = Annotated[int, typer.Option("--features", metavar="N", min=1, help="Width of the network.")]
Depth = Annotated[int, typer.Option("--depth", metavar="N", min=1, help="Its blocks.")]
Seeds = Annotated[int, typer.Option("--seeds", metavar="N", min=1, help="Runs of each input.")]
Folds = Annotated[int, typer.Option("--folds", metavar="N", min=2, help="Each is tested on once.")]


def documents(
    folder: Annotated[Path, typer.Argument(metavar="FOLDER", help="Of documents.", show_default=False)], *,
    codec: Codec = enfold.DEFAULT_CODEC, quality: Quality = None,
    inputs: Annotated[str | None, typer.Option("--inputs", metavar="A,B,...", show_default=False,
                                               help="Of latents, thumbnail, resized, jpeg, webp, full, blank. "
                                                    "[default: all]")] = None,
    features: Features = 24, depth: Depth = 4, epochs: Epochs = 16, batch: Batch = 2, learning_rate: Rate = 3e-3,
    folds: Folds = 5, seeds: Seeds = 1, out: bench.Out = Path("bench-documents"), json: Json = False,
) -> None:
    """Where there is text, and what each line tells: one network on latents, and on pixels of as many tokens or bytes.
    """
    from enfold.bench.learn_documents import INPUTS, bench_documents, show
    from enfold.bench.learn_runs import Learning
    from enfold.learners.fitting import Schedule

    schedule = Schedule(epochs, 0, batch, learning_rate)
    results = bench_documents(folder, out, codec=codec, quality=quality,
                              inputs=bench._names(inputs, INPUTS, INPUTS, "input"), folds=folds,
                              learning=Learning("conv", features, depth, schedule, seeds),
                              command=bench._command(folder, out), date=bench._today(), say=say)
    print_json(results) if json else show(results)


def digits(
    folder: Annotated[Path, typer.Argument(metavar="FOLDER", help="Of sounds, LABEL_SPEAKER_TAKE.wav.",
                                           show_default=False)], *,
    codec: Codec = "walloc-speech", quality: Quality = None,
    inputs: Annotated[str | None, typer.Option("--inputs", metavar="A,B,...", show_default=False,
                                               help="Of latents, logmel, opus, signed. [default: all]")] = None,
    features: Features = 32, depth: Depth = 2, epochs: Epochs = 10, batch: Batch = 32, learning_rate: Rate = 3e-3,
    seeds: Seeds = 3, out: bench.Out = Path("bench-digits"), json: Json = False,
) -> None:
    """Spoken words told apart: one network on latents of sound, and on log-mel spectra of as many frames."""
    from enfold.bench.learn_digits import INPUTS, bench_digits, show
    from enfold.bench.learn_runs import Learning
    from enfold.learners.fitting import Schedule

    schedule = Schedule(epochs, 0, batch, learning_rate)
    results = bench_digits(folder, out, codec=codec, quality=quality,
                           inputs=bench._names(inputs, INPUTS, INPUTS, "input"),
                           learning=Learning("conv", features, depth, schedule, seeds),
                           command=bench._command(folder, out), date=bench._today(), say=say)
    print_json(results) if json else show(results)


def separation(
    folder: Annotated[Path, typer.Argument(metavar="FOLDER", help="Of excerpts, SONG_EXCERPT/{vocals,…}.wav.",
                                           show_default=False)], *,
    codec: Codec = "walloc-stereo-5x", quality: Quality = None,
    inputs: Annotated[str | None, typer.Option("--inputs", metavar="A,B,...", show_default=False,
                                               help="Of latents, resampled, pca. [default: all]")] = None,
    features: Features = 64, depth: Depth = 4, epochs: Epochs = 8, batch: Batch = 16, learning_rate: Rate = 3e-3,
    seeds: Seeds = 1, out: bench.Out = Path("bench-separation"), json: Json = False,
) -> None:
    """Voices separated: one network on latents of the mixture, and on columns of samples as many and long."""
    from enfold.bench.learn_runs import Learning
    from enfold.bench.learn_separation import INPUTS, bench_separation, show
    from enfold.learners.fitting import Schedule

    schedule = Schedule(epochs, 0, batch, learning_rate, 0.01)
    results = bench_separation(folder, out, codec=codec, quality=quality,
                               inputs=bench._names(inputs, INPUTS, INPUTS, "input"),
                               learning=Learning("conv", features, depth, schedule, seeds),
                               command=bench._command(folder, out), date=bench._today(), say=say)
    print_json(results) if json else show(results)
