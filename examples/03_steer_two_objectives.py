"""From random play to a steered policy: one agent per objective, trained once, and mixed by weights."""

import tempfile
from pathlib import Path

from pluralign import Annotation, SteeringWeights, UniformPolicy
from pluralign.annotate.comparisons import make_comparisons
from pluralign.annotate.oracle import Oracle
from pluralign.collect.roll_out import roll_out
from pluralign.evaluate.play import evaluate_policy
from pluralign.games.choicescript.load import load_story
from pluralign.games.choicescript.run.game import ChoiceScriptGame
from pluralign.games.harms import HARM_AVOIDANCE, SCORE
from pluralign.learn.options.cpl import CPLConfig, fit_cpl
from pluralign.lm.backbone import load_backbone
from pluralign.options.features import FeatureStore
from pluralign.pair.pairs import make_pairs
from pluralign.steer.steered_policy import SteeredPolicy

story = load_story("salt_ledger")
objectives = [SCORE, HARM_AVOIDANCE]
# A tiny random trunk suffices if every decision has been seen in training; try "smollm2-135m".
store = FeatureStore(load_backbone("tiny-random"))


def make_game() -> ChoiceScriptGame:
    return ChoiceScriptGame(story)


played = list(roll_out(make_game, UniformPolicy(), episodes=400, seed=0, objectives=objectives))
comparisons = make_comparisons(played, count=3000, seed=0)
agents = {}
with tempfile.TemporaryDirectory() as folder:
    for objective in objectives:
        ratings = Oracle(played).rate(comparisons, objective)
        annotations = [
            Annotation(comparison, objective.name, "oracle", rating.preference)
            for comparison, rating in zip(comparisons, ratings, strict=True)
            if rating is not None
        ]
        agents[objective.name] = fit_cpl(
            make_pairs(annotations, ties="soft", shares=(1, 0, 0)),
            store=store,
            out=Path(folder, objective.name),
            config=CPLConfig(steps=300, learning_rate=0.01, alpha=0.3),
        )
for score in (1.0, 0.5, 0.0):
    policy = SteeredPolicy(agents, SteeringWeights(score=score, harm_avoidance=1 - score))
    result = evaluate_policy(make_game, policy, episodes=100, seed=1, objectives=objectives)
    print(policy.name, {name: round(value.mean, 1) for name, value in result.returns.items()})
