"""Vector quantisers: the search against brute force, gradients, running means, k-means, revival, usage."""

from __future__ import annotations

import pytest
import torch

from enfold.layers import vector
from enfold.layers.vector import RunningMeans, Usage, Words, gumbel, kmeans, nearest, revive, straight_through


@pytest.fixture
def generator():
    return torch.Generator().manual_seed(0)


def brute_force(vectors, words, penalty=None):
    found = []
    for number, x in enumerate(vectors):
        costs = [float((x - w).square().sum()) for w in words]
        if penalty is not None:
            row = penalty if penalty.dim() == 1 else penalty[number]
            costs = [cost + float(price) for cost, price in zip(costs, row, strict=True)]
        found.append(min(range(len(words)), key=costs.__getitem__))
    return torch.tensor(found)


@pytest.mark.parametrize("count, dimension", [(1, 3), (7, 1), (64, 5), (33, 16)])
def test_nearest_is_what_a_search_one_by_one_finds(generator, count, dimension):
    vectors = torch.randn(200, dimension, generator=generator)
    words = torch.randn(count, dimension, generator=generator)
    assert torch.equal(nearest(vectors, words), brute_force(vectors, words))


@pytest.mark.parametrize("rows", [False, True])
def test_a_price_moves_the_choice_as_brute_force_says(generator, rows):
    vectors, words = torch.randn(150, 4, generator=generator), torch.randn(20, 4, generator=generator)
    penalty = 3 * torch.rand((150, 20) if rows else (20,), generator=generator)
    found = nearest(vectors, words, penalty)
    assert torch.equal(found, brute_force(vectors, words, penalty))
    assert not torch.equal(found, nearest(vectors, words))


def test_batches_do_not_change_what_is_found(generator, monkeypatch):
    vectors, words = torch.randn(500, 6, generator=generator), torch.randn(40, 6, generator=generator)
    whole = nearest(vectors, words)
    monkeypatch.setattr(vector, "BATCH", 40 * 7)
    assert torch.equal(nearest(vectors, words), whole)
    assert nearest(vectors[:0], words).shape == (0,)


def test_straight_through_has_the_words_values_and_the_vectors_gradient(generator):
    vectors = torch.randn(9, 3, generator=generator, requires_grad=True)
    values = torch.randn(9, 3, generator=generator)
    out = straight_through(vectors, values)
    torch.testing.assert_close(out, values)
    out.sum().backward()
    assert torch.equal(vectors.grad, torch.ones(9, 3))


def test_commitment_moves_vectors_alone_and_the_words_loss_words_alone(generator):
    book = Words(8, 3)
    vectors = torch.randn(20, 3, generator=generator, requires_grad=True)
    found = book(vectors)
    assert torch.equal(found.index, brute_force(vectors.detach(), book.words.detach()))
    found.commitment.backward()
    assert vectors.grad.abs().sum() > 0 and book.words.grad is None
    kept = vectors.grad.clone()
    found = book(vectors)
    found.words_loss.backward()
    assert torch.equal(vectors.grad, kept) and book.words.grad.abs().sum() > 0
    expected = (vectors.detach() - book.words.detach()[found.index]).square().sum(1).mean()
    torch.testing.assert_close(found.commitment.detach(), expected)


def test_gumbel_draws_words_as_often_as_the_softmax_of_distances_says(generator):
    words = torch.tensor([[0.0], [1.0], [3.0]])
    values, index = gumbel(torch.full((40_000, 1), 0.8), words, 0.5, generator)
    expected = (-(torch.tensor([0.8, -0.2, -2.2]).square()) / 0.5).softmax(0)
    share = torch.bincount(index, minlength=3) / len(index)
    torch.testing.assert_close(share, expected, atol=0.01, rtol=0)
    torch.testing.assert_close(values, words[index])


def test_gumbels_gradient_reaches_vectors_and_words_and_cold_draws_are_the_nearest(generator):
    vectors = torch.randn(50, 2, generator=generator, requires_grad=True)
    book = Words(10, 2)
    book.sample(vectors, 1.0, generator).values.square().sum().backward()
    assert vectors.grad.abs().sum() > 0 and book.words.grad.abs().sum() > 0
    cold = book.sample(vectors, 1e-6, generator).index
    assert torch.equal(cold, nearest(vectors.detach(), book.words.detach()))


def test_running_means_go_to_the_means_of_what_chose_them(generator):
    centres = torch.tensor([[5.0, 0.0], [-5.0, 1.0], [0.0, 7.0]])
    words = centres + torch.randn(3, 2, generator=generator)
    means = RunningMeans(words, decay=0.9)
    for _ in range(120):
        vectors = (centres[:, None] + 0.5 * torch.randn(3, 60, 2, generator=generator)).flatten(0, 1)
        means.update(words, vectors, nearest(vectors, words))
    torch.testing.assert_close(words, centres, atol=0.1, rtol=0)


def test_one_step_of_running_means_by_hand():
    words = torch.tensor([[0.0], [10.0], [99.0]])
    means = RunningMeans(words, decay=0.5)
    means.update(words, torch.tensor([[1.0], [3.0], [12.0]]), torch.tensor([0, 0, 1]))
    # counts (1 + 2) / 2, (1 + 1) / 2, 1 / 2;  sums (0 + 4) / 2, (10 + 12) / 2, 99 / 2
    torch.testing.assert_close(words, torch.tensor([[4 / 3], [11.0], [99.0]]))


def test_words_that_nobody_chooses_are_revived_where_the_vectors_are(generator):
    vectors = torch.randn(400, 2, generator=generator)
    words = torch.cat([torch.randn(4, 2, generator=generator), torch.full((4, 2), 1e3)])
    means = RunningMeans(words, decay=0.5)
    for _ in range(12):
        means.update(words, vectors, nearest(vectors, words))
    assert means.revive(words, vectors, generator=generator) == 4
    index = nearest(vectors, words)
    assert Usage(torch.bincount(index, minlength=8)).dead == 0
    assert means.revive(words, vectors, generator=generator) == 0


def test_without_vectors_a_dead_word_shares_a_frequent_ones(generator):
    words = torch.tensor([[0.0], [10.0], [77.0]])
    assert revive(words, torch.tensor([False, False, True]), torch.tensor([0.0, 9.0, 0.0]), generator=generator) == 1
    assert 0 < abs(float(words[2]) - 10) < 10


def test_kmeans_ends_where_lloyds_steps_by_hand_end(generator):
    centres = 6 * torch.randn(5, 3, generator=generator)
    vectors = (centres[:, None] + 0.2 * torch.randn(5, 50, 3, generator=generator)).flatten(0, 1)
    words = kmeans(vectors, 5, generator=generator)
    index = brute_force(vectors, words)
    for number in range(5):             # a fixed point: every word the mean of its vectors
        torch.testing.assert_close(words[number], vectors[index == number].mean(0), atol=1e-5, rtol=1e-5)
    assert float((vectors - words[index]).square().sum(1).mean()) < 0.2


def test_weights_count_a_vector_so_often(generator):
    vectors = torch.tensor([[0.0], [1.0], [10.0]])
    words = kmeans(vectors, 2, weights=torch.tensor([1.0, 3.0, 5.0]), generator=generator)
    torch.testing.assert_close(words.sort(0).values, torch.tensor([[0.75], [10.0]]))


def test_kmeans_of_fewer_vectors_than_words_has_each_of_them(generator):
    vectors = torch.tensor([[0.0, 1.0], [2.0, 3.0]])
    words = kmeans(vectors, 5, generator=generator)
    assert torch.equal(nearest(vectors, words).unique(), nearest(vectors, words).sort().values)
    assert torch.equal(words[nearest(vectors, words)], vectors)
    with pytest.raises(ValueError, match="no vectors"):
        kmeans(vectors[:0], 2)


def test_usage_says_what_counts_say():
    usage = Usage(torch.tensor([4, 4, 0, 0]))
    assert usage.bits == pytest.approx(1.0)
    assert usage.perplexity == pytest.approx(2.0)
    assert usage.dead == 2
    assert str(usage) == "4 words: perplexity 2.0, 2 never chosen"
    assert Words(4, 1).usage(torch.tensor([[0, 1], [1, 0]])).dead == 2
