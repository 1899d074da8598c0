"""Posteriors of weights: closed forms, identities, invariances, calibration."""

import math

import numpy as np
import pytest
from scipy.integrate import quad
from scipy.stats import chisquare

import pluralign as pl
from pluralign.elicit.choice_data import value_scales
from pluralign.elicit.posterior import log_likelihood
from pluralign.elicit.prior import LogNormalPrior, SimplexPrior

from .planted import answer, person, question, questions, units


def softplus(x):
    return math.log1p(math.exp(x))


def test_one_answer_of_two_objectives_has_a_closed_form():
    one, b = question((0.9, -0.3), (-0.4, 0.6)), 3.0
    d1, d2 = 1.3, -0.9
    posterior = pl.infer_weights(
        [pl.Choice(one, 0)], prior=SimplexPrior(b, 0.0), scales=units(2), lapse=0.0, draws=200_000
    )
    evidence = (softplus(b * d1) - softplus(b * d2)) / (b * (d1 - d2))
    assert math.exp(posterior.log_evidence) == pytest.approx(evidence, abs=1e-3)

    def likelihood(w):
        return 1 / (1 + math.exp(-b * (w * d1 + (1 - w) * d2)))

    area = quad(likelihood, 0, 1)[0]
    assert area == pytest.approx(evidence, abs=1e-9)
    mean = quad(lambda w: w * likelihood(w), 0, 1)[0] / area
    assert posterior.mean["a"] == pytest.approx(mean, abs=1e-3)
    low, high = posterior.interval("a", 0.8)
    assert quad(likelihood, 0, low)[0] / area == pytest.approx(0.1, abs=4e-3)
    assert quad(likelihood, 0, high)[0] / area == pytest.approx(0.9, abs=4e-3)


class Fixed:
    """A policy with given log-probabilities."""

    name = "fixed"

    def __init__(self, table):
        self.table = table

    def log_probs(self, decisions):
        return [self.table[one.key] for one in decisions]


def test_policies_with_decisiveness_one_are_the_geometric_mixture(random):
    decisions = [pl.Decision(f"{n}", tuple(f"{i}" for i in range(2 + n % 3))) for n in range(12)]
    tables = {}
    for name in ("a", "b", "c"):
        odds = [random.normal(size=len(one.options)) for one in decisions]
        tables[name] = {
            one.key: own - np.logaddexp.reduce(own) for one, own in zip(decisions, odds, strict=True)
        }
    policies = {name: Fixed(table) for name, table in tables.items()}
    taken = [int(random.integers(len(one.options))) for one in decisions]
    choices = [
        pl.Choice(
            pl.Question(
                one,
                tuple({k: float(tables[k][one.key][i]) for k in tables} for i in range(len(one.options))),
            ),
            action,
        )
        for one, action in zip(decisions, taken, strict=True)
    ]
    for weights in ({"a": 0.2, "b": 0.5, "c": 0.3}, {"a": 0.0, "b": 1.0, "c": 0.0}):
        mix = pl.SteeringWeights(weights)
        found = log_likelihood(choices, mix, 1.0, scales=units(3), lapse=0.0)
        steered = pl.SteeredPolicy(policies, mix).log_probs(decisions)
        expected = [own[action] for own, action in zip(steered, taken, strict=True)]
        np.testing.assert_allclose(found, expected, atol=1e-12)


def shifted(posterior, other):
    return max(abs(posterior.mean[name] - other.mean[name]) for name in posterior.mean)


def test_the_posterior_does_not_depend_on_how_answers_are_written(random):
    _, theta = person(random, 3)
    asked = [*questions(random, 8, 3), *questions(random, 4, 3, options=3)]
    choices = [answer(random, one, theta) for one in asked]
    found = pl.infer_weights(choices, scales=units(3))
    # Order of the answers.
    assert shifted(found, pl.infer_weights(choices[::-1], scales=units(3))) < 1e-6
    # Order of the options.
    turned = [
        pl.Choice(
            question(*[list(own.values()) for own in c.question.values[::-1]]),
            len(c.question.values) - 1 - c.answer,
        )
        for c in choices
    ]
    assert shifted(found, pl.infer_weights(turned, scales=units(3))) < 1e-6
    # Values and scale together.
    stretched = [
        pl.Choice(
            pl.Question(
                c.question.decision, tuple({**own, "b": 7.0 * own["b"]} for own in c.question.values)
            ),
            c.answer,
        )
        for c in choices
    ]
    assert shifted(found, pl.infer_weights(stretched, scales={**units(3), "b": 7.0})) < 1e-6
    # One answer is two that count half.
    halves = [pl.Choice(c.question, c.answer, weight=0.5) for c in choices for _ in range(2)]
    split = pl.infer_weights(halves, scales=units(3))
    assert shifted(found, split) < 1e-6
    assert split.log_evidence == pytest.approx(found.log_evidence, abs=1e-6)
    # Names and their order.
    named = pl.infer_weights(choices, ["c", "a", "b"], scales=units(3))
    assert shifted(found, named) < 0.02


def test_a_ranking_is_a_choice_among_what_is_left(random):
    one = questions(random, 1, 3, options=3)[0]
    values = [tuple(own.values()) for own in one.values]
    parts = [pl.Choice(one, 2), pl.Choice(question(values[0], values[1]), 0)]
    whole = pl.infer_weights([pl.Choice(one, (2, 0, 1))], scales=units(3))
    assert shifted(whole, pl.infer_weights(parts, scales=units(3))) < 1e-6
    assert whole.log_evidence == pytest.approx(
        pl.infer_weights([pl.Choice(one, (2, 0))], scales=units(3)).log_evidence
    )


def test_answers_about_the_same_bring_weights_together(random):
    apart = question((1.0, 0.0), (0.0, 1.0), may_tie=True)
    first = pl.infer_weights([pl.Choice(apart, 0)] * 4, scales=units(2))
    same = pl.infer_weights([pl.Choice(apart, "same")] * 4, scales=units(2))
    assert same.mean["a"] == pytest.approx(0.5, abs=0.02)
    assert first.mean["a"] > 0.7
    assert np.exp(same.shares @ same.tie_log) > 1.0 > np.exp(first.shares @ first.tie_log)
    # Davidson's probabilities.
    from pluralign.elicit.choice_data import choice_data
    from pluralign.losses.choice import choice_log_probs

    data = choice_data([pl.Choice(apart, "same")], ("a", "b"), units(2))
    log_probs = choice_log_probs(data.values, data.offered, np.array([[1.5, 0.5, math.log(0.7)]]))[0, 0]
    odds = np.array([math.exp(1.5), math.exp(0.5), 0.7 * math.exp(1.0)])
    np.testing.assert_allclose(np.exp(log_probs), odds / odds.sum(), atol=1e-12)


def test_objectives_that_questions_cannot_tell_apart_are_named(random):
    asked = [question((*own, own[1]), (*other, other[1])) for own, other in random.normal(size=(20, 2, 2))]
    choices = [answer(random, one, np.array([2.0, 0.4, 0.4])) for one in asked]
    posterior = pl.infer_weights(choices, scales=units(3))
    assert posterior.explains.undetermined == (("b", "c"),)
    assert posterior.explains.rank == 2
    # Along the difference the posterior is the prior: b and c are exchangeable, and their ratio is uniform.
    share = posterior.weights[:, 1] / posterior.weights[:, 1:].sum(axis=1)
    assert posterior.shares @ share == pytest.approx(0.5, abs=0.03)
    assert posterior.shares @ (share - 0.5) ** 2 == pytest.approx(1 / 12, abs=0.01)


@pytest.mark.parametrize("same", [0.5, 0.1])
def test_an_objective_whose_options_never_differ_has_scale_1(same):
    # The mean of three times 0.1 is not 0.1 in floating point.
    decision = pl.Decision("q", ("a", "b", "c"))
    values = tuple({"moving": float(place), "same": same} for place in range(3))
    posterior = pl.infer_weights([pl.Choice(pl.Question(decision, values), 2)])
    assert posterior.scales == {"moving": 1.0, "same": 1.0}


def test_an_objective_that_never_differs_leaves_the_others_as_they_are(random):
    # Three times 0.1 have the mean 0.10000000000000002.
    asked = [question(*np.c_[random.normal(size=(3, 2)), np.full(3, 0.1)], number=n) for n in range(9)]
    scales = value_scales(asked)
    assert scales["c"] == 1.0
    known = pl.infer_weights([answer(random, one, np.array([3.0, 1.0, 0.0])) for one in asked])
    assert known.effective_samples > 1000


@pytest.mark.parametrize("same", [0.0, 0.3])
def test_answers_at_random_are_not_explained_by_how_rarely_they_are_about_the_same(random, same):
    asked = questions(random, 40, 3, may_tie=True)
    dice = [pl.Choice(one, "same" if random.random() < same else int(random.integers(2))) for one in asked]
    found = pl.infer_weights(dice, scales=units(3)).explains
    assert found.log_loss > found.even_log_loss
    # By hand: as often "about the same" as among the others, and either option equally often.
    ties = np.array([one.answer == "same" for one in dice])
    share = (ties.sum() - ties + 1) / (len(dice) - 1 + 3)
    assert found.even_log_loss == pytest.approx(-np.log(np.where(ties, share, (1 - share) / 2)).mean())


def test_chance_knows_ties_where_only_some_questions_offer_them(random):
    mixed = [*questions(random, 5, 2, options=4), *questions(random, 3, 2, may_tie=True)]
    found = pl.infer_weights([pl.Choice(one, 0) for one in mixed], scales=units(2)).explains
    assert found.even_log_loss == pytest.approx((5 * math.log(4) + 3 * math.log(2 / (1 - 1 / 5))) / 8)


def test_explains_predicts_answers_from_the_others(random):
    theta = np.array([6.0, 0.5])
    asked = questions(random, 60, 2)
    good = pl.infer_weights([answer(random, one, theta) for one in asked], scales=units(2)).explains
    dice = pl.infer_weights([pl.Choice(one, int(random.integers(2))) for one in asked], scales=units(2))
    assert good.share > 0.85
    assert good.log_loss < 0.5 < good.even_log_loss == pytest.approx(math.log(2))
    assert dice.explains.share < 0.65
    assert dice.explains.log_loss > 0.6
    # One left out by hand.
    choices = [answer(random, one, theta) for one in asked[:6]]
    losses = [
        pl.infer_weights(choices, scales=units(2)).log_evidence
        - pl.infer_weights(choices[:n] + choices[n + 1 :], scales=units(2)).log_evidence
        for n in range(6)
    ]
    found = pl.infer_weights(choices, scales=units(2)).explains
    assert found.log_loss == pytest.approx(-np.mean(losses), abs=0.01)


def test_a_ranking_is_predicted_from_the_other_rankings(random, monkeypatch):
    # One ranking follows one objective, the other the other.
    asked = questions(random, 2, 2, options=4)
    choices = [
        pl.Choice(one, tuple(sorted(range(4), key=lambda place: -one.values[place][name])))
        for one, name in zip(asked, "ab", strict=True)
    ]
    found = pl.infer_weights(choices, scales=units(2), lapse=0.0).explains
    losses, right = [], []
    for n, choice in enumerate(choices):
        others = pl.infer_weights(choices[:n] + choices[n + 1 :], scales=units(2), lapse=0.0)
        values = np.array([list(own.values()) for own in choice.question.values])
        left = list(range(4))
        for place in choice.ranking[:-1]:
            utilities = others.theta @ values[left].T
            odds = np.exp(utilities - utilities.max(axis=1, keepdims=True))
            probability = others.shares @ (odds / odds.sum(axis=1, keepdims=True))
            losses.append(-np.log(probability[left.index(place)]))
            right.append(probability.argmax() == left.index(place))
            left.remove(place)
    assert found.log_loss == pytest.approx(np.mean(losses), abs=0.05)
    assert found.share == pytest.approx(np.mean(right), abs=1e-9)
    # A part has whole rankings.
    monkeypatch.setattr("pluralign.elicit.explanation._AT_ONCE", 1)
    again = pl.infer_weights(choices, scales=units(2), lapse=0.0).explains
    assert again.log_loss == pytest.approx(found.log_loss)


def test_without_answers_the_posterior_is_the_prior():
    flat = pl.infer_weights([], ["a", "b", "c"])
    assert max(abs(weight - 1 / 3) for weight in flat.mean.values()) < 0.02
    low, high = flat.interval("a")
    # Beta(1, 2).
    assert low == pytest.approx(1 - math.sqrt(0.95), abs=0.01)
    assert high == pytest.approx(1 - math.sqrt(0.05), abs=0.03)
    assert flat.explains is None
    own = pl.infer_weights([], ["a", "b"], prior=LogNormalPrior((1.0, 0.0), (0.2, 0.3)))
    assert own.log_evidence == pytest.approx(0.0, abs=0.02)
    assert own.shares @ np.log(own.theta[:, 0]) == pytest.approx(1.0, abs=0.02)


@pytest.mark.parametrize("objectives", [2, 3, 5])
@pytest.mark.parametrize("people", [60, pytest.param(1000, marks=pytest.mark.slow)])
def test_ranks_of_true_weights_are_uniform(objectives, people):
    """Simulation-based calibration (Talts et al. 2018)."""
    random = np.random.default_rng(objectives)
    ranks, covered = [], 0
    for _ in range(people):
        weights, theta = person(random, objectives)
        choices = [answer(random, one, theta) for one in questions(random, 8, objectives)]
        posterior = pl.infer_weights(choices, scales=units(objectives), draws=2048)
        ranks.append(posterior.shares @ (posterior.weights[:, 0] < weights[0]))
        low, high = posterior.interval("a")
        covered += low <= weights[0] <= high
    counts = np.histogram(ranks, bins=20 if people >= 1000 else 6, range=(0, 1))[0]
    assert chisquare(counts).pvalue > 0.001
    assert 0.8 < covered / people < 0.98


def test_what_cannot_be_inferred_is_refused():
    one = question((1, 0), (0, 1))
    with pytest.raises(pl.InputError, match="values for a, b"):
        pl.infer_weights([pl.Choice(one, 0)], ["a", "c"])
    with pytest.raises(pl.InputError, match="two objectives"):
        pl.infer_weights([pl.Choice(question((1,), (0,)), 0)])
    with pytest.raises(pl.InputError, match="no questions"):
        pl.infer_weights([])
    with pytest.raises(pl.InputError, match=r"scales\.b"):
        pl.infer_weights([pl.Choice(one, 0)], scales={"a": 1.0})
    with pytest.raises(pl.InputError, match="lapse"):
        pl.infer_weights([pl.Choice(one, 0)], lapse=1.0)
    with pytest.raises(pl.InputError, match="objectives"):
        pl.infer_weights([pl.Choice(one, 0)], prior=LogNormalPrior((0.0,) * 3, (1.0,) * 3))
    with pytest.raises(pl.InputError, match="answer"):
        pl.Choice(one, 2)
    with pytest.raises(pl.InputError, match="answer"):
        pl.Choice(one, "same")
    with pytest.raises(pl.InputError, match=r"values\[1\]\.b"):
        question((1, 0), (0, math.nan))
