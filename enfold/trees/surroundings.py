"""What the samples around one say of it: least squares in integers, over what was decoded nearby.

    · · · · · · ·         a sample is guessed from taps: samples of its plane that came before, and samples of
    · 7 6 2 3 5 ·         the planes before, all of them, each as its difference to the one on the left
    · 8 4 1 0 ? ·

Weights of the taps are those that would have guessed the samples nearby best. For each block of eight
columns there are sums over the rows above, which fade: Σ worth · x x' and Σ worth · x · target, x being the
taps of a sample, worth more where the picture is quiet. Those of a block and its neighbours together
make normal equations, solved once a row and block:

    expert    sums fade by     of blocks     taps
    0         1/4 a row        ± 1           all            follows quickly
    1         1/32             ± 2           all            knows much
    2         1/4              ± 2           the first six  learns from little
    3         1/8              ± 2           all; sums of its own for each of the four phases of a 2×2 grid: that is
                                             what demosaicing, and chroma that was enlarged, leave in photographs

Exact: taps are clamped to ± 511 and worth is 1 to 32, so a block's sums fit 31 bits; faded sums of five
blocks stay below 2^45. They are brought to 2^30 by a shift; L D L' runs in 64-bit integers, every
intermediate clamped to a bound that holds all the products (`solve`). No floating point, so the same
weights everywhere, also for pictures made to break it.

Source of the approach: least squares adapted to the surroundings, as in TMW and its successors (Meyer and
Tischer 1997; Wu, Barthel and Zhang 1998). NumPy only; the C kernel does the same.
"""

from __future__ import annotations

import numpy as np

N, BLOCK, PAD, FEW = 32, 8, 8, 6
OWN = ((-1, 0), (-1, 1), (-1, -1), (0, -2), (-2, 0), (-1, -2), (-1, 2), (-2, -1), (-2, 1), (0, -3), (-2, 2), (-2, -2),
       (-3, 0), (-1, 3), (-1, -3), (-3, 1), (-3, -1), (-2, 3))
ACROSS = ((0, 0), (0, 1), (0, -2), (1, 0), (-1, 0), (1, -1), (1, 1), (-1, 1), (-1, -1))
OWN_TAPS = (18, 14, 12)
FADE, SIDE = (2, 5, 2, 3), (1, 2, 2, 2)         # of the experts' sums
EXPERTS, SUMS = 4, 7                            # sums 3 to 6 are those of the phases


def taps(plane: int) -> list[tuple[int, int, int]]:
    """(plane, rows down, columns right) of each tap of a sample of a plane."""
    return [(plane, *tap) for tap in OWN[:OWN_TAPS[plane]]] + [(q, *tap) for q in range(plane) for tap in ACROSS]


def solve(sums: np.ndarray, right: np.ndarray) -> np.ndarray:
    """Weights, 2^16 for 1, int64 (n,), of normal equations sums (n, n), of which the lower triangle counts."""
    n = len(right)
    most = max(1, int(sums.diagonal().max(initial=1)))
    down, up = max(0, most.bit_length() - 30), max(0, 30 - most.bit_length())
    ridge = (most << up >> down) >> 14
    v, lower = np.zeros((n, n), np.int64), np.zeros((n, n), np.int64)
    inverse = np.zeros(n, np.int64)
    scaled, aim = (sums << up) >> down, (right << up) >> down
    for j in range(n):
        total = v[:j, j:].T @ lower[:j, j] >> 16
        v[j, j:] = np.clip(scaled[j:, j] - total, -(1 << 31), 1 << 31)
        own = int(scaled[j, j])
        v[j, j] = min(max(own + (own >> 8) + ridge - int(total[0]), 1 << 14), 1 << 31)
        inverse[j] = (1 << 46) // int(v[j, j])
        lower[j, j + 1:] = np.clip((v[j, j + 1:] * inverse[j]) >> 30, -(1 << 24), 1 << 24)
    z, found = np.zeros(n, np.int64), np.zeros(n, np.int64)
    for i in range(n):
        z[i] = min(max(int(aim[i] - ((lower[:i, i] * z[:i]) >> 16).sum()), -(1 << 36)), 1 << 36)
    for i in range(n - 1, -1, -1):
        guess = ((int(z[i]) >> 6) * int(inverse[i]) >> 24) - (int(lower[i, i + 1:] @ found[i + 1:]) >> 16)
        found[i] = min(max(guess, -(1 << 22)), 1 << 22)
    return found


class Sums:
    """The sums of one plane, as they stand while it is coded. start: (N, N + 1) what they begin with."""

    def __init__(self, taps: int, blocks: int, start: np.ndarray) -> None:
        self.taps, self.blocks = taps, blocks
        self._sums = np.zeros((SUMS, blocks, taps, taps + 1), np.int64)
        self._sums[...] = start[:taps, [*range(taps), N]]

    def weights(self, row: int, block: int) -> np.ndarray:
        """(EXPERTS + 1, taps): the last two are expert 3's, at even and at odd columns."""
        out = np.zeros((EXPERTS + 1, self.taps), np.int64)
        for number in range(EXPERTS + 1):
            expert = min(number, 3)
            which = number if expert < 3 else 3 + row % 2 * 2 + number - 3
            near = self._sums[which, max(0, block - SIDE[expert]):block + SIDE[expert] + 1].sum(0)
            used = FEW if expert == 2 else self.taps
            out[number, :used] = solve(near[:used, :used], near[:used, -1])
        return out

    def follow(self, row: int, block: int, now: np.ndarray) -> None:
        """now: (2, taps, taps + 1) sums over this block's samples at even and at odd columns."""
        both = now.sum(0)
        for which in range(SUMS):
            phase = which - 3
            if phase < 0 or phase // 2 == row % 2:
                mine = self._sums[which, block]
                mine += 64 * (both if phase < 0 else now[phase % 2]) - (mine >> FADE[min(which, 3)])
