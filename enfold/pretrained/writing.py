"""Writing a model: its weights and its card, as `enfold.pretrained` reads them.

A card is TOML. `codec` and `sha256` come first and are all that reading needs; the rest is for
people, and free in form but for two lists that `enfold models` and the documentation show:

    [[measured]]            # counted on whole files, decoded again
    data = "Kodak"          # what was measured on
    quality = 75
    bpp = 0.61
    psnr_db = 33.2          # over red, green and blue
    ms_ssim = 0.991
                            # of sound kbps, psnr_db (from the range -1 to 1) and si_sdr_db

    [[curve]]               # how training went: at each step (position, bpp, PSNR in dB) on
    step = 1200             # pictures held out, position 0 for the coarsest quality, 1 the finest
    held_out = [[0.1, 0.2, 27.3], [0.5, 0.6, 31.0]]

Guarantee: the card appears last, so a card never names weights that are not there whole.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from enfold.errors import UsageError
from enfold.media import replace_file
from enfold.pretrained import Card, read_card


def write_model(folder: Path, codec: str, arrays: Mapping[str, np.ndarray], about: Mapping[str, Any]) -> Card:
    """Writes CODEC.safetensors and CODEC.toml into `folder`; returns the card as it reads.

    arrays: all that the codec is made of. about: what else the card shall say; strings, numbers,
    lists and mappings. Raises UsageError for anything else, MediaError where writing fails.
    """
    from safetensors.numpy import save

    data = save({name: np.asarray(array, order="C") for name, array in arrays.items()})
    card = {"codec": codec, "sha256": hashlib.sha256(data).hexdigest(),
            **{key: value for key, value in about.items() if key not in ("codec", "sha256")}}
    text = "\n".join(_table(card)) + "\n"
    folder.mkdir(parents=True, exist_ok=True)
    replace_file(folder / f"{codec}.safetensors", data)
    replace_file(folder / f"{codec}.toml", text.encode())
    return read_card(folder / f"{codec}.toml")


def _table(table: Mapping[str, Any], path: str = "") -> Iterator[str]:
    """The lines of a TOML table: its values first, then the tables in it."""
    inner = {key: value for key, value in table.items()
             if isinstance(value, Mapping) or (_is_list(value) and any(isinstance(item, Mapping) for item in value))}
    for key, value in table.items():
        if key not in inner:
            yield f"{_key(key)} = {_value(value)}"
    for key, value in inner.items():
        name = f"{path}{_key(key)}"
        for item in [value] if isinstance(value, Mapping) else value:
            yield f"\n[{name}]" if isinstance(value, Mapping) else f"\n[[{name}]]"
            yield from _table(item, f"{name}.")


def _value(value: Any) -> str:
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, str):      # JSON's strings are TOML's, but for one control character
        return json.dumps(value, ensure_ascii=False).replace("\x7f", "\\u007f")
    if isinstance(value, int | float):
        return repr(value)
    if _is_list(value):
        return f"[{', '.join(map(_value, value))}]"
    raise UsageError(f"a card holds strings, numbers, lists and mappings, not {value!r}")


def _key(key: str) -> str:
    return key if re.fullmatch(r"[A-Za-z0-9_-]+", key) else _value(key)


def _is_list(value: Any) -> bool:
    return isinstance(value, list | tuple)
