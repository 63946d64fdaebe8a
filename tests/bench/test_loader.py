"""`enfold bench loader`: every way to read gives whole batches, and is compared in the same rounds."""

from __future__ import annotations

import json

import pytest
from PIL import Image

from enfold.bench import loader
from enfold.errors import MediaError, UsageError
from enfold.testing import sample

CODEC = "walloc-rgb-16x"


@pytest.fixture
def jpegs(tmp_path):
    folder = tmp_path / "in"
    folder.mkdir()
    for number in range(10):
        Image.fromarray(sample(64, 80, seed=number)).save(folder / f"{number}.jpg", quality=90)
    return folder


def test_every_way_is_measured_on_the_same_samples(jpegs, tmp_path):
    results = loader.bench_loader(jpegs, tmp_path / "out", codec=CODEC, batch=4, rounds=3, limit=9)
    rows = {row.name: row for row in results.rows}
    assert {"latents, static coding", "latents, codec coding", loader.REFERENCE, "JPEG, Pillow, draft"} <= set(rows)
    assert results.samples == 9
    assert rows[loader.REFERENCE].times == 1
    for row in rows.values():
        assert row.samples_per_s > 0 and row.tokens == 8 * 10
        assert row.numbers == 12 * 8 * 10               # as many for all, so that nobody has less to do
    assert rows["latents, codec coding"].bytes != rows["latents, static coding"].bytes
    written = json.loads((tmp_path / "out" / loader.RESULTS).read_text())
    assert [row["name"] for row in written["rows"]] == list(rows) and written["samples"] == 9
    assert rows[loader.REFERENCE].bytes == sum(path.stat().st_size for path in sorted(jpegs.iterdir())[:9])


def test_readers_make_batches_of_the_shape_that_is_said(jpegs, tmp_path):
    decoders, _ = loader._decoders(20, 16)
    for decoder in decoders.values():
        shapes = [tuple(made.shape) for made in loader._pictures(sorted(jpegs.iterdir()), decoder, 4)]
        assert shapes == [(4, 3, 16, 20), (4, 3, 16, 20), (2, 3, 16, 20)]


def test_what_cannot_be_compared_is_refused(jpegs, tmp_path):
    with pytest.raises(MediaError, match="10 JPEG files, a batch is 64"):
        loader.bench_loader(jpegs, tmp_path / "out", codec=CODEC)
    Image.fromarray(sample(32, 32)).save(jpegs / "small.jpg")
    with pytest.raises(UsageError, match="latents of 2 sizes"):
        loader.bench_loader(jpegs, tmp_path / "out", codec=CODEC, batch=2)
