"""Colour grey pictures in latent space, and as pixels: one network at an eighth of the resolution, the same epochs.

    python demos/learn_colorization.py                      on three photographs, in crops
    python demos/learn_colorization.py TRAIN TEST           on folders of pictures of one size
"""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
from PIL import Image

from enfold.bench.learn_colorize import bench_colorize, show
from enfold.bench.learn_runs import Learning
from enfold.learners import Colorizer, LatentDataset, Pairs, Schedule

CODEC = "walloc-rgb-16x"
OUT = Path(__file__).parent / "out" / "colorization"
CROP = 128


def crops(folder: Path, count: int) -> tuple[Path, Path]:
    """`count` crops of scikit-image's photographs to learn from; a tenth of them, of the right quarter of each, to be
    tested on."""
    from skimage import data

    random = np.random.default_rng(0)
    photographs = [getattr(data, name)() for name in ("astronaut", "chelsea", "coffee")]
    for number in range(count):
        photograph = photographs[number % 3][..., :3]
        held_out = number % 10 == 0
        width = photograph.shape[1]
        left = random.integers(width * 3 // 4 - CROP // 2, width - CROP) if held_out else \
            random.integers(0, width * 3 // 4 - CROP // 2 - CROP)
        top = random.integers(photograph.shape[0] - CROP)
        path = folder / ("test" if held_out else "train") / f"{number:04}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(photograph[top:top + CROP, left:left + CROP]).save(path)
    return folder / "train", folder / "test"


def draw(learner: Colorizer, grey: LatentDataset, folder: Path, path: Path) -> Path:
    """A line for each of six pictures: grey, coloured, original."""
    keys = grey.reading.pack.keys()[:6]
    lines = []
    for key, coloured in zip(keys, learner.pictures(grey, range(len(keys))), strict=True):
        original = Image.open(folder / key).convert("RGB")
        lines.append(np.hstack([np.asarray(original.convert("L").convert("RGB")), coloured, np.asarray(original)]))
    Image.fromarray(np.vstack(lines)).save(path)
    return path


def main(arguments: list[str], out: Path = OUT, count: int = 240, epochs: int = 30, seeds: int = 1) -> Path:
    """Prints the table and returns a sheet of pictures."""
    if len(arguments) not in (0, 2):
        raise SystemExit(__doc__)
    train, test = map(Path, arguments) if arguments else crops(out / "crops", count)
    packs, schedule = out / "packs", Schedule(epochs=epochs, batch_size=16, weight_decay=0.0)
    show(bench_colorize(train, test, packs, codec=CODEC, learning=Learning("conv", 48, 3, schedule, seeds), say=print))
    learner = Colorizer(features=48, depth=3, schedule=schedule)
    learner.fit(Pairs(LatentDataset(packs / "train-grey"), LatentDataset(packs / "train")))
    sheet = draw(learner, LatentDataset(packs / "test-grey"), test, out / "coloured.png")
    print(f"written: {sheet} (grey, coloured, original)")
    return sheet


if __name__ == "__main__":
    main(sys.argv[1:])
