"""Mixtures of language policies as models that are asked: exact log-probabilities of replies."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, cast

import numpy as np

from pluralign.core import Decision, SteeringWeights
from pluralign.core.arrays import FloatArray
from pluralign.core.messages import Messages
from pluralign.folders.card import content_digest
from pluralign.lm.language_model import OptionLikelihoods
from pluralign.steer.policies import Policies
from pluralign.steer.policy_rows import finished
from pluralign.steer.prompt_scores import score_mixtures
from pluralign.steer.requests import TokenLogProb

# Tokens that each policy reads at once.
_PART = 4096


class MixtureReadings:
    """Log-probabilities of answers under several mixtures of the same policies, which read each text once.

    Args:
        policies: Policies.
        mixes: Weights of each mixture by objective.

    Raises:
        InputError: A weight names an objective without a policy.
    """

    def __init__(self, policies: Policies, mixes: Sequence[SteeringWeights]) -> None:
        for weights in mixes:
            weights.require_known(policies.objectives)
        self.policies = policies
        self._mixtures = [
            {number: weights[name] for number, name in enumerate(policies.rows.names)
             if weights.get(name, 0.0) > 0}
            for weights in mixes
        ]  # fmt: skip
        self._known: dict[tuple[int, tuple[int, ...]], list[list[float]]] = {}

    def tokens(self, mixture: int, chat: Messages | str, answer: str) -> list[float]:
        """Log-probabilities of an answer's tokens under the mixture of this number."""
        messages = cast("Messages", [{"role": "user", "content": chat}] if isinstance(chat, str) else chat)
        start = len(self.policies.chat_ids(messages))
        whole = self.policies.chat_ids(messages, answer)
        key = start, tuple(whole)
        if key not in self._known:
            read = self._read(whole, start)
            self._known[key] = [[one.log_prob for one in own[start:] if one is not None] for own in read]
        return self._known[key][mixture]

    def _read(self, ids: Sequence[int], start: int) -> list[list[TokenLogProb | None]]:
        rows, power = self.policies.rows, self.policies.power
        return finished(score_mixtures(rows, self._mixtures, ids, 0, power, lambda: _PART, first=start))


class MixtureReplies:
    """A mixture under fixed weights; log-probabilities are those of the distribution that it samples from.

    Args:
        policies: Policies.
        weights: Weights by objective.
        readings: Log-probabilities that several mixtures share.
        number: Number of this mixture in ``readings``.

    Raises:
        InputError: A weight names an objective without a policy.
    """

    def __init__(
        self, policies: Policies, weights: SteeringWeights, readings: MixtureReadings | None = None,
        number: int = 0,
    ) -> None:  # fmt: skip
        self._policies, self._weights, self._number = policies, weights, number
        self._readings = readings or MixtureReadings(policies, [weights])

    @property
    def name(self) -> str:
        """Name of the model with its mix, as the server takes it."""
        return f"{self._policies.name}@{self._weights.to_text()}"

    @property
    def dtype(self) -> str:
        """Floating-point type of the weights."""
        return self._policies.dtype_name

    @property
    def identity(self) -> dict[str, Any]:
        """Base model and policies, by what changes with their weights, and the power of the mixture."""
        own = self._policies
        folders = {name: content_digest(folder) for name, folder in own.folders.items()}
        return {"base": own.rows.backbone.fingerprint, "policies": folders, "power": str(float(own.power))}

    def answer_log_probs(self, chats: Sequence[Messages | str], answers: Sequence[str]) -> FloatArray:
        """Log-probability of each answer as the beginning of the reply to each chat, shape (chats,
        answers)."""
        return np.array([[sum(self._tokens(chat, answer)) for answer in answers] for chat in chats])

    def reply_log_likelihoods(self, decisions: Sequence[Decision]) -> list[OptionLikelihoods]:
        """How likely each option is as the beginning of the reply to its decision's prompt."""
        found: list[OptionLikelihoods] = []
        for decision in decisions:
            tokens = [self._tokens(decision.prompt, option) for option in decision.options]
            found.append(
                OptionLikelihoods(
                    np.array([sum(own) for own in tokens]), np.array([len(own) for own in tokens])
                )
            )
        return found

    def _tokens(self, chat: Messages | str, answer: str) -> list[float]:
        """Log-probabilities of the answer's tokens."""
        return self._readings.tokens(self._number, chat, answer)


def mixtures_of(policies: Policies, mixes: Sequence[SteeringWeights]) -> list[MixtureReplies]:
    """Mixtures of the same policies under several weights, for all of which each text is read once.

    Args:
        policies: Policies.
        mixes: Weights of each mixture by objective.

    Raises:
        InputError: A weight names an objective without a policy.
    """
    readings = MixtureReadings(policies, mixes)
    return [MixtureReplies(policies, weights, readings, number) for number, weights in enumerate(mixes)]
