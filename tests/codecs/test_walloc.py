"""What is WaLLoC's own: tiles and strips change nothing, the transforms are what they say."""

from __future__ import annotations

import numpy as np
import pytest
import torch

import enfold
from enfold.codecs import walloc
from enfold.codecs.walloc import Walloc
from enfold.codecs.walloc_latents import COMPAND_WIDTH, WallocLatents
from enfold.container import SectionKind, pack, unpack
from enfold.errors import BitstreamError
from enfold.layers.compand import Compand
from enfold.testing import sample


@pytest.fixture(scope="module")
def codec():
    return enfold.load("walloc-rgb-16x")


def test_expand_undoes_the_compand():
    compand = Compand(3, COMPAND_WIDTH)
    y = torch.linspace(-2000, 2000, 999).expand(1, 3, 1, -1)
    torch.testing.assert_close(compand.expand(compand(y)), y, rtol=1e-4, atol=1e-2)


def test_dequantised_values_are_those_of_the_transform(codec):
    symbols = codec.latents(sample(64, 64), quality=70).symbols
    steps = torch.from_numpy(codec.latent_codec.steps[69])[:, None, None]
    expected = codec.analysis.compand.expand(torch.from_numpy(symbols)[None].float() * steps)[0]
    np.testing.assert_allclose(codec.latent_codec.values(symbols, 70), expected, rtol=1e-4, atol=1e-3)


def test_tiles_give_the_picture_that_one_piece_gives(codec, monkeypatch):
    """Exactly up to the float rounding of other tile shapes: one grey level, rarely."""
    data = codec.encode(sample(300, 500))
    whole = np.asarray(codec.decode(data)).astype(int)
    monkeypatch.setattr(walloc, "SYNTHESIS_TILE", 20)
    tiled = np.asarray(codec.decode(data)).astype(int)
    assert np.abs(tiled - whole).max() <= 2
    assert (tiled != whole).mean() < 0.05


def test_strips_are_sections_and_decode_to_the_symbols_of_the_whole(codec, monkeypatch):
    picture = sample(300, 100)
    whole = codec.latents(picture).symbols
    monkeypatch.setattr(WallocLatents, "positions", 8 * 13)
    data = codec.encode(picture)
    assert sum(s.kind == SectionKind.SYMBOLS for s in unpack(data).sections) == 5
    assert (codec.latents(data).symbols != whole).mean() < 1e-3
    np.testing.assert_array_equal(codec.latents(data).symbols, codec.latents(picture).symbols)


def test_a_missing_strip_is_named(codec, monkeypatch):
    monkeypatch.setattr(WallocLatents, "positions", 8 * 13)
    container = unpack(codec.encode(sample(300, 100)))
    with pytest.raises(BitstreamError, match="5 strips, the file has 4"):
        codec.decode(pack(container.header, container.sections[1:]))


def test_hostile_streams_with_valid_checksums_are_refused_or_decode_in_bounds(codec):
    """What a checksum cannot catch: an intact file whose symbols no encoder wrote."""
    random = np.random.default_rng(0)
    container = unpack(codec.encode(sample(40, 40)))
    for _ in range(50):
        stream = random.bytes(int(random.integers(0, 300)))
        section = type(container.sections[0])(SectionKind.SYMBOLS, stream)
        try:
            decoded = codec.decode(pack(container.header, [section]))
        except BitstreamError:
            continue
        assert np.asarray(decoded).shape == (40, 40, 3)


def test_forward_is_what_a_file_decodes_to_and_carries_gradients(codec):
    picture = sample(64, 96)
    pixels = torch.from_numpy(picture).permute(2, 0, 1)[None].float().requires_grad_()
    decoded, bits = codec(pixels, 80)
    from_file = np.asarray(codec.decode(codec.encode(picture, quality=80))).astype(int)
    ours = decoded.detach()[0].permute(1, 2, 0).clamp(0, 255).round().numpy().astype(int)
    assert np.abs(ours - from_file).max() <= 1
    (bits.sum() + decoded.sum()).backward()
    assert pixels.grad.abs().sum() > 0


def test_the_decoder_is_small(codec):
    """At most 30 kMAC a pixel: what a CPU can run."""
    weights = sum(p.numel() for name, p in codec.synthesis.named_parameters() if name.endswith("weight"))
    assert weights / 64 <= 30_000


def test_grey_pictures_cost_no_more_than_coloured_ones(codec):
    grey = sample(128, 128, "L")
    assert len(codec.encode(grey)) < len(codec.encode(sample(128, 128)))


def test_repr_shows_the_networks(codec):
    assert isinstance(codec, Walloc) and "Residual" in repr(codec)
