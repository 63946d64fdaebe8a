"""Where a file's bytes go.

    file = header + heads of sections + checksums + sections' data
                                                    └ symbols = what the model says + what the coder adds

What the model says is the exact cost of the file's symbols by the frozen tables that coded them;
what the byte coder adds to it is flushing, rounding and padding.
"""

from __future__ import annotations

from dataclasses import dataclass

import enfold
from enfold.container import Entry, SectionKind, unpack
from enfold.errors import MissingWeightsError

HEADER_CHECK, SECTION_CHECK = 2, 4      # bytes of a checksum


@dataclass(frozen=True)
class Part:
    """What part of a file; its bytes need not be whole where a model's bits are counted."""

    name: str
    bytes: float


@dataclass(frozen=True)
class Rate:
    """A file's bytes by what they are for: `parts` add up to `bytes`.

    model_bits: what the model says that the symbols cost; None, with the reason in `note`, where
    it cannot be asked. coder_share: what the byte coder adds to that, as a part of it.
    """

    bytes: int
    parts: tuple[Part, ...]
    model_bits: float | None
    coder_share: float | None
    note: str = ""

    def __str__(self) -> str:
        lines = [f"  {part.name:<22} {part.bytes:>12,.1f} bytes  {100 * part.bytes / self.bytes:5.1f} %"
                 for part in self.parts]
        return "\n".join([*lines, *([f"  {self.note}"] if self.note else [])])


def itemise(data: bytes) -> Rate:
    """A file's bytes, itemised. Raises BitstreamError; missing weights only leave `model_bits` out."""
    unpack(data)                        # all of it verified
    entries = enfold.info(data).entries
    heads = sum(entry.data_start - entry.start for entry in entries)
    checks = HEADER_CHECK + SECTION_CHECK * len(entries)
    sizes: dict[str, int] = {}
    for entry in entries:
        sizes[_name(entry)] = sizes.get(_name(entry), 0) + entry.data_end - entry.data_start
    parts = [Part("header", entries[0].start - HEADER_CHECK), Part("heads of sections", heads),
             Part("checksums", checks)]
    symbols = sizes.pop("symbols", 0)
    bits, note = _model_bits(data)
    if bits is None:
        parts.append(Part("symbols", symbols))
    else:
        parts += [Part("symbols, by the model", bits / 8), Part("symbols, by the coder", symbols - bits / 8)]
    parts += [Part(name, size) for name, size in sizes.items()]
    return Rate(len(data), tuple(parts), bits, 8 * symbols / bits - 1 if bits else None, note)


def _model_bits(data: bytes) -> tuple[float | None, str]:
    """The cost of the symbols by the model's tables, or why it is not known."""
    name = enfold.info(data).header.codec
    try:
        codec = enfold.load(name)
        latent = codec.latents(data)
    except (MissingWeightsError, ValueError) as reason:
        return None, f"the model cannot be asked: {reason}"
    if not hasattr(codec, "cost_bits"):
        return None, f"{name} does not say what its model makes of symbols"
    return float(codec.cost_bits(latent)), ""


def _name(entry: Entry) -> str:
    kinds = {kind.value: kind.name.lower() for kind in SectionKind}
    return kinds.get(entry.kind, f"kind {entry.kind}")
