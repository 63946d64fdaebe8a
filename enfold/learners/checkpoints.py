"""Checkpoints of runs that go by gradients: a model, the moving average of its weights, its optimiser's moments.

    save      whole or not at all: a run that is killed goes on from the one before
    restore   puts a checkpoint back and returns the averaged weights
    follow    moves the averaged weights on by a step
"""

from __future__ import annotations

import json
from pathlib import Path

import torch
from safetensors.torch import save_file
from torch import Tensor, nn


def follow(average: dict[str, Tensor], model: nn.Module, decay: float) -> None:
    """average: changed in place, towards the model's state by 1 - decay."""
    with torch.no_grad():
        own = model.state_dict()
        torch._foreach_lerp_([average[name] for name in own], list(own.values()), 1 - decay)


def save(out: Path, model: nn.Module, optimiser: torch.optim.Optimizer, average: dict[str, Tensor], step: int,
         seconds: float, skipped: int) -> None:
    """Writes `checkpoint.safetensors` and `checkpoint.json` into a run's folder."""
    names = [name for name, _ in model.named_parameters()]
    tensors = {f"model.{k}": v for k, v in model.state_dict().items()}
    tensors |= {f"average.{k}": v for k, v in average.items()}
    for name, parameter in zip(names, model.parameters(), strict=True):
        for key, value in optimiser.state.get(parameter, {}).items():
            tensors[f"optimiser.{name}.{key}"] = value
    partial = out / "checkpoint.partial"
    save_file({k: v.contiguous().clone() for k, v in tensors.items()}, partial)
    partial.rename(out / "checkpoint.safetensors")
    (out / "checkpoint.json").write_text(
        json.dumps({"step": step, "seconds": seconds, "skipped": skipped}))


def restore(model: nn.Module, optimiser: torch.optim.Optimizer, tensors: dict[str, Tensor]) -> dict[str, Tensor]:
    """Puts a checkpoint back; returns the averaged weights. They may be all that it holds."""
    def part(prefix: str) -> dict[str, Tensor]:
        return {k[len(prefix):]: v for k, v in tensors.items() if k.startswith(prefix)}
    average = part("average.")
    model.load_state_dict(part("model.") or average)
    for name, parameter in model.named_parameters():
        moments = part(f"optimiser.{name}.")
        if moments:
            optimiser.state[parameter] = {
                key: value.to(memory_format=torch.channels_last)
                if value.dim() == 4 else value for key, value in moments.items()}
    return average
