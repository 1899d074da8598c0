"""``pluralign games``: the stories, their faults and what is attainable in them."""

from __future__ import annotations

import textwrap
from typing import Annotated

import tyro

from pluralign.cli.common import JsonFile, game_maker, give_figures, objectives_of, say
from pluralign.cli.policies import Models, open_policy
from pluralign.core import InputError, UniformPolicy
from pluralign.games.choicescript import (
    ChoiceScriptGame,
    check_story,
    list_stories,
    load_story,
    story_statistics,
)
from pluralign.games.exact_front import exact_front, exact_returns
from pluralign.games.game import Game
from pluralign.games.state_graph import explore

Name = Annotated[str, tyro.conf.Positional]


def list_games(json: JsonFile = None) -> None:
    """List the stories that come with pluralign.

    Example: pluralign games list

    Args:
        json: a file for the figures.
    """
    infos = [load_story(name).info for name in list_stories()]
    for info in infos:
        say(f"{info.name:16} {info.title}: {info.summary}")
    give_figures({info.name: {"title": info.title, "summary": info.summary} for info in infos}, json)


def show_game(
    story: Name,
    objectives: tuple[str, ...] = ("score", "harm_avoidance"),
    json: JsonFile = None,
) -> None:
    """Show a story's facts, each objective's range and the exact Pareto front.

    Example: pluralign games show salt_ledger

    Args:
        story: name of a built-in story, or a folder of ChoiceScript scenes.
        objectives: of the front.
        json: a file for the figures.
    """
    loaded = load_story(story)
    info = loaded.info
    graph = explore(ChoiceScriptGame(loaded))
    facts = story_statistics(loaded, graph)
    chosen = [info.objective(name) for name in objectives]
    front = exact_front(graph, chosen)
    random = exact_returns(graph, UniformPolicy(), chosen).objectives
    say(f"{info.title}\n{textwrap.fill(info.summary, 100)}\n{textwrap.fill(info.player_character, 100)}\n")
    say(f"{facts.choices} choices, {facts.words} words; {facts.states} reachable states")
    say(f"{facts.decisions} distinct decisions; episodes of {facts.shortest} to {facts.longest} steps")
    say(f"objectives: {', '.join(o.name for o in info.objectives)}\n")
    say(f"{'objective':24}{'worst':>8}{'random':>9}{'best':>8}")
    for i, name in enumerate(objectives):
        say(f"{name:24}{front.worst[i]:8g}{random[name]:9.2f}{front.best[i]:8g}")
    say(f"\nexact Pareto front of {', '.join(objectives)}: {len(front.points)} points")
    for point in front.points:
        say("".join(f"{value:8g}" for value in point))
    figures = {
        "story": info.name,
        "choices": facts.choices,
        "words": facts.words,
        "states": facts.states,
        "decisions": facts.decisions,
        "objectives": list(objectives),
        "worst": front.worst.tolist(),
        "random": [random[name] for name in objectives],
        "best": front.best.tolist(),
        "exact_front": front.points.tolist(),
    }
    give_figures(figures, json)


def check_game(path: Name, json: JsonFile = None) -> int:
    """Find a story's faults: dangling labels, text out of reach, endless loops, options without annotation.

    Exit code 0: none; 1: some, one on each line with file and line; 2: no such story.

    Example: pluralign games check stories/mine

    Args:
        path: a folder of ChoiceScript scenes, or the name of a built-in story.
        json: a file for the faults.
    """
    problems = check_story(path)
    for problem in problems:
        print(problem)
    say(f"{path}: {len(problems) or 'no'} problem{'' if len(problems) == 1 else 's'}")
    rows = [{"file": p.file, "line": p.line, "kind": p.kind, "message": p.message} for p in problems]
    give_figures({"problems": rows}, json)
    return 1 if problems else 0


def play_game(
    story: Name,
    policy: str = "human",
    seed: int = 0,
    objectives: tuple[str, ...] = ("score", "harm_avoidance", "power_avoidance"),
) -> None:
    """Play a story yourself, or watch a policy play one episode.

    Example: pluralign games play ninth_watch

    Args:
        story: name of a built-in story, or a folder of ChoiceScript scenes.
        policy: human, random, a trained policy's folder, or a language model.
        seed: of the policy's choices.
        objectives: told after each step and at the end.
    """
    import numpy as np

    make_game = game_maker(story)
    chosen = objectives_of(make_game, objectives)
    actor = None if policy == "human" else open_policy(policy, Models())
    rng = np.random.default_rng(seed)
    game = make_game()
    game.reset(seed)
    totals = dict.fromkeys(objectives, 0.0)
    while (decision := game.decision) is not None:
        _print_page(game)
        for number, option in enumerate(decision.options, start=1):
            say(f"  {number}. {option}")
        if actor is None:
            action = _ask(len(decision.options))
            if action is None:
                return
        else:
            (log_probs,) = actor.log_probs([decision])
            action = int(rng.choice(len(log_probs), p=np.exp(log_probs) / np.exp(log_probs).sum()))
            say(f"{actor.name} takes {action + 1}, with probability {np.exp(log_probs[action]):.2f}")
        counts = game.choose(action)
        for objective in chosen:
            totals[objective.name] += objective.reward(counts)
        if counts:
            say("  [" + ", ".join(f"{name} {value:g}" for name, value in counts.items()) + "]")
    _print_page(game)
    say("The end. " + ", ".join(f"{name} {total:g}" for name, total in totals.items()))


def _print_page(game: Game) -> None:
    paragraphs = game.text.split("\n")
    say("\n" + "\n".join(textwrap.fill(p, 88) for p in paragraphs) + "\n")


def _ask(options: int) -> int | None:
    while True:
        try:
            reply = input(f"1 to {options}, or q to stop: ").strip()
        except EOFError as error:
            raise InputError("the input ended before the story did", field="stdin") from error
        if reply == "q":
            return None
        if reply.isdecimal() and 1 <= int(reply) <= options:
            return int(reply) - 1
