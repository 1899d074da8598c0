"""The calibrated dial, on policies that are tilted by their objectives with different strengths."""

from dataclasses import replace

import numpy as np
import pytest

import pluralign as pl
from pluralign.elicit.calibration import Calibration, calibrate
from pluralign.elicit.grounding import questions_by_returns
from pluralign.games.state_graph import explore

from .planted import questions


class Tilted:
    """pi(x) proportional to exp(strength times the value of one objective)."""

    def __init__(self, pool, name, strength):
        self.name = name
        self._odds = {
            one.decision.key: strength * np.array([own[name] for own in one.values]) for one in pool
        }

    def log_probs(self, decisions):
        odds = [self._odds[one.key] for one in decisions]
        return [own - np.logaddexp.reduce(own) for own in odds]


@pytest.mark.parametrize("strengths", [(2.0, 6.0), (2.0, 6.0, 3.0)])
def test_dials_are_weights_divided_by_strengths(random, strengths):
    names = "abc"[: len(strengths)]
    pool = questions(random, 150, len(strengths), options=3)
    policies = {name: Tilted(pool, name, own) for name, own in zip(names, strengths, strict=True)}
    mixture = pl.SteeredPolicy(policies, pl.SteeringWeights.uniform(names))
    found = calibrate(pool, mixture.with_weights, steps=8)
    scales = np.array([found.scales[name] for name in names])
    implied = found.dials * np.array(strengths) * scales
    implied /= implied.sum(axis=1, keepdims=True)
    np.testing.assert_allclose(found.implied, implied, atol=1e-3)
    wanted = np.array([0.5, 0.5] if len(names) == 2 else [0.4, 0.3, 0.3])
    dial, apart = found.dial(pl.SteeringWeights(dict(zip(names, wanted.tolist(), strict=True))))
    exact = wanted / np.array(strengths) / scales
    np.testing.assert_allclose(dial.aligned_to(names), exact / exact.sum(), atol=0.06)
    assert apart < 0.05
    with pytest.raises(pl.InputError, match="unknown objective"):
        found.dial(pl.SteeringWeights(other=1.0))


def test_about_the_same_is_no_option_of_a_mixture(random):
    pool = questions(random, 30, 3, options=2)
    policies = {name: Tilted(pool, name, own) for name, own in zip("abc", (2.0, 6.0, 3.0), strict=True)}
    mixture = pl.SteeredPolicy(policies, pl.SteeringWeights.uniform("abc"))
    found, offered = (
        calibrate([replace(one, may_tie=ties) for one in pool], mixture.with_weights, steps=3)
        for ties in (False, True)
    )
    np.testing.assert_array_equal(offered.implied, found.implied)
    assert offered.dial(pl.SteeringWeights.uniform("abc")) == found.dial(pl.SteeringWeights.uniform("abc"))


def test_options_of_a_story_are_worth_what_they_leave_attainable():
    story = pl.open_story("glass_quarter")
    objectives = story.info.select(("score", "harm_avoidance"))
    graph = explore(story.make_game())
    pool = {one.decision.key: one for one in questions_by_returns(graph, objectives)}
    front = pl.exact_front(graph, objectives)
    first = graph.decisions[int(graph.decision_of[graph.start])]
    best = np.array([[own["score"], own["harm_avoidance"]] for own in pool[first.key].values]).max(axis=0)
    np.testing.assert_allclose(best, front.best)


@pytest.mark.parametrize("objectives", [3, 4, 5])
def test_a_mixture_that_acts_by_its_dial_has_every_dial(random, objectives):
    names = tuple("abcdefgh"[:objectives])
    dials = np.array([one.aligned_to(names) for one in pl.simplex_grid(list(names), 4)])
    found = Calibration(names, dials, dials, dict.fromkeys(names, 1.0))
    for wanted in (np.full(objectives, 1 / objectives), random.dirichlet(np.ones(objectives))):
        dial, off = found.dial(pl.SteeringWeights(dict(zip(names, wanted.tolist(), strict=True))))
        assert off < 0.01
        assert np.abs(dial.aligned_to(names) - wanted).sum() < 0.01
