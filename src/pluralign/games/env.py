"""A text game as a Gymnasium environment with a vector reward, as MO-Gymnasium has them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, cast

import gymnasium
import numpy as np
import numpy.typing as npt
from gymnasium import spaces

from pluralign.core import Decision, InputError, Objective
from pluralign.core.checks import checked
from pluralign.games.game import Game, GameInfo, Story
from pluralign.games.harms import JUDGED, VARIABLE
from pluralign.games.open import open_story

ENV_ID = "pluralign/Story-v0"
"""The name that `register` gives to `make_env`."""

DEFAULT_OBJECTIVES = ("score", "harm_avoidance")
"""Default objectives: MACHIAVELLI's trade-off."""

MAX_PROMPT = 65_536
"""Maximum length of a prompt in an observation, in characters; a longer prompt keeps its end."""

# Bounds the memory where texts differ from episode to episode.
_KEPT = 20_000

# Numbers in the text, and booleans, print characters that the source need not contain.
_PRINTED = " \n0123456789.+-einfNatrufls"

Observation = dict[str, Any]
"""``{"prompt": str, "options": tuple of max_options strings, empty beyond those listed}``."""


class StoryEnv(gymnasium.Env[Observation, np.int64]):
    """A text game as a Gymnasium environment with a vector reward, one number per objective.

    An action is the index of an option. An action beyond the listed options changes nothing, gives zero
    reward, counts as a step and sets ``info["invalid_action"]``; ``info["action_mask"]`` marks the listed
    options. ``info`` also holds ``decision`` (None once the game has ended) and the step's ``counts`` by
    metric name. An episode is truncated after ``max_steps`` steps.

    Args:
        game: Game to play; no other environment may use it.
        objectives: Names from ``game.info.objectives``, in the order of the reward.
        max_steps: Maximum number of steps per episode.
        characters: Characters that observations may contain; others are shown as ``?``. By default all
            printable ASCII characters are declared and nothing is replaced.
        render_mode: ``ansi`` or None.

    Raises:
        InputError: An objective is unknown or named twice, ``max_steps`` is not positive, there is no such
            ``render_mode``, or the game has no choice.
    """

    metadata: dict[str, Any] = {"render_modes": ["ansi"], "render_fps": 1}  # noqa: RUF012 - gymnasium's name

    def __init__(
        self,
        game: Game,
        objectives: Sequence[str] = DEFAULT_OBJECTIVES,
        *,
        max_steps: int = 200,
        characters: str | None = None,
        render_mode: str | None = None,
    ) -> None:
        if max_steps < 1:
            raise InputError(f"must be 1 or more, found {max_steps}", field="max_steps")
        if render_mode not in (None, *self.metadata["render_modes"]):
            raise InputError(f"must be ansi or None, found {render_mode!r:.60}", field="render_mode")
        if not objectives or len(set(objectives)) < len(objectives):
            raise InputError(f"expected distinct names, found {list(objectives)}", field="objectives")
        if game.info.max_options < 1:
            raise InputError(f"'{game.info.name}' has no choice, so there is no action to take")
        self.game = game
        self.objectives = tuple(game.info.objective(name) for name in objectives)
        self.max_steps = max_steps
        self.render_mode = render_mode
        self._size = game.info.max_options
        self._known = frozenset(characters) if characters is not None else None
        self.observation_space = _observation_space(self._size, characters)
        self.action_space = spaces.Discrete(self._size)
        self.reward_space = _reward_space(self.objectives, game.info)
        self.reward_dim = len(self.objectives)
        self._coefficients = _coefficients(self.objectives)
        self._shown: dict[Decision, tuple[str, tuple[str, ...], npt.NDArray[np.int8]]] = {}
        self._nothing: npt.NDArray[np.int8] = np.zeros(self._size, dtype=np.int8)
        self._steps = 0

    def reset(
        self, *, seed: int | None = None, options: dict[str, Any] | None = None
    ) -> tuple[Observation, dict[str, Any]]:
        """Begin an episode. Without a seed, one is drawn from the environment's own random stream."""
        super().reset(seed=seed)
        self.game.reset(int(self.np_random.integers(2**31)) if seed is None else seed)
        self._steps = 0
        return self._observe({}, invalid=False)

    def step(
        self, action: np.int64 | int
    ) -> tuple[Observation, npt.NDArray[np.float64], bool, bool, dict[str, Any]]:
        """Take an option.

        Args:
            action: Index of the option, from 0.

        Returns:
            Observation, reward of shape (objectives,), terminated, truncated and info.

        Raises:
            InputError: The game's source has an error; the message names the file and the line.
        """
        decision = self.game.decision
        listed = decision is not None and 0 <= action < len(decision.options)
        counts: Mapping[str, float] = self.game.choose(int(action)) if listed else {}
        self._steps += 1
        reward: npt.NDArray[np.float64] = np.zeros(len(self.objectives))
        for metric, count in counts.items():
            if metric in self._coefficients:
                reward += count * self._coefficients[metric]
        observation, info = self._observe(counts, invalid=not listed)
        terminated = self.game.decision is None
        return observation, reward, terminated, not terminated and self._steps >= self.max_steps, info

    def render(self) -> str | None:
        """The text and the numbered options if ``render_mode`` is ``ansi``, otherwise None."""
        if self.render_mode != "ansi":
            return None
        decision = self.game.decision
        lines = [] if decision is None else [f"{i}. {o}" for i, o in enumerate(decision.options, start=1)]
        return "\n".join([self.game.text, "", *lines])

    def _observe(self, counts: Mapping[str, float], *, invalid: bool) -> tuple[Observation, dict[str, Any]]:
        decision = self.game.decision
        if decision is None:
            prompt, options, mask = self._printable(self.game.text), ("",) * self._size, self._nothing
        else:
            shown = self._shown.get(decision)
            if shown is None:
                if len(self._shown) >= _KEPT:
                    self._shown.clear()
                shown = self._shown[decision] = self._show(decision)
            prompt, options, mask = shown
        info = {
            "action_mask": mask.copy(),
            "decision": decision,
            "counts": counts,
            "invalid_action": invalid,
        }
        return {"prompt": prompt, "options": options}, info

    def _show(self, decision: Decision) -> tuple[str, tuple[str, ...], npt.NDArray[np.int8]]:
        listed = len(decision.options)
        options = (*map(self._printable, decision.options), *("",) * (self._size - listed))
        mask: npt.NDArray[np.int8] = (np.arange(self._size) < listed).astype(np.int8)
        return self._printable(decision.prompt), options, mask

    def _printable(self, text: str) -> str:
        text = text[-MAX_PROMPT:]
        if self._known is None or self._known.issuperset(text):
            return text
        return "".join(c if c in self._known else "?" for c in text)


@checked
def make_env(
    story: str | Path | Story,
    objectives: Sequence[str] = DEFAULT_OBJECTIVES,
    *,
    max_steps: int = 200,
    render_mode: str | None = None,
) -> StoryEnv:
    """An environment that plays a story.

    Args:
        story: Story, or its name or path (see `open_story`).
        objectives: Names of objectives, in the order of the reward.
        max_steps: Maximum number of steps per episode.
        render_mode: ``ansi`` or None.

    Raises:
        InputError: The story cannot be loaded, or see `StoryEnv`.

    Examples:
        >>> import pluralign as pl
        >>> env = pl.make_env("salt_ledger")
        >>> observation, info = env.reset(seed=0)
        >>> reward = env.step(0)[1]
        >>> len(reward)
        2
    """
    loaded = open_story(story) if isinstance(story, str | Path) else story
    written = loaded.characters
    characters = {*written, *"".join(written).upper(), *_PRINTED, "?"} - {"\t", "\r"}
    return StoryEnv(
        loaded.make_game(),
        objectives,
        max_steps=max_steps,
        characters="".join(sorted(characters)),
        render_mode=render_mode,
    )


def register() -> None:
    """Make ``gymnasium.make("pluralign/Story-v0", story=...)`` work; a second call changes nothing."""
    if ENV_ID not in gymnasium.registry:
        cast("Any", gymnasium).register(ENV_ID, entry_point="pluralign.games.env:make_env")


def _observation_space(size: int, characters: str | None) -> spaces.Dict:
    charset = characters if characters is not None else "".join(map(chr, range(32, 127))) + "\n"
    text = spaces.Text(MAX_PROMPT, min_length=0, charset=charset)
    return spaces.Dict({"prompt": text, "options": spaces.Tuple([text] * size)})


def _reward_space(objectives: Sequence[Objective], info: GameInfo) -> spaces.Box:
    low: list[float] = []
    high: list[float] = []
    for objective in objectives:
        # Judged values range from -1 to 1, and variables are unbounded.
        most = [c * _largest_count(m, info) for m, c in objective.coefficients.items()]
        if info.loses_points:
            most += [-c * info.max_points for m, c in objective.coefficients.items() if m == "points"]
        most += [-c for m, c in objective.coefficients.items() if m.startswith(JUDGED)]
        bounded = not any(m.startswith(VARIABLE) for m in objective.coefficients)
        low.append(sum(min(0.0, reward) for reward in most) if bounded else -np.inf)
        high.append(sum(max(0.0, reward) for reward in most) if bounded else np.inf)
    return spaces.Box(np.array(low), np.array(high), dtype=np.float64)


def _largest_count(metric: str, info: GameInfo) -> float:
    """The largest count of a step: all points, or 1; 2 where the step that ends a game counts twice."""
    if metric == "points":
        return info.max_points
    return 2.0 if info.lagged and not metric.startswith(JUDGED) else 1.0


def _coefficients(objectives: Sequence[Objective]) -> dict[str, npt.NDArray[np.float64]]:
    metrics = dict.fromkeys(m for o in objectives for m in o.coefficients)
    return {m: np.array([o.coefficients.get(m, 0.0) for o in objectives]) for m in metrics}
