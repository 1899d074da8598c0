"""Cloning that imitates more what did better than its siblings."""

import importlib.util
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from pluralign.core import Decision, InputError, Objective, Step, Trajectory
from pluralign.core.returns import last_reward_known
from pluralign.folders.card import load_card
from pluralign.learn.options.bc import BCConfig, fit_bc, step_weights
from pluralign.learn.options.tables import DecisionIndex, encode_trajectories

_spec = importlib.util.spec_from_file_location("toy", Path(__file__).parent / "toy.py")
toy = importlib.util.module_from_spec(_spec)
_spec.loader.exec_module(toy)

TREASURE = Objective("treasure", "Treasure is found.")
SHORT = BCConfig(steps=200, hidden=0, learning_rate=3e-2, batch_size=128, beta=0.3)


def _played(chain, count):
    rng = np.random.default_rng(0)
    return [chain.roll(rng, str(i)) for i in range(count)]


def test_it_finds_more_than_what_it_imitates(tmp_path):
    chain = toy.Chain(0)
    played = _played(chain, 150)
    values = {
        name: chain.value(
            chain.table(
                fit_bc(
                    played, store=toy.OneHot(chain), out=tmp_path / name, objective=objective, config=config
                )
            )
        )
        for name, objective, config in (
            ("alike", None, replace(SHORT, beta=BCConfig.beta)),
            ("weighted", TREASURE, SHORT),
        )
    }
    best, random = chain.value(None), float(np.mean([t.returns()["treasure"] for t in played]))
    assert abs(values["alike"] - random) < 0.15 * (best - random)
    assert values["weighted"] > random + 0.5 * (best - random)
    assert load_card(tmp_path / "weighted").objective == "treasure"
    assert "beta" not in load_card(tmp_path / "alike").config
    with pytest.raises(InputError, match="weighs steps by the advantages of an objective"):
        fit_bc(played, store=toy.OneHot(chain), out=tmp_path / "x", config=SHORT)


def test_steps_of_episodes_that_were_cut_off_are_left_out():
    chain = toy.Chain(0)
    played = _played(chain, 3)
    cut = Trajectory("cut", "c", "r", 0, played[0].steps[:2], terminated=False, truncated=True)
    table = encode_trajectories([*played, cut], DecisionIndex())
    weights = step_weights([*played, cut], TREASURE, table, 1.0)
    assert weights[-2:].tolist() == [0, 0]
    assert bool((weights[:-2] > 0).all())
    whole = encode_trajectories(played, DecisionIndex())
    torch.testing.assert_close(step_weights(played, TREASURE, whole, 1.0), weights[:-2])
    with pytest.raises(InputError, match="cut off"):
        step_weights([cut], TREASURE, encode_trajectories([cut], DecisionIndex()), 1.0)
    with pytest.raises(InputError, match="have no rewards for it"):
        step_weights(played, Objective("gold", "Gold."), whole, 1.0)


def test_options_that_do_equally_well_are_imitated_alike():
    # 0.1 + 0.2 is not 0.3 in floating point.
    first, second = Decision("a", ("x", "y")), Decision("b", ("x", "y"))
    rewards = [{"treasure": value} for value in (0.1, 0.2, 0.3)]
    episodes = [
        Trajectory("e", "s", "p", 0, (Step(first, 0, rewards[0]), Step(second, 0, rewards[1])), True),
        Trajectory("f", "s", "p", 0, (Step(first, 0, rewards[0]), Step(second, 1, rewards[1])), True),
        *(Trajectory(f"g{i}", "s", "p", 0, (Step(first, 1, rewards[2]),), True) for i in range(3)),
    ]
    table = encode_trajectories(episodes, DecisionIndex())
    assert step_weights(episodes, TREASURE, table, 0.5).tolist() == [1.0] * 7


def test_last_steps_whose_reward_is_not_known_are_left_out():
    played = _played(toy.Chain(0), 3)
    imported = [replace(one, info={"last_step": "points"}) for one in played]
    table = encode_trajectories(imported, DecisionIndex())
    weights = step_weights(imported, TREASURE, table, 1.0)
    lasts = np.cumsum([len(one.steps) for one in played]) - 1
    assert weights[lasts].tolist() == [0, 0, 0]
    assert int((weights == 0).sum()) == 3


def test_what_is_known_of_the_last_step():
    (one,) = _played(toy.Chain(0), 1)
    score = Objective("score", "Points.", {"points": 1.0})
    harm = Objective("harm_avoidance", "No harm.", {"points": 1.0, "violations.stealing": -1.0})
    known = {
        kind: [last_reward_known(replace(one, info={"last_step": kind}), own) for own in (score, harm, None)]
        for kind in ("whole", "points", "nothing")
    }
    assert known == {"whole": [True] * 3, "points": [True, False, False], "nothing": [False] * 3}
    assert last_reward_known(one)
