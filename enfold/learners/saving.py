"""A fitted learner as one .safetensors file: its arrays, and in the header, as JSON, all else. No pickle."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from torch import Tensor

from enfold.errors import BitstreamError, MediaError
from enfold.media import replace_file

FORMAT = 1


def save(path: str | os.PathLike[str], kind: str, about: Mapping[str, Any], tensors: Mapping[str, Tensor]) -> None:
    """kind: the learner's class. about: what JSON holds. Raises MediaError where writing fails."""
    from safetensors.torch import save as to_bytes

    header = {"enfold": json.dumps({"format": FORMAT, "kind": kind, **about}, ensure_ascii=False)}
    replace_file(path, to_bytes({name: tensor.detach().cpu().contiguous() for name, tensor in tensors.items()}, header))


def load(path: str | os.PathLike[str], kind: str) -> tuple[dict[str, Any], dict[str, Tensor]]:
    """(about, tensors). Raises MediaError where it cannot be read, BitstreamError where it is no such learner."""
    from safetensors import SafetensorError, safe_open

    try:
        with safe_open(Path(path), framework="pt") as file:
            about = json.loads((file.metadata() or {}).get("enfold", "null"))
            tensors = {name: file.get_tensor(name) for name in list(file.keys())}
    except OSError as error:
        raise MediaError(f"{path}: cannot be read: {error}; check the path") from error
    except (SafetensorError, ValueError) as error:
        raise BitstreamError(f"{path} is no learner, or damaged: {error}") from None
    if not isinstance(about, dict) or about.get("kind") != kind or about.get("format") != FORMAT:
        found = about.get("kind") if isinstance(about, dict) else "something else"
        raise BitstreamError(f"{path} holds {found}, of a format this enfold may not know, where a {kind} is due")
    return about, tensors
