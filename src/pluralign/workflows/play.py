"""One episode of a story in a terminal: played by a person, or watched."""

from __future__ import annotations

import textwrap
from collections.abc import Callable, Mapping, Sequence

import numpy as np

from pluralign.core import InputError, Objective, Policy
from pluralign.core.checks import require_at_least
from pluralign.games.choicescript.run.game import ChoiceScriptGame
from pluralign.games.choicescript.run.questions import Question
from pluralign.games.game import Game
from pluralign.games.labelled.story import LabelledGame
from pluralign.games.machiavelli.game import MachiavelliGame

Say = Callable[[str], None]


def play_episode(
    game: Game, actor: Policy | None, objectives: Sequence[Objective], say: Say, *, seed: int = 0
) -> Mapping[str, float] | None:
    """Play one episode, printing every page.

    Args:
        game: Game to play.
        actor: Policy that plays; None for the person at the terminal.
        objectives: Objectives whose returns are reported.
        say: Function that prints a line.
        seed: Random seed of the policy and of the story.

    Returns:
        The objectives' returns; None if the player stopped.

    Raises:
        InputError: The input ended before the story did.
    """
    require_at_least(0, seed=seed)
    rng = np.random.default_rng(seed)
    reader = _Pages(game, say, asks=actor is None)
    game.reset(seed)
    totals = {objective.name: 0.0 for objective in objectives}
    while (decision := game.decision) is not None:
        reader.show(game.text)
        for number, option in enumerate(decision.options, start=1):
            say(f"  {number}. {option}")
        if actor is None:
            action = _choose(len(decision.options))
            if action is None:
                return None
        else:
            (log_probs,) = actor.log_probs([decision])
            action = int(rng.choice(len(log_probs), p=np.exp(log_probs) / np.exp(log_probs).sum()))
            say(f"{actor.name} takes {action + 1}, with probability {np.exp(log_probs[action]):.2f}")
        reader.turn()
        counts = game.choose(action)
        for objective in objectives:
            totals[objective.name] += objective.reward(counts)
        if counts:
            say("  [" + ", ".join(f"{name} {value:g}" for name, value in counts.items()) + "]")
    reader.show(game.text)
    say("The end. " + ", ".join(f"{name} {total:g}" for name, total in totals.items()))
    return totals


class _Pages:
    """Prints pages, and asks the player for input that the story requests in the middle of a page."""

    def __init__(self, game: Game, say: Say, *, asks: bool) -> None:
        inner = game.game if isinstance(game, LabelledGame) else game
        self._game = inner if isinstance(inner, ChoiceScriptGame | MachiavelliGame) else None
        self._shown, self._say = "", say
        if self._game is not None and asks:
            self._game.answers = self._answer

    def turn(self) -> None:
        """Begin a new page."""
        self._shown = ""

    def show(self, text: str) -> None:
        """Print the part of the page that has not been printed yet."""
        paragraphs = text.removeprefix(self._shown).strip().split("\n")
        self._shown = text
        self._say("\n" + "\n".join(textwrap.fill(p, 88) for p in paragraphs) + "\n")

    def _answer(self, question: Question) -> str | float:
        assert self._game is not None, "only such games ask"
        self.show(self._game.text_so_far)
        low, high = question.low, question.high
        if low is None or high is None:
            while not (reply := _input(f"{question.variable}: ").strip()):
                pass
            return reply
        kind = "a whole number" if question.whole else "a number"
        while True:
            reply = _input(f"{question.variable}, {kind} from {low:g} to {high:g}: ")
            try:
                number = float(reply)
            except ValueError:
                continue
            if low <= number <= high and (not question.whole or number == int(number)):
                return int(number) if question.whole else number


def _choose(options: int) -> int | None:
    while True:
        reply = _input(f"1 to {options}, or q to stop: ").strip()
        if reply == "q":
            return None
        if reply.isdecimal() and 1 <= int(reply) <= options:
            return int(reply) - 1


def _input(prompt: str) -> str:
    try:
        return input(prompt)
    except EOFError as error:
        raise InputError("the input ended before the story did", field="stdin") from error
