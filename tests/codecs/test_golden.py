"""Files written once must give the same symbols for ever.

`pytest --rewrite-golden` writes those of codecs whose fingerprint has none yet; a line under Format
in CHANGELOG.md says why. It never touches files that exist.
"""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

import enfold
from enfold import registry
from enfold.testing import sample, symbols_hash

GOLDEN = Path(__file__).parent.parent / "golden"
CASES = (("rgb", 64, 96, "RGB", 75), ("alpha", 33, 47, "RGBA", 40), ("grey", 17, 9, "L", 20),
         ("pixel", 1, 1, "RGB", 100))


def folder(codec) -> Path:
    return GOLDEN / codec.name / codec.fingerprint.hex()


def test_shipped_weights_have_golden_files(codec, pytestconfig):
    where = folder(codec)
    if pytestconfig.getoption("--rewrite-golden") and not where.exists():
        where.mkdir(parents=True)
        hashes = {}
        for name, height, width, mode, quality in CASES:
            data = codec.encode(sample(height, width, mode), quality=quality)
            (where / f"{name}.enf").write_bytes(data)
            hashes[name] = symbols_hash(enfold.latents(data).symbols)
        (where / "symbols.json").write_text(json.dumps(hashes, indent=1) + "\n")
    assert sorted(p.stem for p in where.glob("*.enf")) == sorted(name for name, *_ in CASES), \
        f"{codec!r} has no golden files: run pytest --rewrite-golden and say why in CHANGELOG.md"


PICTURES = {name for name, entry in registry.entries().items() if entry.medium == "picture"}


@pytest.mark.parametrize("path", sorted(p for p in GOLDEN.rglob("*.enf") if p.parts[-3] in PICTURES),
                         ids=lambda p: f"{p.parts[-3]}/{p.stem}")
def test_golden_file_gives_its_symbols(path):
    data = path.read_bytes()
    expected = json.loads((path.parent / "symbols.json").read_text())[path.stem]
    assert symbols_hash(enfold.latents(data).symbols) == expected
    height, width, mode = next(case[1:4] for case in CASES if case[0] == path.stem)
    decoded = np.asarray(enfold.decode(data))
    assert decoded.shape == sample(height, width, mode).shape
    assert decoded.dtype == np.uint8
