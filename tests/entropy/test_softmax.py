"""Softmax in integers: counts worked in exact arithmetic, C against NumPy, streams, estimates, damage."""

from __future__ import annotations

import math
from fractions import Fraction

import numpy as np
import pytest
import torch

from enfold.entropy import softmax
from enfold.entropy.coders import Decoder, Encoder
from enfold.entropy.densities import Categorical, Softmax
from enfold.entropy.meter import Meter
from enfold.entropy.rans import RansDecoder
from enfold.entropy.softmax import STEPS, FrozenSoftmax
from enfold.errors import BitstreamError, UsageError


def logits(rows, symbols, spread=6.0, seed=0):
    return np.random.default_rng(seed).normal(0, spread, (rows, symbols)).astype(np.float32)


def drawn(context, seed=0):
    """Values as often as their logits say."""
    noise = np.random.default_rng(seed).gumbel(size=context.shape)
    return (context * math.log(2) + noise).argmax(-1).astype(np.int32)


@pytest.fixture(params=["C", "NumPy"])
def side(request, monkeypatch):
    if request.param == "NumPy":
        monkeypatch.setattr(softmax, "_compiled", None)
    elif softmax._compiled is None:
        pytest.skip("built without C")
    return request.param


def by_hand(row, precision):
    """Starts of every symbol, in whole numbers and fractions."""
    units = [max(-8192, min(8192, math.floor(Fraction(float(x)) * 16 + Fraction(1, 2)))) for x in row]
    weights = [int(STEPS[(max(units) - u) % 16]) >> min(31, (max(units) - u) // 16) for u in units]
    ratio = (((1 << precision) - len(row)) << 32) // sum(weights)
    return [k + (sum(weights[:k]) * ratio >> 32) for k in range(len(row))] + [1 << precision]


@pytest.mark.parametrize("symbols, precision, spread", [(2, 16, 5), (3, 8, 1), (77, 12, 8), (1024, 16, 3),
                                                        (255, 8, 0.1), (40, 16, 4000)])
def test_counts_are_those_worked_by_hand(side, symbols, precision, spread):
    context = logits(5, symbols, spread)
    density = FrozenSoftmax(precision)
    for row in context:
        edges = by_hand(row, precision)
        start, count = density.intervals(np.tile(row, (symbols, 1)), np.arange(symbols))
        assert start.tolist() == edges[:-1]
        assert count.tolist() == np.diff(edges).tolist()
        assert count.min() >= 1 and count.sum() == 1 << precision and count.max() < 1 << precision


def test_steps_are_powers_of_two():
    assert STEPS.tolist() == [round(2 ** (20 - f / 16)) for f in range(16)]


def test_counts_are_shares_of_a_softmax(side):
    row = logits(1, 60, 3)[0]
    share = 2.0 ** row / (2.0 ** row).sum()
    _, count = FrozenSoftmax().intervals(np.tile(row, (60, 1)), np.arange(60))
    np.testing.assert_allclose(count / 65536, share, rtol=0.05, atol=2e-5)


@pytest.mark.parametrize("rows, symbols", [(0, 5), (1, 2), (3, 1000), (5000, 17), (40, 1)])
def test_streams_give_back_what_was_written(side, rows, symbols):
    context = logits(rows, symbols)
    values = drawn(context)
    encoder = Encoder()
    encoder.code(FrozenSoftmax(), context, values)
    decoder = Decoder(encoder.finish())
    np.testing.assert_array_equal(decoder.code(FrozenSoftmax(), context), values)
    decoder.finish()


def test_c_and_numpy_write_and_read_the_same_bytes(monkeypatch):
    if softmax._compiled is None:
        pytest.skip("built without C")
    context = logits(3000, 50)
    values = drawn(context)

    def written():
        encoder = Encoder()
        encoder.code(FrozenSoftmax(), context, values)
        return encoder.finish()

    data = written()
    monkeypatch.setattr(softmax, "_compiled", None)
    assert written() == data
    decoder = Decoder(data)
    np.testing.assert_array_equal(decoder.code(FrozenSoftmax(), context), values)
    decoder.finish()


def test_symbols_of_tables_and_of_logits_share_a_stream(side):
    tables, context = Categorical(2, 9).freeze(), logits(200, 30).reshape(10, 20, 30)
    index = np.arange(500, dtype=np.int32) % 2
    plain, values = np.random.default_rng(1).integers(-3, 12, 500), drawn(context)
    encoder = Encoder()
    encoder.code(tables, index, plain)
    encoder.code(FrozenSoftmax(), context, values)
    encoder.code(tables, index, plain)
    decoder = Decoder(encoder.finish())
    np.testing.assert_array_equal(decoder.code(tables, index), plain)
    np.testing.assert_array_equal(decoder.code(FrozenSoftmax(), context), values)
    np.testing.assert_array_equal(decoder.code(tables, index), plain)
    decoder.finish()


def test_bits_of_training_the_coders_cost_and_the_bytes_agree():
    context = np.round(logits(4000, 64, 3) * 16) / 16
    values = drawn(context)
    encoder = Encoder()
    encoder.code(FrozenSoftmax(), context, values)
    meter = Meter(noisy=True)
    meter.code(Softmax(), torch.from_numpy(context)[None], torch.from_numpy(values)[None].float())
    estimated = meter.bits()
    assert estimated.shape == (1,)
    assert encoder.bits == pytest.approx(estimated.item(), rel=0.002)
    assert 8 * len(encoder.finish()) == pytest.approx(encoder.bits, rel=0.002)


def test_bits_are_differentiable_in_the_logits_and_never_above_the_precision():
    context = torch.tensor([[0.0, 300.0, 5.0]], requires_grad=True)
    bits = Softmax().bits(torch.tensor([0.0]), context)
    assert bits.item() == pytest.approx(16, abs=1e-3)
    near = torch.tensor([[1.0, 2.0, 0.5]], requires_grad=True)
    Softmax().bits(torch.tensor([2.0]), near).sum().backward()
    assert near.grad[0, 2] < 0 < near.grad[0, 1]


def test_damage_is_named_or_gives_symbols(side):
    """As `rans` promises: any bytes may be read. Long streams, of many states, nearly always end in the error."""
    context = logits(3000, 20, 2)
    encoder = Encoder()
    for _ in range(20):
        encoder.code(FrozenSoftmax(), context, drawn(context))
    data = encoder.finish()
    named = 0
    for broken in (data[:-2], data[:400], data[:200] + bytes(30) + data[230:], data + b"ab", b"\x05", bytes(9)):
        try:
            decoder = Decoder(broken)
            for _ in range(20):
                values = decoder.code(FrozenSoftmax(), context)
                assert 0 <= values.min() <= values.max() < 20
            decoder.finish()
        except BitstreamError:
            named += 1
    assert named == 6


def test_what_cannot_be_coded_is_refused_in_words(side):
    density, encoder = FrozenSoftmax(), Encoder()
    with pytest.raises(UsageError, match="numbers from 0 to 3"):
        encoder.code(density, logits(2, 4), np.array([1, 4]))
    with pytest.raises(UsageError, match="shape"):
        encoder.code(density, logits(2, 4), np.array([1, 2, 3]))
    with pytest.raises(UsageError, match="last axis"):
        FrozenSoftmax(8).intervals(logits(1, 256), np.array([0]))
    with pytest.raises(UsageError, match="8 to 16"):
        FrozenSoftmax(17)
    with pytest.raises(UsageError, match="bulk"):
        Encoder("sequential").code(density, logits(2, 4), np.array([1, 3]))
    with pytest.raises(UsageError, match="bulk"):
        Decoder(b"", "sequential").code(density, logits(2, 4))


def test_a_kernel_reads_on_where_another_stopped():
    """States move from call to call: the order of a stream's symbols is that of the calls."""
    context = logits(100, 7)
    values = drawn(context)
    encoder = Encoder()
    for at in range(0, 100, 10):
        encoder.code(FrozenSoftmax(), context[at:at + 10], values[at:at + 10])
    coder = RansDecoder(encoder.finish())
    found = [FrozenSoftmax().decode(coder, context[at:at + 10]) for at in range(0, 100, 10)]
    np.testing.assert_array_equal(np.concatenate(found), values)
    coder.finish()
