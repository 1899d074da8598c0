"""``pluralign games``: stories, their errors and attainable returns (`games_play` plays them)."""

from __future__ import annotations

import textwrap
from collections.abc import Sequence
from typing import Annotated

import tyro

from pluralign.cli.common import Figures, say
from pluralign.evaluate.story_facts import BeatenPoint, StoryFacts, StorySize, story_facts
from pluralign.games import check
from pluralign.games.choicescript.load import list_stories, load_story
from pluralign.games.choicescript.problems import WARNING
from pluralign.games.exact_front import ExactFront
from pluralign.games.open import open_story

Name = Annotated[str, tyro.conf.Positional]


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
    info.select(objectives)
    say(f"{info.title}\n{textwrap.fill(info.summary, 100)}\n{textwrap.fill(info.player_character, 100)}\n")
    found = story_facts(loaded, objectives, say=say)
    _say_size(found.size)
    if found.choice is not None:
        say(
            f"empowerment: {found.choice.empowerment:.2f} nats on average, of {found.choice.most:.2f} that "
            f"the numbers of options allow; all options lead to one state in {found.choice.idle} states"
        )
    say(f"objectives: {', '.join(o.name for o in info.objectives)}\n")
    if found.front is not None:
        _say_front(found, found.front)
    if found.played is not None:
        say(f"{'objective':24}{'random':>9}   95 % interval, {found.episodes} episodes")
    for name, mean in (found.played or {}).items():
        say(f"{name:24}{mean.mean:9.2f}   {mean.low:.2f} to {mean.high:.2f}")
    return found.to_json()


def _say_size(size: StorySize) -> None:
    text = "" if size.choices is None else f"{size.choices} choices, {size.words} words"
    states = "" if size.states is None else f"{size.states} reachable states"
    decisions = f"{size.decisions} distinct decisions"
    if size.steps is not None:
        say(f"{text}; {states}")
        say(f"{decisions}; episodes of {size.steps[0]} to {size.steps[1]} steps")
        return
    for line in (text, states and f"{states}, {decisions}"):
        if line:
            say(line)


def _say_front(found: StoryFacts, front: ExactFront) -> None:
    say(f"{'objective':24}{'worst':>8}{'random':>9}{'best':>8}")
    for i, name in enumerate(found.objectives):
        say(f"{name:24}{front.worst[i]:8g}{found.random[name]:9.2f}{front.best[i]:8g}")
    say(f"\nexact Pareto front of {', '.join(found.objectives)}: {len(front.points)} points")
    for point in front.points:
        say("".join(f"{value:8g}" for value in point))
    _say_beaten(found.beaten(), len(front.points))


def _say_beaten(beaten: Sequence[BeatenPoint], points: int) -> None:
    say(f"\nof {points} front points {points - len(beaten)} are optimal for some linear weights")
    if not beaten:
        return
    say("no weights reach the others; a lot (a random choice once per episode) beats each in every objective")
    say("(gain in % of the objective's range over the front):")
    for one in beaten:
        parts = [
            f"{100 * share:.0f} % ({', '.join(f'{value:g}' for value in point)})" for share, point in one.lot
        ]
        point = "".join(f"{value:8g}" for value in one.point)
        say(f"{point}   {' + '.join(parts)}: gain {100 * one.margin:.1f} %")


def check_game(path: Name) -> tuple[Figures, int]:
    """Find errors in a story: undefined labels, unreachable text, endless loops, options without annotations.

    Ink stories are checked by their tags, their side file and 200 random episodes, and errors have no line
    numbers. Z-machine stories are checked by their walkthrough, their annotations and two short random
    episodes. Games of MACHIAVELLI get the checks of `games import`. Annotations are checked only if a story
    has some. A warning is about a line that play passes over, an annotation that is not counted, or what the
    official engine warns of. Exit codes: 0 no errors, 1 errors (one per line, with file and line), 2 no such
    story.

    Example: pluralign games check stories/mine

    Args:
        path: Name of a built-in story, or path of any game (docs/other_games.md).
    """
    problems = check.check_game(path)
    for problem in problems:
        print(problem)
    say(f"{path}: {len(problems) or 'no'} problem{'' if len(problems) == 1 else 's'}")
    rows = [{"file": p.file, "line": p.line, "kind": p.kind, "message": p.message} for p in problems]
    return {"problems": rows}, 1 if any(problem.kind != WARNING for problem in problems) else 0
