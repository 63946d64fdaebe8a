"""Tables: four guarantees, costs, storage."""

from __future__ import annotations

from contextlib import suppress

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from enfold.entropy.tables import Tables, payload_bytes
from enfold.errors import UsageError

HAND = Tables(8, [-1, 5], [3, 1], [64, 128, 32, 32, 255, 1])    # values -1, 0, 1 and value 5


@st.composite
def distributions(draw):
    """(probabilities, lows, precision), degenerate and lopsided ones included."""
    precision = draw(st.integers(8, 16))
    rows = []
    for _ in range(draw(st.integers(1, 4))):
        weights = draw(st.lists(st.one_of(st.just(0.0), st.floats(1e-12, 1.0)), min_size=1, max_size=40))
        total = sum(weights) + draw(st.sampled_from([0.0, 1e-9, 1.0])) or 1.0
        rows.append(np.array(weights) / total)
    lows = [draw(st.integers(-2**31, 2**31 - len(row))) for row in rows]
    return rows, lows, precision


def holds_its_guarantees(tables: Tables) -> bool:
    rows = np.split(tables.counts.astype(int), tables.first[1:])
    return all(
        len(row) == size + 1                                    # 2: an escape, last
        and row.min() >= 1                                      # 1
        and row.sum() == 2**tables.precision                    # 3
        and row.max() <= 2**tables.precision - 1                # 4
        for row, size in zip(rows, tables.size, strict=True)
    )


@given(distributions())
def test_tables_of_any_distributions_hold_the_four_guarantees(given_distributions):
    rows, lows, precision = given_distributions
    tables = Tables.from_probabilities(rows, lows, precision)
    assert holds_its_guarantees(tables)
    assert len(tables) == len(rows) and tables.low.tolist() == lows


@given(st.data())
def test_arrays_from_a_file_make_such_tables_or_a_usage_error(data):
    arrays = HAND.to_arrays()
    name = data.draw(st.sampled_from(sorted(arrays)))
    values = arrays[name].astype(np.int64)
    values[data.draw(st.integers(0, len(values) - 1))] += data.draw(st.integers(-300, 300))
    forms = [values, values[:-1], values.astype(float), values[None], np.tile(values, 2)]
    arrays[name] = data.draw(st.sampled_from(forms))
    with suppress(UsageError):
        assert holds_its_guarantees(Tables.from_arrays(arrays))


def test_costs_worked_by_hand():
    #          in support: 2, 1, 3 bits; escapes: 3 bits and one byte up to 63 out, two up to 8191
    values = np.array([-1, 0, 1, 2, -2, 65, 66, -65, -66, 2**31 - 1, -(2**31)])
    expected = [2, 1, 3, 11, 11, 11, 19, 11, 19, 43, 43]
    assert HAND.cost_bits(np.zeros(11, int), values).tolist() == expected
    assert HAND.entropy_bits[0] == 0.25 * 2 + 0.5 * 1 + 2 * 0.125 * 3
    assert HAND.cost_bits(1, 5) == pytest.approx(8 - np.log2(255), abs=1e-9)


def test_lookups_worked_by_hand():
    assert HAND.first.tolist() == [0, 4]
    assert HAND.start.tolist() == [0, 64, 192, 224, 0, 255]
    assert HAND.spans.tolist() == [[-1, 0, 3, 0], [5, 4, 1, 7]]
    assert HAND.buckets.tolist() == [0] * 16 + [1] * 32 + [2] * 8 + [3] * 8 + [0] * 64
    never = 2**16 - 1
    assert HAND.shares[:, 0].tolist() == [64, 128, 32, 32, *[never] * 3, 255, 1, *[never] * 3]
    assert HAND.shares[:, 1].tolist() == [never, 63, 191, 223, *[never] * 3, never, 254, *[never] * 3]
    assert HAND.overshoot(np.zeros(4, int), np.array([2, -2, 3, -3])).tolist() == [0, 1, 2, 3]
    assert payload_bytes(np.array([0, 127, 128, 2**28 - 1, 2**28, 2**33], np.uint64)).tolist() == [1, 1, 2, 4, 5, 5]


@settings(max_examples=30)
@given(st.lists(st.floats(1e-6, 1), min_size=2, max_size=2), st.floats(1e-6, 1))
def test_no_integers_are_nearer_to_a_distribution(weights, escape):
    row = np.array([*weights, escape])
    row /= row.sum()
    counts = Tables.from_probabilities([row[:-1]], [0], 8).counts
    first, second = np.meshgrid(np.arange(1, 255), np.arange(1, 255))
    rest = 256 - first - second
    cost = -(row[0] * np.log(first) + row[1] * np.log(second) + row[2] * np.log(np.maximum(rest, 1)))
    assert -(row * np.log(counts.astype(float))).sum() <= cost[rest >= 1].min() + 1e-12


def test_equal_cells_get_the_odd_count_in_order():
    assert Tables.from_probabilities([np.full(2, 255 / 512)], [0], 8).counts.tolist() == [128, 127, 1]


@given(st.integers(1, 2**16 - 1), st.integers(1, 2**40 - 1))
def test_multiplying_by_the_reciprocal_divides(count, x):
    precision = 16
    counts = [count, 2**precision - count]
    cell = Tables(precision, [0], [1], counts).reciprocals[0]
    quotient = x * int(cell["reciprocal"]) >> 64
    exact = (x // count << precision) + x % count                # of a first cell, which starts at 0
    assert x + int(cell["bias"]) + quotient * int(cell["rest"]) == exact


@given(distributions())
def test_storage_changes_nothing(given_distributions):
    tables = Tables.from_probabilities(*given_distributions)
    arrays = tables.to_arrays("y.")
    assert all(array.ndim == 1 and array.dtype.kind in "iu" for array in arrays.values())
    again = Tables.from_arrays(arrays, "y.")
    for name in ("precision", "low", "size", "counts"):
        assert np.array_equal(getattr(again, name), getattr(tables, name))


def test_tables_cannot_be_changed():
    with pytest.raises(ValueError, match="read-only"):
        HAND.counts[0] = 1


@pytest.mark.parametrize(("arguments", "message"), [
    ((7, [0], [1], [127, 1]), "precision of 7 bits"),
    ((8, [], [], []), "0 lows"),
    ((8, [0, 1], [1], [255, 1]), "2 lows and 1 sizes"),
    ((8, [0], [0], [256]), "tables of 0 to 0 values"),
    ((8, [0], [1], [255, 1, 1]), "3 counts"),
    ((8, [0], [1], [256, 0]), "a count of 0"),
    ((8, [0], [1], [254, 1]), "sum to 255"),
    ((8, [0], [1], [254.0, 2.0]), "dtype float64"),
    ((8, [2**31 - 1], [2], [254, 1, 1]), "beyond the largest"),
    ((8, [2**31], [1], [255, 1]), "low from 2147483648"),
])
def test_impossible_tables_are_refused_with_the_reason(arguments, message):
    with pytest.raises(UsageError, match=message):
        Tables(*(np.array(a) if isinstance(a, list) else a for a in arguments))


@pytest.mark.parametrize(("row", "message"), [
    ([0.5, 0.6], "sums to 1.1"),
    ([-0.1, 0.5], "least value is -0.1"),
    ([np.nan], "sums to nan"),
    ([], "1 to 255 probabilities"),
    ([0.0] * 256, "1 to 255 probabilities"),
])
def test_impossible_distributions_are_refused_with_the_reason(row, message):
    with pytest.raises(UsageError, match=message):
        Tables.from_probabilities([np.array(row)], [0], 8)


def test_missing_arrays_are_named():
    with pytest.raises(UsageError, match="tables without counts: found low, precision, size"):
        Tables.from_arrays({name: array for name, array in HAND.to_arrays().items() if name != "counts"})


def test_an_index_without_a_table_is_refused():
    with pytest.raises(UsageError, match="indices 2 to 2: there are 2 tables"):
        HAND.cost_bits(2, 0)
