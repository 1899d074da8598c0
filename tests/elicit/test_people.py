"""Priors from other people, and utilities other than weighted sums."""

from dataclasses import replace

import numpy as np
import pytest

import pluralign as pl
from pluralign.elicit.many import infer_many
from pluralign.elicit.people import learn_prior
from pluralign.elicit.utilities import Comparison, Fit, compare_utilities
from pluralign.workflows.weights import WeightReport, report_weights

from .planted import answer, question, questions, units


def test_a_prior_is_learned_from_other_people(random):
    mean, deviation = np.array([1.0, 0.0, -1.0]), np.array([0.3, 0.5, 0.8])
    people = []
    for _ in range(40):
        theta = np.exp(random.normal(mean, deviation))
        people.append([answer(random, one, theta) for one in questions(random, 12, 3)])
    prior = learn_prior(people, scales=units(3))
    np.testing.assert_allclose(prior.mean, mean, atol=0.4)
    np.testing.assert_allclose(prior.deviation, deviation, atol=0.4)
    few = pl.infer_weights(people[0][:1], prior=prior, scales=units(3))
    assert few.mean["a"] > few.mean["b"] > few.mean["c"]
    with pytest.raises(pl.InputError, match="two people"):
        learn_prior([people[0], []])


def test_a_prior_from_few_people_does_not_claim_that_all_are_alike(random):
    # By a prior of the deviations that two or six people happen to have, 90 % intervals of others held 53 %
    # and 73 % of their weights.
    held = []
    for number in range(12):
        thetas = np.exp(random.normal([0.7, -0.4, 0.3], [0.5, 0.8, 0.4], size=(10, 3)))
        known = [[answer(random, one, theta) for one in questions(random, 8, 3)] for theta in thetas]
        prior = learn_prior(known[: 2 if number % 2 else 6], scales=units(3))
        assert min(prior.deviation) > 0.3
        for theta, own in zip(thetas[6:], known[6:], strict=True):
            found = pl.infer_weights(own, prior=prior, scales=units(3))
            ends = [found.interval(name) for name in found.objectives]
            held += [low <= own <= high for (low, high), own in zip(ends, theta / theta.sum(), strict=True)]
    assert np.mean(held) > 0.8


KINDS = {
    "worst objective": lambda g: 25 * g.min(axis=1),
    "lexicographic": None,
    None: lambda g: 12 * g @ [0.5, 0.3, 0.2],
}


@pytest.mark.parametrize("kind", KINDS)
def test_the_utility_that_answers_come_from_is_found(kind, random):
    choices = []
    for number in range(80):
        values = random.uniform(size=(3, 3))
        if kind == "lexicographic":
            values[:, 0] = values[:, 0].round(0)
            utilities = 4.0 * np.argsort(np.argsort(values[:, 0] * 10 + values[:, 1]))
        else:
            utilities = KINDS[kind](values)
        odds = np.exp(utilities - utilities.max())
        taken = int(random.choice(3, p=odds / odds.sum()))
        choices.append(pl.Choice(question(*values, number=number), taken))
    found = compare_utilities(choices)
    assert found.better == kind, found
    assert found.fits[0].lead >= 0


def test_answers_at_random_name_no_utility():
    # Of 40 people who gave twelve of them, leads of more than two standard errors named one for seven.
    random = np.random.default_rng(9)
    choices = [pl.Choice(one, int(random.integers(2))) for one in questions(random, 12, 2)]
    found = compare_utilities(choices)
    assert found.fits[0].lead > 2 * found.fits[0].lead_error
    assert found.better is None


def test_that_about_the_same_was_offered_changes_no_comparison_of_utilities(random):
    pool = questions(random, 12, 2, options=2)
    choices = [answer(random, one, np.array([3.0, 1.0])) for one in pool]
    offered = [replace(one, question=replace(one.question, may_tie=True)) for one in choices]
    assert compare_utilities(offered) == compare_utilities(choices)


def test_a_search_that_leaves_the_numbers_goes_on():
    # Of these random answers, the search for the strength of "worst objective" tries exp(710) and more.
    random = np.random.default_rng(18)
    random.dirichlet([1, 1])
    choices = []
    for number in range(30):
        asked = question(*random.normal(size=(2, 2)), number=number)
        choices.append(pl.Choice(asked, int(random.choice(2, p=[0.5, 0.5]))))
    assert all(np.isfinite(fit.log_likelihood) for fit in compare_utilities(choices).fits)


def test_comparisons_need_answers():
    with pytest.raises(pl.InputError, match="at least 10"):
        compare_utilities([pl.Choice(question((1, 0), (0, 1)), 0)] * 3)


def test_a_report_compares_utilities_with_the_lapses_of_its_posterior(random):
    pool = questions(random, 12, 2, options=2)
    choices = [answer(random, one, np.array([3.0, 1.0])) for one in pool]
    report = report_weights(pl.infer_weights(choices, lapse=0.4), choices)
    assert report.utilities == compare_utilities(choices, lapse=0.4) != compare_utilities(choices)


def test_a_report_has_the_lead_of_the_utility_that_it_names(random):
    choices = [answer(random, one, np.array([3.0, 1.0])) for one in questions(random, 12, 2)]
    posterior = pl.infer_weights(choices)
    # The best of all does not lead by more than chance.
    fits = (
        Fit("threshold", -0.1, 0.7, 0.4),
        Fit("power mean", -0.5, 0.3, 0.05),
        Fit("linear", -0.8, 0.0, 0.0),
    )
    report = WeightReport(posterior, choices, None, Comparison(fits, "power mean"))
    assert "explained better by power mean: +0.300 nats an answer (standard error 0.050)" in report.lines()


def test_a_prior_from_halves_needs_four_people(random):
    choices = [
        replace(answer(random, one, np.array([3.0, 1.0])), by=str(number % 3))
        for number, one in enumerate(questions(random, 9, 2))
    ]
    with pytest.raises(pl.InputError, match=r"field 'prior': .* four people or more, .* found 3"):
        infer_many(choices, prior="people")


def rated(random, values, ratings, tied=True):
    """Options of several questions with ratings, of which two are equal, so that they become pairs."""
    rows = [
        {"task": task, "rating": float(rating), "a": a, "b": b}
        for task, (own, numbers) in enumerate(zip(values, ratings, strict=True))
        for (a, b), rating in zip(own.tolist(), numbers, strict=True)
    ]
    if tied:
        rows[0]["rating"] = rows[1]["rating"]
    return pl.load_choices(rows, values=["a=a", "b=b"], rating="rating", question="task")


def test_the_pairs_of_one_ranking_are_predicted_from_other_rankings(random):
    values = random.normal(size=(10, 5, 2))
    choices = rated(random, values, [random.permutation(5) for _ in values])
    posterior = pl.infer_weights(choices, draws=2048)
    assert (len(choices), posterior.answers) == (100, 10)
    # A ranking at random tells its own pairs: more than half of them could be foretold by the others.
    assert posterior.explains.log_loss > posterior.explains.even_log_loss
    assert compare_utilities(choices).better is None
    # The order of the parts does not matter.
    mixed = [choices[place] for place in random.permutation(len(choices))]
    again = pl.infer_weights(mixed, draws=2048).explains
    assert again.log_loss == pytest.approx(posterior.explains.log_loss, abs=1e-6)


def test_pairs_of_few_rankings_compare_no_utilities(random):
    choices = rated(random, random.normal(size=(3, 5, 2)), [range(5)] * 3)
    with pytest.raises(pl.InputError, match="at least 10 choices, found 3"):
        compare_utilities(choices)
    assert report_weights(pl.infer_weights(choices), choices).utilities is None


def test_a_contradiction_names_rankings_by_their_numbers():
    best = np.array([[[2.0, 2.0], [1.0, 1.0], [0.0, 0.0]]] * 2)
    choices = rated(None, best, [(1, 1, 0), (0, 1, 2)])
    report = report_weights(pl.infer_weights(choices), choices)
    assert (report.clash.contradicting, report.clash.removed) == ((1,), (1,))
    assert (
        "  answer 2: question 1  option 2 > option 1; option 3 > option 1; option 3 > option 2"
        in report.lines()
    )
    assert "without 1 of the 2 answers, weights explain the others" in report.lines()
