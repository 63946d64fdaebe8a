"""Circuits: small pictures of one kind, lossless, by an exact model of their distribution.

    pixels ──────────── walk over a hidden tree ──────────── bytes
             belief ─ interval of a pixel ─ range coder

There is no transform. The prior is the codec: a hidden Chow–Liu tree, some millions of probabilities
learned by expectation–maximisation, that gives every pixel its distribution given all before it,
exactly, in integers (`trees.walk`). Because it is a circuit, any pixels may be missing: tiles that a
picture's edge cuts are marginalised, and so is what is asked of `trees.marginals`.

Guarantees: `decode(encode(x))` is x, whatever x is and whatever the quality; a picture takes little
more than its pixels at worst, because what the circuit does not expect is stored by other means.

    codec = enfold.load("circuit-mnist")
    data = codec.encode(images)             # uint8 (N, 28, 28), a data set: one file, one header
    images = codec.decode(data)

Source: A. Liu, S. Mandt, G. Van den Broeck, *Lossless Compression with Probabilistic Circuits*, 2022.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from enfold.codec import Latent, PictureCodec
from enfold.codecs.circuit_latents import LOSSLESS, CircuitLatents
from enfold.container import Container, Header, Limits, Section, SectionKind, pack
from enfold.errors import UsageError
from enfold.geometry import ImageGeometry, TensorGeometry


class Circuit(PictureCodec):
    """A trained circuit codec. Lossless: qualities are taken, as everywhere, and mean nothing.

    encode, decode and latents are those of every picture codec, and take (N, H, W) arrays of many
    grey pictures as well, which come back as such an array.
    """

    default_quality = LOSSLESS
    lossless = True

    def __init__(self, name: str, weights: Mapping[str, np.ndarray], fingerprint: bytes) -> None:
        self.name, self.fingerprint = name, fingerprint
        self.latent_codec = CircuitLatents(name, weights, fingerprint)

    def __repr__(self) -> str:
        circuit = self.latent_codec.circuit
        return (f"{type(self).__name__}({self.name!r}, fingerprint={self.fingerprint.hex()}, "
                f"states={circuit.states}, parameters={circuit.parameters:,})")

    def encode(self, media: Any, *, quality: int | None = None, keep_metadata: bool = False) -> bytes:
        if not _are_many(media):
            return super().encode(media, quality=quality, keep_metadata=keep_metadata)
        parameters, streams = self.write(self.latents(media, quality=quality))
        geometry = TensorGeometry(tuple(media.shape), "uint8")
        return pack(Header(self.name, self.fingerprint, geometry, parameters),
                    [Section(SectionKind.SYMBOLS, stream) for stream in streams])

    def decode(self, data: bytes, *, limits: Limits = Limits()) -> Any:
        container = self.unpack(data, limits)
        if isinstance(container.header.geometry, TensorGeometry):
            return self.read(container, limits).symbols
        return super().decode(data, limits=limits)

    def latents(self, source: Any, *, quality: int | None = None, limits: Limits = Limits()) -> Latent:
        if not _are_many(source):
            return super().latents(source, quality=quality, limits=limits)
        if source.dtype != np.uint8 or not source.size:
            raise UsageError(f"pictures {source.dtype} of shape {source.shape}; they are uint8 (N, H, W), N at least 1")
        return self.latent_codec.wrap(np.ascontiguousarray(source), TensorGeometry(tuple(source.shape), "uint8"))

    def analyse(self, rgb: np.ndarray, quality: int, geometry: ImageGeometry) -> Latent:
        planes = rgb[..., :1] if geometry.mode.startswith("L") else rgb
        return self.latent_codec.wrap(np.ascontiguousarray(planes.transpose(2, 0, 1)), geometry)

    def write(self, latent: Latent) -> tuple[bytes, list[bytes]]:
        return self.latent_codec.write(latent.symbols)

    def read(self, container: Container, limits: Limits) -> Latent:
        return self.latent_codec.latent(container, limits)

    def synthesise(self, latent: Latent) -> np.ndarray:
        planes = latent.symbols.transpose(1, 2, 0)
        return np.ascontiguousarray(np.broadcast_to(planes, (*planes.shape[:2], 3)))


def _are_many(media: Any) -> bool:
    """An array (N, H, W), and no picture (H, W, channels)."""
    return isinstance(media, np.ndarray) and media.ndim == 3 and media.shape[2] > 4
