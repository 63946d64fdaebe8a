"""A file gives the same symbols in every process, with any threads, kernels and batch."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from enfold.entropy.coders import Encoder
from enfold.strips import StripLatents
from enfold.testing import VARIATIONS, sample, symbols_hash, symbols_in_process


def pictures():
    """(picture, quality): a few that are made, and up to a hundred of the folder ENFOLD_TEST_PICTURES, if it is set."""
    for number, (height, width, quality) in enumerate([(1, 1, 50), (57, 101, 10), (256, 384, 75), (130, 70, 100)]):
        yield sample(height, width, seed=number), quality
    if folder := os.environ.get("ENFOLD_TEST_PICTURES"):
        for number, path in enumerate(sorted(Path(folder).iterdir())[:100]):
            yield np.asarray(Image.open(path).convert("RGB")), 1 + 37 * number % 100


@pytest.fixture(scope="module")
def written(codec, tmp_path_factory):
    """Files of several sizes and qualities, and the symbols that their encoder saw."""
    folder = tmp_path_factory.mktemp("exact")
    paths, hashes = [], []
    for number, (picture, quality) in enumerate(pictures()):
        path = folder / f"{number}.enf"
        path.write_bytes(codec.encode(picture, quality=quality))
        paths.append(path)
        hashes.append(symbols_hash(codec.latents(picture, quality=quality).symbols))
    return paths, hashes


@pytest.mark.parametrize("variation", VARIATIONS)
def test_symbols_are_the_same_in_another_process_under(codec, written, variation):
    paths, hashes = written
    if variation == "no C coder" and getattr(codec, "sequential", False):       # sample by sample in Python: small ones
        few = [number for number, path in enumerate(paths) if path.stat().st_size < 2000]
        picture = sample(20, 33)
        paths, hashes = [paths[number] for number in few], [hashes[number] for number in few]
        paths.append(written[0][0].parent / "small.enf")
        paths[-1].write_bytes(codec.encode(picture))
        hashes.append(symbols_hash(codec.latents(picture).symbols))
    assert symbols_in_process(paths, variation) == hashes


def test_latents_are_read_without_torch(written):
    import subprocess
    import sys

    program = ("import sys, enfold; enfold.latents(open(sys.argv[1], 'rb').read()); "
               "sys.exit('torch' in sys.modules)")
    assert subprocess.run([sys.executable, "-c", program, str(written[0][2])], check=False).returncode == 0


def test_sixteen_in_a_batch_read_the_tables_that_one_reads(codec):
    """The contexts of a batch of 16 select, sample by sample, the tables of a batch of one."""
    half = getattr(codec, "latent_codec", None)
    if not isinstance(half, StripLatents):
        pytest.skip(f"{codec.name} has no grid of latents")
    batch = np.stack([codec.latents(sample(64, 96, seed=s), quality=80).symbols for s in range(16)])
    side = getattr(codec, "_hyper", None)
    hyper = np.stack([side(symbols) for symbols in batch]) if side else None

    class Watched(Encoder):
        def __init__(self):
            super().__init__()
            self.seen = []

        def code(self, density, context, values=None):
            self.seen.append(np.broadcast_arrays(*density.locate(context)))
            return super().code(density, context, values)

    def contexts(latent, hyper):
        coder = Watched()
        half.prior(coder, latent.shape, 80, latent, hyper)
        return coder.seen

    together = contexts(batch, hyper)
    for number, latent in enumerate(batch):
        alone = contexts(latent, None if hyper is None else hyper[number])
        for (index, offset), (all_index, all_offset) in zip(alone, together, strict=True):
            np.testing.assert_array_equal(index, all_index[number])
            np.testing.assert_array_equal(offset, all_offset[number])


def test_bytes_do_not_depend_on_torch_threads(codec):
    picture, threads = sample(200, 333), torch.get_num_threads()
    try:
        files = set()
        for count in (1, 2, 3):
            torch.set_num_threads(count)
            files.add(codec.encode(picture))
    finally:
        torch.set_num_threads(threads)
    assert len(files) == 1
