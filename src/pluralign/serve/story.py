"""A story on the page: the steered agent's probabilities at any point, under any weights."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from pluralign.core import InputError, Policy, SteeringWeights
from pluralign.elicit.posterior import WeightPosterior
from pluralign.elicit.saved import load_implied_dial
from pluralign.games.game import Game
from pluralign.games.open import open_story
from pluralign.options.open import Models, load_agents
from pluralign.serve.errors import Refused
from pluralign.serve.fields import weights_schema
from pluralign.serve.inferred import StoryVerdicts, intervals_of, require_served
from pluralign.serve.mixes import read_weights
from pluralign.serve.schema import Schema, check
from pluralign.steer.mixing import GEOMETRIC
from pluralign.steer.request_weights import in_order
from pluralign.steer.steered import steered
from pluralign.steer.steered_policy import SteeredPolicy

_MOST_ACTIONS = 500


class StoryPlayer:
    """Replays the actions in a request and returns the agent's probabilities at that point.

    Stateless: each request lists all options taken so far.

    Args:
        make_game: Function that makes a new game.
        policies: Policies by objective of the story.
        power: Exponent of the power mean that mixes them.
        inferred: Default weights that were inferred from choices; uniform weights if None.
        dial: Weights of the mixture that acts by the inferred weights, which the page offers.

    Raises:
        InputError: The story has no such objective, or the power is too large for inferred weights.
    """

    def __init__(
        self, make_game: Callable[[], Game], policies: Mapping[str, Policy], power: float = GEOMETRIC,
        inferred: WeightPosterior | None = None, dial: SteeringWeights | None = None,
    ) -> None:  # fmt: skip
        # One game for all requests: games keep what they found out about states.
        self._game, self._power = make_game(), power
        self._playing = threading.Lock()
        self.names = tuple(policies)
        self._info = self._game.info
        self._objectives = [self._info.objective(name) for name in self.names]
        self._default, self._intervals = SteeringWeights.uniform(self.names), {}
        self._verdicts = None
        if inferred is not None:
            require_served(inferred.objectives, {"story": self.names}, "default_weights")
            self._default, self._verdicts = inferred.mean, StoryVerdicts(inferred, power)
            self._intervals = {"steering_intervals": intervals_of(inferred, self.names)}
        self._dial = dial
        self._policy = steered(policies, self._default, power)
        if not isinstance(self._policy, SteeredPolicy):
            # Verdicts rank options by weighted log-probabilities, which values do not follow.
            self._verdicts = None
        self._turn = asyncio.Semaphore(1)

    @property
    def schema(self) -> Schema:
        """Schema of the body of `/pluralign/story/play`."""
        option = {"type": "integer", "minimum": 0, "maximum": max(0, self._info.max_options - 1)}
        return {
            "type": "object",
            "properties": {
                "actions": {"type": "array", "items": option, "maxItems": _MOST_ACTIONS},
                "steering_weights": weights_schema(self.names),
            },
            "required": ["actions"],
            "additionalProperties": False,
        }

    def describe(self) -> dict[str, Any]:
        """The response of `/pluralign/story`."""
        info = self._info
        return {
            "name": info.name,
            "title": info.title,
            "author": info.author,
            "summary": info.summary,
            "player_character": info.player_character,
            "objectives": [{"name": o.name, "description": o.description} for o in self._objectives],
            "power": str(self._power),
            "steering_weights": in_order(self._default, self.names),
            "implied_dial": None if self._dial is None else in_order(self._dial, self.names),
            **self._intervals,
        }

    async def answer(self, body: dict[str, Any]) -> dict[str, Any]:
        """The response of `/pluralign/story/play` to a body.

        Raises:
            Refused: The body is invalid, or the story has no such option at that point.
        """
        check(body, self.schema)
        given = body.get("steering_weights")
        weights = self._default if given is None else read_weights(given, self.names)
        async with self._turn:
            return await asyncio.to_thread(self._play, [int(action) for action in body["actions"]], weights)

    def _play(self, actions: list[int], weights: SteeringWeights) -> dict[str, Any]:
        # A request that was cancelled may still be playing.
        with self._playing:
            return self._replay(self._game, actions, weights)

    def _replay(self, game: Game, actions: list[int], weights: SteeringWeights) -> dict[str, Any]:
        game.reset()
        taken: list[dict[str, str]] = []
        returns = dict.fromkeys(self.names, 0.0)
        for place, action in enumerate(actions):
            if game.decision is None or action >= len(game.decision.options):
                there = "no decision" if game.decision is None else f"{len(game.decision.options)} options"
                raise Refused(400, f"'actions[{place}]' is {action}; that point has {there}", param="actions")
            taken.append({"text": game.text, "option": game.decision.options[action]})
            counts = game.choose(action)
            for objective in self._objectives:
                returns[objective.name] += objective.reward(counts)
        return {
            "steering_weights": in_order(weights, self.names),
            **(self._intervals if weights is self._default else {}),
            "taken": taken,
            "returns": returns,
            "text": game.text,
            **self._choice(game, weights),
        }

    def _choice(self, game: Game, weights: SteeringWeights) -> dict[str, Any]:
        decision = game.decision
        if decision is None:
            return {"ended": True, "options": [], "mixed": [], "probabilities": {}}
        blend = self._policy.with_weights(weights).blend(decision, with_unweighted=True)
        verdicts = self._verdicts if weights is self._default else None
        verdict = {} if verdicts is None else verdicts.of(decision, blend.probabilities)
        return {
            "ended": False,
            "options": list(decision.options),
            "mixed": [float(p) for p in blend.mixed],
            "probabilities": {name: [float(p) for p in blend.probabilities[name]] for name in self.names},
            **verdict,
        }


def open_story_player(
    story: str, policies: Mapping[str, Path], power: float = GEOMETRIC, features: Path | None = None,
    inferred: WeightPosterior | None = None, implied_dial: Path | None = None,
) -> StoryPlayer:  # fmt: skip
    """Open a story with its policies for the page.

    Args:
        story: Name of a built-in story, or path of any game.
        policies: Folder of each policy, by objective.
        power: Exponent of the power mean that mixes them.
        features: Folder in which features are kept.
        inferred: Default weights that were inferred from choices; ignored if they are for other objectives.
        implied_dial: File of these weights with the mixture that acts by them, which the page then offers.

    Raises:
        InputError: The story or a policy cannot be opened, or the file has no dial for these policies.
    """
    dial = None if implied_dial is None else load_implied_dial(implied_dial)
    if dial is not None and set(dial) != set(policies):
        raise InputError(
            f"is for {', '.join(dial)}; the story's policies are {', '.join(policies)}", field="implied_dial"
        )
    models = Models(features=features)
    own = inferred is not None and set(inferred.objectives) == set(policies)
    return StoryPlayer(
        open_story(story).make_game,
        load_agents(policies, models),
        power, inferred if own else None, dial,
    )  # fmt: skip
