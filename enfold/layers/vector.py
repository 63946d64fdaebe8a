"""Vector quantisation: a vector becomes the number of the nearest of K words.

    vectors (N, d) ── nearest ── index (N,) ── words[index] ── values (N, d)
                         │                         ↑
                    words (K, d) ── k-means, running means or gradients; dead words are revived

The nearest word is that with the least |w|² − 2 x·w, so a search is one matrix product for a batch of
vectors, and |x|² is never needed. While it is trained, a quantiser passes gradients straight through
(`straight_through`), or draws a word with the probabilities of a softmax over distances and passes the
gradients of that (`gumbel`). Words move with gradients, as any parameter does, or follow the means of
the vectors that choose them (`RunningMeans`).

`Words` is the module: a codebook with all this. The functions do the same on plain tensors. Where a
codebook is split over groups of channels, use a `Words` for each group.

Guarantees: `nearest` is what a search one by one finds, but for vectors as near to one word as to
another within float rounding; nothing here depends on how the vectors are cut into batches; what is
random draws from the generator that it is given.

Source: van den Oord et al. 2017 (straight through, running means); Jang et al. 2017 (Gumbel); Arthur &
Vassilvitskii 2007 (k-means++); Dhariwal et al. 2020 (revival).
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn

BATCH = 1 << 22             # numbers of a table of distances that are worked out at once


@dataclass(frozen=True)
class Usage:
    """How a codebook was used. counts: (K,) how often each word was chosen.

    perplexity: 2 to the entropy of the counts, the number of words that would carry as much if all were
    chosen alike. dead: how many were never chosen.
    """

    counts: Tensor

    @property
    def bits(self) -> float:
        """Entropy of the counts, for each index."""
        share = self.counts.double() / self.counts.sum().clamp_min(1)
        return float(-(share * share.clamp_min(1e-300).log2()).sum())

    @property
    def perplexity(self) -> float:
        return 2.0 ** self.bits

    @property
    def dead(self) -> int:
        return int((self.counts == 0).sum())

    def __str__(self) -> str:
        return f"{len(self.counts)} words: perplexity {self.perplexity:.1f}, {self.dead} never chosen"


@dataclass(frozen=True)
class Quantised:
    """values: (N, d), the words chosen, with gradients for what was quantised. index: (N,) their numbers.

    commitment: scalar, the mean squared distance of the vectors from their words, with gradients for the
    vectors alone. words_loss: the same with gradients for the words alone; leave it out where the words
    follow running means.
    """

    values: Tensor
    index: Tensor
    commitment: Tensor
    words_loss: Tensor


def distances(vectors: Tensor, words: Tensor) -> Tensor:
    """vectors (N, d), words (K, d) → (N, K): squared distances less |vector|²."""
    return torch.addmm(words.square().sum(1), vectors, words.T, alpha=-2)


def nearest(vectors: Tensor, words: Tensor, penalty: Tensor | None = None) -> Tensor:
    """The number (N,) of the word with the least squared distance from each vector.

    penalty: (K,) or (N, K), added to the squared distances: a price for each word.
    """
    step = max(1, BATCH // max(1, len(words)))
    found = []
    for at in range(0, len(vectors), step):
        table = distances(vectors[at:at + step], words)
        if penalty is not None:
            table = table + (penalty if penalty.dim() == 1 else penalty[at:at + step])
        found.append(table.argmin(1))
    return torch.cat(found) if found else torch.empty(0, dtype=torch.long, device=vectors.device)


def straight_through(vectors: Tensor, values: Tensor) -> Tensor:
    """`values` whose gradient is that of `vectors`."""
    return vectors + (values - vectors).detach()


def gumbel(vectors: Tensor, words: Tensor, temperature: float | Tensor, generator: torch.Generator | None = None
           ) -> tuple[Tensor, Tensor]:
    """(values (N, d), index (N,)): a word drawn with probabilities softmax(−distance² / temperature).

    values are those of the word drawn; the gradient, for vectors and words, is that of the softmax with the
    noise that drew it.
    """
    logits = -(distances(vectors, words) + vectors.square().sum(1, keepdim=True)) / temperature
    uniform = torch.rand(logits.shape, generator=generator, device=logits.device, dtype=logits.dtype)
    noise = -(-uniform.clamp(1e-20, 1 - 1e-7).log()).log()
    soft = (logits + noise).softmax(1)
    index = soft.argmax(1)
    hard = nn.functional.one_hot(index, len(words)).to(soft.dtype)
    return (soft + (hard - soft).detach()) @ words, index


class Words(nn.Module):
    """A codebook (count, dimension): parameter `words`, which gradients may move.

    forward: vectors (N, dimension) → Quantised, by the nearest word. `sample`: by `gumbel`.
    """

    def __init__(self, count: int, dimension: int) -> None:
        super().__init__()
        self.words = nn.Parameter(torch.randn(count, dimension))

    def extra_repr(self) -> str:
        return f"count={len(self.words)}, dimension={self.words.shape[1]}"

    def forward(self, vectors: Tensor, penalty: Tensor | None = None) -> Quantised:
        with torch.no_grad():
            index = nearest(vectors, self.words, penalty)
        return self._quantised(vectors, straight_through(vectors, self.words[index]), index)

    def sample(self, vectors: Tensor, temperature: float | Tensor, generator: torch.Generator | None = None
               ) -> Quantised:
        """As forward, by a draw: see `gumbel`."""
        values, index = gumbel(vectors, self.words, temperature, generator)
        return self._quantised(vectors, values, index)

    def _quantised(self, vectors: Tensor, values: Tensor, index: Tensor) -> Quantised:
        chosen = self.words[index]
        return Quantised(values, index, (vectors - chosen.detach()).square().sum(1).mean(),
                         (vectors.detach() - chosen).square().sum(1).mean())

    def usage(self, index: Tensor) -> Usage:
        """Of these words by indices of any shape."""
        return Usage(torch.bincount(index.flatten(), minlength=len(self.words)))


class RunningMeans(nn.Module):
    """Means that follow the vectors which choose each word: `update` moves words (K, d) to them.

    decay: what is kept of the past at each step. Counts and sums run together, so a word that few vectors
    choose moves as far as its vectors say, not less. A word of which nothing is left stays where it is.
    """

    counts: Tensor
    sums: Tensor

    def __init__(self, words: Tensor, decay: float = 0.99) -> None:
        super().__init__()
        self.decay = decay
        self.register_buffer("counts", torch.ones(len(words)))
        self.register_buffer("sums", words.detach().clone())

    @torch.no_grad()
    def update(self, words: Tensor, vectors: Tensor, index: Tensor) -> None:
        """Takes in one batch of vectors (N, d) and the words (N,) they chose; changes `words` in place."""
        counts, sums = totals(vectors, index, len(words))
        self.counts.lerp_(counts, 1 - self.decay)
        self.sums.lerp_(sums, 1 - self.decay)
        alive = self.counts > 1e-6
        words[alive] = self.sums[alive] / self.counts[alive, None]

    @torch.no_grad()
    def revive(self, words: Tensor, vectors: Tensor, least: float = 0.01, generator: torch.Generator | None = None
               ) -> int:
        """Words with a count below `least` of the mean begin anew; returns how many. Changes `words` in place."""
        dead = self.counts < least * self.counts.mean()
        count = revive(words, dead, self.counts, vectors, generator)
        if count:
            self.counts[dead] = self.counts.mean()
            self.sums[dead] = words[dead] * self.counts[dead, None]
        return count


@torch.no_grad()
def revive(words: Tensor, dead: Tensor, counts: Tensor, vectors: Tensor | None = None,
           generator: torch.Generator | None = None) -> int:
    """Gives dead words, a mask (K,), a new life, in place; returns how many there were.

    With vectors (N, d) at hand, each becomes one of them, drawn at random; without, it becomes a frequent word
    (by `counts`) moved a little, so that the two share that word's vectors.
    """
    count = int(dead.sum())
    if not count:
        return 0
    if vectors is not None and len(vectors):
        words[dead] = vectors[torch.randint(len(vectors), (count,), generator=generator)].to(words.dtype)
        return count
    weight = torch.where(dead, 0, counts.to(words.dtype))
    if not float(weight.sum()) > 0:
        weight = torch.ones_like(weight)
    parents = weight.multinomial(count, replacement=True, generator=generator)
    spread = 0.05 * words.std(0, unbiased=False)
    words[dead] = words[parents] + torch.randn(count, words.shape[1], generator=generator) * spread
    return count


def totals(vectors: Tensor, index: Tensor, count: int) -> tuple[Tensor, Tensor]:
    """(counts (K,), sums (K, d)) of the vectors (N, d) with each index."""
    counts = torch.bincount(index, minlength=count).to(vectors.dtype)
    return counts, vectors.new_zeros(count, vectors.shape[1]).index_add_(0, index, vectors)


@torch.no_grad()
def kmeans(vectors: Tensor, count: int, steps: int = 20, weights: Tensor | None = None,
           generator: torch.Generator | None = None) -> Tensor:
    """Words (count, d) for vectors (N, d), by Lloyd's steps from k-means++; weights (N,) ≥ 0 count a vector so often.

    With no more distinct vectors than `count`, some words are equal: take fewer. Raises ValueError without vectors.
    """
    if not len(vectors):
        raise ValueError(f"{count} words of no vectors: give at least one")
    weight = torch.ones(len(vectors)) if weights is None else weights.float()
    words = _spread(vectors, weight, count, generator)
    for _ in range(steps):
        index = nearest(vectors, words)
        counts = torch.zeros(count).index_add_(0, index, weight)
        sums = vectors.new_zeros(words.shape).index_add_(0, index, vectors * weight[:, None])
        alive = counts > 0
        words[alive] = sums[alive] / counts[alive, None]
        if not alive.all():     # where the error is largest there is room for another word
            error = weight * (vectors - words[index]).square().sum(1)
            worst = error.topk(min(int((~alive).sum()), len(vectors))).indices
            words[torch.nonzero(~alive).flatten()[:len(worst)]] = vectors[worst]
    return words


def _spread(vectors: Tensor, weight: Tensor, count: int, generator: torch.Generator | None) -> Tensor:
    """k-means++: each first word a vector drawn in proportion to its squared distance from those before."""
    chosen = [_draw(weight, generator)]
    distance = (vectors - vectors[chosen[0]]).square().sum(1)
    for _ in range(count - 1):
        chance = distance * weight
        if not float(chance.sum()) > 0:
            chance = weight
        chosen.append(_draw(chance, generator))
        distance = distance.minimum((vectors - vectors[chosen[-1]]).square().sum(1))
    return vectors[torch.tensor(chosen)].clone()


def _draw(chance: Tensor, generator: torch.Generator | None) -> int:
    """A number in proportion to chance (N,), however many there are (`multinomial` stops at 2^24)."""
    total = chance.double().cumsum(0)
    at = torch.rand(1, generator=generator, dtype=torch.float64) * total[-1]
    return int(torch.searchsorted(total, at).clamp_max(len(chance) - 1))
