"""Wavelet packets: PyWavelets' numbers, perfect reconstruction, the same in windows as at once."""

from __future__ import annotations

import numpy as np
import pytest
import pywt
import torch

from enfold.layers.packets import WAVELET, WaveletPackets, packet_matrix


def test_one_level_is_that_of_pywavelets_under_whole_sample_symmetry():
    x = np.random.default_rng(0).normal(size=64)
    low, high = pywt.dwt(x, WAVELET, "reflect")
    ours = packet_matrix(64, 1) @ x
    np.testing.assert_allclose(ours[0::2], low[2:34], atol=1e-12)
    np.testing.assert_allclose(ours[1::2], high[2:34], atol=1e-12)


def test_packets_are_those_of_pywavelets_away_from_the_borders():
    x = np.random.default_rng(1).normal(size=256)
    ours = (packet_matrix(256, 3) @ x).reshape(-1, 8)
    packet = pywt.WaveletPacket(x, WAVELET, "periodization", maxlevel=3)
    for band, node in enumerate(packet.get_level(3, "natural")):
        expected = node.data
        shift = next(s for s in range(-4, 5) if abs(np.roll(expected, s)[16] - ours[16, band]) < 1e-9)
        np.testing.assert_allclose(ours[8:24, band], np.roll(expected, shift)[8:24], atol=1e-9)


@pytest.mark.parametrize("size", [(8, 8), (8, 200), (72, 16), (192, 200), (264, 520)])
def test_synthesis_inverts_analysis(size):
    packets = WaveletPackets(3)
    x = torch.randn(2, 3, *size, generator=torch.Generator().manual_seed(0))
    coefficients = packets.analysis(x)
    assert coefficients.shape == (2, 192, size[0] // 8, size[1] // 8)
    torch.testing.assert_close(packets.synthesis(coefficients), x, atol=2e-5, rtol=0)


def test_windows_give_what_the_whole_matrix_gives():
    x = torch.randn(1, 1, 512, 344, generator=torch.Generator().manual_seed(0)).double()
    expected = packet_matrix(512, 3) @ x[0, 0].numpy() @ packet_matrix(344, 3).T
    ours = WaveletPackets(3).analysis(x)
    np.testing.assert_allclose(torch.nn.functional.pixel_shuffle(ours, 8)[0, 0], expected, atol=1e-4)


def test_a_part_with_its_halo_gives_the_coefficients_of_the_whole():
    x = torch.randn(1, 1, 640, 64, generator=torch.Generator().manual_seed(0))
    packets = WaveletPackets(3)
    whole = packets.analysis(x)[..., 20:40, :]
    part = packets.analysis(x[..., (20 - 4) * 8:(40 + 4) * 8, :])[..., 4:-4, :]
    torch.testing.assert_close(part, whole, atol=1e-5, rtol=0)


def test_gradients_flow_through_both_directions():
    packets = WaveletPackets(2)
    x = torch.randn(1, 1, 128, 100, requires_grad=True)
    packets.synthesis(packets.analysis(x)).square().sum().backward()
    torch.testing.assert_close(x.grad, 2 * x.detach(), atol=1e-4, rtol=0)


@pytest.mark.parametrize("length", [0, 12, -8])
def test_lengths_that_do_not_divide_are_refused(length):
    with pytest.raises(ValueError, match="multiple of 8"):
        packet_matrix(length, 3)


def test_what_inference_built_can_be_trained_through():
    packets = WaveletPackets(3)
    with torch.inference_mode():
        packets.analysis(torch.randn(1, 3, 40, 200))
    x = torch.randn(1, 3, 40, 200, requires_grad=True)
    packets.analysis(x).square().sum().backward()
    assert x.grad is not None
