"""SSIMULACRA 2: how different two pictures look to a person, 100 (the same) down to below 0.

    sRGB → linear light ─┬→ XYB → blurred means, variances ─→ error maps ─→ 2 norms each ─┐
                         └→ halved, five times over            SSIM, ringing, blurring    ├→ 108 weights → score
                                                                                          ┘
90 is visually lossless, 70 high quality, 50 medium, 30 low, as its author calls them. The blur is
the recursive Gaussian that the reference uses, written as the nine taps that it amounts to;
outside a picture lies black, as there.

Guarantees: exactly 100 for equal pictures; within 0.01 of the reference implementation (libjxl's,
in C++) on pictures that have any texture. On perfectly flat ones the reference's own float32
rounding decides, up to 1.5 points.

Sources: Sneyers 2023, "SSIMULACRA 2", version 2.1 (the transforms and weights); Charalampidis 2016,
"Recursive Implementation of the Gaussian Filter Using Truncated Cosine Functions" (the blur).
"""

from __future__ import annotations

import numpy as np

from enfold.bench.metrics import check_pair
from enfold.errors import UsageError

SCALES, LEAST_SIDE, SIGMA = 6, 8, 1.5
C2 = 0.0009
OPSIN = np.array([[0.30, 0.622, 0.078],
                  [0.23, 0.692, 0.078],
                  [0.24342268924547819, 0.20476744424496821, 0.5518098665095536]], np.float32)
BIAS = np.float32(0.0037930732552754493)

# A row for each scale of X, then of Y, then of B; in it, for the mean and then for the fourth-power
# mean: the weights of SSIM, of ringing, of blurring.
WEIGHTS = np.array([
    0, 0.0007376606707406586, 0, 0, 0.0007793481682867309, 0,
    0, 0.0004371155730107379, 0, 1.1041726426657346, 0.00066284834129271, 0.00015231632783718752,
    0, 0.0016406437456599754, 0, 1.8422455520539298, 11.441172603757666, 0,
    0.0007989109436015163, 0.000176816438078653, 0, 1.8787594979546387, 10.94906990605142, 0,
    0.0007289346991508072, 0.9677937080626833, 0, 0.00014003424285435884, 0.9981766977854967, 0.00031949755934435053,
    0.0004550992113792063, 0, 0, 0.0013648766163243398, 0, 0,

    0, 0, 0, 7.466890328078848, 0, 17.445833984131262,
    0.0006235601634041466, 0, 0, 6.683678146179332, 0.00037724407979611296, 1.027889937768264,
    225.20515300849274, 0, 0, 19.213238186143016, 0.0011401524586618361, 0.001237755635509985,
    176.39317598450694, 0, 0, 24.43300999870476, 0.28520802612117757, 0.0004485436923833408,
    0, 0, 0, 34.77906344483772, 44.835625328877896, 0,
    0, 0, 0, 0, 0, 0,

    0, 0.0008680556573291698, 0, 0, 0, 0,
    0, 0.0005313191874358747, 0, 0.00016533814161379112, 0, 0,
    0, 0, 0, 0.0004179171803251336, 0.0017290828234722833, 0,
    0.0020827005846636437, 0, 0, 8.826982764996862, 23.19243343998926, 0,
    95.1080498811086, 0.9863978034400682, 0.9834382792465353, 0.0012286405048278493, 171.2667255897307,
    0.9807858872435379,
    0, 0, 0, 0.0005130064588990679, 0, 0.00010854057858411537])


def ssimulacra2(original: np.ndarray, other: np.ndarray) -> float:
    """The score of `other` beside `original`, uint8 RGB (height, width, 3). Not symmetric.

    Raises UsageError for a side below 8 pixels.
    """
    check_pair(original, other)
    if min(original.shape[:2]) < LEAST_SIDE:
        raise UsageError(f"the picture has {original.shape[1]}×{original.shape[0]} pixels; SSIMULACRA 2 needs "
                         f"{LEAST_SIDE} or more each way: use psnr_db for smaller ones")
    x, y = (_LINEAR[picture].transpose(2, 0, 1) for picture in (original, other))
    errors = [_errors(_xyb(x), _xyb(y))]
    while len(errors) < SCALES and min(x.shape[1:]) >= LEAST_SIDE:
        x, y = _halved(x), _halved(y)
        errors.append(_errors(_xyb(x), _xyb(y)))
    ordered = np.stack(errors, 1).reshape(-1)           # channel, scale, norm, kind of error
    sum_ = 0.9562382616834844 * float(ordered @ WEIGHTS[:ordered.size])
    mapped = 6.248496625763138e-05 * sum_**3 - 0.020884521182843837 * sum_**2 + 2.326765642916932 * sum_
    return 100 - 10 * mapped**0.6276336467831387 if mapped > 0 else 100.0


def _errors(x: np.ndarray, y: np.ndarray) -> np.ndarray:
    """(3, 2, 3): of each channel, the mean and the fourth-power mean of each kind of error."""
    mean_x, mean_y = _blurred(x), _blurred(y)
    covariance = _blurred(x * y) - mean_x * mean_y
    variances = _blurred(x * x) - mean_x * mean_x + (_blurred(y * y) - mean_y * mean_y)
    structure = (1 - (mean_x - mean_y) ** 2) * (2 * covariance + C2) / (variances + C2)
    edges = (1 + np.abs(y - mean_y)) / (1 + np.abs(x - mean_x)) - 1
    maps = np.stack([1 - structure, edges, -edges]).clip(0)
    fourth = np.square(np.square(maps)).mean((2, 3), dtype=np.float64) ** 0.25
    return np.stack([maps.mean((2, 3), dtype=np.float64), fourth]).transpose(2, 0, 1)


def _xyb(linear: np.ndarray) -> np.ndarray:
    """Linear RGB (3, H, W) → the eye's opponent colours, shifted to be positive."""
    long, medium, short = np.cbrt(np.tensordot(OPSIN, linear, 1) + BIAS) - np.cbrt(BIAS)
    luma = (long + medium) / 2
    return np.stack([7 * (long - medium) + np.float32(0.42), luma + np.float32(0.01),
                     short - luma + np.float32(0.55)])


def _halved(x: np.ndarray) -> np.ndarray:
    """Means of 2×2; an odd last row or column stands for two."""
    x = np.pad(x, [(0, 0), *((0, side % 2) for side in x.shape[1:])], mode="edge")
    return (x[:, ::2, ::2] + x[:, 1::2, ::2] + x[:, ::2, 1::2] + x[:, 1::2, 1::2]) / 4


def _blurred(x: np.ndarray) -> np.ndarray:
    """(C, H, W), by the Gaussian, down and across, with zeros around."""
    margin = len(_TAPS) // 2
    for axis in (1, 2):
        side = x.shape[axis]
        padded = np.pad(x, [(margin, margin) if a == axis else (0, 0) for a in range(3)])
        shifted = [padded[(slice(None),) * axis + (slice(k, k + side),)] for k in range(len(_TAPS))]
        x = shifted[margin] * _TAPS[margin]
        for k in range(margin):                         # the taps are symmetric
            x += (shifted[k] + shifted[-1 - k]) * _TAPS[k]
    return x


def _taps(sigma: float) -> np.ndarray:
    """The Gaussian as a sum of three truncated cosines, sampled: sums to 1, of variance sigma²."""
    reach = round(3.2795 * sigma + 0.2546)
    sign, omega = np.array([1, -1, 1]), np.array([1, 3, 5]) * np.pi / (2 * reach)
    p = sign / np.tan(omega / 2)
    r = sign * p**2 / np.sin(omega)
    rho = np.exp(-0.5 * (sigma * omega) ** 2) / reach
    minors = np.cross(p, r)                             # (p3 r5 - r3 p5, p5 r1 - r5 p1, p1 r3 - r1 p3)
    zeta = minors / minors[2]
    beta = np.linalg.solve(np.stack([p, r, zeta]), [1, reach**2 - sigma**2, zeta @ rho])
    return beta @ np.cos(omega[:, None] * np.arange(1 - reach, reach))


def _linear_light() -> np.ndarray:
    """sRGB's curve for the 256 values."""
    value = np.arange(256) / 255
    return np.where(value <= 0.04045, value / 12.92, ((value + 0.055) / 1.055) ** 2.4).astype(np.float32)


_TAPS, _LINEAR = _taps(SIGMA).astype(np.float32), _linear_light()
