"""The bench of byte coders: fair work, honest bytes."""

from __future__ import annotations

import numpy as np
import pytest

from enfold.bench import coder
from enfold.bench.coder import bench_coder, draw


def test_symbols_are_the_same_for_everybody():
    first, second = draw("mixed", 4096), draw("mixed", 4096)
    assert np.array_equal(first.values, second.values) and np.array_equal(first.index, second.index)


@pytest.mark.parametrize("name", ["one", "mixed"])
def test_symbols_cost_what_the_tables_expect(name):
    work = draw(name, 1 << 16)
    cost = work.tables.cost_bits(work.index, work.values).mean()
    assert cost == pytest.approx(work.tables.entropy_bits[work.index].mean(), rel=0.01)


def test_every_coder_stays_near_the_entropy_and_none_below_it(monkeypatch):
    pytest.importorskip("constriction", reason="constriction is not installed")
    monkeypatch.setattr(coder, "ROUNDS", 1)
    results = bench_coder(1 << 13)
    assert {row.coder for row in results.rows} >= {"enfold rANS", "enfold sequential", "constriction ANS",
                                                   "constriction range"}
    assert {(row.workload, row.threads) for row in results.rows} == {("one", 1), ("one", 2), ("mixed", 1), ("mixed", 2)}
    for row in results.rows:
        assert -1e-4 < row.overhead < 0.02, row
        assert row.encode_msym_per_s > 0 and row.decode_msym_per_s > 0
