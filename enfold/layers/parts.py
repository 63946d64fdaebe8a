"""A codec's networks, out of the arrays of its model file."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

import numpy as np
import torch
from torch import nn


def load_parts(parts: Mapping[str, nn.Module], arrays: Mapping[str, np.ndarray]) -> None:
    """Gives each module the arrays whose names begin with its key, in float32."""
    for prefix, part in parts.items():
        part.load_state_dict({name[len(prefix):]: torch.from_numpy(array.astype(np.float32))
                              for name, array in arrays.items() if name.startswith(prefix)})


def ready(model: nn.Module, networks: Iterable[nn.Module]) -> None:
    """Makes a trained model fit for use: no gradients, and `networks` in bfloat16 where the machine has it."""
    model.eval().requires_grad_(False).to(memory_format=torch.channels_last)
    if torch.ops.mkldnn._is_mkldnn_bf16_supported():
        for network in networks:
            network.to(torch.bfloat16)
