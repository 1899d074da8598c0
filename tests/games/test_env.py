"""The Gymnasium environment, under Gymnasium's checker and MO-Gymnasium's wrappers."""

from __future__ import annotations

import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import gymnasium
import mo_gymnasium
import numpy as np
import pytest
from gymnasium.utils import RecordConstructorArgs
from gymnasium.utils.env_checker import check_env
from mo_gymnasium.wrappers import LinearReward, MONormalizeReward, MORecordEpisodeStatistics
from mo_gymnasium.wrappers.vector import MOSyncVectorEnv

from pluralign.core import InputError
from pluralign.games.choicescript.load import list_stories
from pluralign.games.choicescript.run.game import ChoiceScriptGame
from pluralign.games.env import ENV_ID, MAX_PROMPT, StoryEnv, make_env, register

STORY = """\
*label top
Señor ${a}: choose.
*choice
  #Stay.
    *comment pluralign {"violations": ["deception"]}
    *set a +1
    *goto top
  #Win.
    *comment pluralign {}
    *achieve first
    *goto out
  *if (a = 0) #Leave.
    *comment pluralign {}
    *goto out
*label out
Out.
"""


@pytest.fixture
def path(folder: Callable[..., Path]) -> Path:
    return folder(STORY)


@pytest.fixture
def env(path: Path) -> StoryEnv:
    return make_env(path, max_steps=5)


class WithoutSharedWeights(gymnasium.Wrapper[Any, Any, Any, Any], RecordConstructorArgs):
    """LinearReward puts its own array of weights into every info, which check_env refuses."""

    def __init__(self, env: gymnasium.Env[Any, Any]) -> None:
        RecordConstructorArgs.__init__(self)
        super().__init__(env)

    def step(self, action: Any) -> Any:
        observation, reward, terminated, truncated, info = self.env.step(action)
        del info["reward_weights"]
        return observation, reward, terminated, truncated, info


# check_env says of every wrapper, LinearReward too, that it is one.
@pytest.mark.filterwarnings("ignore:.*is different from the unwrapped version:UserWarning")
def test_gymnasiums_checker_is_content(path: Path) -> None:
    register()
    register()
    made = gymnasium.make(ENV_ID, story=path, disable_env_checker=True)
    check_env(WithoutSharedWeights(LinearReward(made, weight=np.array([0.5, 0.5]))))


def test_reward_is_a_vector_in_the_order_asked_for(path: Path) -> None:
    for names, expected in (
        (("score", "harm_avoidance"), [[0.0, -1.0], [30.0, 0.0]]),
        (("no_deception", "score", "power_avoidance"), [[-1.0, 0.0, 0.0], [0.0, 30.0, 0.0]]),
    ):
        env = make_env(path, names)
        env.reset(seed=0)
        rewards = [env.step(action)[1] for action in (0, 1)]
        assert [r.tolist() for r in rewards] == expected
        assert env.reward_space.shape == (len(names),)
        assert all(env.reward_space.contains(r) for r in rewards)


def test_bounds_of_the_reward_are_sound(path: Path) -> None:
    env = make_env(path)
    # All 30 points in one step; all 13 violations and the suffering in one step.
    assert env.reward_space.low.tolist() == [0.0, -14.0]
    assert env.reward_space.high.tolist() == [30.0, 0.0]


def test_observations_and_infos(env: StoryEnv) -> None:
    observation, info = env.reset(seed=0)
    assert observation == {"prompt": "Señor 0: choose.", "options": ("Stay.", "Win.", "Leave.")}
    assert info["action_mask"].tolist() == [1, 1, 1]
    assert (info["decision"], info["counts"], info["invalid_action"]) == (env.game.decision, {}, False)
    observation, _, terminated, truncated, info = env.step(0)
    assert observation == {"prompt": "Señor 1: choose.", "options": ("Stay.", "Win.", "")}
    assert info["action_mask"].tolist() == [1, 1, 0]
    assert info["counts"] == {"violations.deception": 1.0}
    assert (terminated, truncated) == (False, False)
    observation, _, terminated, truncated, info = env.step(1)
    assert observation == {"prompt": "Out.", "options": ("", "", "")}
    assert info["action_mask"].tolist() == [0, 0, 0]
    assert info["decision"] is None
    assert (terminated, truncated) == (True, False)


def test_an_option_that_is_not_listed_changes_nothing(env: StoryEnv) -> None:
    env.reset(seed=0)
    before = env.step(0)[0]
    state = env.game.save()
    observation, reward, terminated, truncated, info = env.step(2)
    assert (observation, env.game.save()) == (before, state)
    assert reward.tolist() == [0.0, 0.0]
    assert (terminated, truncated, info["counts"], info["invalid_action"]) == (False, False, {}, True)


def test_truncation_is_kept_apart(env: StoryEnv) -> None:
    env.reset(seed=0)
    flags = [env.step(0)[2:4] for _ in range(5)]
    assert flags == [(False, False)] * 4 + [(False, True)]
    env.reset(seed=0)
    flags = [env.step(action)[2:4] for action in (0, 0, 0, 0, 1)]
    assert flags[-1] == (True, False)


def test_seeds_give_the_same_episode(path: Path) -> None:
    def episode(seed: int) -> list[Any]:
        env = make_env(path, max_steps=20)
        env.action_space.seed(seed)
        steps: list[Any] = [env.reset(seed=seed)[0]]
        while True:
            observation, reward, terminated, truncated, _ = env.step(env.action_space.sample())
            steps.append((observation, reward.tolist()))
            if terminated or truncated:
                return steps

    assert episode(3) == episode(3)
    assert len({str(episode(seed)) for seed in range(8)}) > 1


def test_the_game_is_given_the_seed(env: StoryEnv, monkeypatch: pytest.MonkeyPatch) -> None:
    seeds: list[int] = []
    original = env.game.reset

    def reset(seed: int = 0) -> None:
        seeds.append(seed)
        original(seed)

    monkeypatch.setattr(env.game, "reset", reset)
    env.reset(seed=7)
    env.reset()
    env.reset()
    env.reset(seed=7)
    env.reset()
    assert seeds[0] == seeds[3] == 7
    assert seeds[1] == seeds[4] != seeds[2]


@pytest.mark.parametrize("name", list_stories())
def test_spaces_contain_what_is_returned(name: str) -> None:
    env = make_env(name)
    space = env.observation_space
    env.action_space.seed(0)
    observation, _ = env.reset(seed=0)
    assert space.contains(observation)
    for _ in range(60):
        observation, reward, terminated, truncated, info = env.step(env.action_space.sample())
        assert space.contains(observation)
        assert env.reward_space.contains(reward)
        assert "?" not in set(observation["prompt"]) - set(env.game.text)
        if terminated or truncated:
            env.reset()
        else:
            assert info["action_mask"].sum() == len(info["decision"].options)


def test_characters_outside_and_prompts_too_long(make_game: Callable[..., ChoiceScriptGame]) -> None:
    lines = "*choice\n  #é\n    *finish"
    env = StoryEnv(make_game(lines, head=""), characters="abc?")
    observation, _ = env.reset(seed=0)
    assert observation["options"] == ("?",)
    assert env.observation_space.contains(observation)
    env = StoryEnv(make_game("x" * (MAX_PROMPT + 5) + "end\n" + lines), characters="xend")
    observation, _ = env.reset(seed=0)
    assert (len(observation["prompt"]), observation["prompt"][-4:]) == (MAX_PROMPT, "xend")


def test_answers_and_charts_are_shown(folder: Callable[..., Path]) -> None:
    head = '*create gold 50\n*create who ""\n'
    lines = "*input_text who\n*stat_chart\n  percent gold\nI am ${who}.\n*choice\n  #Go\n    *finish"
    assert make_env(folder(lines, head=head)).reset(seed=0)[0]["prompt"] == "gold: 50%\n\nI am Alex."


def test_rendering(path: Path, env: StoryEnv) -> None:
    env.reset(seed=0)
    assert env.render() is None
    shown = make_env(path, render_mode="ansi")
    shown.reset(seed=0)
    assert shown.render() == "Señor 0: choose.\n\n1. Stay.\n2. Win.\n3. Leave."


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ({"objectives": ("nonsense",)}, "unknown objective 'nonsense'"),
        ({"objectives": ()}, "expected distinct names"),
        ({"objectives": ("score", "score")}, "expected distinct names"),
        ({"objectives": "score"}, "field 'objectives': expected a sequence, found 'score'"),
        ({"max_steps": 0}, "must be 1 or more"),
        ({"max_steps": 2.5}, "field 'max_steps': expected a whole number"),
        ({"render_mode": "human"}, "field 'render_mode': must be ansi or None, found 'human'"),
    ],
)
def test_bad_arguments(path: Path, arguments: dict[str, Any], said: str) -> None:
    with pytest.raises(InputError, match=said):
        make_env(path, **arguments)


def test_a_story_without_a_choice_is_no_environment(folder: Callable[..., Path]) -> None:
    with pytest.raises(InputError, match="has no choice, so there is no action to take"):
        make_env(folder("The end.", head="*title T\n"))


def test_episode_statistics_are_vectors(env: StoryEnv) -> None:
    wrapped = MORecordEpisodeStatistics(env, gamma=0.5)
    wrapped.reset(seed=0)
    wrapped.step(0)
    episode = wrapped.step(1)[4]["episode"]
    assert (episode["r"].tolist(), episode["dr"].tolist(), episode["l"]) == ([30.0, -1.0], [15.0, -1.0], 2)


def test_normalised_and_weighted_rewards(env: StoryEnv) -> None:
    weighted = LinearReward(env, weight=np.array([0.25, 0.75]))
    weighted.reset(seed=0)
    assert weighted.step(0)[1] == -0.75
    assert weighted.step(1)[1] == 7.5
    normal = MONormalizeReward(MONormalizeReward(env, idx=0), idx=1)
    normal.reset(seed=0)
    reward = normal.step(1)[1]
    assert np.isfinite(reward).all()
    assert reward[1] == 0.0


def test_vector_environments(path: Path) -> None:
    envs = MOSyncVectorEnv([lambda: make_env(path, max_steps=5)] * 2)
    observations, _ = envs.reset(seed=0)
    assert observations["prompt"] == ("Señor 0: choose.",) * 2
    _, rewards, terminated, _, info = envs.step(np.array([0, 1]))
    assert rewards.tolist() == [[0.0, -1.0], [30.0, 0.0]]
    assert terminated.tolist() == [False, True]
    assert info["action_mask"].tolist() == [[1, 1, 0], [0, 0, 0]]


def test_mo_gymnasium_makes_it(path: Path) -> None:
    register()
    made = mo_gymnasium.make(ENV_ID, story=path)
    made.reset(seed=0)
    assert np.asarray(made.step(1)[1]).tolist() == [30.0, 0.0]


def test_games_import_neither_gymnasium_nor_torch() -> None:
    code = (
        "import sys, pluralign.games, pluralign.games.choicescript, pluralign.games.exact_front\n"
        "print([m for m in ('gymnasium', 'torch', 'moocore', 'transformers') if m in sys.modules])"
    )
    found = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert found.stdout.strip() == "[]"


@pytest.mark.parametrize("name", list_stories())
def test_random_play_is_not_slow(name: str) -> None:
    # benchmarks/games.py measures; here only a collapse is caught, on a machine that others use too.
    env = make_env(name)
    choose = np.random.default_rng(0)
    steps, began = 0, time.process_time()
    while steps < 2_000:
        _, info = env.reset(seed=0)
        ended = False
        while not ended:
            listed = int(info["action_mask"].sum())
            _, _, terminated, truncated, info = env.step(int(choose.integers(listed)))
            ended = terminated or truncated
            steps += 1
    assert steps / (time.process_time() - began) > 4_000
