"""Closed form of the Init-SFT reward: a log-likelihood ratio that needs no training."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace

import numpy as np
import torch
from torch import Tensor

from pluralign.core import Decision, InputError, OptionRewards
from pluralign.core.messages import Messages, Template
from pluralign.lm.backbone import Backbone
from pluralign.lm.completion_trees import CompletionReader, CompletionTrees
from pluralign.lm.forest import Forest, Tree
from pluralign.lm.map_forests import map_completions
from pluralign.lm.prompts import TEMPLATES, end_of_turn_ids
from pluralign.lm.tensors import to_list
from pluralign.lm.vocabulary import branch_log_probs
from pluralign.rewards.reward import Reward
from pluralign.rewards.reward_model import RewardSettings


class LikelihoodRatio(Reward):
    """log pi(y|x) - log pi_ref(y|x), nats: the logit of the optimal discriminator between the two models'
    samples (Inverse-RLignment eq. 9 and 12, with pi_SFT's samples as positives and pi_init's as negatives).

    Args:
        policy: Policy pi, fine-tuned on demonstrations.
        reference: Reference pi_ref, the same model before fine-tuning.
        settings: Settings for reading text.
        name: Name in reports.
        ends: Whether the token that ends a completion (the end of text, or of the assistant's turn) counts as
            well. Leave it out if completions were truncated at a token limit, where neither model would have
            ended.

    Raises:
        InputError: The models have different tokenizers.
    """

    def __init__(
        self, policy: Backbone, reference: Backbone, settings: RewardSettings | None = None,
        name: str = "closed form", *, ends: bool = False,
    ) -> None:  # fmt: skip
        if policy.tokenizer.get_vocab() != reference.tokenizer.get_vocab():
            raise InputError(f"{policy.name!r} and {reference.name!r} have different tokenizers")
        self.policy, self.reference, self.name = policy, reference, name
        self.settings = settings or RewardSettings()
        self._ends = ends
        readers = [
            CompletionReader.for_model(one.model, policy.tokenizer, self.settings.max_length)
            for one in (policy, reference)
        ]
        self.reader = min(readers, key=lambda reader: reader.max_length)

    @property
    def counts(self) -> Mapping[str, int]:
        """See `Reward`."""
        return self.reader.counts

    def render(self, messages: Messages, opens: bool) -> str:
        """See `Reward`."""
        return self.template(messages, opens)

    @property
    def template(self) -> Template:
        """See `Reward`."""
        return TEMPLATES[self.settings.template](self.policy.tokenizer, self.settings.control_tokens)

    def score_decisions(self, decisions: Iterable[Decision]) -> list[OptionRewards]:
        """See `Reward`; sigma is 0."""
        read = [self.reader.read(decision.prompt, decision.options) for decision in decisions]
        read = [replace(one, trees=tuple(map(self._without_end, one.trees))) for one in read]
        by_policy = self._log_probs(self.policy, read)
        by_reference = self._log_probs(self.reference, read)
        ratios = [np.array(a) - np.array(b) for a, b in zip(by_policy, by_reference, strict=True)]
        return [OptionRewards(ratio, np.zeros_like(ratio)) for ratio in ratios]

    def _without_end(self, tree: Tree) -> Tree:
        tokenizer = self.policy.tokenizer
        if self._ends:
            return tree
        ends = [tokenizer.eos_token_id, *end_of_turn_ids(tokenizer)]
        branches = [b[:-1] if len(b) > 1 and b[-1] in ends else b for b in tree.branches]
        return Tree(tree.prompt_ids, branches, tree.keep_first)

    @torch.inference_mode()
    def _log_probs(self, backbone: Backbone, read: Sequence[CompletionTrees]) -> list[list[float]]:
        model, budget = backbone.model, self.settings.token_budget

        def log_probs(hidden: Tensor, forest: Forest) -> list[float]:
            return to_list(branch_log_probs(model, hidden, forest).cpu().double())

        return map_completions(model, read, log_probs, token_budget=budget)
