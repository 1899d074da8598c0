"""A language model as the rest of the library uses it: scores options and answers, writes replies."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from pluralign.core import Decision
from pluralign.models.backbone import Backbone

Messages = Sequence[Mapping[str, str]]


@dataclass(frozen=True, eq=False)
class OptionLikelihoods:
    """How likely a language model finds each option of one decision.

    Args:
        log_likelihoods: sum of the option's token log-probabilities, nats, shape (options,).
        lengths: tokens of each option, shape (options,).
    """

    log_likelihoods: npt.NDArray[np.float64]
    lengths: npt.NDArray[np.int64]

    @property
    def per_token(self) -> npt.NDArray[np.float64]:
        """Mean log-probability of a token, nats, shape (options,)."""
        return self.log_likelihoods / self.lengths


def render_decision(decision: Decision) -> tuple[str, list[str]]:
    """A decision as plain text: the prompt, and each option as its continuation."""
    raise NotImplementedError


class LanguageModel:
    """A backbone that scores and writes text.

    A chat is a list of ``{"role", "content"}`` messages, or a text, which stands for one message of
    the user; the model's own chat template is put around it.
    """

    def __init__(self, backbone: Backbone, *, token_budget: int = 4096) -> None:
        self.backbone = backbone
        self.token_budget = token_budget

    @property
    def name(self) -> str:
        """The backbone's name."""
        return self.backbone.name

    def option_log_likelihoods(self, decisions: Sequence[Decision]) -> list[OptionLikelihoods]:
        """How likely each option is after its decision's prompt (see `render_decision`)."""
        raise NotImplementedError

    def answer_log_probs(
        self, chats: Sequence[Messages | str], answers: Sequence[str]
    ) -> npt.NDArray[np.float64]:
        """Log-probability of each answer as the beginning of the reply to each chat.

        Returns:
            Sums of token log-probabilities in nats, shape (chats, answers).
        """
        raise NotImplementedError

    def generate(
        self,
        chats: Sequence[Messages | str],
        *,
        max_new_tokens: int,
        temperature: float = 1.0,
        seed: int | Sequence[int] = 0,
    ) -> list[str]:
        """Write one reply to each chat.

        Every row has its own random numbers, drawn from ``seed``, the chat's text and how many equal
        chats stand before it; what else is in the batch changes no reply.

        Args:
            chats: what to reply to.
            max_new_tokens: replies are cut off there.
            temperature: 0 takes the most likely token.
            seed: one for all, or one for each chat.

        Returns:
            The replies without special tokens.
        """
        raise NotImplementedError
