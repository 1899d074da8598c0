"""What is wrong with a story, and how large it is."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from pluralign.core import InputError, UniformPolicy
from pluralign.games.choicescript import analysis
from pluralign.games.choicescript.control import Choose
from pluralign.games.choicescript.head import HEAD_COMMANDS
from pluralign.games.choicescript.instructions import Achieve, Annotate
from pluralign.games.choicescript.interpreter import ChoiceScriptGame, State
from pluralign.games.choicescript.load import STARTUP, compile_scenes, load_story, read_scenes
from pluralign.games.choicescript.parser import TEXT, Node, parse_scene
from pluralign.games.choicescript.problems import Problem
from pluralign.games.choicescript.program import STATS, Program, Story
from pluralign.games.exact_front import exact_returns
from pluralign.games.random_play import play_at_random
from pluralign.games.state_graph import END, StateGraph, explore

MAX_CHECKED_STATES = 500_000
"""How many states a check walks before it reports the story as too large."""

RANDOM_EPISODES = 200
"""Episodes of random play that check a story which draws lots."""

RANDOM_STEPS = 1_000
"""The most steps of each."""


def check_story(path: str | Path, *, max_states: int = MAX_CHECKED_STATES) -> list[Problem]:
    """Everything that is wrong with a story, by file and line; nothing where it is sound.

    Finds what does not compile (commands, indentation, expressions, unknown variables, labels, scenes
    and achievements), then what play cannot reach, falls out of, or, where there are annotations, leaves
    without one, and at last, by walking every state, choices without options, endless loops and what no
    play ever shows. Where a story draws lots, random play is looked at instead of every state.

    Args:
        path: a folder, or the name of a built-in story.
        max_states: how many states are walked.

    Raises:
        InputError: there is no such story.
    """
    name, folder, scenes = read_scenes(path)
    story, reported = compile_scenes(name, scenes, folder)
    if story is None:
        return reported
    problems = list(reported)
    program = story.program
    seen = analysis.reachable(program)
    problems += analysis.unreachable_problems(program, seen)
    problems += analysis.fall_problems(program, seen)
    problems += analysis.achievement_problems(program, seen)
    if program.annotations:
        problems += analysis.annotation_problems(program, seen)
    problems += _random_problems(story) if program.random else _play_problems(story, seen, max_states)
    known = {(problem.file, problem.line, problem.message) for problem in reported}
    again = [p for p in problems if p.kind == "play" and (p.file, p.line, p.message) in known]
    return sorted(set(problems).difference(again))


def _random_problems(story: Story) -> Iterator[Problem]:
    game, startup = ChoiceScriptGame(story), str(Path(story.folder) / f"{STARTUP}.txt")
    for seed in range(RANDOM_EPISODES):
        try:
            for _ in play_at_random(game, seed, RANDOM_STEPS):
                pass
        except InputError as error:
            yield Problem.of(error, "play", startup)


def _play_problems(story: Story, seen: set[int], max_states: int) -> Iterator[Problem]:
    startup = str(Path(story.folder) / f"{STARTUP}.txt")
    errors: list[InputError] = []
    visited: set[int] = set()
    try:
        game = ChoiceScriptGame(story)
        yield from _lost(story.program, game)
        game.visited = visited
        graph = explore(game, max_states=max_states, errors=errors)
    except InputError as error:
        kind = "play" if error.row else "size"
        yield Problem.of(error, kind, startup)
        return
    yield from (Problem.of(error, "play", startup) for error in errors)
    circle = graph.cycle()
    if circle:
        yield _circle_problem(story.program, graph, circle)
    if not errors:
        yield from _never_shown(story.program, seen, visited)
    if len(graph.states) == 1:
        yield Problem(startup, 0, "play", "the story has no choice")


def _lost(program: Program, game: ChoiceScriptGame) -> Iterator[Problem]:
    """What comes before the first choice belongs to no step."""
    if game.points:
        for instruction in program.instructions:
            if isinstance(instruction, Achieve) and game.slots[instruction.slot]:
                message = f"'{instruction.name}' is won before the first choice, and counts for no step"
                yield Problem(instruction.path, instruction.line, "achievement", message)
                break
    for index in game.passed:
        for instruction in program.instructions:
            if isinstance(instruction, Annotate) and instruction.index == index:
                message = "this annotation comes before the first choice, and counts for no step"
                yield Problem(instruction.path, instruction.line, "annotation", message)


def _circle_problem(program: Program, graph: StateGraph, circle: list[int]) -> Problem:
    places = {state.place for s in circle if isinstance(state := graph.states[s], State)}
    choices = sorted((program.instructions[place] for place in places), key=lambda i: (i.path, i.line))
    lines = ", ".join(str(choice.line) for choice in choices)
    message = f"play can go round here for ever and change nothing (choices on lines {lines})"
    return Problem(choices[0].path, choices[0].line, "loop", message)


def _never_shown(program: Program, seen: set[int], visited: set[int]) -> Iterator[Problem]:
    before = True
    for here, instruction in enumerate(program.instructions):
        if here in visited or here not in seen:
            before = True
        elif instruction.written:
            if before:
                message = "no play ever comes here: the conditions on the way never hold together"
                yield Problem(instruction.path, instruction.line, "unreachable", message)
            before = False


@dataclass(frozen=True)
class StoryStatistics:
    """How large a story is.

    Args:
        choices: ``*choice`` and ``*fake_choice`` blocks.
        words: of text and options.
        states: that play can reach, endings left out.
        decisions: distinct pairs of a prompt and its options.
        shortest: fewest steps of an episode.
        longest: most steps of an episode.
        mean_length: expected steps of an episode when every option is equally likely.
        mean_options: options of a decision, over the distinct decisions.
    """

    choices: int
    words: int
    states: int
    decisions: int
    shortest: int
    longest: int
    mean_length: float
    mean_options: float


def story_statistics(story: Story | str | Path, graph: StateGraph | None = None) -> StoryStatistics:
    """How large a story is.

    Args:
        story: loaded, or its folder or name.
        graph: its states, if they are explored already.

    Raises:
        InputError: the story cannot be played, or can go on for ever.
    """
    story = story if isinstance(story, Story) else load_story(story)
    graph = graph or explore(ChoiceScriptGame(story))
    longest = np.zeros(len(graph.states), dtype=np.int64)
    shortest = np.zeros_like(longest)
    for state in graph.backwards.tolist():
        if state != END:
            following = graph.target[graph.first[state] : graph.first[state + 1]]
            longest[state] = 1 + longest[following].max()
            shortest[state] = 1 + shortest[following].min()
    options = [len(decision.options) for decision in graph.decisions]
    return StoryStatistics(
        choices=sum(isinstance(i, Choose) for i in story.program.instructions),
        words=sum(_words(parse_scene(s, "")) for name, s in story.scenes.items() if name != STATS),
        states=len(graph.states) - 1,
        decisions=len(graph.decisions),
        shortest=int(shortest[graph.start]),
        longest=int(longest[graph.start]),
        mean_length=exact_returns(graph, UniformPolicy()).steps,
        mean_options=float(np.mean(options)) if options else 0.0,
    )


def _words(nodes: Sequence[Node]) -> int:
    total = 0
    for node in nodes:
        if node.command == TEXT:
            total += len(node.data.split())
        elif node.is_option:
            total += len(node.data.rpartition("#")[2].split())
        if node.command not in HEAD_COMMANDS:
            total += _words(node.block)
    return total
