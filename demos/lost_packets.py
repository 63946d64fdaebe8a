"""A picture of a few hundred bytes, and what is left of it when some of them are lost.

    python demos/lost_packets.py                        scikit-image's astronaut and coffee
    python demos/lost_packets.py FOLDER --quality 90    your own

Two things are shown. First a file in eight packets of which one, two and four are damaged: it is decoded with
`allow_partial`, and every picture is left in demos/out/. Then, over all pictures, shares of the indices that
are lost at random, filled in three ways: by the codec's own network, by the nearest index that is there, and by
the picture's commonest one. What is measured is the distance of features from the original, as a multiple of
what it is when nothing is lost; `--json` keeps the figures.
"""

from __future__ import annotations

import argparse
import json
import warnings
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
from PIL import Image
from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.table import Table
from scipy.ndimage import distance_transform_edt

import enfold
from enfold.bench.scores import METRICS
from enfold.salvage import DamageWarning

OUT = Path(__file__).parent / "out"
CODEC = "vqgan-rgb"
PACKETS = 8
SHARES = (0.05, 0.1, 0.2, 0.3, 0.5)
console = Console(highlight=False)


@dataclass(frozen=True)
class Loss:
    """At a share of lost indices: the mean feature distance by each way of filling, over that without loss."""

    share: float
    network: float
    nearest: float
    commonest: float


def main(arguments: list[str], out: Path = OUT) -> list[Loss]:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("pictures", nargs="*", type=Path, help="pictures, or folders of them")
    parser.add_argument("--quality", type=int, default=None)
    parser.add_argument("--limit", type=int, default=None, help="so many pictures at most")
    parser.add_argument("--json", type=Path, default=None, help="a file for the figures")
    given = parser.parse_args(arguments)
    pictures = _pictures(given.pictures)[:given.limit]
    show_packets(*pictures[0], given.quality, out)
    losses = measure([pixels for _, pixels in pictures], given.quality)
    _table(losses, len(pictures))
    if given.json:
        about = {"codec": CODEC, "fingerprint": enfold.load(CODEC).fingerprint.hex(), "quality": given.quality,
                 "pictures": len(pictures), "metric": "lite0, over that without loss",
                 "losses": list(map(asdict, losses))}
        given.json.write_text(json.dumps(about, indent=1) + "\n")
    return losses


def show_packets(name: str, pixels: np.ndarray, quality: int | None, out: Path) -> None:
    """One picture in packets, with none to half of them damaged."""
    out.mkdir(parents=True, exist_ok=True)
    one, data = (enfold.encode(pixels, CODEC, quality=quality, packets=packets) for packets in (1, PACKETS))
    console.print(f"{name}: {len(one):,} bytes; in {PACKETS} packets {len(data):,} bytes")
    entries = enfold.info(data).entries
    for count in (0, 1, 2, 4):
        broken = bytearray(data)
        for entry in entries[:2 * count:2]:
            broken[entry.data_start] ^= 0xFF
        with warnings.catch_warnings(record=True) as said:
            warnings.simplefilter("always", DamageWarning)
            picture = enfold.decode(bytes(broken), allow_partial=True)
        path = out / f"{name}-{count}-lost.png"
        Image.fromarray(np.asarray(picture)).save(path)
        console.print(f"  {path.name}: {said[0].message if said else 'nothing lost'}")


def measure(pictures: list[np.ndarray], quality: int | None) -> list[Loss]:
    """Indices lost at random, the same ones for each way of filling."""
    codec = enfold.load(CODEC)
    distance = METRICS["lite0"].score
    whole, filled = [], {share: ([], [], []) for share in SHARES}
    for number, pixels in enumerate(pictures):
        latent = codec.latents(pixels, quality=quality)
        whole.append(distance(pixels, codec.synthesise(latent)))
        for share, ways in filled.items():
            lost = np.random.default_rng([number, int(100 * share)]).random(latent.symbols.shape[1:]) < share
            lost[lost.shape[0] // 2, lost.shape[1] // 2] = False           # something is always there
            for way, symbols in zip(ways, _fillings(codec.latent_codec, latent, lost), strict=True):
                made = codec.synthesise(codec.latent_codec.wrap(symbols, latent.quality, latent.geometry))
                way.append(distance(pixels, made))
    return [Loss(share, *(float(np.mean(way) / np.mean(whole)) for way in ways)) for share, ways in filled.items()]


def _fillings(half, latent, lost: np.ndarray) -> tuple[np.ndarray, ...]:
    """Symbols (1, h, w) filled by the network, by the nearest that is there, by the commonest."""
    network = half.fill(latent.symbols, latent.quality, lost)
    rows, columns = distance_transform_edt(lost, return_distances=False, return_indices=True)
    commonest = np.bincount(latent.symbols[0][~lost]).argmax()
    return network, latent.symbols[:, rows, columns], np.where(lost, commonest, latent.symbols).astype(np.int16)


def _pictures(paths: list[Path]) -> list[tuple[str, np.ndarray]]:
    if not paths:
        from skimage import data

        return [("astronaut", data.astronaut()), ("coffee", data.coffee())]
    files = [file for path in paths for file in (sorted(path.iterdir()) if path.is_dir() else [path])]
    return [(file.stem, np.array(Image.open(file).convert("RGB"))) for file in files]


def _table(losses: list[Loss], pictures: int) -> None:
    table = Table(box=SIMPLE_HEAD, title=f"feature distance, times that without loss; {pictures} pictures")
    for name in ("lost", "network", "nearest neighbour", "commonest"):
        table.add_column(name, justify="right")
    for loss in losses:
        table.add_row(f"{loss.share:.0%}", *(f"{value:.3f}" for value in (loss.network, loss.nearest, loss.commonest)))
    console.print(table)


if __name__ == "__main__":
    import sys

    main(sys.argv[1:])
