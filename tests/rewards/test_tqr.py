"""TQR: likelihood, Q-values and rewards of tokens, and what each switch changes."""

import pytest
import torch

from pluralign.lm.forest import Tree, plant
from pluralign.lm.tiny import make_tiny_model
from pluralign.lm.trunk import forest_hidden_states
from pluralign.lm.vocabulary import token_log_probs
from pluralign.rewards.heads import HeadShape, RewardHead
from pluralign.rewards.tqr import TQR, TQRShape

TREES = [Tree([5, 6, 7], [[8, 9, 10, 11], [12, 13]]), Tree([20], [[21, 22, 23]])]


@pytest.fixture
def parts():
    model = make_tiny_model(1)
    (forest,) = plant(TREES)
    with torch.no_grad():
        return model, forest_hidden_states(model, forest), forest


def _terms(parts, **switches):
    torch.manual_seed(0)
    tqr = TQR(32, 259, TQRShape(**switches))
    with torch.no_grad():
        return tqr, tqr(*parts)


def test_the_likelihood_is_the_models_own(parts):
    expected = token_log_probs(*parts)
    for switches in ({}, {"reward_weights": False}, {"literal_shift": True}):
        _, terms = _terms(parts, **switches)
        torch.testing.assert_close(terms.log_policy, expected, atol=1e-5, rtol=1e-5)
    tqr, terms = _terms(parts)
    weights = tqr.reward.weights(parts[1], parts[2])
    torch.testing.assert_close(terms.q_values, expected * weights, atol=1e-5, rtol=1e-5)


def test_weights_have_mean_one_in_every_branch_and_weigh_the_rewards(parts):
    _, hidden, forest = parts
    tqr, terms = _terms(parts)
    weights = tqr.reward.weights(hidden, forest)
    means = torch.zeros(3).index_add(0, forest.token_branches, weights) / forest.lengths
    torch.testing.assert_close(means, torch.ones(3))
    plain = tqr.reward.mean(hidden[forest.places]).squeeze(-1)
    torch.testing.assert_close(terms.mean, plain * weights)
    torch.testing.assert_close(terms.sigma, weights)
    _, literal = _terms(parts, literal_weights=True)
    sums = torch.zeros(3).index_add(0, forest.token_branches, literal.sigma)
    torch.testing.assert_close(sums, torch.ones(3))


def test_alpha_and_the_literal_equation(parts):
    model, hidden, forest = parts
    logits = model.get_output_embeddings()(hidden[forest.sources])
    targets = forest.input_ids[0, forest.places]
    rows = torch.arange(len(targets))
    _, terms = _terms(parts, alpha=2.0)
    torch.testing.assert_close(
        terms.log_policy, (2 * logits).log_softmax(-1)[rows, targets], atol=1e-5, rtol=1e-5
    )
    _, terms = _terms(parts, alpha=2.0, literal_probabilities=True)
    expected = (2 * logits.softmax(-1)).log_softmax(-1)[rows, targets]
    torch.testing.assert_close(terms.log_policy, expected, atol=1e-5, rtol=1e-5)
    # Gaps between probabilities are 1 at most: all log-probabilities lie within alpha.
    assert float(terms.log_policy.max() - terms.log_policy.min()) <= 2.0


def test_a_new_head_gives_raw_q_values(parts):
    tqr, terms = _terms(parts, pretrained_q=False, reward_weights=False)
    _, hidden, forest = parts
    targets = forest.input_ids[0, forest.places]
    raw = tqr.q_head(hidden[forest.sources])
    torch.testing.assert_close(terms.q_values, raw[torch.arange(len(targets)), targets])
    torch.testing.assert_close(terms.log_policy, raw.log_softmax(-1)[torch.arange(len(targets)), targets])


def test_the_literal_shift_does_not_see_the_token(parts):
    model, _, forest = parts
    (changed,) = plant([Tree([5, 6, 7], [[8, 9, 10, 99], [12, 13]]), TREES[1]])
    torch.manual_seed(0)
    for shift, same in ((True, True), (False, False)):
        torch.manual_seed(0)
        tqr = TQR(32, 259, TQRShape(literal_shift=shift, reward_weights=False))
        with torch.no_grad():
            before, after = (tqr(model, forest_hidden_states(model, f), f).mean[3] for f in (forest, changed))
        assert bool(torch.isclose(before, after)) is same


def test_reductions(parts):
    _, hidden, forest = parts
    torch.manual_seed(0)
    heads = {r: RewardHead(32, HeadShape(gaussian=True, reduction=r)) for r in ("last", "sum", "mean")}
    for head in heads.values():
        head.load_state_dict(heads["last"].state_dict())
    with torch.no_grad():
        tokens = heads["last"](hidden, forest)
        found = {r: head.of_branches(tokens, forest) for r, head in heads.items()}
    groups = [[0, 1, 2, 3], [4, 5], [6, 7, 8]]
    for i, own in enumerate(groups):
        torch.testing.assert_close(found["last"].mean[i], tokens.mean[own[-1]])
        torch.testing.assert_close(found["sum"].mean[i], tokens.mean[own].sum())
        torch.testing.assert_close(found["mean"].mean[i], tokens.mean[own].mean())
        torch.testing.assert_close(found["sum"].sigma[i], tokens.sigma[own].square().sum().sqrt())


def test_weighted_sigmas_have_a_floor(parts):
    _, hidden, forest = parts
    head = RewardHead(32, HeadShape(gaussian=True, weighting="bidirectional", mean_one=True))
    with torch.no_grad():
        head.key.weight.mul_(1e4)
        assert float(head(hidden, forest).sigma.min()) > 0.99e-4
