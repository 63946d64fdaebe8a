"""What only a circuit can do: fill in missing pixels, by the very model that compresses, and tell strangers apart.

    python demos/circuit_inpainting.py                      on digits that the circuit draws itself
    python demos/circuit_inpainting.py IMAGES               on an .npy or IDX file, or a folder, of 28×28 pictures

Left to right: the picture; what is known of it; every pixel's mean given that; the most probable
picture; three that were drawn. Below them, what files say of themselves: bits a pixel of digits, of digits
turned, inverted, and of noise, straight from the encoded files.
"""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
from PIL import Image

import enfold
from enfold.learners.tensors import read_tensors
from enfold.trees.marginals import conditionals, most_probable, sample

OUT = Path(__file__).parent / "out" / "inpainting"
DRAWN, ZOOM, GAP = 3, 3, 4


def masks(height: int, width: int) -> dict[str, np.ndarray]:
    """What is known: (H, W) bool each."""
    y, x = np.mgrid[:height, :width]
    random = np.random.default_rng(0)
    return {"upper half": y < height // 2, "left half": x < width // 2, "a frame": (abs(y - height / 2 + 0.5) > 6) |
            (abs(x - width / 2 + 0.5) > 6), "a tenth": random.random((height, width)) < 0.1,
            "every third line": y % 3 == 0, "nothing": y < 0}


def fill_in(circuit, images: np.ndarray) -> np.ndarray:
    """One row of pictures for each mask: (rows, columns, H, W) uint8."""
    rows = []
    for number, known in enumerate(masks(*images.shape[1:]).values()):
        image = images[number % len(images)]
        flat, seen = image.reshape(1, -1), known.reshape(-1)
        mean = conditionals(circuit, flat, seen)[0] @ np.arange(circuit.values)
        drawn = sample(circuit, np.repeat(flat, DRAWN, 0), seen, seed=number)
        shown = [flat[0], np.where(seen, flat[0], 96), mean.round(), most_probable(circuit, flat, seen)[0], *drawn]
        rows.append(np.stack(shown).reshape(-1, *image.shape).astype(np.uint8))
    return np.stack(rows)


def sheet(rows: np.ndarray) -> Image.Image:
    """Pictures side by side, enlarged."""
    count, columns, height, width = rows.shape
    page = np.full((count * (height * ZOOM + GAP) + GAP, columns * (width * ZOOM + GAP) + GAP), 255, np.uint8)
    for row in range(count):
        for column in range(columns):
            y, x = GAP + row * (height * ZOOM + GAP), GAP + column * (width * ZOOM + GAP)
            page[y:y + height * ZOOM, x:x + width * ZOOM] = rows[row, column].repeat(ZOOM, 0).repeat(ZOOM, 1)
    return Image.fromarray(page)


def main(arguments: list[str], out: Path = OUT) -> Path:
    """Prints what files say of themselves and returns the sheet."""
    if len(arguments) > 2:
        raise SystemExit(__doc__)
    name = arguments[1] if len(arguments) > 1 else "circuit-mnist"
    codec = enfold.load(name)
    half = codec.latent_codec
    shape = (half.height, half.width)
    if arguments:
        images = read_tensors(Path(arguments[0]))[:64]
    else:
        images = sample(half.circuit, np.zeros((64, shape[0] * shape[1])), seed=1).reshape(-1, *shape)
    kinds = {"pictures": images, "turned": images[:, ::-1], "inverted": 255 - images,
             "noise": np.random.default_rng(0).integers(0, 256, images.shape, dtype=np.uint8)}
    for kind, those in kinds.items():
        files = [codec.encode(image) for image in those]
        score = -np.array([codec.log2_likelihood(data)[0] for data in files]) / images[0].size
        print(f"{kind:9} {np.mean([len(data) for data in files]):6.0f} bytes a file, "
              f"{score.mean():6.2f} ± {score.std():.2f} bits a pixel")
    out.mkdir(parents=True, exist_ok=True)
    path = out / f"{name}.png"
    sheet(fill_in(half.circuit, images)).save(path)
    print(f"{', '.join(masks(*shape))}: {path}")
    return path


if __name__ == "__main__":
    main(sys.argv[1:])
