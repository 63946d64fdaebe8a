"""Geometries tell their shape, and none can exist that a file could not hold."""

from fractions import Fraction

import pytest

from enfold.errors import UsageError
from enfold.geometry import AudioGeometry, ImageGeometry, TensorGeometry, VideoGeometry


def test_shape_is_that_of_the_array():
    assert ImageGeometry(768, 512).shape == (512, 768, 3)
    assert ImageGeometry(768, 512, "L").shape == (512, 768)
    assert ImageGeometry(768, 512, "LA").shape == (512, 768, 2)
    assert AudioGeometry(44_100, 2, 44_100).shape == (44_100, 2)
    assert VideoGeometry(10, 64, 48, Fraction(30_000, 1001), "L").shape == (10, 48, 64)
    assert VideoGeometry(10, 64, 48, Fraction(25)).shape == (10, 48, 64, 3)
    assert TensorGeometry((8, 16, 16)).shape == (8, 16, 16)
    assert ImageGeometry(3, 2).pixels == VideoGeometry(9, 3, 2, Fraction(25)).pixels == 6


@pytest.mark.parametrize(
    ("make", "met"),
    [
        (lambda: ImageGeometry(0, 1), "0"),
        (lambda: ImageGeometry(1.5, 1), "1.5"),
        (lambda: ImageGeometry(1, 2**63), "9223372036854775808"),
        (lambda: ImageGeometry(1, 1, "CMYK"), "CMYK"),
        (lambda: ImageGeometry(1, 1, "RGB", "float64"), "float64"),
        (lambda: AudioGeometry(1, 0, 44_100), "channels"),
        (lambda: AudioGeometry(1, 1, 44_100, "int24"), "int24"),
        (lambda: VideoGeometry(1, 1, 1, 25.0), "25.0"),
        (lambda: VideoGeometry(1, 1, 1, Fraction(1, 2**63)), "frame_rate"),
        (lambda: TensorGeometry([1, 2]), "1, 2"),
        (lambda: TensorGeometry((1, -2)), "-2"),
        (lambda: TensorGeometry((1,) * 33), "32"),
    ],
)
def test_what_cannot_be_is_refused_by_the_value_met(make, met):
    with pytest.raises(UsageError, match=met):
        make()
