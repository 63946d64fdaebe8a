"""`load` is the inverse of `frozen`: what a model file holds can be trained further."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from enfold import pretrained, registry
from enfold.layers.trainable import Trainable
from enfold.testing import sample

BIAS_UNIT, FLOOR_UNIT = 1 / 16, 1 / 64


def made(name):
    return registry.resolve(registry.entry(name).trainable)(name).eval()


@pytest.fixture(scope="module")
def pair(codec):
    """A model a little off the weights that ship, as training leaves it, and one that took up its file."""
    entry = registry.entry(codec.name)
    if entry.trainable is None or not isinstance(registry.resolve(entry.trainable)(codec.name), Trainable):
        pytest.skip(f"{codec.name} is not trained as a whole, or not by torch")
    first, second = made(codec.name), made(codec.name)
    first.load(pretrained.weights(pretrained.find(codec.name)))
    generator = torch.Generator().manual_seed(0)
    with torch.no_grad():
        for parameter in first.parameters():
            parameter.mul_(1 + 0.01 * torch.randn(parameter.shape, generator=generator))
    second.load(first.frozen())
    return first, second


def test_a_file_that_was_taken_up_is_given_back(pair):
    given, back = (model.frozen() for model in pair)
    assert set(back) == set(given)
    for name, array in given.items():
        difference = np.abs(back[name].astype(np.float64) - array)
        if name.startswith("prior."):               # a row may have a bit less
            assert (difference > 0).mean() < 0.1, name
        elif name.startswith("bias."):
            assert difference.max() <= BIAS_UNIT and (difference > 0).mean() < 0.1, name
        elif name == "floor":                       # where it was cut off, its curve is not known
            assert difference.max() <= 8 * FLOOR_UNIT and difference.mean() < FLOOR_UNIT / 4
        else:
            np.testing.assert_allclose(back[name], array, rtol=1e-5, err_msg=name)


@pytest.mark.parametrize("position", [0.0, 0.3, 0.77, 1.0])
def test_a_model_that_was_taken_up_loses_as_much(pair, position):
    pixels = torch.from_numpy(sample(128, 192)).permute(2, 0, 1)[None].float()
    with torch.no_grad():
        given, back = (model.loss(pixels, torch.tensor([position]), hard=True) for model in pair)
    assert back.bpp.item() == pytest.approx(given.bpp.item(), rel=0.005)
    assert back.total.item() == pytest.approx(given.total.item(), rel=0.005)
