"""What is vqgan-rgb's own: six codebooks, packets that may be lost, gaps that are filled, learning on its codes."""

from __future__ import annotations

import warnings

import numpy as np
import pytest
import torch

import enfold
from enfold.codecs import vqgan
from enfold.codecs.vqgan_model import lattice
from enfold.container import SectionKind, unpack
from enfold.entropy.coders import Encoder
from enfold.entropy.masked import cells
from enfold.errors import BitstreamError, UsageError
from enfold.salvage import DamageWarning
from enfold.testing import sample


@pytest.fixture(scope="module")
def codec():
    return enfold.load("vqgan-rgb")


@pytest.fixture(scope="module")
def photograph():
    from skimage import data

    return np.ascontiguousarray(data.astronaut()[:256])


def sections(data):
    return [s.data for s in unpack(data).sections if s.kind == SectionKind.SYMBOLS]


def damaged_at(data, *numbers):
    """A file with a byte changed in some of its sections, by their numbers."""
    broken = bytearray(data)
    for number in numbers:
        entry = enfold.info(data).entries[number]
        broken[(entry.data_start + entry.data_end) // 2] ^= 0x55
    return bytes(broken)


def test_quality_picks_a_codebook(codec, photograph):
    half = codec.latent_codec
    sizes = [half.size(quality) for quality in range(1, 101)]
    assert sizes == sorted(sizes) and tuple(sorted(set(sizes))) == half.config.sizes
    for quality in (1, 40, 100):
        symbols = codec.latents(photograph, quality=quality).symbols
        assert 0 <= symbols.min() <= symbols.max() < half.size(quality)


def test_a_photograph_takes_a_few_hundred_bytes(codec, photograph):
    """Half the size of Kodak's pictures, hence half of what these take."""
    assert len(codec.encode(photograph, quality=1)) < 200
    assert len(codec.encode(photograph, quality=50)) < 400


@pytest.mark.parametrize("quality", [10, 60, 95])
def test_what_is_known_of_neighbours_saves_an_eighth_of_the_bits_and_more(codec, photograph, quality):
    latent = codec.latents(photograph, quality=quality)
    assert codec.cost_bits(latent) < 0.88 * latent.symbols.size * np.log2(codec.latent_codec.size(quality))


@pytest.mark.parametrize("quality", [25, 60])
def test_a_price_of_bits_makes_smaller_files_of_words_hardly_further_away(codec, photograph, quality):
    half = codec.latent_codec
    with torch.inference_mode():
        points = codec.analysis(torch.from_numpy(photograph).permute(2, 0, 1)[None].float())[0].numpy()
    bits, errors = [], []
    for price in (0.0, float(codec.prices[quality - 1])):
        symbols = half.quantise(points, quality, price)
        bits.append(half.cost_bits(symbols, quality))
        errors.append(np.square(half.values(symbols, quality) - points).mean())
    assert bits[1] < 0.97 * bits[0]
    assert errors[1] < 1.6 * errors[0]


def test_exact_logits_cost_what_those_of_floating_point_do(codec, photograph):
    """Rounded activations, logits in sixteenths and counts of 16 bits, against none of these."""
    half = codec.latent_codec

    class Floats(Encoder):
        bits = 0.0

        def rectify(self, x):
            return np.clip(x, 0, 15.9375)

        def snap(self, x, fraction_bits):
            return x

        def code(self, density, context, values=None):
            logits = context.astype(np.float64)
            rows = np.arange(len(values))
            self.bits += (np.log2(np.exp2(logits).sum(1)) - logits[rows, values]).sum()
            return values

    for quality in (20, 60, 95):
        latent = codec.latents(photograph, quality=quality)
        coder = Floats.__new__(Floats)
        half.prior(coder, quality, latent.symbols.shape[1:], cells(*latent.symbols.shape[1:])[0],
                   latent.symbols[0].astype(np.int32).__getitem__)
        assert codec.cost_bits(latent) < 1.01 * coder.bits


@pytest.mark.parametrize("packets", [2, 5, 16])
def test_packets_hold_the_same_picture(codec, photograph, packets):
    one, many = (codec.encode(photograph, packets=number) for number in (1, packets))
    assert len(sections(one)) == 1 and len(sections(many)) == packets
    np.testing.assert_array_equal(codec.latents(many).symbols, codec.latents(one).symbols)
    assert len(many) < len(one) + 12 * packets + 0.35 * len(one)


@pytest.mark.parametrize("size", [(1, 1), (17, 40)])
def test_more_packets_than_cells_are_decoded(codec, size):
    picture = sample(*size)
    data = codec.encode(picture, packets=64)
    np.testing.assert_array_equal(codec.latents(data).symbols, codec.latents(picture).symbols)


def test_a_damaged_packet_is_refused_and_with_leave_filled(codec, photograph):
    data = codec.encode(photograph, packets=6)
    broken = damaged_at(data, 1, 4)
    with pytest.raises(BitstreamError, match="section 2"):
        codec.decode(broken)
    with pytest.warns(DamageWarning, match="bytes"):
        filled = codec.decode(broken, allow_partial=True)
    order = cells(*codec.latents(data).symbols.shape[1:], 6)
    lost = np.zeros(codec.latents(data).symbols.shape[1:], bool)
    for number in (1, 4):
        for group in order[number]:
            lost[group] = True
    np.testing.assert_array_equal(np.asarray(filled), np.asarray(codec.decode(data, lost=lost)))


@pytest.mark.parametrize("kept", [0.4, 0.95])
def test_a_file_that_was_cut_short_gives_a_picture(codec, photograph, kept):
    data = codec.encode(photograph, packets=8)
    with pytest.warns(DamageWarning):
        picture = codec.decode(data[:int(kept * len(data))], allow_partial=True)
    assert np.asarray(picture).shape == photograph.shape


def test_a_whole_file_is_decoded_alike_with_and_without_leave(codec, photograph):
    data = codec.encode(photograph, packets=4)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        with_leave, without = (codec.decode(data, allow_partial=leave) for leave in (True, False))
    np.testing.assert_array_equal(np.asarray(with_leave), np.asarray(without))


def test_the_face_passes_packets_and_leave_on(photograph):
    data = enfold.encode(photograph, "vqgan-rgb", quality=40, packets=3)
    with pytest.warns(DamageWarning):
        picture = enfold.decode(damaged_at(data, 2), allow_partial=True)
    assert np.asarray(picture).shape == photograph.shape
    with pytest.raises(UsageError, match="target_bpp"):
        enfold.encode(photograph, "vqgan-rgb", target_bpp=0.1, packets=3)


def test_a_damaged_header_is_refused_in_spite_of_leave(codec, photograph):
    broken = bytearray(codec.encode(photograph, packets=4))
    broken[8] ^= 1
    with pytest.raises(BitstreamError):
        codec.decode(bytes(broken), allow_partial=True)


def test_gaps_are_filled_from_what_is_around_them(codec, photograph):
    """Nearer to the words that were lost than those of the position beside them, and what is there stays."""
    half, latent = codec.latent_codec, codec.latents(photograph, quality=60)
    lost = np.random.default_rng(0).random(latent.symbols.shape[1:]) < 0.2
    filled = half.fill(latent.symbols, 60, lost)
    np.testing.assert_array_equal(filled[0][~lost], latent.symbols[0][~lost])
    beside = np.roll(latent.symbols, 1, 2)

    def error(symbols):
        return np.square(half.values(symbols, 60) - latent.values)[:, lost].mean()

    assert error(filled) < error(beside)


@pytest.mark.parametrize("lost", [np.zeros((3, 3), bool), np.zeros((16, 32), int)])
def test_a_mask_of_another_shape_is_refused_in_words(codec, photograph, lost):
    with pytest.raises(UsageError, match=r"lost is .* it must be bool of shape"):
        codec.decode(codec.encode(photograph), lost=lost)


@pytest.mark.parametrize("packets", [0, 65, 2.5, True])
def test_a_wrong_number_of_packets_is_refused_in_words(codec, photograph, packets):
    if packets is True:
        packets = "many"
    with pytest.raises(UsageError, match="packets is"):
        codec.encode(photograph, packets=packets)


def test_codecs_without_packets_say_so(photograph):
    other = enfold.load("walloc-rgb-16x")
    with pytest.raises(UsageError, match="no packets"):
        other.encode(photograph, packets=4)
    with pytest.raises(UsageError, match="cannot fill"):
        other.decode(other.encode(photograph), allow_partial=True)


def test_a_packet_twice_is_refused(codec, photograph):
    from enfold.container import Section, pack

    container = unpack(codec.encode(photograph, packets=2))
    twice = [Section(SectionKind.SYMBOLS, container.sections[0].data)] * 2
    for leave in (False, True):
        with pytest.raises(BitstreamError, match="packet of number 0"):
            codec.decode(pack(container.header, twice), allow_partial=leave)


def test_tiles_give_the_picture_that_one_piece_gives(codec, monkeypatch):
    """Up to the float rounding of other tile shapes."""
    picture = sample(300, 560)
    data = codec.encode(picture)
    whole, symbols = np.asarray(codec.decode(data)).astype(int), codec.latents(picture).symbols
    monkeypatch.setattr(vqgan, "TILE", 8)
    tiled = np.asarray(codec.decode(data)).astype(int)
    assert np.abs(tiled - whole).max() <= 3
    assert (codec.latents(picture).symbols != symbols).mean() < 0.03


def test_values_are_words_of_one_space_for_all_qualities(codec, photograph):
    coarse, fine = (codec.latents(photograph, quality=quality) for quality in (5, 95))
    assert coarse.values.shape == fine.values.shape == (codec.latent_codec.config.dimensions, 16, 32)
    assert np.square(coarse.values - fine.values).mean() < np.square(fine.values).mean()


def test_a_lattice_of_errors_is_told_from_errors_as_large():
    torch.manual_seed(0)
    dots = torch.zeros(2, 3, 128, 128)
    dots[..., 3::8, 5::8] = 64.0
    dots = (dots - dots.mean()).requires_grad_()
    spread = torch.randn(dots.shape) * dots.detach().std()
    assert lattice(dots) > 3 * lattice(spread)
    assert lattice(torch.full((1, 3, 16, 16), 40.0)) == 0                  # plain errors are no lattice
    lattice(dots).backward()
    grid = dots.grad.abs() > dots.grad.abs().mean()
    assert grid[..., 3::8, 5::8].all() and dots.grad[0, 0, 3, 5] > 0       # what lowers it takes the dots away
