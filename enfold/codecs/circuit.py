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

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from enfold.codec import Latent, PixelCodec
from enfold.codecs.circuit_latents import CircuitLatents
from enfold.container import Header, Limits, Section, SectionKind, pack
from enfold.errors import UsageError
from enfold.geometry import TensorGeometry
from enfold.media import read_picture


class Circuit(PixelCodec):
    """A trained circuit codec. Lossless: qualities are taken, as everywhere, and mean nothing.

    encode, decode and latents are those of every picture codec, and take (N, H, W) arrays of many
    grey pictures as well, which come back as such an array.
    """

    def __init__(self, name: str, weights: Mapping[str, np.ndarray], fingerprint: bytes) -> None:
        self.name, self.fingerprint = name, fingerprint
        self.latent_codec = CircuitLatents(name, weights, fingerprint)

    def __repr__(self) -> str:
        circuit = self.latent_codec.circuit
        return (f"{type(self).__name__}({self.name!r}, fingerprint={self.fingerprint.hex()}, "
                f"states={circuit.states}, parameters={circuit.parameters:,})")

    def encode(self, media: Any, *, quality: int | None = None, keep_metadata: bool = False, effort: int = 0,
               packets: int = 1) -> bytes:
        if not _are_many(media):
            return super().encode(media, quality=quality, keep_metadata=keep_metadata, effort=effort, packets=packets)
        parameters, streams = self.write(self.latents(media, quality=quality))
        geometry = TensorGeometry(tuple(media.shape), "uint8")
        return pack(Header(self.name, self.fingerprint, geometry, parameters),
                    [Section(SectionKind.SYMBOLS, stream) for stream in streams])

    def encode_many(self, media: Sequence[Any], *, quality: int | None = None) -> list[bytes]:
        if any(_are_many(one) for one in media):
            return super().encode_many(media, quality=quality)
        pictures = [read_picture(one) for one in media]
        planes = [self._analysed(picture, quality).symbols for picture in pictures]
        written = self.latent_codec.write_many(planes)
        return [self.packed(picture, *parts) for picture, parts in zip(pictures, written, strict=True)]

    def decode(self, data: bytes, *, limits: Limits = Limits(), allow_partial: bool = False) -> Any:
        container = self.opened(data, limits, allow_partial=allow_partial)
        if isinstance(container.header.geometry, TensorGeometry):
            return (self.read_partial if allow_partial else self.read)(container, limits).symbols
        return super().decode(data, limits=limits, allow_partial=allow_partial)

    def latents(self, source: Any, *, quality: int | None = None, limits: Limits = Limits()) -> Latent:
        if not _are_many(source):
            return super().latents(source, quality=quality, limits=limits)
        if source.dtype != np.uint8 or not source.size:
            raise UsageError(f"pictures {source.dtype} of shape {source.shape}; they are uint8 (N, H, W), N at least 1")
        return self.latent_codec.wrap(np.ascontiguousarray(source), TensorGeometry(tuple(source.shape), "uint8"))

    def log2_likelihood(self, source: Any) -> np.ndarray:
        """(pictures,) float64, or (planes,) of a picture: how likely each is, of a file's bytes or of pixels.

        What is strange to the circuit has little: a score to tell it by, exact, from the file alone.
        """
        return self.latent_codec.log2_likelihood(self.latents(source).symbols)


def _are_many(media: Any) -> bool:
    """An array (N, H, W), and no picture (H, W, channels)."""
    return isinstance(media, np.ndarray) and media.ndim == 3 and media.shape[2] > 4
