"""Wrong arguments of play, of answers and of learners over options are one error that names them."""

import math
from functools import partial

import numpy as np
import pytest
import torch

import pluralign as pl
from pluralign.collect.drrn_training import train_drrn
from pluralign.learn.options.avril import fit_avril
from pluralign.lm.backbone import make_tiny_backbone
from pluralign.options.features import FeatureStore


def test_play():
    make_game = pl.open_story("salt_ledger").make_game
    random, score = pl.UniformPolicy(), make_game().info.objective("score")
    given = {"make_game": make_game, "policy": random, "episodes": 2, "seed": 0, "objectives": [score]}
    for call in (lambda **found: list(pl.roll_out(**found)), pl.evaluate_policy):
        for name, values in {
            "make_game": (None, make_game(), "salt_ledger"), "seed": (None, "x", 1.5), "batch": (1.5,),
            "policy": (None, "random", pl.UniformPolicy), "episodes": (None, "x", 2.5),
            "objectives": (None, 3, score, ["score"], "score"), "max_steps": ("x", 2.5),
        }.items():  # fmt: skip
            for value in values:
                with pytest.raises(pl.InputError, match=f"field '{name}'"):
                    call(**{**given, name: value})
    with pytest.raises(pl.InputError, match="must not be negative"):
        pl.roll_out(**{**given, "episodes": -1})

    class Own:
        name = "own"

        def __init__(self, answer):
            self.log_probs = lambda decisions: [answer(len(one.options)) for one in decisions]

    first = make_game().decision
    for answer in (torch.ones, lambda options: [math.nan] * options, lambda options: [0.0], lambda _: None):
        with pytest.raises(pl.InputError, match="policy 'own'"):
            pl.evaluate_policy(**{**given, "policy": Own(answer)})
        half = pl.SteeringWeights(score=0.5, harm_avoidance=0.5)
        with pytest.raises(pl.InputError, match="policy 'own'"):
            pl.steered({"score": Own(answer), "harm_avoidance": random}, half).log_probs([first])
    for policies in ({"score": "random"}, {"score": pl.UniformPolicy}, {"score": None}):
        with pytest.raises(pl.InputError, match=r"field 'policies\.score': expected a policy"):
            pl.steered(policies, pl.SteeringWeights(score=1.0))
    with pytest.raises(pl.InputError, match="field 'weights': expected SteeringWeights"):
        pl.steered({"score": random}, {"score": 1.0})


def test_choices_and_dials():
    question = pl.Question(pl.Decision("Say:", ("a", "b")), ({"x": 1.0, "y": 0.0}, {"x": 0.0, "y": 1.0}))
    for answer in (1.0, True, None, "a", 2, (0, 0), [0.0, 1.0]):
        with pytest.raises(pl.InputError, match="field 'answer'"):
            pl.Choice(question, answer)
    assert type(pl.Choice(question, np.int64(1)).answer) is int
    assert pl.Choice(question, [np.int64(1), 0]).answer == (1, 0)
    choices = [pl.Choice(question, 0)]
    posterior = pl.infer_weights(iter(choices))
    for call in (lambda: pl.Choice(choices[0], 0), lambda: pl.next_question(posterior, choices)):
        with pytest.raises(pl.InputError, match="expected a Question, found Choice"):
            call()
    with pytest.raises(pl.InputError, match="row 1: expected a Choice, found 3"):
        pl.infer_weights([3])
    grid = pl.simplex_grid(["x", "y"], 2)
    outcomes = [[0.0, 1.0], [0.75, 0.75], [1.0, 0.0]]
    with pytest.raises(pl.InputError, match=r"row 1: expected SteeringWeights, found \{'x'"):
        pl.fit_surrogate([dict(weights) for weights in grid], outcomes)
    dial = pl.fit_surrogate(iter(grid), outcomes)
    for call in (dial.at, dial.weights_for, lambda wish: pl.Calibrated(dial).suggest(["hi"], wish)):
        with pytest.raises(pl.InputError, match=r"expected SteeringWeights, found \{'x'"):
            call({"x": 0.5, "y": 0.5})


def test_comparisons_and_pairs():
    game = pl.open_story("salt_ledger")
    score = game.info.objective("score")
    played = list(pl.roll_out(game.make_game, pl.UniformPolicy(), episodes=9, seed=0, objectives=[score]))
    compared = pl.make_comparisons(iter(played), count=3, seed=0)
    with pytest.raises(pl.InputError, match="field 'trajectories'"):
        pl.Oracle(3)
    with pytest.raises(pl.InputError, match="field 'objective': expected Objective, found 'score'"):
        pl.Oracle(played).rate(compared, "score")
    ratings = pl.Oracle(iter(played)).rate(iter(compared), score)
    said = [
        pl.Annotation(one, "score", "oracle", own.preference)
        for one, own in zip(compared, ratings, strict=True)
    ]
    assert pl.make_pairs(iter(said), ties="soft").rows == pl.make_pairs(said, ties="soft").rows
    for rows in (None, 3, "x", [3]):
        with pytest.raises(pl.InputError, match="expected a"):
            pl.make_pairs(rows)
    assert len(pl.sibling_pairs(iter(played), score)) == len(pl.sibling_pairs(played, score))


def test_nouns():
    for options in ("yes", ("yes", 3), None, 3, ()):
        with pytest.raises(pl.InputError, match="field 'options'"):
            pl.Decision("Say:", options)
    with pytest.raises(pl.InputError, match="field 'prompt'"):
        pl.Decision(None, ("yes",))
    for action in (1.0, True, "no", None, 2, -1):
        with pytest.raises(pl.InputError, match="field 'action'"):
            pl.Step(pl.Decision("Say:", ("yes", "no")), action)
    for name, values in {"name": (None, 3), "description": (None, 3), "coefficients": (3, [])}.items():
        for value in values:
            with pytest.raises(pl.InputError, match=f"field '{name}'"):
                pl.Objective(**{"name": "a", "description": "b", name: value})
    with pytest.raises(pl.InputError, match="field 'steps'"):
        pl.simplex_grid(["a", "b"], 2.0)
    for points in ([["a", "b"]], [[1, 2], [1]], None):
        with pytest.raises(pl.InputError, match="expected finite points"):
            pl.pareto_front(points)


def test_stories_and_learners_over_options(tmp_path):
    for story in (None, 3, ["x"], "", b"x"):
        with pytest.raises(pl.InputError, match="field 'path_or_name'"):
            pl.open_story(story)
    game = pl.open_story("salt_ledger")
    score = game.info.objective("score")
    played = list(pl.roll_out(game.make_game, pl.UniformPolicy(), episodes=2, seed=0, objectives=[score]))
    store = FeatureStore(make_tiny_backbone())
    for fit in (pl.fit_bc, pl.fit_cpl, fit_avril):
        for name, values in {
            "out": (None, 3, ""), "seed": (-1, "x", None, 2**70), "config": (3, "x"), "name": (3,),
        }.items():  # fmt: skip
            for value in values:
                with pytest.raises(pl.InputError, match=f"field '{name}'"):
                    fit(played, **{"store": store, "out": tmp_path / "out", name: value})
        for rows in (None, 3, "x"):
            with pytest.raises(pl.InputError, match="expected a sequence"):
                fit(rows, store=store, out=tmp_path / "out")
    for fit in (pl.fit_bc, fit_avril, partial(pl.fit_q, objectives=[score])):
        for wrong in (pl.Models("tiny-random"), "tiny-random", None):
            with pytest.raises(pl.InputError, match="field 'store': expected features, such as Models"):
                fit(played, store=wrong, out=tmp_path / "out")
    with pytest.raises(pl.InputError, match="field 'objectives': expected objectives, found 'score'"):
        pl.fit_q(played, store=store, out=tmp_path / "out", objectives=["score"])
    with pytest.raises(pl.InputError, match=r"field 'policies\.score': expected a policy, found 3"):
        pl.load_agents({"score": 3})
    for fit in (pl.fit_bc, fit_avril):
        with pytest.raises(pl.InputError, match="row 1: expected a Trajectory, found 3"):
            fit([played[0], 3], store=store, out=tmp_path / "out")
    for name, values in {"seed": (-1, "x", None), "config": (3,), "make_game": ()}.items():
        for value in values:
            with pytest.raises(pl.InputError, match=f"field '{name}'"):
                train_drrn(game.make_game, store, **{"seed": 0, name: value})
    assert not list(tmp_path.iterdir())
