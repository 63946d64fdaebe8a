"""What is hyper-rgb's own: exactness that costs next to nothing, a synthesis that may err, tiles, strips."""

from __future__ import annotations

import numpy as np
import pytest
import torch

import enfold
from enfold.codecs.hyper_latents import HyperLatents
from enfold.container import SectionKind, unpack
from enfold.entropy.hyperprior import code_hyperprior
from enfold.entropy.meter import Meter
from enfold.layers import transforms
from enfold.testing import sample


@pytest.fixture(scope="module")
def codec():
    return enfold.load("hyper-rgb")


@pytest.fixture(scope="module")
def photograph():
    from skimage import data

    return np.ascontiguousarray(data.astronaut()[:384])


class Floats(Meter):
    """What the prior would be without the grids that make it exact: nothing is snapped but latents."""

    def rectify(self, x):
        return x.relu()

    def logarithm(self, x):
        return x.sign() * x.abs().log1p() / np.log(2)

    def snap(self, x, fraction_bits):
        return x


@pytest.mark.parametrize("quality", [15, 50, 85])
def test_exactness_costs_less_than_a_hundredth_of_the_rate(codec, photograph, quality):
    """Tables, snapped means, floored levels and rounded activations, against floating point throughout."""
    half = codec.latent_codec
    latent = codec.latents(photograph, quality=quality)
    symbols = torch.from_numpy(latent.symbols).float()[None]
    meter = Floats(noisy=False)
    code_hyperprior(meter, codec.density, codec.hyper_density,
                    {name: torch.from_numpy(weight) for name, weight in half.weights.items()},
                    {name: torch.from_numpy(bias[quality - 1]) for name, bias in half.biases.items()},
                    half.config.prior, tuple(symbols.shape), symbols, codec.hyper_analysis(symbols))
    assert codec.cost_bits(latent) < 1.01 * meter.bits().item()


def test_an_error_of_one_ulp_in_the_synthesis_changes_no_symbol_and_hardly_a_pixel(codec, photograph):
    data = codec.encode(photograph, quality=70)
    symbols, pixels = codec.latents(data).symbols, np.asarray(codec.decode(data)).astype(int)
    random = np.random.default_rng(0)
    weights = [p for p in codec.synthesis.parameters() if p.dim() == 4]
    for weight in (weights[k] for k in random.choice(len(weights), 6, replace=False)):
        flat, at = weight.data.flatten(), int(random.integers(weight.numel()))
        kept = weight.data.clone()
        at = np.unravel_index(at, weight.shape)
        weight.data[at] = torch.nextafter(kept[at], torch.tensor(10.0, dtype=flat.dtype))
        try:
            changed = np.asarray(codec.decode(data)).astype(int)
            np.testing.assert_array_equal(codec.latents(data).symbols, symbols)
        finally:
            weight.data.copy_(kept)
        assert np.abs(changed - pixels).max() <= 1


def test_latents_alone_make_the_file_again(codec):
    """Hyper-latents are a function of the latents: nothing but these need be kept to write the same bytes."""
    data = codec.encode(sample(100, 150), quality=40)
    container = unpack(data)
    parameters, streams = codec.write(codec.latents(data))
    assert parameters == container.header.parameters
    assert streams == [s.data for s in container.sections if s.kind == SectionKind.SYMBOLS]


def test_tiles_give_the_picture_that_one_piece_gives(codec, monkeypatch):
    """Exactly up to the float rounding of other tile shapes."""
    data = codec.encode(sample(300, 500))
    whole, latents = np.asarray(codec.decode(data)).astype(int), codec.latents(sample(300, 500)).symbols
    monkeypatch.setattr(transforms, "TILE", 10)
    tiled = np.asarray(codec.decode(data)).astype(int)
    assert np.abs(tiled - whole).max() <= 2
    assert (tiled != whole).mean() < 0.05
    assert (codec.latents(sample(300, 500)).symbols != latents).mean() < 1e-2


def test_strips_are_sections_and_decode_to_the_symbols_of_the_whole(codec, monkeypatch):
    picture = sample(300, 100)
    whole = codec.latents(picture).symbols
    monkeypatch.setattr(HyperLatents, "positions", 8 * 7)
    data = codec.encode(picture)
    assert sum(s.kind == SectionKind.SYMBOLS for s in unpack(data).sections) == 3
    difference = np.abs(codec.latents(data).symbols - whole)     # borders of strips are coded with less known
    assert difference.max() <= 1 and difference.mean() < 1e-2
    np.testing.assert_array_equal(codec.latents(data).symbols, codec.latents(picture).symbols)


def test_a_blank_picture_costs_little(codec):
    """A white megapixel: 0.044 bits a pixel with the first weights, most of it the prior's doubt."""
    assert len(codec.encode(np.full((1024, 1024, 3), 255, np.uint8), quality=50)) < 7000
