"""Tell classes apart from latents, and from pixels with as many tokens: same network, same epochs.

    python demos/learn_classification.py                    on shapes that it draws, in a few minutes
    python demos/learn_classification.py TRAIN TEST         on folders of JPEGs of one size, a sub-folder for each class
"""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw

from enfold.bench.learn import LearnResults, bench_learn, show
from enfold.bench.learn_runs import Learning
from enfold.learners.fitting import Schedule

CODEC = "walloc-rgb-16x"
OUT = Path(__file__).parent / "out" / "classification"
SIZE = 96
SHAPES = ("circles", "crosses", "stripes", "triangles")


def draw_shapes(folder: Path, count: int, seed: int) -> Path:
    """`count` pictures of each kind: one shape of a random colour, place and size, on a noisy slope."""
    random = np.random.default_rng(seed)
    for kind in SHAPES:
        (folder / kind).mkdir(parents=True, exist_ok=True)
        for number in range(count):
            slope = np.linspace(0, 60, SIZE)[:, None, None] * random.uniform(-1, 1, 3)
            ground = (random.uniform(60, 190, 3) + slope + random.normal(0, 9, (SIZE, SIZE, 3))).clip(0, 255)
            image = Image.fromarray(ground.astype(np.uint8))
            pen, colour = ImageDraw.Draw(image), tuple(int(c) for c in random.integers(0, 256, 3))
            x, y, r = random.integers(20, SIZE - 20), random.integers(20, SIZE - 20), random.integers(10, 20)
            if kind == "circles":
                pen.ellipse((x - r, y - r, x + r, y + r), colour)
            elif kind == "triangles":
                pen.polygon(((x - r, y + r), (x + r, y + r), (x, y - r)), colour)
            elif kind == "crosses":
                pen.line((x - r, y, x + r, y), colour, 7)
                pen.line((x, y - r, x, y + r), colour, 7)
            else:
                for at in range(-r, r, 8):
                    pen.line((x + at, y - r, x + at, y + r), colour, 3)
            image.save(folder / kind / f"{number:04}.jpg", quality=90)
    return folder


def chart(results: LearnResults, path: Path) -> Path:
    """Accuracy over seconds of training, with standard errors."""
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot

    figure, axes = pyplot.subplots(figsize=(6, 4), layout="constrained")
    for row in results.rows:
        axes.errorbar(row.cost.epochs * row.cost.seconds, 100 * row.accuracy.mean, 100 * (row.accuracy.error or 0),
                      fmt="o", capsize=4, label=f"{row.input}, {row.tokens} tokens, {row.cost.bytes / 1e6:.1f} MB")
    axes.set(xlabel="seconds of training, loading included", ylabel="accuracy, %")
    axes.legend()
    figure.savefig(path, dpi=120)
    pyplot.close(figure)
    return path


def main(arguments: list[str], out: Path = OUT, count: int = 200, epochs: int = 6, seeds: int = 3) -> Path:
    """Prints the table and returns the picture of it."""
    if len(arguments) not in (0, 2):
        raise SystemExit(__doc__)
    train, test = map(Path, arguments) if arguments else (draw_shapes(out / "train", count, 0),
                                                         draw_shapes(out / "test", count // 4, 1))
    learning = Learning("conv", 32, 2, Schedule(epochs=epochs, batch_size=32), seeds)
    results = bench_learn(train, test, out / "packs", codec=CODEC, learning=learning,
                          inputs=("latents", "resized", "full"), say=print)
    show(results)
    made = chart(results, out / "accuracy.png")
    print(f"written: {made}")
    return made


if __name__ == "__main__":
    main(sys.argv[1:])
