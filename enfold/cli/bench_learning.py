"""`enfold bench loader` and `enfold bench learn`: what it gains, and costs, to read and learn latents."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

import enfold
from enfold.cli import bench
from enfold.cli.failures import say
from enfold.cli.options import Json, print_json
from enfold.errors import UsageError

LOADING = """\b
Examples:
  enfold bench loader imagenette160/val
  enfold bench loader imagenette160/val --codec walloc-rgb-4x --quality 50 --limit 1000"""

LEARNING = """\b
Examples:
  enfold bench learn imagenette160/train imagenette160/val --minutes 10
  enfold bench learn imagenette160/train imagenette160/val --epochs 20 --inputs latents,resized --network vit
  enfold bench learn imagenette160/train imagenette160/val --task colorize --minutes 10
  enfold bench learn cifar10/train cifar10/test --minutes 2      mosaics and labels.npy, see docs/packs.md

Every run stays in OUT: the same command goes on where it was interrupted."""

Codec = Annotated[str, typer.Option("--codec", "-c", help="A name that `enfold models` lists.")]
Quality = Annotated[int | None, typer.Option("--quality", "-q", metavar="1..100", show_default=False,
                                             help="As in `enfold encode`.")]


def loader(
    folder: Annotated[Path, typer.Argument(metavar="FOLDER", help="Of JPEGs of one size.", show_default=False)], *,
    codec: Codec = enfold.DEFAULT_CODEC, quality: Quality = None,
    batch: Annotated[int, typer.Option("--batch", metavar="N", min=1, help="Samples of a batch.")] = 64,
    rounds: Annotated[int, typer.Option("--rounds", metavar="N", min=1, help="Of which the median counts.")] = 5,
    limit: bench.Limit = 0, out: bench.Out = Path("bench-loader"), json: Json = False,
) -> None:
    """Samples a second from pack to batch, beside JPEGs decoded and resized."""
    from enfold.bench.loader import bench_loader, show

    with bench._bar() as begin:
        results = bench_loader(folder, out, codec=codec, quality=quality, batch=batch, limit=limit, rounds=rounds,
                               command=bench._command(folder, out), date=bench._today(), begin=begin)
    print_json(results) if json else show(results)


def learn(
    train: Annotated[Path, typer.Argument(metavar="TRAIN", help="Labelled pictures of one size: any SOURCE of `enfold "
                                          "pack`.", show_default=False)],
    test: Annotated[Path, typer.Argument(metavar="TEST", help="The same, never trained on.", show_default=False)], *,
    task: Annotated[str, typer.Option("--task", metavar="classify|colorize", help="What is learnt.")] = "classify",
    codec: Codec = enfold.DEFAULT_CODEC, quality: Quality = None,
    inputs: Annotated[str | None, typer.Option("--inputs", metavar="A,B,...", show_default=False,
                                               help="What the network is fed. [default: latents,thumbnail,resized,full,"
                                                    "dct,pca; to colorize: latents,pixels]")] = None,
    network: Annotated[str, typer.Option("--network", metavar="conv|vit", help="The same for every input; conv to "
                                                                               "colorize.")] = "conv",
    features: Annotated[int, typer.Option("--features", metavar="N", min=1, help="Width of the network.")] = 48,
    depth: Annotated[int, typer.Option("--depth", metavar="N", min=1, help="Its blocks.")] = 2,
    epochs: Annotated[int, typer.Option("--epochs", metavar="N", min=1, help="Passes over TRAIN.")] = 20,
    minutes: Annotated[float, typer.Option("--minutes", metavar="N", min=0,
                                           help="Instead of --epochs: as long for every input, loading included.")] = 0,
    batch: Annotated[int, typer.Option("--batch", metavar="N", min=1, help="Samples of a step.")] = 64,
    learning_rate: Annotated[float, typer.Option("--learning-rate", metavar="X", help="At its highest.")] = 2e-3,
    seeds: Annotated[int, typer.Option("--seeds", metavar="N", min=1, help="Runs of each input.")] = 3,
    image_column: Annotated[str, typer.Option("--image-column", metavar="NAME", help="In Parquet.")] = "image",
    label_column: Annotated[str, typer.Option("--label-column", metavar="NAME", help="In Parquet.")] = "label",
    out: bench.Out = Path("bench-learn"), json: Json = False,
) -> None:
    """Accuracy, time and energy of one network on latents, and on what one would use instead."""
    from enfold.bench import learn as classes
    from enfold.bench import learn_colorize as colours
    from enfold.bench.learn_inputs import Source
    from enfold.bench.learn_runs import Learning
    from enfold.learners.fitting import Schedule

    tasks: dict[str, tuple[Any, Any, Any, float]] = {
        "classify": (classes.INPUTS, classes.bench_learn, classes.show, Schedule.weight_decay),
        "colorize": (colours.INPUTS, colours.bench_colorize, colours.show, 0.0)}
    if task not in tasks:
        raise UsageError(f"--task {task}: it is one of {', '.join(tasks)}")
    known, measure, show, weight_decay = tasks[task]
    learning = Learning(network, features, depth, Schedule(epochs, minutes, batch, learning_rate, weight_decay), seeds)
    sources = [Source(path, image_column, label_column) for path in (train, test)]
    results = measure(*sources, out, codec=codec, quality=quality,
                      inputs=bench._names(inputs, known, known, "input"), learning=learning,
                      command=bench._command(train, test, out), date=bench._today(), say=say)
    print_json(results) if json else show(results)
