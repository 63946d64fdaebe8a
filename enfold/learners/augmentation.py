"""Changes of a latent that are right for the transform it came from: crops on its grid, and mirroring
where the codec vouches for it.

A crop of whole blocks is the latent of the cropped picture but for the blocks along the cut: there the
codec's filters saw the rest of the picture, and would have seen it mirrored.

Mirroring is refused unless the codec says how it is done, because for most it is not exact. In WaLLoC's
9/7 packets a block's bands stand on samples that are not symmetric about its middle (the low-pass on even,
the high-pass on odd ones), and so a mirrored latent is not the latent of a mirrored picture.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from enfold import registry
from enfold.errors import UsageError
from enfold.learners.rows import PackInfo


@dataclass(frozen=True)
class Crop:
    """Cuts (C, h, w) to (C, height, width), in units of the latent's grid; random: anywhere, else the middle."""

    height: int
    width: int
    random: bool = True

    def check(self, info: PackInfo) -> None:
        if self.height < 1 or self.width < 1:
            raise UsageError(f"a crop of {self.height}×{self.width}: both are 1 or more")

    def __call__(self, latent: np.ndarray, random: np.random.Generator) -> np.ndarray:
        down, right = latent.shape[-2] - self.height, latent.shape[-1] - self.width
        if down < 0 or right < 0:
            raise UsageError(f"a latent of {latent.shape[-2]}×{latent.shape[-1]} is smaller than the crop of "
                             f"{self.height}×{self.width}: take a smaller crop, or pack larger pictures")
        top, left = (int(random.integers(n + 1)) if self.random else n // 2 for n in (down, right))
        return latent[..., top:top + self.height, left:left + self.width]


@dataclass(frozen=True)
class Mirror:
    """Swaps left and right of a latent with a probability, where that is the latent of the mirrored picture.

    The codec's half that reads latents vouches for it with a method `mirrored`: latent (C, h, w) → latent.
    """

    probability: float = 0.5
    codec: str = ""

    def check(self, info: PackInfo) -> None:
        if _mirror_of(info.codec) is None:
            raise UsageError(f"mirroring is not exact for latents of {info.codec}: the mirrored latent is not that of "
                             "the mirrored picture; leave Mirror out, or pack mirrored pictures as well")
        if info.codec != self.codec:
            raise UsageError(f"Mirror is for {self.codec!r} and the pack is of {info.codec!r}: "
                             f"Mirror(codec={info.codec!r})")

    def __call__(self, latent: np.ndarray, random: np.random.Generator) -> np.ndarray:
        mirrored = _mirror_of(self.codec)
        return latent if mirrored is None or random.random() >= self.probability else mirrored(latent)


@dataclass(frozen=True)
class Chain:
    """One after the other."""

    parts: tuple[Crop | Mirror, ...]

    def check(self, info: PackInfo) -> None:
        for part in self.parts:
            part.check(info)

    def __call__(self, latent: np.ndarray, random: np.random.Generator) -> np.ndarray:
        for part in self.parts:
            latent = part(latent, random)
        return latent


def _mirror_of(codec: str):
    return getattr(registry.resolve(registry.entry(codec).latents), "mirrored", None) if codec else None
