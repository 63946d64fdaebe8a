"""Read receipts in latent space: where there is text, and which line is the company, the date, the total.

    python demos/read_documents.py                      on receipts that it draws, in a few minutes
    python demos/read_documents.py FOLDER               on pictures with a .json beside each (docs/learning.md)
"""

from __future__ import annotations

import json
import sys
from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw

from enfold.bench.learn_documents import bench_documents, inputs_of, show
from enfold.bench.learn_inputs import BLOCK
from enfold.bench.learn_runs import Learning
from enfold.learners import DocumentReader, Schedule
from enfold.learners.documents import folds_of, read_documents
from enfold.learners.read_documents import PageRead

CODEC = "walloc-rgb-16x"
OUT = Path(__file__).parent / "out" / "documents"
COLOURS = ((120, 120, 120), (30, 60, 220), (0, 140, 60), (160, 90, 0), (220, 0, 40))     # in the order of FIELDS
SHOPS = ("HILL BOOKS", "RED LANTERN CAFE", "NOOR HARDWARE", "OCEAN MARKET", "STAR STATIONERY", "VALLEY FARM")
STREETS = ("12 MILL ROAD", "7 JALAN DAMAI", "48 HARBOUR STREET", "3 OAK LANE")
GOODS = ("PENCIL", "TEA", "RICE 5KG", "NOTEBOOK A5", "LAMP", "SOAP", "BATTERY AA", "COFFEE", "NAILS")


def draw_receipts(folder: Path, count: int, seed: int = 0) -> Path:
    """`count` receipts of six shops, each with its lines and fields in a .json."""
    from PIL import ImageFont

    random = np.random.default_rng(seed)
    folder.mkdir(parents=True, exist_ok=True)
    for number in range(count):
        prices = random.integers(100, 9000, random.integers(3, 8)) / 100
        fields = {"company": SHOPS[number % len(SHOPS)], "address": f"{random.choice(STREETS)}, 8{number:04} TOWN",
                  "date": f"{random.integers(1, 29):02}/{random.integers(1, 13):02}/2019",
                  "total": f"{prices.sum():.2f}"}
        texts = [fields["company"], *fields["address"].split(", "), f"DATE {fields['date']}", "-" * 20,
                 *(f"{random.choice(GOODS)}  {price:.2f}" for price in prices), f"TOTAL RM {fields['total']}",
                 f"CASH {prices.sum() + 10:.2f}", "CHANGE 10.00", "THANK YOU"]
        height = 60 + 26 * len(texts)
        image = Image.fromarray(random.normal(232, 5, (height, 320)).clip(0, 255).astype(np.uint8))
        draw, font, lines = ImageDraw.Draw(image), ImageFont.load_default(int(random.integers(15, 20))), []
        for row, text in enumerate(texts):
            place = (int(random.integers(20, 60)), 24 + 26 * row)
            left, top, right, bottom = draw.textbbox(place, text, font)
            draw.text(place, text, int(random.integers(10, 70)), font)
            lines.append({"box": [left, top, right, top, right, bottom, left, bottom], "text": text})
        image.save(folder / f"{number:03}.png")
        (folder / f"{number:03}.json").write_text(json.dumps({"fields": fields, "lines": lines}))
    return folder


def draw(page: Image.Image, read: PageRead, cells: np.ndarray) -> Image.Image:
    """The page, cells that are found to hold text in yellow, a frame about each line in the colour of its field."""
    found = np.kron(read.text, np.ones((BLOCK, BLOCK)))[:page.height, :page.width]
    pixels = np.asarray(page.convert("RGB")).copy()
    pixels[..., 2] = np.where(found > 0, pixels[..., 2] // 2, pixels[..., 2])
    marked = Image.fromarray(pixels)
    pen = ImageDraw.Draw(marked)
    for line, field in zip(np.unique(cells[0][cells[0] >= 0]), read.fields, strict=True):
        rows, columns = np.nonzero(cells[0] == line)
        box = [BLOCK * columns.min() - 2, BLOCK * rows.min() - 2, BLOCK * columns.max() + 9, BLOCK * rows.max() + 9]
        pen.rectangle(box, outline=COLOURS[field], width=2)
    return marked


def main(arguments: list[str], out: Path = OUT, count: int = 24, epochs: int = 16, folds: int = 3) -> Path:
    """Prints the table and returns a sheet of pages that were not learnt from."""
    if len(arguments) > 1:
        raise SystemExit(__doc__)
    folder = Path(arguments[0]) if arguments else draw_receipts(out / "receipts", count)
    schedule = Schedule(epochs=epochs, batch_size=2, learning_rate=3e-3)
    show(bench_documents(folder, out / "runs", codec=CODEC, inputs=("latents", "resized", "jpeg"), folds=folds,
                         learning=Learning("conv", 24, 4, schedule, 1), say=print))
    documents = read_documents(folder)
    asked = folds_of(documents, folds)[0]
    pages = inputs_of(documents, ("latents",), CODEC, None)[0]["latents"].pages
    reader = DocumentReader(features=24, depth=4, schedule=schedule)
    reader.fit(pages.only([number for number in range(len(documents)) if number not in asked]))
    reader.save(out / "reader.safetensors")
    sheet = Image.new("RGB", (3 * 460, max(documents[number].height for number in asked[:3]) + 10), "white")
    for at, (number, read) in enumerate(zip(asked[:3], reader.predict(pages.only(asked[:3])), strict=True)):
        with Image.open(documents[number].path) as page:
            sheet.paste(draw(page, read, pages.targets[number]), (460 * at, 0))
    sheet.save(out / "read.png")
    print(f"written: {out / 'read.png'} (yellow: text found; blue company, green date, brown address, red total)")
    return out / "read.png"


if __name__ == "__main__":
    main(sys.argv[1:])
