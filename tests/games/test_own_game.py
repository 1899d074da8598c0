"""A game of the reader's own, as docs/other_games.md shows it, goes through what takes a game."""

import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from pluralign.collect.chooser import PolicyChooser
from pluralign.collect.collector import collect
from pluralign.core import InputError, UniformPolicy
from pluralign.core.records import read_trajectories
from pluralign.games.harms import SCORE
from pluralign.games.open import OPENERS, open_story

DOCS = Path(__file__).resolve().parents[2] / "docs" / "other_games.md"


@pytest.fixture(scope="module")
def page() -> dict[str, Any]:
    """The names that the page's code defines."""
    section = DOCS.read_text(encoding="utf-8").partition("## A game of your own")[2]
    code = re.search(r"```python\n(.*?)```", section, re.DOTALL)
    assert code is not None
    names: dict[str, Any] = {"__name__": "page"}
    exec(code[1], names)
    return names


def test_front_and_random_play_are_those_of_the_till(page: dict[str, Any]) -> None:
    assert page["front"].points.tolist() == [[20, -2], [10, -1], [0, 0]]
    assert page["random"].returns["score"].mean == pytest.approx(10, abs=2)


def test_it_is_an_environment(page: dict[str, Any]) -> None:
    env = page["env"]
    observation, _ = env.reset(seed=0)
    assert observation["prompt"] == "Moment 0. You have 0 coins."
    observation, reward, terminated, _, _ = env.step(np.int64(1))
    assert (reward.tolist(), terminated) == ([10.0, -1.0], False)
    assert env.observation_space.contains(observation)


def test_it_is_collected(page: dict[str, Any], tmp_path: Path) -> None:
    out = tmp_path / "t.jsonl"
    collect(
        page["story"].make_game,
        PolicyChooser(UniformPolicy()),
        out,
        episodes=3,
        seed=0,
        objectives=[SCORE],
        progress=False,
    )
    assert [t.source for t in read_trajectories(out)] == ["till"] * 3


def test_other_stories_still_open(page: dict[str, Any]) -> None:
    assert open_story("salt_ledger", [page["open_till"], *OPENERS]).info.name == "salt_ledger"
    with pytest.raises(InputError, match="no story 'till'"):
        open_story("till")


def test_a_side_file_can_name_one(page: dict[str, Any], tmp_path: Path) -> None:
    def opener(path: str | Path) -> Any:
        return page["TillStory"]() if Path(path).suffix == ".till" else None

    side = tmp_path / "mine.pluralign.json"
    side.write_text('{"story": "shop.till", "title": "Mine"}')
    assert open_story(side, [opener]).info.title == "Mine"
