"""How mcquic's codebooks begin, and how they are refined: all in closed form, from latents of pictures.

Random vectors are a bad start for words that are entropy-coded: k-means spreads them where vectors are rare,
and each of these costs many bits. So three words of four begin as what a scalar quantiser would make of
vectors: the lattice points that most of them round to. The rest are k-means of the vectors that no such point
is near to. Later each word goes to the mean of what chose it, but not further than its vectors are many: a
rare word stays where it is, and so it stays of use.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np
import torch

from enfold.codecs.mcquic_search import (
    ACTIVITIES,
    MEANS,
    NEAR,
    PREDICTED,
    Search,
    Words,
    coarse_features,
    features,
    pooled,
)
from enfold.entropy.codebooks import CascadeConfig, cell_of
from enfold.entropy.hyperprior import PASSES
from enfold.layers.vector import kmeans, nearest

DEAD_ZONE = 0.2             # steps by which vectors are drawn to zero before they are rounded to lattice points
FAR = 1.6                   # the outermost word of a single channel, in the largest magnitude that was seen
KEPT = 20.0                 # vectors that a word counts for, against those that chose it
LEAST_VARIANCE = 0.01       # squared steps
_SAMPLE = 60_000            # vectors for k-means
_RIDGE = 0.1


def lay(cascade: CascadeConfig, sizes: Sequence[tuple[int, int]], latents: Sequence[np.ndarray], seed: int
        ) -> dict[str, np.ndarray]:
    """The arrays of `mcquic_search.Words`, from latents (C, h, w) in steps."""
    generator = torch.Generator().manual_seed(seed)
    arrays: dict[str, np.ndarray] = {"order": ranked(latents)[:sum(channels for channels, _ in sizes)].astype(np.int16)}
    ordered = [np.moveaxis(latent[arrays["order"]], 0, -1).astype(np.float32) for latent in latents]
    coarse = _coarse_words(cascade, ordered, arrays, generator)
    base = _fit_base(ordered, coarse, arrays)
    residuals = _fit_near(ordered, base, arrays)
    start = 0
    for book, (channels, words) in enumerate(sizes):
        vectors = residuals[:, start:start + channels]
        arrays[f"words.2.{book}"] = lattice_words(vectors, words, generator)
        arrays[f"variances.{book}"] = np.full((words, channels), 1 / 12, np.float16)
        start += channels
    return arrays


def ranked(latents: Sequence[np.ndarray]) -> np.ndarray:
    """Channels of latents (C, h, w) in steps, those first that say most when they are rounded one by one."""
    channels = len(latents[0])
    entropy = np.zeros(channels)
    rounded = np.concatenate([_rounded(latent.reshape(channels, -1)) for latent in latents], 1)
    for channel, row in enumerate(rounded):
        count = np.bincount(row - row.min())
        share = count[count > 0] / len(row)
        entropy[channel] = -(share * np.log2(share)).sum()
    return np.argsort(-entropy, kind="stable")


def lattice_words(vectors: np.ndarray, count: int, generator: torch.Generator) -> np.ndarray:
    """Words (count, d) for vectors (N, d), in steps: see the module."""
    if vectors.shape[1] == 1:
        inner = max(1, (3 * count // 4 - 1) // 2)
        outer = (count - 2 * inner - 1 + 1) // 2
        most = max(FAR * float(np.abs(vectors).max(initial=0)), inner + outer + 1.0)
        beyond = np.geomspace(inner, most, outer + 1)[1:].round()
        line = np.concatenate([-beyond[::-1], np.arange(-inner, inner + 1), beyond])
        return line[len(line) - count:, None].astype(np.float32)
    points, times = np.unique(_rounded(vectors), axis=0, return_counts=True)
    best = np.argsort(-times, kind="stable")
    chosen = points[best[:max(1, 3 * count // 4)]].astype(np.float32)
    rest = count - len(chosen)
    index = nearest(torch.from_numpy(vectors), torch.from_numpy(chosen)).numpy()
    missed = vectors[np.abs(vectors - chosen[index]).max(1) > 0.75]
    if not rest or not len(missed):
        more = np.zeros((rest, vectors.shape[1]), np.float32)
    else:
        pick = torch.randperm(len(missed), generator=generator)[:_SAMPLE].numpy()
        more = kmeans(torch.from_numpy(missed[pick]), rest, 6, generator=generator).numpy()
    return np.concatenate([chosen, more])


def refined(cascade: CascadeConfig, words: Words, latents: Sequence[np.ndarray], codes: Sequence[Sequence[np.ndarray]]
            ) -> dict[str, np.ndarray]:
    """Words and variances of the finest level, after codes (grids, coarse to fine) were chosen for latents."""
    sums = [np.zeros_like(book, np.float64) for book in words.fine]
    squares = [np.zeros_like(book, np.float64) for book in words.fine]
    counts = [np.zeros(len(book)) for book in words.fine]
    for latent, grids in zip(latents, codes, strict=True):
        for book, left, index in replayed(cascade, words, latent, grids):
            np.add.at(sums[book], index, left)
            np.add.at(squares[book], index, np.square(left))
            counts[book] += np.bincount(index, minlength=len(counts[book]))
    arrays = {}
    for book, word in enumerate(words.fine):
        count = counts[book][:, None]
        made = (sums[book] + KEPT * word) / (count + KEPT)
        around = squares[book] - 2 * made * sums[book] + count * np.square(made)
        overall = around.sum(0) / max(count.sum(), 1)
        variance = (around + KEPT * overall) / (count + KEPT)
        arrays[f"words.2.{book}"] = made.astype(np.float32)
        arrays[f"variances.{book}"] = np.maximum(variance, LEAST_VARIANCE).astype(np.float16)
    return arrays


def replayed(cascade: CascadeConfig, words: Words, latent: np.ndarray, grids: Sequence[np.ndarray]
             ) -> Iterator[tuple[int, np.ndarray, np.ndarray]]:
    """For each book and pass of the finest level: (book, what its words were to come near to (n, d), codes (n,))."""
    search = Search(cascade, words, latent)
    for level, books in enumerate(cascade.levels):
        for number, phase in enumerate(PASSES):
            for book in range(len(books)):
                codes = grids[level][cell_of(phase, book)].reshape(-1)
                if codes.size:
                    search.begin(level, number, book)
                    if level == 2:
                        yield book, search.residual(level, number, book), codes
                    search.put(level, number, book, codes)


def _rounded(x: np.ndarray) -> np.ndarray:
    return np.rint(np.sign(x) * np.maximum(np.abs(x) - DEAD_ZONE, 0)).astype(np.int16)


def _coarse_words(cascade: CascadeConfig, ordered: Sequence[np.ndarray], arrays: dict[str, np.ndarray],
                  generator: torch.Generator) -> list[np.ndarray]:
    """Words of the coarse levels; what they say of each latent at half its size."""
    halves = [pooled(features(latent)) for latent in ordered]
    quarters = [pooled(half) for half in halves]
    said = [np.zeros_like(quarter) for quarter in quarters]
    for level, targets in enumerate((quarters, halves)):
        if level:
            said = [wide.repeat(2, 0).repeat(2, 1)[:len(half), :half.shape[1]]
                    for wide, half in zip(said, halves, strict=True)]
        left = np.concatenate([(target - known).reshape(-1, MEANS + ACTIVITIES)
                               for target, known in zip(targets, said, strict=True)])
        made = np.empty_like(left)
        for book, (part, count) in enumerate(zip((slice(None, MEANS), slice(MEANS, None)), cascade.levels[level],
                                                 strict=True)):
            vectors = torch.from_numpy(np.ascontiguousarray(left[:, part]))
            pick = torch.randperm(len(vectors), generator=generator)[:_SAMPLE]
            words = kmeans(vectors[pick], count, 12, generator=generator)
            arrays[f"words.{level}.{book}"] = words.numpy()
            made[:, part] = words[nearest(vectors, words)].numpy()
        at = 0
        for number, known in enumerate(said):
            size = known.shape[0] * known.shape[1]
            said[number] = known + made[at:at + size].reshape(known.shape)
            at += size
    return said


def _fit_base(ordered: Sequence[np.ndarray], coarse: Sequence[np.ndarray], arrays: dict[str, np.ndarray]
              ) -> list[np.ndarray]:
    """The maps from coarse levels to leading channels, one for each pass; what they predict of each latent."""
    seen = [coarse_features(known) for known in coarse]
    maps, base = [], [np.zeros((*latent.shape[:2], PREDICTED), np.float32) for latent in ordered]
    for phase in PASSES:
        inputs, outputs = [], []
        for latent, known in zip(ordered, seen, strict=True):
            target = latent[cell_of(phase)][..., :PREDICTED]
            r, c = target.shape[:2]
            inputs.append(known[:r, :c].reshape(-1, known.shape[-1]))
            outputs.append(target.reshape(-1, PREDICTED))
        maps.append(_solved(np.concatenate(inputs), np.concatenate(outputs)))
        for known, out in zip(seen, base, strict=True):
            r, c = out[cell_of(phase)].shape[:2]
            out[cell_of(phase)] = known[:r, :c] @ maps[-1]
    arrays["base"] = np.stack(maps)
    return base


def _fit_near(ordered: Sequence[np.ndarray], base: Sequence[np.ndarray], arrays: dict[str, np.ndarray]) -> np.ndarray:
    """The maps from neighbours to leading channels, of passes 1 to 3; what is left of all vectors, (N, C)."""
    left = [latent.copy() for latent in ordered]
    for number, phase in enumerate(PASSES):
        inputs, outputs, cells = [], [], []
        for latent, known, rest in zip(ordered, base, left, strict=True):
            missed = np.pad(latent[..., :NEAR] - known[..., :NEAR], ((1, 1), (1, 1), (0, 0)))
            target = rest[cell_of(phase)]
            target[..., :PREDICTED] -= known[cell_of(phase)]
            r, c = target.shape[:2]
            (top, left_edge), step = phase.start, phase.step
            if number and r and c:
                taps = [missed[y:y + (r - 1) * step + 1:step, x:x + (c - 1) * step + 1:step]
                        for y, x in ((top + dy + 1, left_edge + dx + 1) for dy, dx in phase.taps)]
                inputs.append(np.concatenate(taps, -1).reshape(r * c, -1))
                outputs.append(target[..., :PREDICTED].reshape(r * c, PREDICTED))
                cells.append(target)
        if number:
            arrays[f"near.{number}"] = _solved(np.concatenate(inputs), np.concatenate(outputs))
            for features_of, cell in zip(inputs, cells, strict=True):
                cell[..., :PREDICTED] -= (features_of @ arrays[f"near.{number}"]).reshape(*cell.shape[:2], PREDICTED)
    return np.concatenate([rest.reshape(-1, rest.shape[-1]) for rest in left])


def _solved(inputs: np.ndarray, outputs: np.ndarray) -> np.ndarray:
    """The least-squares map, with what rounding adds to the inputs in view."""
    square = inputs.T.astype(np.float64) @ inputs
    square[np.diag_indices(len(square))] += _RIDGE * len(inputs)
    return np.linalg.solve(square, inputs.T.astype(np.float64) @ outputs).astype(np.float32)
