"""A patch discriminator: for each place of a picture, whether it looks photographed or decoded.

It sees what `perceptual.FeatureDistance` sees (unit features at a sample for 4×4, 8×8 and 16×16 pixels) and
the pixels themselves, each by a few convolutions of its own, so that little training makes it a critic.

Source: Isola et al. 2017 (patches); Sauer et al. 2021, "Projected GANs converge faster"; Lim & Ye 2017 (hinge).
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

UNSHUFFLED = 4
LEVELS = slice(1, 4)                # of the five resolutions of features
CHANNELS = (24, 40, 112)            # efficientnet-lite0's there


class Critic(nn.Module):
    """Pixels (B, 3, H, W) in 0…255 and their features → (B,): the mean over places, above 0 for photographs."""

    def __init__(self, width: int = 48) -> None:
        super().__init__()
        self.views = nn.ModuleList(
            nn.Sequential(nn.Conv2d(inputs, width, 1), nn.LeakyReLU(0.2), nn.Conv2d(width, width, 3, padding=1),
                          nn.LeakyReLU(0.2), nn.Conv2d(width, 1, 3, padding=1))
            for inputs in (3 * UNSHUFFLED ** 2, *CHANNELS))

    def forward(self, pixels: Tensor, features: Sequence[Tensor]) -> list[Tensor]:
        """What each of the four views says of each of its places, (B, 1, h, w)."""
        seen = nn.functional.pixel_unshuffle((pixels - 128) / 64, UNSHUFFLED)
        seen = seen.contiguous(memory_format=torch.channels_last)
        scaled = [level * level.shape[1] ** 0.5 for level in features[LEVELS]]
        return [view(x) for view, x in zip(self.views, (seen, *scaled), strict=True)]


def praise(opinions: Sequence[Tensor]) -> Tensor:
    """What a decoder wants to become small."""
    return -torch.stack([opinion.float().mean() for opinion in opinions]).mean()


def schooling(of_photographs: Sequence[Tensor], of_decoded: Sequence[Tensor]) -> Tensor:
    """What a critic wants to become small: the hinge loss."""
    return torch.stack([(1 - real.float()).relu().mean() + (1 + made.float()).relu().mean()
                        for real, made in zip(of_photographs, of_decoded, strict=True)]).mean()
