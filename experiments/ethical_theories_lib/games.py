"""Games to label: their decisions, and the texts by which raters read the options."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from intercept import SIDE_FILE

from ethical_theories_lib.data import Side
from ethical_theories_lib.words import FORMS
from pluralign.core import Decision, Step, Trajectory
from pluralign.core.files import write_json
from pluralign.games.game import Story
from pluralign.games.open import open_story
from pluralign.games.random_play import play_at_random
from pluralign.games.state_graph import StateGraph, explore

STORIES = ("salt_ledger", "glass_quarter", "high_water", "ninth_watch")
MAX_STEPS = 200


@dataclass(frozen=True)
class LabelGame:
    """A game to label.

    Args:
        name: Name in tables.
        story: The game.
        decisions: Decisions with several options: all of a built-in story, those that random play meets of
            another game.
        known: A trajectory of one step for each of their options, of a game that is not built in.
    """

    name: str
    story: Story
    decisions: tuple[Decision, ...]
    known: tuple[Trajectory, ...] = ()


def open_games(out: Path, interactive_fiction: Path | None, episodes: int) -> list[LabelGame]:
    """The four stories, and The Intercept and Starforge if their folder is given.

    Args:
        out: Working folder.
        interactive_fiction: Folder with ``the_intercept_ink`` and ``starforge_choicescript``.
        episodes: Number of episodes of random play of games that are not built in.
    """
    games: list[LabelGame] = []
    for name in STORIES:
        story = open_story(name)
        games.append(LabelGame(name, story, _open_ones(explore(story.make_game()).decisions)))
    if interactive_fiction is not None:
        side = out / "the_intercept.pluralign.json"
        ink = interactive_fiction / "the_intercept_ink" / "TheIntercept.v21.json"
        write_json(side, {"ink": str(ink.resolve()), **SIDE_FILE})
        others = {"the_intercept": side, "starforge": interactive_fiction / "starforge_choicescript"}
        for name, path in others.items():
            story = open_story(str(path))
            games.append(open_met_game(name, story, episodes))
    return games


def texts_of(games: Sequence[LabelGame], rater: str) -> list[Side]:
    """All texts that a rater reads, in all its forms, without repetitions."""
    found: dict[Side, None] = {}
    for game in games:
        for decision in game.decisions:
            for form in FORMS[rater].values():
                for option in decision.options:
                    found.update(dict.fromkeys(side for _, side in form(decision.prompt, option)))
    return list(found)


def _open_ones(decisions: Sequence[Decision]) -> tuple[Decision, ...]:
    return tuple(decision for decision in decisions if len(decision.options) > 1)


def open_met_game(name: str, story: Story, episodes: int) -> LabelGame:
    """The decisions with several options that random play meets, and what each option counts there."""
    game = story.make_game()
    found: dict[str, list[Trajectory]] = {}
    decisions: list[Decision] = []
    for seed in range(episodes):
        for decision in play_at_random(game, seed, MAX_STEPS):
            if decision.key in found or len(decision.options) < 2:
                continue
            decisions.append(decision)
            state = game.save()
            for action in range(len(decision.options)):
                game.restore(state)
                step = Step(decision, action, counts=game.choose(action))
                trajectory = Trajectory(f"{len(found)}-{action}", name, "listed", 0, (step,), terminated=True)
                found.setdefault(decision.key, []).append(trajectory)
            game.restore(state)
    return LabelGame(name, story, tuple(decisions), tuple(t for own in found.values() for t in own))


def scenes_of(games: Sequence[LabelGame]) -> dict[str, str]:
    """Scene of each decision, by its key: decisions that share an option are in one scene.

    A page is met with several beginnings, and its options with and without further ones. A rater answers
    alike there, so intervals resample whole scenes.
    """
    parent: dict[str, str] = {}

    def root(name: str) -> str:
        while parent.setdefault(name, name) != name:
            name = parent[name]
        return name

    for game in games:
        for decision in game.decisions:
            for option in decision.options:
                parent[root(f"{game.name}\0{option}")] = root(decision.key)
    return {decision.key: root(decision.key) for game in games for decision in game.decisions}


def oracle_trajectories(graph: StateGraph) -> list[Trajectory]:
    """A trajectory of one step for every option of every decision, with its counts in the first state that
    has the decision: what `label_agreement` compares a rater with."""
    found: list[Trajectory] = []
    seen: set[int] = set()
    for state, number in enumerate(graph.decision_of.tolist()):
        if number < 0 or number in seen or len(graph.decisions[number].options) < 2:
            continue
        seen.add(number)
        for action, edge in enumerate(range(graph.first[state], graph.first[state + 1])):
            step = Step(graph.decisions[number], action, counts=graph.counts[graph.counts_of[edge]])
            found.append(Trajectory(f"{number}-{action}", "graph", "listed", 0, (step,), terminated=True))
    return found
