"""Colour grey pictures in latent space: one small network at an eighth of the resolution, then the codec's synthesis.

    python demos/learn_colorization.py                      on three photographs, in crops
    python demos/learn_colorization.py FOLDER               on pictures of one size; every tenth is held out
"""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
from PIL import Image

import enfold
from enfold.learners import Colorizer, LatentDataset, Pairs, Schedule, pack

CODEC = "walloc-rgb-16x"
OUT = Path(__file__).parent / "out" / "colorization"
CROP = 128


def crops(folder: Path, count: int) -> Path:
    """`count` crops of scikit-image's photographs, those of the right quarter of each held out by name."""
    from skimage import data

    random = np.random.default_rng(0)
    folder.mkdir(parents=True, exist_ok=True)
    photographs = [getattr(data, name)() for name in ("astronaut", "chelsea", "coffee")]
    for number in range(count):
        photograph = photographs[number % 3][..., :3]
        held_out = number % 10 == 0
        width = photograph.shape[1]
        left = random.integers(width * 3 // 4 - CROP // 2, width - CROP) if held_out else \
            random.integers(0, width * 3 // 4 - CROP // 2 - CROP)
        top = random.integers(photograph.shape[0] - CROP)
        Image.fromarray(photograph[top:top + CROP, left:left + CROP]).save(folder / f"{number:04}.png")
    return folder


def main(arguments: list[str], out: Path = OUT, count: int = 240, epochs: int = 30) -> Path:
    """Prints what was learnt and returns a sheet: grey, coloured, original."""
    if len(arguments) > 1:
        raise SystemExit(__doc__)
    folder = Path(arguments[0]) if arguments else crops(out / "crops", count)
    files = sorted(path.name for path in folder.iterdir() if path.suffix.lower() in (".png", ".jpg", ".jpeg"))
    lists = {"train": [name for at, name in enumerate(files) if at % 10], "test": files[::10]}
    data = {}
    for part, names in lists.items():
        table = out / f"{part}.csv"
        table.parent.mkdir(parents=True, exist_ok=True)
        table.write_text("file,label\n" + "".join(f"{name},0\n" for name in names))
        for grey in (True, False):
            where = out / f"{part}-{'grey' if grey else 'colour'}"
            pack(folder, where, codec=CODEC, labels=table, grey=grey)
            data[part, grey] = LatentDataset(where)
    learner = Colorizer(features=48, depth=3, schedule=Schedule(epochs=epochs, batch_size=16, weight_decay=0.0))
    learner.fit(Pairs(data["train", True], data["train", False]), lambda epoch: print(
        f"epoch {epoch.epoch}: loss {epoch.loss:.3f}, {epoch.seconds:.1f} s"))
    score = learner.score(Pairs(data["test", True], data["test", False]))
    print(f"R² of the colour latents of {len(data['test', True])} pictures held out: {score:.3f}")
    rows = list(range(min(6, len(data["test", True]))))
    coloured = learner.pictures(data["test", True], rows)
    lines = []
    for at, row in enumerate(data["test", True].reading.pack.rows()):
        if at == len(rows):
            break
        grey = np.asarray(enfold.decode(data["test", True].reading.pack.enf(row)))
        original = np.asarray(Image.open(folder / row.key).convert("RGB"))
        lines.append(np.hstack([np.repeat(grey[..., None], 3, -1) if grey.ndim == 2 else grey, coloured[at], original]))
    sheet = out / "coloured.png"
    Image.fromarray(np.vstack(lines)).save(sheet)
    print(f"written: {sheet} (grey, coloured, original)")
    return sheet


if __name__ == "__main__":
    main(sys.argv[1:])
