"""Speed of random play in steps per second: the median of several runs per story, in one process.

Built-in stories are played through the environment, and their exact front is computed. Other games
(``--story``) are played directly, with a new seed for each episode; every step includes making its decision.

python benchmarks/games.py [STORY...] [--story PATH]
"""

from __future__ import annotations

import argparse
import platform
import statistics
import time
from pathlib import Path

import numpy as np

from pluralign.games.choicescript.load import list_stories
from pluralign.games.env import StoryEnv, make_env
from pluralign.games.exact_front import exact_front
from pluralign.games.game import Game
from pluralign.games.harms import HARM_AVOIDANCE, SCORE

STEPS = 20_000
RUNS = 7


def steps_per_second(env: StoryEnv, steps: int, seed: int) -> float:
    """Uniform play over the listed options, including the time to draw them."""
    draws = np.random.default_rng(seed).random(steps).tolist()
    _, info = env.reset(seed=seed)
    began = time.perf_counter()
    for draw in draws:
        _, _, terminated, truncated, info = env.step(int(draw * len(info["decision"].options)))
        if terminated or truncated:
            _, info = env.reset()
    return steps / (time.perf_counter() - began)


def choices_per_second(game: Game, steps: int, seed: int) -> float:
    """Uniform play of whole episodes, including the time to draw actions."""
    draws = np.random.default_rng(seed).random(steps).tolist()
    game.reset(seed)
    began = time.perf_counter()
    for draw in draws:
        decision = game.decision
        if decision is None:
            seed += 1
            game.reset(seed)
            decision = game.decision
            assert decision is not None
        game.choose(int(draw * len(decision.options)))
    return steps / (time.perf_counter() - began)


def time_game(path: Path) -> None:
    """Print a line for a game that is not built in; the first run processes every text for the first time."""
    began = time.perf_counter()
    game = make_env(path).game
    seconds = time.perf_counter() - began
    first, *rates = (choices_per_second(game, STEPS, seed) for seed in range(RUNS + 1))
    print(
        f"{game.info.name:24}{statistics.median(rates):10,.0f} choices/s"
        f" ({min(rates):,.0f} to {max(rates):,.0f}); {first:,.0f} in the first run; loaded in {seconds:.2f} s"
    )


def time_story(name: str) -> None:
    """Print a line for a built-in story."""
    env = make_env(name)
    rates = [steps_per_second(env, STEPS, seed) for seed in range(RUNS)]
    began = time.perf_counter()
    states = exact_front(env.game, (SCORE, HARM_AVOIDANCE)).states
    seconds = time.perf_counter() - began
    print(
        f"{name:16}{statistics.median(rates):10,.0f} steps/s ({min(rates):,.0f} to {max(rates):,.0f});"
        f" exact front over {states} states in {seconds:.2f} s"
    )


def main() -> None:
    """Print a line for each story."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("stories", nargs="*", metavar="STORY", help="built-in stories; all by default")
    parser.add_argument("--story", type=Path, action="append", default=[], help="path of another game")
    given = parser.parse_args()
    print(f"Python {platform.python_version()}, {platform.processor() or platform.machine()}, one process")
    for name in given.stories or ([] if given.story else list_stories()):
        time_story(name)
    for path in given.story:
        time_game(path)


if __name__ == "__main__":
    main()
