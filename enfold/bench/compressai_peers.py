"""CompressAI's mean-scale hyperprior as a peer of pictures: what most learned codecs are compared with.

    mbt2018-mean                  with the weights that CompressAI publishes, where they are at hand
    mbt2018-mean-untrained-128    its networks without them, of which only speed and memory are measured:
    mbt2018-mean-untrained-192    the sizes of qualities 1 to 4 and of 5 to 8

A file is the two streams behind the least header that they can be read with, 9 bytes: network,
height, width, bytes of the first stream. Pictures are padded to multiples of 64. The networks run
in float32, channels last (decoding gains 5 %) and inference mode, on as many threads as torch takes.

Untrained networks cost what trained ones cost, but for the coding of symbols. So these are made to
look as if they were trained: the side information says one scale for each channel, a few large ones
and many next to nothing, and the last layer of the analysis is set so that latents spread just so.
A photograph then takes 0.6 or 0.9 bits a pixel.

Source: Minnen et al. 2018; the package compressai, Bégaint et al. 2020.
"""

from __future__ import annotations

import struct
import warnings
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np

from enfold.bench.machine import installed
from enfold.bench.running import Coder
from enfold.errors import UsageError
from enfold.media import crop, pad_to_multiple

NAME = "mbt2018-mean"
CHANNELS = {128: 192, 192: 320}     # of the networks: of the latents
UNTRAINED = {f"{NAME}-untrained-{channels}": channels for channels in CHANNELS}
PEERS = (NAME, *UNTRAINED)
HEADER = struct.Struct("<BHHI")
MULTIPLE = 64
SCALES = 2.0, 1e-4                  # of an untrained network's first channel and its last, in equal ratios


def coder(name: str) -> Coder:
    """One of PEERS. Raises UsageError where the package, or its weights, are not at hand."""
    if installed("compressai") is None:
        raise UsageError(f"{name} needs CompressAI: pip install 'enfold[bench,compressai]', or leave it out of --peers")
    version = f"compressai {installed('compressai')}"
    if name in UNTRAINED:
        channels = UNTRAINED[name]
        return Coder(name, f"{NAME}, {channels} channels, untrained", version, "random weights", (),
                     lambda rgb, _: _encode(rgb, channels), _decode)
    found = weights()
    hashes = " ".join(path.name.split(".")[0].rpartition("-")[2] for path in found.values())
    return Coder(name, NAME, f"{version}, weights {hashes}", "quality, a network for each; MSE",
                 tuple(map(float, found)), lambda rgb, quality: _encode(rgb, round(quality)), _decode)


def weights() -> dict[int, Path]:
    """CompressAI's published files that lie in torch's hub folder, by quality; nothing is fetched.

    Raises UsageError where there is none.
    """
    import torch

    folder = Path(torch.hub.get_dir()) / "checkpoints"
    names = {quality: url.rpartition("/")[2] for quality, url in _zoo().model_urls[NAME]["mse"].items()}
    found = {quality: folder / name for quality, name in names.items() if (folder / name).exists()}
    if not found:
        raise UsageError(f"{NAME} needs CompressAI's weights, and none of {', '.join(names.values())} is in {folder} "
                         "(TORCH_HOME names another place): put them there, as "
                         "compressai.zoo.mbt2018_mean(quality, pretrained=True) does, or measure speed and memory "
                         f"alone: {', '.join(UNTRAINED)}")
    return found


def _encode(rgb: np.ndarray, network: int) -> bytes:
    """network: a quality, or the channels of an untrained one."""
    import torch

    padded = pad_to_multiple(rgb, MULTIPLE)
    with torch.inference_mode():
        pixels = torch.from_numpy(padded).permute(2, 0, 1)[None].float() / 255
        (first,), (second,) = _network(network).compress(pixels)["strings"]
    return HEADER.pack(network, *rgb.shape[:2], len(first)) + first + second


def _decode(data: bytes) -> np.ndarray:
    import torch

    network, height, width, size = HEADER.unpack_from(data)
    streams = data[HEADER.size:HEADER.size + size], data[HEADER.size + size:]
    with torch.inference_mode():
        shape = -(-height // MULTIPLE), -(-width // MULTIPLE)
        pixels = _network(network).decompress([[stream] for stream in streams], shape)["x_hat"][0]
        rgb = (pixels * 255).round_().to(torch.uint8).permute(1, 2, 0).numpy()
    return crop(rgb, height, width)


@lru_cache(maxsize=8)
def _network(number: int) -> Any:
    import torch

    architecture = _zoo().model_architectures[NAME]
    if number in CHANNELS:
        network = _untrained(architecture, number)
    else:
        from compressai.zoo.pretrained import load_pretrained

        state = load_pretrained(torch.load(weights()[number], "cpu", weights_only=True))
        network = architecture.from_state_dict(state)
    network.eval().update()
    return network.to(memory_format=torch.channels_last)


def _untrained(architecture: Any, channels: int) -> Any:
    """Random weights, the same every time; latents that spread as their side information says."""
    import torch

    with torch.random.fork_rng(devices=()), torch.no_grad():
        torch.manual_seed(0)
        network = architecture(channels, CHANNELS[channels])
        last, side = network.g_a[-1], network.h_s[-1]
        scales = torch.from_numpy(np.geomspace(*SCALES, CHANNELS[channels])).float()
        side.weight.zero_()
        side.bias.copy_(torch.cat([scales, torch.zeros_like(scales)]))
        spread, mean = torch.std_mean(network.g_a(_pictures()), (0, 2, 3))
        last.bias.copy_((last.bias - mean) * scales / spread)
        last.weight.mul_((scales / spread)[:, None, None, None])
    return network


def _pictures() -> Any:
    """Four that are somewhat like photographs: noise of every scale, the coarser the stronger."""
    import torch

    side = 4 * MULTIPLE
    octaves = [torch.rand(4, 3, side >> k, side >> k) * 2.0 ** k for k in range(8)]
    grown = [torch.nn.functional.interpolate(noise, (side, side), mode="bilinear") for noise in octaves]
    return torch.stack(grown).sum(0) / 2.0 ** 8


def _zoo() -> Any:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", FutureWarning)      # importing it on a recent torch warns
        from compressai.zoo import image
    return image
