"""The circuits' benches count real bytes of what came back, and say so where it did not."""

from __future__ import annotations

import numpy as np
import pytest
from PIL import Image

from enfold.bench import circuits as bench
from enfold.bench.circuit_prior import bench_circuit_prior, patches
from enfold.bench.circuits import bench_circuits
from enfold.bench.table import show_circuit_prior, show_circuits
from enfold.errors import UsageError
from enfold.testing import sample
from enfold.trees import walk

pytestmark = pytest.mark.skipif(walk._compiled is None, reason="the C extension is not built")


def test_a_data_set_goes_through_every_coder(monkeypatch, capsys):
    pytest.importorskip("pyarrow")
    pytest.importorskip("pillow_jxl")
    monkeypatch.setattr(bench, "STATES", (8, 16))
    images = np.stack([sample(28, 28, "L", seed) for seed in range(12)])
    results = bench_circuits(images, "circuit-mnist", name="made")
    assert [row.coder for row in results.coders] == ["circuit-mnist, one file", "circuit-mnist, a file each", "PNG",
                                                     "WebP lossless", "JPEG XL lossless", "zstd, all at once"]
    assert all(row.bytes > 0 and row.bits_per_dim == 8 * row.bytes / images.size for row in results.coders)
    assert results.coders[0].bytes < results.coders[1].bytes
    assert [(row.states, row.dimensions) for row in results.costs] == [(8, 784), (8, 392), (16, 784), (16, 392)]
    show_circuits(results)
    assert "zstd" in capsys.readouterr().out


@pytest.mark.parametrize("wrong", [np.zeros((3, 28, 28), np.int16), np.zeros((28, 28), np.uint8)])
def test_other_data_are_refused(wrong):
    with pytest.raises(UsageError, match="a data set of grey pictures"):
        bench_circuits(wrong, "circuit-mnist")


def test_a_circuit_codes_another_codecs_symbols(tmp_path, capsys):
    for folder, count in (("photos", 24), ("test", 2)):
        (tmp_path / folder).mkdir()
        for number in range(count):
            Image.fromarray(sample(64, 96, seed=number)).save(tmp_path / folder / f"{number:02}.png")
    results = bench_circuit_prior(tmp_path / "photos", tmp_path / "test", tmp_path / "out", "walloc-rgb-16x", (50,),
                                  minutes=0.02, states=8)
    row, = results.rows
    assert row.symbols == 2 * 12 * 8 * 12 and row.patches == 12
    assert row.own_bytes > 0 and row.ratio == row.circuit_bytes / row.own_bytes
    show_circuit_prior(results)
    assert "own prior" in capsys.readouterr().out


def test_patches_are_cut_row_by_row():
    symbols = np.arange(2 * 9 * 13).reshape(2, 9, 13) % 40 - 20
    cut = patches(symbols)
    assert cut.shape == (6, 2, 4, 4) and cut.dtype == np.uint8
    np.testing.assert_array_equal(cut[4], symbols[:, 4:8, 4:8] + 128)
