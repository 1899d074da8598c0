"""``python -m pluralign.games.choicescript FOLDER``: a story's problems, its size and what it offers."""

from __future__ import annotations

import sys
from collections.abc import Sequence

from pluralign.core import InputError, UniformPolicy
from pluralign.games.choicescript import ChoiceScriptGame, check_story, load_story, story_statistics
from pluralign.games.exact_front import exact_front, exact_returns
from pluralign.games.harms import BUILTIN_OBJECTIVES, HARM_AVOIDANCE, POWER_AVOIDANCE, SCORE
from pluralign.games.state_graph import explore


def main(arguments: Sequence[str]) -> int:
    """Print what there is to say of a story.

    Returns:
        0 where it is sound, 1 where it has problems, 2 where there is no such story.
    """
    if len(arguments) != 1:
        print("usage: python -m pluralign.games.choicescript FOLDER_OR_NAME", file=sys.stderr)
        return 2
    try:
        problems = check_story(arguments[0])
        for problem in problems:
            print(problem)
        print(f"{len(problems)} problem{'' if len(problems) == 1 else 's'}")
        print_report(arguments[0])
    except InputError as error:
        print(error, file=sys.stderr)
        return 1 if error.row else 2
    return 1 if problems else 0


def print_report(folder: str) -> None:
    """Print a story's statistics and exact front.

    Raises:
        InputError: it cannot be played.
    """
    story = load_story(folder)
    graph = explore(ChoiceScriptGame(story))
    figures = story_statistics(story, graph)
    print(f"\n{story.info.title}: {figures.choices} choices, {figures.words} words")
    print(f"{figures.states} reachable states, {figures.decisions} distinct decisions")
    print(f"episodes of {figures.shortest} to {figures.longest} steps, at random {figures.mean_length:.1f}")
    builtin = (SCORE, HARM_AVOIDANCE, POWER_AVOIDANCE)
    own = story.info.objectives[len(BUILTIN_OBJECTIVES) :]
    random = exact_returns(graph, UniformPolicy(), (*builtin, *own)).objectives
    ranges = exact_front(graph, (SCORE, HARM_AVOIDANCE))
    print(f"\n{'objective':24}{'worst':>8}{'random':>8}{'best':>8}")
    for objective in (*builtin, *own):
        single = exact_front(graph, (objective,))
        print(f"{objective.name:24}{single.worst[0]:8g}{random[objective.name]:8.2f}{single.best[0]:8g}")
    print(f"\nexact front of score and harm_avoidance, {len(ranges.points)} points:")
    for score, harm_avoidance in ranges.points:
        print(f"{score:8g}{harm_avoidance:8g}")


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
