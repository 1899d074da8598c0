"""Losses of lists: published forms in numbers, DPO for lists of two, no influence of order."""

import itertools
import math

import pytest
import torch

from pluralign.losses.contrastive import dpo
from pluralign.losses.listwise import all_pairs_loss, lambda_loss, list_likelihood_loss

LOSSES = [lambda_loss, list_likelihood_loss, all_pairs_loss]
FACTOR = 1 / math.log(2) - 1 / math.log(3)


def rows(*values):
    return torch.tensor(values, dtype=torch.float64)


@pytest.mark.parametrize(
    ("loss", "factor"), [(lambda_loss, 0.5324558), (list_likelihood_loss, 1.0), (all_pairs_loss, 1.0)]
)
def test_a_list_of_two_is_dpo(loss, factor):
    scores = rows([0.3, -0.2], [-0.4, 0.9], [0.0, 0.0])
    expected = dpo(scores[:, 0], scores[:, 1], torch.zeros(3), torch.zeros(3), beta=1.0)
    best_first = rows([1, 0]).expand(3, 2)
    torch.testing.assert_close(loss(scores, best_first), factor * expected, rtol=1e-6, atol=0)
    torch.testing.assert_close(loss(scores.flip(1), best_first.flip(1)), loss(scores, best_first))


def test_lambda_of_three_by_hand():
    scores, levels = rows([0, 0.2, -0.1]), rows([1, 0.5, 0])
    assert lambda_loss(scores, levels).item() == pytest.approx(0.5363019, abs=1e-6)
    # Base 2 as in some implementations, for a list of two.
    assert FACTOR * math.log(2) == pytest.approx(0.3691, abs=1e-4)


def test_ranks_are_the_models():
    levels = rows([1, 0.5, 0])
    # By the labels' ranks, the same scores would have another loss.
    s = [0.0, 0.2, -0.1]
    by_labels = sum(
        abs(2 ** levels[0, i] - 2 ** levels[0, j])
        * abs(1 / math.log(2 + i) - 1 / math.log(2 + j))
        * math.log1p(math.exp(s[j] - s[i]))
        for i, j in itertools.combinations(range(3), 2)
    )
    assert abs(lambda_loss(rows(s), levels).item() - by_labels) > 0.01


def test_likelihood_is_plackett_luce():
    scores, levels = rows([0.5, -1.0, 0.3, 2.0]), rows([0.2, 1.0, 0.7, 0.0])
    (order,) = levels.argsort(descending=True)
    left = scores[0][order]
    expected = sum(left[i:].logsumexp(0) - left[i] for i in range(4))
    assert list_likelihood_loss(scores, levels).item() == pytest.approx(expected.item())


def test_all_pairs_is_the_mean_of_dpo_over_pairs():
    scores, levels = rows([0.5, -1.0, 0.3]), rows([1.0, 0.5, 0.0])
    pairs = [dpo(scores[:, i], scores[:, j], *torch.zeros(2, 1), beta=1) for i, j in ((0, 1), (0, 2), (1, 2))]
    torch.testing.assert_close(all_pairs_loss(scores, levels), sum(pairs) / 3)


@pytest.mark.parametrize("loss", LOSSES)
def test_equal_levels_add_nothing(loss):
    scores = rows([0.5, -1.0, 0.3]).requires_grad_()
    found = loss(scores, rows([0.5, 0.5, 0.5]))
    assert found.item() == 0
    (gradient,) = torch.autograd.grad(found.sum(), scores)
    assert gradient.abs().max() == 0


@pytest.mark.parametrize("loss", LOSSES)
@pytest.mark.parametrize("scores", [(0.1, -0.4, 0.3, 0.25), (0.0, 0.0, 0.0, 0.0), (1e-7, 0.0, 2e-7, 0.3)])
@pytest.mark.parametrize("levels", [(1.0, 1 / 3, 2 / 3, 0.0), (1.0, 0.5, 0.5, 0.0)])
def test_permuting_a_list_changes_nothing(loss, scores, levels):
    orders = torch.tensor(list(itertools.permutations(range(4))))
    found = loss(rows(scores)[0][orders], rows(levels)[0][orders])
    assert found[0] > 0
    torch.testing.assert_close(found, found[:1].expand(len(orders)))


def test_no_gradient_flows_through_the_weights():
    scores, levels = rows([0.0, 0.2, -0.1]).requires_grad_(), rows([1.0, 0.5, 0.0])
    (gradient,) = torch.autograd.grad(lambda_loss(scores, levels).sum(), scores)
    weights = {(0, 1): 0.311898, (0, 2): 0.721348 - 0.910239, (1, 2): 0.298794}
    expected = [0.0, 0.0, 0.0]
    for (i, j), weight in weights.items():
        pull = abs(weight) * torch.sigmoid(scores[0, j] - scores[0, i]).item()
        expected[i] -= pull
        expected[j] += pull
    torch.testing.assert_close(gradient, rows(expected), atol=1e-5, rtol=1e-4)


@pytest.mark.parametrize("loss", LOSSES)
def test_extreme_scores_give_finite_gradients(loss):
    scores = rows([500.0, -800.0, 30.0]).requires_grad_()
    found = loss(scores, rows([0.0, 1.0, 0.5]))
    (gradient,) = torch.autograd.grad(found.sum(), scores)
    assert bool(torch.isfinite(found).all())
    assert bool(torch.isfinite(gradient).all())
