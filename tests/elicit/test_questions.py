"""The next question: mutual information on grids, stopping, speed."""

import math
import time

import numpy as np
import pytest

import pluralign as pl
from pluralign.elicit.interview import Interview
from pluralign.elicit.questions import expected_information, expected_regret
from pluralign.losses.choice import choice_log_probs

from .planted import answer, person, question, questions, units


def entropy(p):
    return -(p * np.log(np.where(p > 0, p, 1.0))).sum()


def test_information_is_the_expected_decrease_of_entropy(random):
    # A grid of equally probable parameters: Bayes' rule is exact.
    grid = random.uniform(0, 4, size=(40, 3))
    values = random.normal(size=(5, 4, 3))
    offered = np.ones((5, 4), bool)
    offered[1:3, 3] = False
    found = expected_information(values, offered, grid, 0.05)
    probabilities = np.exp(choice_log_probs(values, offered, grid, 0.05))
    for number in range(5):
        given = probabilities[:, number]
        expected = math.log(len(grid))
        for option in range(4):
            joint = given[:, option] / len(grid)
            if joint.sum() > 0:
                expected -= joint.sum() * entropy(joint / joint.sum())
        assert found[number] == pytest.approx(expected, abs=1e-12)


def test_information_of_sure_and_of_empty_answers():
    draws = np.array([[400.0, 0.0], [0.0, 400.0]])
    opposite = np.array([[[1.0, 0.0], [0.0, 1.0]]])
    offered = np.ones((1, 2), bool)
    assert expected_information(opposite, offered, draws)[0] == pytest.approx(math.log(2), abs=1e-12)
    assert expected_information(np.ones((1, 2, 2)), offered, draws)[0] == 0.0


def test_questions_with_a_best_option_are_left_out(random):
    clear, hard = question((2, 2), (0, 0)), question((1, 0), (0, 1))
    prior = pl.infer_weights([], ["a", "b"])
    assert pl.next_question(prior, [clear, hard]).index == 1
    assert pl.next_question(prior, [clear]) is None
    assert pl.next_question(prior, [clear], dominated=True).index == 0
    assert pl.next_question(prior, [clear, hard], asked=[hard.decision.key]) is None
    # Twice the words for the same information.
    long = pl.Question(pl.Decision("long", ("x", "y")), hard.values, cost=2.0)
    assert pl.next_question(prior, [long, hard]).index == 1
    with pytest.raises(pl.InputError, match="no value for b"):
        pl.next_question(prior, [question((1,), (0,))])


def test_ties_are_broken_by_the_seed(random):
    pool = [question((1, 0), (0, 1), number=n) for n in range(20)]
    prior = pl.infer_weights([], ["a", "b"])
    found = [pl.next_question(prior, pool, seed=seed).index for seed in range(8)]
    assert len(set(found)) > 2
    assert found == [pl.next_question(prior, pool, seed=seed).index for seed in range(8)]


def test_answers_make_questions_worth_less(random):
    pool = questions(random, 100, 2)
    _, theta = person(random, 2)
    choices, seen = [], []
    for _ in range(12):
        posterior = pl.infer_weights(choices, ["a", "b"], scales=units(2))
        following = pl.next_question(posterior, pool, asked=[c.question.decision.key for c in choices])
        seen.append(following)
        choices.append(answer(random, following.question, theta))
    assert seen[-1].information < 0.5 * seen[0].information
    assert seen[-1].regret < 0.3 * seen[0].regret
    assert seen[0].worth_asking
    known = pl.infer_weights(choices * 40, scales=units(2))
    assert not pl.next_question(known, pool).worth_asking


def test_an_interview_goes_on_while_a_dear_question_says_enough():
    cheap = question((0.08, 0), (0, 0.08), cost=1.0)
    dear = question((2, 0), (0, 2), number=1, cost=40.0)
    flat = pl.infer_weights([], ["a", "b"])
    assert pl.next_question(flat, [cheap, dear]).question is cheap
    held = Interview([cheap, dear], scales=units(2))
    turn = held.turn([])
    assert turn.suggestion.question is dear
    assert held.turn([pl.Choice(dear, 0)]).end == "information"


def test_regret_by_hand():
    prior = pl.infer_weights([], ["a", "b"], scales=units(2))
    # max(w, 1 - w) has mean 3/4 under uniform weights, each option 1/2.
    assert expected_regret(prior, [question((1, 0), (0, 1), may_tie=True)]) == pytest.approx(0.25, abs=0.02)


def weights_errors(objectives, people, pool_size, drawn_number):
    """Mean error of the weights, summed over objectives, after five chosen and after random questions."""
    random = np.random.default_rng(7)
    errors = {"chosen": [], "random": []}
    names = "abcde"[:objectives]
    for _ in range(people):
        weights, theta = person(random, objectives, 0.5)
        pool = questions(random, pool_size, objectives)
        drawn = [answer(random, one, theta) for one in pool[:drawn_number]]
        chosen = []
        for _ in range(5):
            known = pl.infer_weights(chosen, list(names), scales=units(objectives), draws=1024)
            best = pl.next_question(known, pool, asked=[c.question.decision.key for c in chosen])
            chosen.append(answer(random, best.question, theta))
        for kind, choices in (("chosen", chosen), ("random", drawn)):
            mean = pl.infer_weights(choices, scales=units(objectives), draws=1024).mean
            errors[kind].append(np.abs(mean.aligned_to(names) - weights).sum())
    return {kind: float(np.mean(own)) for kind, own in errors.items()}


@pytest.mark.parametrize("objectives", [2, 3])
def test_chosen_questions_tell_more_than_random_ones(objectives):
    found = weights_errors(objectives, 20, 100, 5)
    assert found["chosen"] < found["random"], found


@pytest.mark.slow
@pytest.mark.parametrize("objectives", [2, 3])
def test_five_chosen_questions_tell_as_much_as_twenty(objectives):
    found = weights_errors(objectives, 100, 300, 20)
    assert found["chosen"] < found["random"], found


@pytest.mark.slow
def test_a_question_among_a_thousand_takes_little_time(random):
    pool = questions(random, 1000, 5)
    posterior = pl.infer_weights([pl.Choice(one, 0) for one in pool[:5]])
    times = []
    for _ in range(7):
        began = time.process_time()
        pl.next_question(posterior, pool)
        times.append(time.process_time() - began)
    assert sorted(times)[3] < 0.05
