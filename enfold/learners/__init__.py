"""Learning on latents: packs of them, reading them in batches, networks that train on them.

    from enfold.learners import LatentDataset, pack
    pack("photos/", "latents/")                          # once: pictures into shards of coded latents
    batches = LatentDataset("latents/").loader(64, shuffle=True)

Names are looked up where they live when they are asked for: packing needs no torch of its own,
reading no codec, and neither needs what the other does.
"""

from __future__ import annotations

from importlib import import_module
from typing import Any

_HOMES = {
    "packing": ("PackReport", "pack"), "unpacking": ("UnpackReport", "unpack"), "packs": ("Pack", "open_pack"),
    "dataset": ("Batch", "LatentDataset", "LatentStream"), "augmentation": ("Chain", "Crop", "Mirror"),
    "samples": ("Arrays", "Pairs"), "fitting": ("Schedule",), "classification": ("Classifier",),
    "colorization": ("Colorizer",), "read_documents": ("DocumentReader", "Pages"),
    "clips": ("Clips",), "separate": ("Separator", "Stems"),
}
_HOME = {name: module for module, names in _HOMES.items() for name in names}
__all__ = sorted(_HOME)


def __getattr__(name: str) -> Any:
    if name not in _HOME:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"{__name__}.{_HOME[name]}"), name)
