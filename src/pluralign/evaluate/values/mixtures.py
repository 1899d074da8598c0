"""Mixtures of language policies as models that are asked: exact log-probabilities of replies."""

from __future__ import annotations

from collections.abc import Sequence
from typing import cast

import numpy as np
import numpy.typing as npt

from pluralign.core import Decision, SteeringWeights
from pluralign.core.messages import Messages
from pluralign.lm.language_model import OptionLikelihoods
from pluralign.steer.policies import Policies
from pluralign.steer.prompt_scores import score_prompt

FloatArray = npt.NDArray[np.float64]

# Tokens that each policy reads at once.
_PART = 4096


class MixtureReplies:
    """A mixture under fixed weights; log-probabilities are those of the distribution that it samples from.

    Args:
        policies: Policies.
        weights: Weights by objective.

    Raises:
        InputError: A weight names an objective without a policy.
    """

    def __init__(self, policies: Policies, weights: SteeringWeights) -> None:
        weights.require_known(policies.objectives)
        self._policies, self._weights = policies, weights
        self._numbers = {
            number: weights[name]
            for number, name in enumerate(policies.rows.names)
            if weights.get(name, 0.0) > 0
        }

    @property
    def name(self) -> str:
        """Name of the model with its mix, as the server takes it."""
        return f"{self._policies.name}@{self._weights.to_text()}"

    @property
    def dtype(self) -> str:
        """Floating-point type of the weights."""
        return self._policies.dtype_name

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
        messages = cast("Messages", [{"role": "user", "content": chat}] if isinstance(chat, str) else chat)
        start = len(self._policies.chat_ids(messages))
        whole = self._policies.chat_ids(messages, answer)
        power = self._policies.power
        reading = score_prompt(self._policies.rows, self._numbers, whole, 0, power, lambda: _PART)
        while True:
            try:
                next(reading)
            except StopIteration as ended:
                return [token.log_prob for token in ended.value[start:] if token is not None]
