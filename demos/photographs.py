"""Three photographs through enfold, beside JPEG, WebP and AVIF of the same size.

    make demo                           scikit-image's astronaut, coffee and chelsea
    make demo FILES="a.png b.jpg"       your own

For each photograph and codec: encode it, decode the file in a fresh process (`enfold decode`),
measure what came back. The peers are Pillow's; each is given the smallest file that is not
smaller than ours, in 4:2:0 or 4:4:4, whichever is nearer to the original. Bytes are whole files.
Speeds are of this process, warm, the median of a few repeats, from array to bytes and back; they
compare within one run on one machine only.

In demos/out/ it leaves the .enf files, the decoded pictures and, for each photograph, one picture
of all side by side.
"""

from __future__ import annotations

import os
import statistics
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from io import BytesIO
from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw, ImageFont
from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.table import Table

import enfold
from enfold.bench.metrics import LEAST_SIDE, ms_ssim, psnr_db
from enfold.errors import EnfoldError

OUT = Path(__file__).parent / "out"
CODECS = ("walloc-rgb-16x", "walloc-rgb-4x")        # the first is the one in the pictures
PEERS = {
    "JPEG": [{"subsampling": s, "optimize": True, "progressive": True} for s in ("4:2:0", "4:4:4")],
    "WebP": [{"method": 6}],
    "AVIF": [{"subsampling": s} for s in ("4:2:0", "4:4:4")],
}
REPEATS = 5
console = Console(highlight=False)


@dataclass(frozen=True)
class Result:
    """One photograph by one codec. remark: where a peer could not have our size."""

    photo: str
    codec: str
    bytes: int
    pixels: np.ndarray = field(repr=False)
    psnr_db: float
    ms_ssim: float | None
    encode_mpix_per_s: float
    decode_mpix_per_s: float
    remark: str = ""

    @property
    def bpp(self) -> float:
        return 8 * self.bytes / (self.pixels.shape[0] * self.pixels.shape[1])

    @property
    def quality(self) -> str:
        return f"{self.psnr_db:.2f} dB" + ("" if self.ms_ssim is None else f", MS-SSIM {self.ms_ssim:.4f}")


def main(files: list[str], out: Path = OUT) -> list[Path]:
    """Runs the demo; returns the paths of the pictures it made."""
    started = time.perf_counter()
    photos = {Path(file).stem: np.asarray(Image.open(file).convert("RGB")) for file in files} or shipped()
    for folder in ("enf", "decoded"):
        (out / folder).mkdir(parents=True, exist_ok=True)
    for earlier in (out / "enf").glob("*.enf"):
        earlier.unlink()
    say(f"encoding {', '.join(photos)} with {' and '.join(CODECS)}")
    coded = {}
    for photo, original in photos.items():
        for codec in CODECS:
            coded[photo, codec] = enfold.encode(original, codec=codec)
            (out / "enf" / f"{photo}.{codec}.enf").write_bytes(coded[photo, codec])
    say("decoding the files in a fresh process")
    subprocess.run([sys.executable, "-m", "enfold", "decode", out / "enf", out / "decoded", "--force"], check=True)
    results, pictures = [], []
    for photo, original in photos.items():
        for codec in CODECS:
            say(f"{photo}: measuring {codec}, and {', '.join(PEERS)} at its size")
            file = out / "decoded" / f"{photo}.{codec}.png"
            ours = measured_ours(photo, codec, original, coded[photo, codec], np.asarray(Image.open(file)))
            group = [ours, *(measured_peer(photo, peer, original, ours.bytes) for peer in PEERS)]
            results.append(group)
            if codec == CODECS[0]:
                pictures.append(out / f"{photo}.png")
                side_by_side(original, group).save(pictures[-1])
    show(results)
    say(f"done in {time.perf_counter() - started:.0f} s; the pictures, original and decoded side by side:")
    for path in pictures:
        print(os.path.relpath(path))
    return pictures


def shipped() -> dict[str, np.ndarray]:
    """Photographs that scikit-image has on board."""
    from skimage import data

    return {"astronaut": data.astronaut(), "coffee": data.coffee(), "chelsea": data.chelsea()}


def measured_ours(photo: str, name: str, original: np.ndarray, data: bytes, decoded: np.ndarray) -> Result:
    codec = enfold.load(name)
    return result(photo, name, original, data, decoded, lambda: codec.encode(original), lambda: codec.decode(data))


def measured_peer(photo: str, peer: str, original: np.ndarray, size: int) -> Result:
    """A peer at the size next above ours, by its best setting."""
    candidates = [nearest(peer, original, size, options) for options in PEERS[peer]]
    fitting = [c for c in candidates if not c[2]] or [min(candidates, key=lambda c: abs(len(c[0]) - size))]
    decoded = [np.asarray(Image.open(BytesIO(data)).convert("RGB")) for data, _, _ in fitting]
    best = max(range(len(fitting)), key=lambda i: psnr_db(original, decoded[i]))
    data, encode, remark = fitting[best]
    return result(photo, peer, original, data, decoded[best], encode,
                  lambda: np.asarray(Image.open(BytesIO(data)).convert("RGB")), remark)


def nearest(peer: str, original: np.ndarray, size: int, options: dict) -> tuple[bytes, Callable[[], bytes], str]:
    """The smallest file not below `size` bytes, how to make it again, and a remark if there is none such."""
    def encoded(quality: int) -> bytes:
        out = BytesIO()
        Image.fromarray(original).save(out, peer, quality=quality, **options)
        return out.getvalue()

    low, high = 0, 100
    while low < high:                               # the least quality that is not too small
        middle = (low + high) // 2
        if len(encoded(middle)) < size:
            low = middle + 1
        else:
            high = middle
    data, remark = encoded(low), ""
    if len(data) < size:
        remark = "gets no larger"
    elif low == 0 and len(data) > size:
        remark = "gets no smaller"
    return data, lambda: encoded(low), remark


def result(photo: str, codec: str, original: np.ndarray, data: bytes, decoded: np.ndarray,
           encode: Callable[[], object], decode: Callable[[], object], remark: str = "") -> Result:
    mpix = original.shape[0] * original.shape[1] / 1e6
    structure = ms_ssim(original, decoded) if min(original.shape[:2]) >= LEAST_SIDE else None
    return Result(photo, codec, len(data), decoded, psnr_db(original, decoded), structure,
                  mpix / median_s(encode), mpix / median_s(decode), remark)


def median_s(action: Callable[[], object]) -> float:
    """Seconds, warm: the median of REPEATS, or of as many as fit into two seconds."""
    action()
    times: list[float] = []
    while len(times) < REPEATS and sum(times) < 2:
        start = time.perf_counter()
        action()
        times.append(time.perf_counter() - start)
    return statistics.median(times)


def show(results: list[list[Result]]) -> None:
    table = Table(box=SIMPLE_HEAD)
    table.add_column("codec", no_wrap=True)
    for title in ("bytes", "bpp", "PSNR\ndB", "MS-SSIM", "encode\nMpix/s", "decode\nMpix/s"):
        table.add_column(title, justify="right")
    table.add_column("")
    photo = ""
    for group in results:
        if group[0].photo != photo:
            photo = group[0].photo
            height, width = group[0].pixels.shape[:2]
            table.add_row(f"[bold]{photo}[/bold], {width}×{height}")
        for row in group:
            table.add_row(row.codec, f"{row.bytes:,}", f"{row.bpp:.3f}", f"{row.psnr_db:.2f}",
                          "–" if row.ms_ssim is None else f"{row.ms_ssim:.4f}", f"{row.encode_mpix_per_s:.1f}",
                          f"{row.decode_mpix_per_s:.1f}", row.remark, style="bold" if row is group[0] else "",
                          end_section=row is group[-1])
    console.print(table)
    console.print(f"Speeds: one process on {os.cpu_count()} cores, warm, median of {REPEATS}. Peers: Pillow's JPEG "
                  "(progressive, optimised), WebP (method 6), AVIF (speed 6); the nearest size not below ours, "
                  "the better of 4:2:0 and 4:4:4.")


def side_by_side(original: np.ndarray, group: list[Result], column: int = 400, window: int = 100) -> Image.Image:
    """The original and every result: the whole picture, and its most detailed part enlarged, with labels."""
    height, width = original.shape[:2]
    window = min(window, height, width)
    left, top = most_detailed(original, window)
    scale = column / width
    whole = (column, round(height * scale))
    frame = [round(edge * scale) for edge in (left, top, left + window, top + window)]
    labels = [("original", f"{width} by {height}, {original.size:,} bytes raw", "")]
    labels += [(r.codec, f"{r.bytes:,} bytes, {r.bpp:.3f} bpp", f"{r.quality} {r.remark}") for r in group]
    gap, text = 8, 78
    sheet = Image.new("RGB", (gap + len(labels) * (column + gap), text + whole[1] + column + 2 * gap), "white")
    draw = ImageDraw.Draw(sheet)
    for number, (label, pixels) in enumerate(zip(labels, [original, *(r.pixels for r in group)], strict=True)):
        x = gap + number * (column + gap)
        for line, (words, size) in enumerate(zip(label, (22, 17, 17), strict=True)):
            draw.text((x, 4 + 25 * line), words, "black", ImageFont.load_default(size))
        picture = Image.fromarray(pixels)
        sheet.paste(picture.resize(whole, Image.Resampling.LANCZOS), (x, text))
        draw.rectangle([frame[0] + x, frame[1] + text, frame[2] + x, frame[3] + text], outline="yellow", width=2)
        part = picture.crop((left, top, left + window, top + window))
        sheet.paste(part.resize((column, column), Image.Resampling.NEAREST), (x, text + whole[1] + gap))
    return sheet


def most_detailed(picture: np.ndarray, window: int) -> tuple[int, int]:
    """(left, top) of the square with the steepest slopes on average."""
    down, across = np.gradient(picture.astype(np.float64).mean(-1))
    sums = np.pad(np.sqrt(np.hypot(down, across)), ((1, 0), (1, 0))).cumsum(0).cumsum(1)
    total = sums[window:, window:] - sums[:-window, window:] - sums[window:, :-window] + sums[:-window, :-window]
    top, left = np.unravel_index(total.argmax(), total.shape)
    return int(left), int(top)


def say(text: str) -> None:
    console.print(f"[dim]{text}[/dim]")


if __name__ == "__main__":
    try:
        main(sys.argv[1:])
    except (EnfoldError, OSError) as error:
        sys.exit(f"demo: {error}")
