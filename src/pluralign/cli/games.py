"""``pluralign games``: stories, their errors and attainable returns (`games_play` plays them)."""

from __future__ import annotations

import textwrap
from collections.abc import Sequence
from typing import Annotated, Any

import tyro

from pluralign.cli.common import Figures, say
from pluralign.core import Objective, UniformPolicy
from pluralign.evaluate.play import evaluate_policy
from pluralign.evaluate.report.summary import walk
from pluralign.games import check
from pluralign.games.choicescript.check.statistics import story_statistics
from pluralign.games.choicescript.load import list_stories, load_story
from pluralign.games.choicescript.run.game import ChoiceScriptStory
from pluralign.games.exact_front import exact_front, exact_returns
from pluralign.games.game import Story
from pluralign.games.ink.game import InkStory
from pluralign.games.labelled.story import LabelledStory
from pluralign.games.machiavelli.game import MachiavelliStory
from pluralign.games.open import open_story
from pluralign.games.state_graph import StateGraph

Name = Annotated[str, tyro.conf.Positional]

SHOWN_EPISODES = 300
"""Number of random episodes that replace exact figures for stories with too many states."""


def list_games() -> Figures:
    """List the built-in stories.

    Example: pluralign games list

    Args:
    """
    infos = [load_story(name).info for name in list_stories()]
    for info in infos:
        say(f"{info.name:16} {info.title}: {info.summary}")
    return {info.name: {"title": info.title, "summary": info.summary} for info in infos}


def show_game(
    story: Name,
    objectives: tuple[str, ...] = ("score", "harm_avoidance"),
) -> Figures:
    """Show a story's facts, the ranges of its objectives and, if it is small enough, the exact Pareto front.

    Example: pluralign games show salt_ledger

    Args:
        story: Name of a built-in story, or path of any game (docs/other_games.md).
        objectives: Objectives of the front.
    """
    loaded = open_story(story)
    info = loaded.info
    chosen = [info.objective(name) for name in objectives]
    say(f"{info.title}\n{textwrap.fill(info.summary, 100)}\n{textwrap.fill(info.player_character, 100)}\n")
    graph = walk(loaded.make_game(), say)
    figures = {"story": info.name, **_tell_size(loaded, graph), "objectives": list(objectives)}
    say(f"objectives: {', '.join(o.name for o in info.objectives)}\n")
    told = _tell_random(loaded, chosen) if graph is None else _tell_front(graph, chosen)
    return {**figures, **told}


def _tell_size(story: Story, graph: StateGraph | None) -> dict[str, Any]:
    figures: dict[str, Any] = {}
    while isinstance(story, MachiavelliStory | LabelledStory):
        story = story.story
    if isinstance(story, InkStory):
        figures |= {"choices": story.choices, "words": story.words}
        say(f"{story.choices} choices, {story.words} words")
    if graph is None:
        return figures
    figures |= {"states": len(graph.states) - 1, "decisions": len(graph.decisions)}
    if isinstance(story, ChoiceScriptStory):
        facts = story_statistics(story, graph)
        figures = {"choices": facts.choices, "words": facts.words, **figures}
        say(f"{facts.choices} choices, {facts.words} words; {facts.states} reachable states")
        say(f"{facts.decisions} distinct decisions; episodes of {facts.shortest} to {facts.longest} steps")
    else:
        say(f"{figures['states']} reachable states, {figures['decisions']} distinct decisions")
    return figures


def _tell_front(graph: StateGraph, chosen: Sequence[Objective]) -> dict[str, Any]:
    front = exact_front(graph, chosen)
    random = exact_returns(graph, UniformPolicy(), chosen).objectives
    names = [objective.name for objective in chosen]
    say(f"{'objective':24}{'worst':>8}{'random':>9}{'best':>8}")
    for i, name in enumerate(names):
        say(f"{name:24}{front.worst[i]:8g}{random[name]:9.2f}{front.best[i]:8g}")
    say(f"\nexact Pareto front of {', '.join(names)}: {len(front.points)} points")
    for point in front.points:
        say("".join(f"{value:8g}" for value in point))
    return {
        "worst": front.worst.tolist(),
        "random": [random[name] for name in names],
        "best": front.best.tolist(),
        "exact_front": front.points.tolist(),
    }


def _tell_random(story: Story, chosen: Sequence[Objective]) -> dict[str, Any]:
    found = evaluate_policy(
        story.make_game, UniformPolicy(), episodes=SHOWN_EPISODES, seed=0, objectives=chosen
    )
    say(f"{'objective':24}{'random':>9}   95 % interval, {SHOWN_EPISODES} episodes")
    for name, mean in found.returns.items():
        say(f"{name:24}{mean.mean:9.2f}   {mean.low:.2f} to {mean.high:.2f}")
    return {"random": [found.returns[objective.name].mean for objective in chosen]}


def check_game(path: Name) -> tuple[Figures, int]:
    """Find errors in a story: undefined labels, unreachable text, endless loops, options without annotations.

    Ink stories are checked by their tags, their side file and 200 random episodes, and errors have no line
    numbers. Games of MACHIAVELLI get the checks of `games import`. Annotations are checked only if a story
    has some. Exit codes: 0 no errors, 1 errors (one per line, with file and line), 2 no such story.

    Example: pluralign games check stories/mine

    Args:
        path: Name of a built-in story, or path of any game (docs/other_games.md).
    """
    problems = check.check_game(path)
    for problem in problems:
        print(problem)
    say(f"{path}: {len(problems) or 'no'} problem{'' if len(problems) == 1 else 's'}")
    rows = [{"file": p.file, "line": p.line, "kind": p.kind, "message": p.message} for p in problems]
    return {"problems": rows}, 1 if problems else 0
