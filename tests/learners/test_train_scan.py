"""Training a scan: it learns from photographs, goes on where it stopped, and says where it stands."""

from __future__ import annotations

import numpy as np
import pytest
from PIL import Image

from enfold.errors import UsageError
from enfold.learners.train_scan import PHOTOGRAPHS, ScanRecipe, train_scan
from enfold.testing import sample
from enfold.trees import scan
from enfold.trees.bells import untrained

pytestmark = pytest.mark.skipif(scan._compiled is None, reason="the C extension is not built")


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    where = tmp_path_factory.mktemp("photos")
    for number in range(45):
        Image.fromarray(sample(40, 48, seed=number)).save(where / f"{number:02}.png")
    return where


def test_passes_make_files_smaller(folder, tmp_path):
    seen = []
    arrays = PHOTOGRAPHS.train(untrained(), PHOTOGRAPHS.made_recipe({"passes": "2"}), folder, tmp_path, threads=1,
                               report=seen.append, start=None)
    assert arrays.keys() == untrained().keys() and arrays["gates"].sum(2).max() <= scan.WHOLE
    held_out = [progress.held_out for progress in seen if progress.held_out]
    assert len(held_out) == 2 and held_out[1] <= held_out[0] and seen[-1].fraction == 1
    about = {**PHOTOGRAPHS.history(tmp_path), **PHOTOGRAPHS.about(folder)}
    assert (about["steps"], about["pictures"], about["held_out"]) == (2, 43, 2)
    assert "held out" in PHOTOGRAPHS.words(seen[-1]) and PHOTOGRAPHS.is_milestone(seen[-1])


def test_a_run_goes_on_as_if_it_had_not_stopped(folder, tmp_path):
    recipe = ScanRecipe(passes=1, every=2, checkpoint_minutes=0.0)
    whole = train_scan(untrained(), recipe, folder, tmp_path / "whole")

    def interrupt(progress):
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        train_scan(untrained(), ScanRecipe(passes=2, every=2), folder, tmp_path / "parts",
                   report=lambda progress: interrupt(progress) if progress.held_out is None else None)
    parts = train_scan(untrained(), recipe, folder, tmp_path / "parts")
    for name, array in whole.items():
        np.testing.assert_array_equal(parts[name], array)


def test_too_few_pictures_are_refused(tmp_path):
    with pytest.raises(UsageError, match="too few"):
        PHOTOGRAPHS.about(tmp_path)
