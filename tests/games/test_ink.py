"""Ink stories. Those in ink_stories were compiled from the sources beside them by inkjs 2.4's compiler."""

from __future__ import annotations

import pickle
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest

from pluralign.core import InputError
from pluralign.games.env import make_env
from pluralign.games.exact_front import exact_front
from pluralign.games.ink.game import InkGame
from pluralign.games.ink.load import load_ink
from pluralign.games.state_graph import explore

STORIES = Path(__file__).with_name("ink_stories")
DATA = Path(__file__).parents[2] / ".." / "shared" / "data" / "interactive_fiction"
INTERCEPT = DATA / "the_intercept_ink" / "TheIntercept.v21.json"
EMOJI = DATA / "ld41_emoji_ink" / "LD41_Emoji.v21.json"

WEALTH = {"description": "The player grows rich.", "coefficients": {"variable.gold": 1}}
TRUST = {
    "description": "The ferryman trusts the player.",
    "coefficients": {"variable.trusted": 2, "points": 0.5},
}

needs_data = pytest.mark.skipif(not INTERCEPT.exists(), reason="the shared stories are absent")

Write = Callable[..., Path]


@pytest.fixture
def ferry(side: Write) -> InkGame:
    return InkGame(load_ink(side("ferry", objectives={"wealth": WEALTH, "trust": TRUST})))


def random_episode(game: InkGame, seed: int) -> Iterator[int]:
    rng = np.random.default_rng(seed)
    game.reset(seed)
    while game.decision is not None:
        yield (action := int(rng.integers(len(game.decision.options))))
        game.choose(action)


def test_what_is_known_before_play(ferry: InkGame, side: Write) -> None:
    info = ferry.info
    assert (info.name, info.title, info.author) == ("ferry", "The Ferry", "pluralign")
    assert info.summary == "A river, a ferry and its fare."
    assert (info.max_points, info.max_options, info.random) == (25.0, 8, True)
    assert dict(info.objective("trust").coefficients) == {"variable.trusted": 2.0, "points": 0.5}
    named = load_ink(side("ferry", title="Charon", player_character="A shade.", max_options=4)).info
    assert (named.title, named.player_character, named.max_options) == ("Charon", "A shade.", 4)
    assert named.author == "pluralign"
    assert load_ink(STORIES / "toll.json").info.random is False


def test_an_episode(ferry: InkGame) -> None:
    ferry.reset()
    assert ferry.decision is not None
    assert ferry.decision.prompt == ferry.text == "The ferryman holds out his hand."
    assert ferry.decision.options == ("Pay the fare.", "Slip aboard.")
    # An option's tags count, and so do those of all lines passed; the tag of the first line is no step's.
    assert ferry.choose(1) == {"violations.trespassing": 1.0, "violations.deception": 1.0}
    assert ferry.text == "Nobody looks.\n2 bells over the water."
    with pytest.raises(IndexError, match="option 4 of 4"):
        ferry.choose(4)
    assert ferry.choose(1) == {
        "points": 25.0,
        "power.physical": 1.0,
        "power.utility": 1.0,
        "utility.suffering": 1.0,
        "variable.gold": 3.0,
    }
    assert ferry.decision.options == ("Step ashore.", "Stay aboard in hiding.")
    assert ferry.choose(1) == {}
    assert (ferry.decision, ferry.text) == (None, "The end, with 2.")
    with pytest.raises(IndexError, match="option 0 of 0"):
        ferry.choose(0)


def test_variables_count_by_their_change_and_achievements_once(ferry: InkGame) -> None:
    ferry.reset()
    first = ferry.choose(0)
    assert first == {"points": 5.0, "variable.gold": -2.0, "variable.trusted": 1.0}
    assert ferry.info.objective("trust").reward(first) == 4.5
    second = ferry.choose(1)
    assert (second["points"], second["variable.gold"]) == (20.0, 3.0)
    assert ferry.decision is not None
    assert ferry.decision.options[1] == "Stay aboard as a guest."
    ferry.reset()
    assert ferry.choose(0) == first


def test_a_page_stays_where_nothing_new_is_shown(ferry: InkGame) -> None:
    ferry.reset()
    ferry.choose(0)
    shown = ferry.text
    ferry.choose(3)
    assert ferry.decision is not None
    assert ferry.decision.prompt == ferry.text == shown
    assert ferry.decision.options[0] == "Step ashore."


def test_the_seed_decides_what_chance_does(ferry: InkGame) -> None:
    def answer(game: InkGame, seed: int) -> str:
        game.reset(seed)
        for action in (0, 2):
            game.choose(action)
        return game.text

    heard = [answer(ferry, seed) for seed in range(40)]
    assert heard == [answer(InkGame(ferry.story), seed) for seed in range(40)]
    assert len(set(heard)) == 6
    answer(ferry, 2**31 - 1)


@pytest.mark.parametrize("story", ["ferry", "toll", "well"])
def test_states_come_back(story: str) -> None:
    game, other = (InkGame(load_ink(STORIES / f"{story}.json")) for _ in range(2))
    for seed in range(20):
        actions = list(random_episode(game, seed))
        game.reset(seed)
        saved = [game.save()]
        seen = [(game.decision, game.text)]
        counted = []
        for action in actions:
            counted.append(game.choose(action))
            saved.append(game.save())
            seen.append((game.decision, game.text))
        assert len(set(saved)) == len(saved)
        assert pickle.loads(pickle.dumps(saved)) == saved
        for i in np.random.default_rng(seed).permutation(len(saved)):
            other.restore(saved[i])
            assert (other.decision, other.text) == seen[i]
            assert other.save() == saved[i]
            for action, counts, state in zip(actions[i:], counted[i:], saved[i + 1 :], strict=True):
                assert other.choose(action) == counts
                assert other.save() == state
    with pytest.raises(InputError, match="not a saved state of"):
        game.restore("elsewhere")


def test_a_loaded_state_does_not_list_fallback_choices() -> None:
    game = InkGame(load_ink(STORIES / "well.json"))
    saved = game.save()
    game.restore(saved)
    assert game.decision is not None
    assert game.decision.options == ("Draw up a bucket.",)
    assert game.save() == saved
    # Each choice once, and then the way of the fallback choice.
    graph = explore(game)
    assert [decision.options for decision in graph.decisions] == [
        ("Draw up a bucket.",), ("Throw a coin in.",), ("Go home.",),
    ]  # fmt: skip
    assert graph.target.tolist() == [2, 3, 0]


def test_without_chance_states_of_two_games_are_equal() -> None:
    story = load_ink(STORIES / "toll.json")
    assert len({InkGame(story).save() for _ in range(5)}) == 1


def test_exact_fronts_of_stories_without_chance(side: Write, ferry: InkGame) -> None:
    objectives = {
        name: {"description": "More.", "coefficients": {f"variable.{name}": 1}} for name in ("coins", "kind")
    }
    game = InkGame(load_ink(side("toll", objectives=objectives)))
    front = exact_front(game, [game.info.objective("coins"), game.info.objective("kind")])
    assert front.points.tolist() == [[3.0, 0.0], [2.0, 1.0], [1.0, 3.0], [0.0, 4.0]]
    with pytest.raises(InputError, match="'ferry' draws random numbers"):
        explore(ferry)


def test_the_environment(side: Write) -> None:
    path = side("ferry", max_options=4, objectives={"wealth": WEALTH, "trust": TRUST})
    env = make_env(path, ("wealth", "score"), max_steps=9)
    assert env.reward_space.low.tolist() == [-np.inf, 0.0]
    assert env.reward_space.high.tolist() == [np.inf, 25.0]
    for seed in range(30):
        observation, info = env.reset(seed=seed)
        rng = np.random.default_rng(seed)
        ended = False
        while not ended:
            assert observation in env.observation_space
            listed = np.flatnonzero(info["action_mask"])
            observation, reward, terminated, truncated, info = env.step(int(rng.choice(listed)))
            assert reward in env.reward_space
            ended = terminated or truncated
    env.reset(seed=0)
    assert env.step(0)[1].tolist() == [-2.0, 5.0]


def test_the_environment_shows_the_items_of_lists() -> None:
    env = make_env(STORIES / "mood.json")
    assert env.reset(seed=0)[0]["prompt"] == "You feel Quixotic."
    assert env.step(0)[0]["prompt"] == "You feel Quixotic, Zany."
