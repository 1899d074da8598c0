"""Search with values that were learned: agents of one objective each, and one model of any weights."""

from __future__ import annotations

import numpy as np
import pytest
import torch

import pluralign as pl
from pluralign.core import InputError, SteeringWeights
from pluralign.options.features import DecisionFeatures
from pluralign.options.values import HeadShape, ValueHead, ValuePolicy, ValueUnits
from pluralign.steer.search.play import search_play
from pluralign.steer.search.values import LearnedValues

HALF = SteeringWeights(score=0.5, harm_avoidance=0.5)


@pytest.fixture(scope="module")
def salt():
    return pl.open_story("salt_ledger"), None


class Hashed:
    """Features of two numbers for each option, from its text."""

    dimension, fingerprint = 2, "hashed"

    def get(self, decisions):
        return [
            DecisionFeatures(
                np.array([[len(text), len(d.prompt)] for text in d.options], dtype=np.float32),
                np.zeros(len(d.options)), np.ones(len(d.options), dtype=np.int64),
            )
            for d in decisions
        ]  # fmt: skip


def _agent(name, *, conditioned=False, seed=0, objectives=("score", "harm_avoidance")):
    head = ValueHead(HeadShape(2, len(objectives), 4, 2, conditioned), seed)
    torch.nn.init.normal_(head.level, generator=torch.Generator().manual_seed(seed))
    units = ValueUnits(objectives, (200.0, 10.0)[: len(objectives)])
    weights = (
        SteeringWeights.uniform(objectives) if conditioned else SteeringWeights.one_hot(name, objectives)
    )
    return ValuePolicy(name, head, Hashed(), units, weights)


def test_learned_values_are_those_that_steer(salt):
    story, _ = salt
    agents = {"score": _agent("score"), "harm_avoidance": _agent("harm_avoidance", seed=1)}
    values, decision = LearnedValues(agents), story.make_game().decision
    assert values.scales == {"score": 200.0, "harm_avoidance": 10.0}
    np.testing.assert_allclose(
        values.rests(decision, None, HALF), pl.ValueSteeredPolicy(agents, HALF).totals([decision])[0]
    )
    found = search_play(story.make_game(), agents, HALF, budget=75)
    assert set(found.trajectory.returns()) == {"score", "harm_avoidance"}


def test_one_model_of_any_weights_serves_all_objectives(salt):
    story, _ = salt
    model = _agent("values", conditioned=True)
    single, both = LearnedValues(model), LearnedValues(dict.fromkeys(("score", "harm_avoidance"), model))
    decision = story.make_game().decision
    np.testing.assert_allclose(single.rests(decision, None, HALF), both.rests(decision, None, HALF))
    assert single.digest == both.digest != LearnedValues(_agent("values", conditioned=True, seed=1)).digest
    with pytest.raises(InputError, match="'score' was trained for fixed weights; give an agent"):
        LearnedValues(_agent("score"))
