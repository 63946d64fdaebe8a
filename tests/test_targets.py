"""A target is met, by the best quality that meets it, or refused with the figure that can be had."""

from __future__ import annotations

import numpy as np
import pytest

import enfold
from enfold.errors import UsageError
from enfold.testing import sample

PICTURE = sample(192, 160)


@pytest.fixture
def codec(codec):
    if getattr(codec, "lossless", False):
        pytest.skip("a lossless codec has one rate and no error")
    return codec


def psnr_db(data):
    return 10 * np.log10(255 ** 2 / np.square(np.asarray(enfold.decode(data)) - PICTURE.astype(float)).mean())


def quality(data):
    from enfold.container import unpack

    return unpack(data).header.parameters[0]


@pytest.mark.parametrize("bpp", [0.3, 0.7, 50.0])
def test_a_rate_is_kept_to_and_used_up(codec, bpp):
    data = enfold.encode(PICTURE, codec.name, target_bpp=bpp)
    assert 8 * len(data) <= bpp * PICTURE.shape[0] * PICTURE.shape[1]
    if quality(data) < 100:
        better = codec.encode(PICTURE, quality=quality(data) + 1)
        assert 8 * len(better) > bpp * PICTURE.shape[0] * PICTURE.shape[1]


def test_a_fidelity_is_reached_by_no_more_than_it_takes(codec):
    least, best = (psnr_db(codec.encode(PICTURE, quality=q)) for q in (1, 100))
    target = (least + best) / 2
    data = enfold.encode(PICTURE, codec.name, target_psnr=target)
    assert psnr_db(data) >= target > psnr_db(codec.encode(PICTURE, quality=quality(data) - 1))


def test_what_any_quality_reaches_takes_the_least(codec):
    assert quality(enfold.encode(PICTURE, codec.name, target_psnr=-5.0)) == 1


def test_targets_out_of_reach_are_refused_with_what_can_be_had(codec):
    with pytest.raises(UsageError, match=r"needs 0\.\d+ bits a pixel at least .* 0\.001 were asked for"):
        enfold.encode(PICTURE, codec.name, target_bpp=0.001)
    with pytest.raises(UsageError, match=r"reaches \d+\.\d+ dB at best .* 90 were asked for"):
        enfold.encode(PICTURE, codec.name, target_psnr=90)


@pytest.mark.parametrize("wrong", [{"target_bpp": 0}, {"target_bpp": float("nan")}, {"target_psnr": float("nan")},
                                   {"target_bpp": 1, "quality": 5}, {"target_bpp": 1, "target_psnr": 30}])
def test_targets_that_mean_nothing_are_refused(wrong):
    with pytest.raises(UsageError, match=r"the target is|exclude each other"):
        enfold.encode(PICTURE, "walloc-rgb-16x", **wrong)
