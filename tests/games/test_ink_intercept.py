"""Ink stories by others: The Intercept and a game with threads, tunnels and shuffles."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from pluralign.core import InputError
from pluralign.games.ink.check import check_ink
from pluralign.games.ink.game import InkGame
from pluralign.games.ink.load import load_ink

DATA = Path(__file__).parents[2] / ".." / "shared" / "data" / "interactive_fiction"


INTERCEPT = DATA / "the_intercept_ink" / "TheIntercept.v21.json"


EMOJI = DATA / "ld41_emoji_ink" / "LD41_Emoji.v21.json"


needs_data = pytest.mark.skipif(not INTERCEPT.exists(), reason="the shared stories are absent")


def random_episode(game: InkGame, seed: int) -> Iterator[int]:
    rng = np.random.default_rng(seed)
    game.reset(seed)
    while game.decision is not None:
        yield (action := int(rng.integers(len(game.decision.options))))
        game.choose(action)


CHOICE = re.compile(r"\s*(?:[*+]\s*)+(?:\(\s*\w+\s*\))?\s*(?:\{[^}]*\}\s*)*(.*)")


def option_patterns(source: str) -> list[re.Pattern[str]]:
    """What each choice line of an Ink source can list: all before its ], with any logic left open."""
    patterns: list[re.Pattern[str]] = []
    for line in re.sub(r"/\*.*?\*/", "", source, flags=re.DOTALL).splitlines():
        found = CHOICE.fullmatch(line.split("//")[0])
        if found:
            text = found[1].split("]")[0] if "]" in found[1] else found[1].split("->")[0]
            parts = re.split(r"\{.*?\}", text.replace("[", "").strip())
            patterns.append(re.compile(".*".join(map(re.escape, parts))))
    return patterns


@needs_data
@pytest.mark.parametrize("episodes", [50, pytest.param(1000, marks=pytest.mark.slow)])
def test_the_intercept(episodes: int, tmp_path: Path) -> None:
    patterns = option_patterns(INTERCEPT.with_name("TheIntercept.ink").read_text(encoding="utf-8-sig"))
    assert len(patterns) > 300
    assert not any(pattern.fullmatch("not in the source") for pattern in patterns)
    objectives = {
        name: {"description": "More.", "coefficients": {f"variable.{name}": 1}}
        for name in ("forceful", "evasive")
    }
    path = tmp_path / "intercept.pluralign.json"
    path.write_text(json.dumps({"ink": str(INTERCEPT), "objectives": objectives}))
    game = InkGame(load_ink(path))
    assert not game.info.random
    met: set[str] = set()
    totals: list[tuple[float, float]] = []
    for episode in range(episodes):
        rng = np.random.default_rng(episode)
        game.reset(episode)
        steps, total = 0, {"variable.forceful": 0.0, "variable.evasive": 0.0}
        while game.decision is not None:
            met.update(game.decision.options)
            for metric, change in game.choose(int(rng.integers(len(game.decision.options)))).items():
                total[metric] += change
            steps += 1
        assert 10 < steps < 100
        assert game.loose_end == ""
        totals.append((total["variable.forceful"], total["variable.evasive"]))
    assert len(met) > 100
    strangers = [text for text in met if not any(p.fullmatch(text) for p in patterns)]
    assert strangers == []
    assert len(set(totals)) > 10


@needs_data
def test_the_intercept_compiled_by_an_old_compiler() -> None:
    with pytest.raises(
        InputError, match=r"compiled for inkVersion 11, .* recompile its source with inklecate"
    ):
        load_ink(INTERCEPT.with_name("TheIntercept.json"))


@needs_data
def test_a_story_with_threads_tunnels_and_shuffles() -> None:
    game = InkGame(load_ink(EMOJI))
    assert (game.info.title, game.info.author, game.info.random) == ("⏰", "Pat Scott", True)
    lengths = [len(list(random_episode(game, seed))) for seed in range(20)]
    assert all(10 < length < 300 for length in lengths)
    # The source lacks a tunnel's return somewhere; the reference engine says so as often.
    assert all("content" in error.message for error in check_ink(EMOJI, episodes=50))
