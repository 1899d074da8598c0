"""A language model as the rest of the library uses it: scores options and answers, writes replies."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor
from transformers import PreTrainedTokenizerBase

from pluralign.core import Decision, InputError
from pluralign.core.messages import Messages
from pluralign.lm.backbone import Backbone
from pluralign.lm.chat_template import chat_template_of
from pluralign.lm.decisions import decision_tree
from pluralign.lm.decoding import Decoding
from pluralign.lm.forest import Forest, Tree
from pluralign.lm.generation import draw_completions, row_seeds
from pluralign.lm.map_forests import map_forests
from pluralign.lm.prompts import encode_after, prompt_ids, quoted, render_chat
from pluralign.lm.trunk import context_length
from pluralign.lm.vocabulary import branch_log_probs, log_probs_of


@dataclass(frozen=True, eq=False)
class OptionLikelihoods:
    """How likely a language model finds each option of one decision.

    Args:
        log_likelihoods: Sum of the option's token log-probabilities, nats, shape (options,).
        lengths: Number of tokens of each option, shape (options,).
    """

    log_likelihoods: npt.NDArray[np.float64]
    lengths: npt.NDArray[np.int64]

    @property
    def per_token(self) -> npt.NDArray[np.float64]:
        """Mean log-probability of a token, nats, shape (options,)."""
        return self.log_likelihoods / self.lengths


class LanguageModel:
    """A backbone that scores and writes text.

    A chat is a list of ``{"role", "content"}`` messages, or a text, which is one message of
    the user; the model's own chat template is put around it.

    Args:
        backbone: Model that scores and writes.
        token_budget: Largest number of tokens in one forward pass.
    """

    def __init__(self, backbone: Backbone, *, token_budget: int = 4096) -> None:
        self.backbone = backbone
        self.token_budget = token_budget

    @property
    def name(self) -> str:
        """The backbone's name."""
        return self.backbone.name

    @property
    def dtype(self) -> str:
        """Of the backbone's weights: ``float32``, ``bfloat16``."""
        return str(self.backbone.dtype).removeprefix("torch.")

    @property
    def identity(self) -> Mapping[str, str]:
        """The backbone's fingerprint, which changes with its weights."""
        return {"fingerprint": self.backbone.fingerprint}

    def option_log_likelihoods(self, decisions: Sequence[Decision]) -> list[OptionLikelihoods]:
        """How likely each option is after its decision's prompt (see `render_decision`)."""
        return self._likelihoods([decision_tree(self.backbone.tokenizer, decision) for decision in decisions])

    def reply_log_likelihoods(self, decisions: Sequence[Decision]) -> list[OptionLikelihoods]:
        """How likely each option is as the beginning of the reply to its decision's prompt, which is a
        message of the user."""
        tokenizer = self.backbone.tokenizer
        trees: list[Tree] = []
        for decision in decisions:
            read = prompt_ids(tokenizer, render_chat(tokenizer, decision.prompt))
            branches = [_reply_ids(tokenizer, option, read.ids) for option in decision.options]
            trees.append(Tree(read.ids, branches, read.keep))
        return self._likelihoods(trees)

    def answer_log_probs(
        self, chats: Sequence[Messages | str], answers: Sequence[str]
    ) -> npt.NDArray[np.float64]:
        """Log-probability of each answer as the beginning of the reply to each chat.

        Where answers are single tokens, neighbouring chats that begin alike (a judge's questions about one
        situation) share what they have in common.

        Returns:
            Sums of token log-probabilities in nats, shape (chats, answers).

        Raises:
            InputError: An answer without tokens, or a message without role or content.
        """
        tokenizer = self.backbone.tokenizer
        read = [prompt_ids(tokenizer, render_chat(tokenizer, chat)) for chat in chats]
        # All chats end with the same text, where the reply begins.
        end = read[0].ids if read else []
        branches = [_reply_ids(tokenizer, answer, end) for answer in answers]
        if not branches or not all(branches):
            raise InputError(f"answers must be non-empty texts, found {list(answers)!r}")
        found = torch.zeros(len(read), len(answers), dtype=torch.float32, device=self.backbone.device)
        # A chat that fills the context is cut: by how much may not depend on the others.
        context = context_length(self.backbone.model)
        alone = [
            i
            for i, prompt in enumerate(read)
            if max(map(len, branches)) > 1 or (context is not None and len(prompt.ids) >= context)
        ]
        if alone:
            trees = [Tree(read[i].ids, branches, read[i].keep) for i in alone]
            found[alone] = torch.stack(self._branch_log_probs(trees))
        if together := sorted(set(range(len(read))) - set(alone)):
            letters = torch.tensor([branch[0] for branch in branches], device=self.backbone.device)
            found[together] = self._next_log_probs([read[i].ids for i in together], letters)
        return found.cpu().double().numpy()

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
            chats: Chats to reply to.
            max_new_tokens: Largest number of tokens of a reply.
            temperature: 0 takes the most likely token.
            seed: Random seed for all, or one for each chat.

        Returns:
            The replies without special tokens.

        Raises:
            InputError: Negative temperature, no new tokens, or more of them than the context holds.
        """
        texts = [render_chat(self.backbone.tokenizer, chat) for chat in chats]
        ids = [prompt_ids(self.backbone.tokenizer, text) for text in texts]
        sampling = Decoding(max_new_tokens, temperature)
        seeds = [[own] for own in row_seeds(texts, seed)]
        found = draw_completions(self.backbone, ids, seeds, sampling, token_budget=self.token_budget)
        lead = chat_template_of(self.backbone.tokenizer).lead
        return [completion.removeprefix(lead) for (completion,) in found]

    def _likelihoods(self, trees: list[Tree]) -> list[OptionLikelihoods]:
        lengths = [np.array([len(branch) for branch in tree.branches]) for tree in trees]
        return [
            OptionLikelihoods(values.cpu().double().numpy(), count)
            for values, count in zip(self._branch_log_probs(trees), lengths, strict=True)
        ]

    @torch.inference_mode()
    def _next_log_probs(self, rows: Sequence[Sequence[int]], tokens: Tensor) -> Tensor:
        """Log-probability of each token after each row, shape (rows, tokens)."""
        model = self.backbone.model

        def of_ends(hidden: Tensor, forest: Forest) -> Tensor:
            states = hidden[forest.ends]
            columns = [log_probs_of(model, states, token.expand(len(states))) for token in tokens]
            return torch.stack(columns, dim=1)

        found = map_forests(model, _share_beginnings(rows), of_ends, token_budget=self.token_budget)
        return torch.cat(found)

    @torch.inference_mode()
    def _branch_log_probs(self, trees: list[Tree]) -> list[Tensor]:
        model = self.backbone.model
        return map_forests(
            model, trees, partial(branch_log_probs, model),
            token_budget=self.token_budget, max_path=context_length(model),
        )  # fmt: skip


def _reply_ids(tokenizer: PreTrainedTokenizerBase, reply: str, before: Sequence[int]) -> list[int]:
    """Token ids of the beginning of a reply to a chat, whose ids are given (`render_chat`)."""
    lead = chat_template_of(tokenizer).lead if reply and not reply[0].isspace() else ""
    return encode_after(tokenizer, lead + quoted(tokenizer, reply), before)


def _share_beginnings(rows: Sequence[Sequence[int]]) -> list[Tree]:
    """Neighbouring rows that have half of their tokens or more in common, from the first on, as one tree."""
    trees: list[Tree] = []
    group: list[Sequence[int]] = []
    shared = 0
    for row in rows:
        common = _common(group[0][:shared], row[:-1]) if group else 0
        if group and 2 * common < max(shared, len(row)):
            trees.append(Tree(group[0][:shared], [r[shared:] for r in group]))
            group = []
        shared = common if group else len(row) - 1
        group.append(row)
    return [*trees, Tree(group[0][:shared], [row[shared:] for row in group])]


def _common(one: Sequence[int], other: Sequence[int]) -> int:
    """Number of tokens at the beginning that two rows have in common."""
    pairs = enumerate(zip(one, other, strict=False))
    return next((i for i, (a, b) in pairs if a != b), min(len(one), len(other)))
