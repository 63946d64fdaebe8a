"""A third party's codec, installed for these tests: it deflates the pixels. It needs no torch."""

from __future__ import annotations

import zlib

import numpy as np

from enfold.codec import Latent, PictureCodec
from enfold.container import Container, Limits, SectionKind
from enfold.geometry import ImageGeometry
from enfold.registry import Entry

ENTRY = Entry("plain", "a codec of the tests", "enfold_plain:Plain", "enfold_plain:Plain", "enfold_plain_model:Model")


class Plain(PictureCodec):
    default_quality = 75

    def __init__(self, name, weights, fingerprint) -> None:
        self.name, self.fingerprint = name, fingerprint

    def analyse(self, rgb: np.ndarray, quality: int, geometry: ImageGeometry) -> Latent:
        return Latent(rgb, rgb, self.name, self.fingerprint, quality, geometry)

    def write(self, latent: Latent) -> tuple[bytes, list[bytes]]:
        return bytes([latent.quality]), [zlib.compress(latent.symbols.tobytes())]

    def read(self, container: Container, limits: Limits) -> Latent:
        geometry = container.header.geometry
        data = zlib.decompress(container.need(SectionKind.SYMBOLS))
        rgb = np.frombuffer(data, np.uint8).reshape(geometry.height, geometry.width, 3)
        return self.analyse(rgb, container.header.parameters[0], geometry)

    def synthesise(self, latent: Latent) -> np.ndarray:
        return latent.symbols
