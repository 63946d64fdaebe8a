"""Photographs in a few hundred bytes, beside AVIF of no fewer.

    python demos/few_bytes.py                           scikit-image's astronaut and coffee
    python demos/few_bytes.py FOLDER --quality 90 --limit 3
    python demos/few_bytes.py FOLDER --codec mcquic-rgb --quality 40

For each photograph: the codec's file, vqgan-rgb's if none is named; AVIF of a smaller picture, enlarged again, at the
lowest quality that takes no fewer bytes; and AVIF itself likewise, whose lowest quality is larger than vqgan-rgb by
far. Whole files, decoded again. What is printed is bytes and the scores of the bench; in demos/out/ lies a sheet of
each photograph, all at full size.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw, ImageFont
from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.table import Table

import enfold
from enfold.bench.peers import coder
from enfold.bench.running import Coder
from enfold.bench.scores import METRICS

OUT = Path(__file__).parent / "out"
CODEC = "vqgan-rgb"
MEASURES = ("lite0", "ssimulacra2", "ms_ssim", "psnr_db")
MARGIN, LINE = 6, 26
console = Console(highlight=False)


def main(arguments: list[str], out: Path = OUT) -> list[Path]:
    """The sheets that were written."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("pictures", nargs="*", type=Path, help="pictures, or folders of them")
    parser.add_argument("--codec", default=CODEC)
    parser.add_argument("--quality", type=int, default=75)
    parser.add_argument("--limit", type=int, default=None, help="so many pictures at most")
    given = parser.parse_args(arguments)
    out.mkdir(parents=True, exist_ok=True)
    sheets = []
    for name, pixels in _pictures(given.pictures)[:given.limit]:
        made = compare(pixels, given.quality, given.codec)
        _table(name, pixels, made)
        sheets.append(out / f"{name}-{given.codec}-{given.quality}.png")
        _sheet([("original", pixels), *((f"{label}, {size:,} bytes", decoded) for label, size, decoded in made)]
               ).save(sheets[-1])
    return sheets


def compare(pixels: np.ndarray, quality: int, codec: str = CODEC) -> list[tuple[str, int, np.ndarray]]:
    """(label, bytes, what the file decodes to): ours, downscaled AVIF of no fewer bytes, AVIF of no fewer."""
    data = enfold.encode(pixels, codec, quality=quality)
    down, avif = coder("avif-down"), coder("avif")
    small, whole = (_reaching(peer, pixels, qualities, len(data))
                    for peer, qualities in ((down, range(1, 101)), (avif, range(101))))
    return [(codec, len(data), np.array(enfold.decode(data))), (down.label, len(small), down.decode(small)),
            (avif.label, len(whole), avif.decode(whole))]


def _reaching(peer: Coder, pixels: np.ndarray, qualities: range, size: int) -> bytes:
    """The file of the lowest quality at which it has as many bytes, or of the highest."""
    for quality in qualities:
        file = peer.encode(pixels, quality)
        if len(file) >= size:
            break
    return file


def _table(name: str, pixels: np.ndarray, made: list[tuple[str, int, np.ndarray]]) -> None:
    measures = [METRICS[measure] for measure in MEASURES]
    table = Table(box=SIMPLE_HEAD, title=f"{name}, {pixels.shape[1]}×{pixels.shape[0]}")
    for column in ("", "bytes", "bpp", *(measure.metric.label for measure in measures)):
        table.add_column(column, justify="right" if column else "left")
    for label, size, decoded in made:
        scores = (f"{measure.score(pixels, decoded):.3f}" for measure in measures)
        table.add_row(label, f"{size:,}", f"{8 * size / pixels[..., 0].size:.4f}", *scores)
    console.print(table)


def _sheet(pictures: list[tuple[str, np.ndarray]]) -> Image.Image:
    """Two by two, each under its label."""
    height, width = pictures[0][1].shape[:2]
    sheet = Image.new("RGB", (2 * width + 3 * MARGIN, 2 * (height + LINE) + 3 * MARGIN), "white")
    draw, font = ImageDraw.Draw(sheet), ImageFont.load_default(18)
    for number, (label, pixels) in enumerate(pictures):
        left = MARGIN + number % 2 * (width + MARGIN)
        top = MARGIN + number // 2 * (height + LINE + MARGIN)
        draw.text((left, top), label, "black", font)
        sheet.paste(Image.fromarray(pixels), (left, top + LINE))
    return sheet


def _pictures(paths: list[Path]) -> list[tuple[str, np.ndarray]]:
    if not paths:
        from skimage import data

        return [("astronaut", data.astronaut()), ("coffee", data.coffee())]
    files = [file for path in paths for file in (sorted(path.iterdir()) if path.is_dir() else [path])]
    return [(file.stem, np.array(Image.open(file).convert("RGB"))) for file in files]


if __name__ == "__main__":
    import sys

    main(sys.argv[1:])
