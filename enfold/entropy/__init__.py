"""The entropy-coding core: one prior, three coders, frozen integer tables between them.

    density ── bits(values, context) ──> Meter             training, torch
       │
    freeze()
       ↓
    frozen density ── locate(context) ──> Encoder, Decoder   use, NumPy
       │                                      │
    Tables ──── integer counts ────> rans or sequential ──> bytes

In order of reading: `tables` (what a coder may know), `rans` and `sequential` (bytes), `frozen`
(from context to table), `softmax` (from logits to counts, where no table could be frozen), `coders`
(what a prior talks to), `densities` and `meter` (training), `interlaced` (a prior). Importing this
package imports no torch.
"""

from enfold.entropy.coders import Decoder, Encoder
from enfold.entropy.frozen import FrozenIndexed, FrozenLocationScale
from enfold.entropy.tables import Tables

__all__ = ["Decoder", "Encoder", "FrozenIndexed", "FrozenLocationScale", "Tables"]
