"""Codec names and where their code lives, as strings: nothing is imported until it is asked for.

A name is a format: what changes how bytes are read gets a new name. Others add codecs through
the entry-point group `enfold.codecs`, whose objects are `Entry` values.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from importlib import import_module
from importlib.metadata import entry_points
from typing import Any

from enfold.errors import UsageError


@dataclass(frozen=True)
class Entry:
    """One codec. `codec` and `latents` are 'module:Class': the whole codec, and the half of it
    that turns bytes into latents, which need not import torch. `trainable` is what `enfold train`
    trains, made of the codec's name, None where there is nothing to train; `trainer` is who trains it, a
    `learners.trainer.Trainer`. `medium`: what `encode` takes, picture or sound."""

    name: str
    summary: str
    codec: str
    latents: str
    trainable: str | None = None
    trainer: str = "enfold.learners.train_codec:PICTURES"
    medium: str = "picture"


_WALLOC = {"codec": "enfold.codecs.walloc:Walloc", "latents": "enfold.codecs.walloc_latents:WallocLatents",
           "trainable": "enfold.codecs.walloc_model:WallocModel"}

_HYPER = {"codec": "enfold.codecs.hyper:Hyper", "latents": "enfold.codecs.hyper_latents:HyperLatents",
          "trainable": "enfold.codecs.hyper_model:HyperModel"}

_MCQUIC = {"codec": "enfold.codecs.mcquic:Mcquic", "latents": "enfold.codecs.mcquic_latents:McquicLatents",
           "trainable": "enfold.codecs.mcquic_model:McquicModel", "trainer": "enfold.learners.train_codes:CODES"}

_CIRCUIT = {"codec": "enfold.codecs.circuit:Circuit", "latents": "enfold.codecs.circuit_latents:CircuitLatents",
            "trainable": "enfold.codecs.circuit_latents:plan_of", "trainer": "enfold.learners.train_circuit:TENSORS"}

_PHOTO = {"codec": "enfold.codecs.circuit_photo:CircuitPhoto",
          "latents": "enfold.codecs.circuit_photo_latents:CircuitPhotoLatents",
          "trainable": "enfold.codecs.circuit_photo_latents:untrained_model",
          "trainer": "enfold.learners.train_scan:PHOTOGRAPHS"}

_SOUND = {"codec": "enfold.codecs.walloc_sound:WallocSound",
          "latents": "enfold.codecs.walloc_sound_latents:SoundLatents",
          "trainable": "enfold.codecs.walloc_sound_model:SoundModel", "trainer": "enfold.learners.train_sound:SOUNDS",
          "medium": "sound"}

_VQGAN = {"codec": "enfold.codecs.vqgan:Vqgan", "latents": "enfold.codecs.vqgan_latents:VqganLatents",
          "trainable": "enfold.codecs.vqgan_model:VqganModel", "trainer": "enfold.learners.train_staged:STAGED"}

_OURS = (
    Entry("walloc-rgb-16x", "photographs; 12 latents for each 8×8 block, the fastest to learn from", **_WALLOC),
    Entry("walloc-rgb-4x", "photographs; 48 latents for each 8×8 block, up to high quality", **_WALLOC),
    Entry("hyper-rgb", "photographs; the smallest file at a given quality", **_HYPER),
    Entry("walloc-stereo-5x", "sound in stereo; 108 latents for each 256 samples, up to high quality", **_SOUND),
    Entry("walloc-stereo-20x", "the same, 27 latents: small files, the fastest to learn from", **_SOUND),
    Entry("walloc-speech", "speech, mono, 8 to 24 kHz; 64 latents for each 128 samples", **_SOUND),
    Entry("mcquic-rgb", "photographs at 0.05 to 0.5 bits a pixel, as indices of codebooks", **_MCQUIC),
    Entry("mcquic-rgb-ms-ssim", "the same, made for MS-SSIM: plain places kept well, texture suggested", **_MCQUIC),
    Entry("vqgan-rgb", "photographs to be recognised, in a few hundred bytes; survives lost packets", **_VQGAN),
    Entry("circuit-photo", "photographs, lossless; the smallest files without loss", **_PHOTO),
    Entry("circuit-mnist", "handwritten digits, 28×28 grey, lossless; one or a data set in a file", **_CIRCUIT),
    Entry("circuit-fashion", "pictures of clothes, 28×28 grey, lossless; one or a data set in a file", **_CIRCUIT),
)


@lru_cache(maxsize=1)
def entries() -> dict[str, Entry]:
    """Every codec known, ours first, by name."""
    found = {entry.name: entry for entry in _OURS}
    for point in entry_points(group="enfold.codecs"):
        entry = point.load()
        found.setdefault(entry.name, entry)
    return found


def entry(name: str) -> Entry:
    """The entry of a codec; UsageError with the known names where there is none."""
    try:
        return entries()[name]
    except KeyError:
        raise UsageError(f"no codec is called {name!r}; there are {', '.join(entries())}") from None


def resolve(path: str) -> Any:
    """The object that 'module:name' points at."""
    module, _, attribute = path.partition(":")
    return getattr(import_module(module), attribute)
