"""Relevance: which objectives are at stake in a prompt, and steering weights that depend on it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Protocol

import numpy as np
import numpy.typing as npt

from pluralign.annotate.judge import Scorer
from pluralign.annotate.prompt import shorten
from pluralign.core import InputError, Objective, SteeringWeights
from pluralign.core.messages import Prompt
from pluralign.lm.dtypes import DTypeName
from pluralign.lm.prompt_file import PromptFile
from pluralign.rewards.reward import Reward
from pluralign.steer.request_weights import WeightsFunction

Probabilities = npt.NDArray[np.float64]

LEAST_FACTOR = 0.1
"""Smallest factor: an estimate may weaken an objective that a user set, but not silence it."""


class Estimator(Protocol):
    """Estimates whether objectives are at stake in prompts."""

    @property
    def name(self) -> str:
        """Name in reports."""
        ...

    def at_stake(self, prompts: Sequence[str], principles: Sequence[str]) -> Probabilities:
        """Probability that each principle is at stake in each prompt, shape (prompts, principles); 0.5 where
        the estimator is unsure. Each depends on its prompt and principle only."""
        ...


class JudgedRelevance:
    """Relevance by a language model's answers to two opposite questions.

    "Is it at stake?" and "Can it be left out of account?" have opposite answers, so that a model that says
    yes to everything contradicts itself. Where the signs of the two log-odds differ, the probability is 0.5;
    elsewhere it is the sigmoid of their mean.

    Args:
        scorer: Local language model.
    """

    def __init__(self, scorer: Scorer) -> None:
        self._scorer = scorer
        self._prompts = [
            PromptFile(
                None, package="pluralign.annotate", name=f"prompts/{name}.txt",
                placeholders=("prompt", "principle"), required=("prompt", "principle"),
            )
            for name in ("relevant", "irrelevant")
        ]  # fmt: skip

    @property
    def name(self) -> str:
        """``judge:MODEL``."""
        return f"judge:{self._scorer.name}"

    def at_stake(self, prompts: Sequence[str], principles: Sequence[str]) -> Probabilities:
        """See `Estimator.at_stake`."""
        return judged_probabilities(*self.log_odds(prompts, principles))

    def log_odds(
        self, prompts: Sequence[str], principles: Sequence[str]
    ) -> tuple[Probabilities, Probabilities]:
        """Log-odds of being at stake by each of the two questions, each of shape (prompts, principles)."""
        texts = [
            form.fill(prompt=shorten(prompt), principle=principle)
            for form in self._prompts
            for prompt in prompts
            for principle in principles
        ]
        scores = self._scorer.answer_log_probs(texts, ("Yes", "No"))
        odds = (scores[:, 0] - scores[:, 1]).reshape(2, len(prompts), len(principles))
        return odds[0], -odds[1]


def judged_probabilities(asked: Probabilities, opposite: Probabilities) -> Probabilities:
    """Probabilities from the log-odds of both questions: 0.5 where their signs differ or one of them is 0."""
    agree = np.sign(asked) * np.sign(opposite) > 0
    return np.where(agree, _sigmoid((asked + opposite) / 2), 0.5)


class RewardedRelevance:
    """Relevance by a reward whose logit is that of "this principle is at stake in this prompt".

    The principle is scored as the completion of the prompt: a discriminator (`fit_discriminator`) that was
    trained on the principles that are at stake in prompts against those that are not.

    Args:
        reward: Discriminator, or another reward in nats.
    """

    def __init__(self, reward: Reward) -> None:
        self._reward = reward

    @property
    def name(self) -> str:
        """``reward:NAME``."""
        return f"reward:{self._reward.name}"

    def at_stake(self, prompts: Sequence[str], principles: Sequence[str]) -> Probabilities:
        """See `Estimator.at_stake`.

        Raises:
            InputError: A reward is not finite.
        """
        asked = [prompt for prompt in prompts for _ in principles]
        rewards = self._reward.score(asked, list(principles) * len(prompts))
        if not np.isfinite(rewards).all():
            raise InputError(f"the rewards of {self._reward.name} are not numbers", field="relevance")
        return _sigmoid(rewards).reshape(len(prompts), len(principles))


class Relevance:
    """Factors on steering weights by what is at stake in a prompt.

    An objective that is at stake with probability 1/2 or more has factor 1, and so has one of which the
    estimator is unsure (1/2); below, the factor falls in proportion, from 1 at 1/2 to `LEAST_FACTOR`.
    Weights are multiplied by their factors and divided by their sum. (Value Kaleidoscope, Sorensen et al.
    2024, weighs values by relevance; the scale, the abstention and the floor are ours.) Relevance is not
    importance: that is what the weights say.

    Args:
        estimator: Estimator of what is at stake.
        objectives: Objectives with descriptions, which are the principles.

    Examples:
        >>> class OnlyHonesty:
        ...     name = "only-honesty"
        ...     def at_stake(self, prompts, principles):
        ...         return np.array([["truth" in one for one in principles] for _ in prompts], float)
        >>> aims = [Objective("honest", "It is the truth."), Objective("short", "It is short.")]
        >>> relevance = Relevance(OnlyHonesty(), aims)
        >>> weights = SteeringWeights({"honest": 0.2, "short": 0.8})
        >>> {name: round(w, 3) for name, w in relevance.weigh(weights, relevance.of("Why?")).items()}
        {'honest': 0.714, 'short': 0.286}
    """

    def __init__(self, estimator: Estimator, objectives: Sequence[Objective]) -> None:
        self._estimator = estimator
        self._principles = {objective.name: objective.description for objective in objectives}

    @property
    def name(self) -> str:
        """Name of the estimator."""
        return self._estimator.name

    @property
    def objectives(self) -> tuple[str, ...]:
        """Names of the objectives that have a description."""
        return tuple(self._principles)

    def of(self, prompt: Prompt) -> dict[str, float]:
        """Factor of each objective in a prompt, from `LEAST_FACTOR` to 1."""
        return self.of_each([prompt])[0]

    def of_each(self, prompts: Sequence[Prompt]) -> list[dict[str, float]]:
        """Factor of each objective in each prompt."""
        found = self._estimator.at_stake(
            [text_of(prompt) for prompt in prompts], list(self._principles.values())
        )
        factors = np.clip(2 * found, LEAST_FACTOR, 1.0)
        return [dict(zip(self._principles, map(float, row), strict=True)) for row in factors]

    def weigh(self, weights: Mapping[str, float], factors: Mapping[str, float]) -> SteeringWeights:
        """The weights times their factors, divided by their sum; an objective without a factor has factor
        1."""
        return weigh(weights, factors)

    def provider(self, weights: Mapping[str, float]) -> WeightsFunction:
        """Function from a prompt to these weights with its factors, for `Policies.generate`.

        Raises:
            InputError: The weights are no steering weights.
        """
        given = SteeringWeights(weights)
        return lambda prompt: self.weigh(given, self.of(prompt))


def weigh(weights: Mapping[str, float], factors: Mapping[str, float]) -> SteeringWeights:
    """Weights times factors, divided by their sum; equal factors leave the weights as they are.

    Args:
        weights: Weights by objective, summing to one.
        factors: Factors above 0; an objective without one has factor 1.
    """
    own = [factors.get(name, 1.0) for name, weight in weights.items() if weight > 0]
    if len(set(own)) <= 1:
        return weights if isinstance(weights, SteeringWeights) else SteeringWeights(weights)
    changed = {name: weight * factors.get(name, 1.0) for name, weight in weights.items()}
    total = sum(changed.values())
    return SteeringWeights({name: weight / total for name, weight in changed.items()})


def text_of(prompt: Prompt) -> str:
    """The text of a prompt, of its only message, or of its messages with their roles."""
    if isinstance(prompt, str):
        return prompt
    if len(prompt) == 1:
        return prompt[0]["content"] or ""
    return "\n\n".join(f"{message['role']}: {message['content'] or ''}" for message in prompt)


def open_relevance(spec: str, objectives: Sequence[Objective], *, dtype: DTypeName = "float32") -> Relevance:
    """Open an estimator by name.

    Args:
        spec: ``judge:MODEL`` (a local language model) or ``reward:REWARD`` (a discriminator, see
            `RewardedRelevance`; anything that `load_reward` loads).
        objectives: Objectives with descriptions.
        dtype: Precision of the model.

    Raises:
        InputError: The name is unknown, or the model cannot be loaded.
    """
    kind, _, rest = spec.partition(":")
    if kind == "judge" and rest:
        from pluralign.options.open import Models

        return Relevance(JudgedRelevance(Models(rest, dtype=dtype).language_model), objectives)
    if kind == "reward" and rest:
        from pluralign.rewards.open import load_reward

        return Relevance(RewardedRelevance(load_reward(rest, dtype=dtype)), objectives)
    raise InputError(f"expected judge:MODEL or reward:REWARD, found {spec!r}", field="relevance")


def _sigmoid(log_odds: Probabilities) -> Probabilities:
    return np.exp(-np.logaddexp(0.0, -log_odds))
