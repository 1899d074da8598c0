"""Random play through the environment, in steps a second: the median of several runs for each story.

python benchmarks/games.py [STORY...]
"""

from __future__ import annotations

import platform
import statistics
import sys
import time

import numpy as np

from pluralign.games.choicescript import list_stories
from pluralign.games.env import StoryEnv, make_env
from pluralign.games.exact_front import exact_front
from pluralign.games.harms import HARM_AVOIDANCE, SCORE

STEPS = 20_000
RUNS = 7


def steps_per_second(env: StoryEnv, steps: int, seed: int) -> float:
    """Uniform play over the listed options, the time for drawing them included."""
    draws = np.random.default_rng(seed).random(steps).tolist()
    _, info = env.reset(seed=seed)
    began = time.perf_counter()
    for draw in draws:
        _, _, terminated, truncated, info = env.step(int(draw * len(info["decision"].options)))
        if terminated or truncated:
            _, info = env.reset()
    return steps / (time.perf_counter() - began)


def main(stories: list[str]) -> None:
    """Print a line for each story."""
    print(f"Python {platform.python_version()}, {platform.processor() or platform.machine()}, one process")
    for name in stories or list_stories():
        env = make_env(name)
        rates = [steps_per_second(env, STEPS, seed) for seed in range(RUNS)]
        began = time.perf_counter()
        states = exact_front(env.game, (SCORE, HARM_AVOIDANCE)).states
        seconds = time.perf_counter() - began
        print(
            f"{name:16}{statistics.median(rates):10,.0f} steps/s ({min(rates):,.0f} to {max(rates):,.0f});"
            f" exact front over {states} states in {seconds:.2f} s"
        )


if __name__ == "__main__":
    main(sys.argv[1:])
