"""A language model as the rest of the library uses it: scores options and answers, writes replies."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from pluralign.core import Decision, InputError
from pluralign.models.backbone import Backbone
from pluralign.models.forest import Tree, by_tree, plant
from pluralign.models.generation import Sampling, draw_completions, row_seeds
from pluralign.models.rendering import (
    Messages,
    chat_ids,
    decision_tree,
    encode,
    render_chat,
    render_decision,
)
from pluralign.models.trunk import context_length, forest_hidden_states
from pluralign.models.vocabulary import branch_log_probs

__all__ = ["LanguageModel", "Messages", "OptionLikelihoods", "render_decision"]


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


class LanguageModel:
    """A backbone that scores and writes text.

    A chat is a list of ``{"role", "content"}`` messages, or a text, which stands for one message of
    the user; the model's own chat template is put around it.

    Args:
        backbone: the model.
        token_budget: tokens in one forward pass.
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
        trees = [decision_tree(self.backbone.tokenizer, decision) for decision in decisions]
        lengths = [np.array([len(branch) for branch in tree.branches]) for tree in trees]
        return [
            OptionLikelihoods(values.double().cpu().numpy(), count)
            for values, count in zip(self._branch_log_probs(trees), lengths, strict=True)
        ]

    def answer_log_probs(
        self, chats: Sequence[Messages | str], answers: Sequence[str]
    ) -> npt.NDArray[np.float64]:
        """Log-probability of each answer as the beginning of the reply to each chat.

        Returns:
            Sums of token log-probabilities in nats, shape (chats, answers).

        Raises:
            InputError: an answer without tokens, or a message without role or content.
        """
        branches = [encode(self.backbone.tokenizer, answer) for answer in answers]
        if not branches or not all(branches):
            raise InputError(f"answers must be texts that are not empty, found {list(answers)!r}")
        trees: list[Tree] = []
        for chat in chats:
            ids, keep_first = chat_ids(self.backbone.tokenizer, chat)
            trees.append(Tree(ids, branches, keep_first))
        if not trees:
            return np.zeros((0, len(answers)))
        return torch.stack(self._branch_log_probs(trees)).double().cpu().numpy()

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
        chats stand before it; what else is in the batch changes no reply (in float32; bfloat16's
        rounding may tip a close call).

        Args:
            chats: what to reply to.
            max_new_tokens: replies are cut off there.
            temperature: 0 takes the most likely token.
            seed: one for all, or one for each chat.

        Returns:
            The replies without special tokens.

        Raises:
            InputError: negative temperature, no new tokens, or more of them than the context holds.
        """
        texts = [render_chat(self.backbone.tokenizer, chat) for chat in chats]
        ids = [chat_ids(self.backbone.tokenizer, chat) for chat in chats]
        sampling = Sampling(max_new_tokens, temperature)
        seeds = [[own] for own in row_seeds(texts, seed)]
        found = draw_completions(self.backbone, ids, seeds, sampling, token_budget=self.token_budget)
        return [completion for (completion,) in found]

    @torch.inference_mode()
    def _branch_log_probs(self, trees: list[Tree]) -> list[Tensor]:
        model = self.backbone.model
        forests = plant(trees, self.token_budget, max_path=context_length(model))
        values: list[Tensor] = []
        for forest in forests:
            forest = forest.to(self.backbone.device)
            values.append(branch_log_probs(model, forest_hidden_states(model, forest), forest))
        return by_tree(trees, forests, values)
