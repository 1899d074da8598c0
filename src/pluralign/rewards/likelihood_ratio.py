"""The closed form of the Init-SFT reward: no training at all."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from pluralign.core import Decision, InputError, OptionRewards
from pluralign.core.messages import Messages
from pluralign.lm.backbone import Backbone
from pluralign.lm.completion_trees import CompletionReader
from pluralign.lm.forest import Tree, by_tree, plant
from pluralign.lm.prompts import TEMPLATES
from pluralign.lm.trunk import forest_hidden_states
from pluralign.lm.vocabulary import branch_log_probs
from pluralign.rewards.reward_model import RewardSettings


class LikelihoodRatio:
    """log pi(y|x) - log pi_ref(y|x), nats: the logit of the optimal discriminator between the two models'
    samples (Inverse-RLignment eq. 9 and 12, with pi_SFT's samples as positives and pi_init's as negatives).

    Args:
        policy: pi, fine-tuned on demonstrations.
        reference: pi_ref, the same model before.
        settings: how text is read.
        name: how reports call it.
        ends: the end-of-text token counts, too; leave it out where completions were cut off at a number of
            tokens, after which neither model would have ended.

    Raises:
        InputError: the two have different tokenizers.
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
        closes = bool(policy.model.config.is_encoder_decoder)
        self.reader = CompletionReader(policy.tokenizer, self.settings.max_length, closes_prompt=closes)

    @property
    def counts(self) -> Mapping[str, int]:
        """See `CompletionScorer`."""
        return self.reader.counts

    def render(self, messages: Messages, opens: bool) -> str:
        """See `CompletionScorer`."""
        return TEMPLATES[self.settings.template](self.policy.tokenizer)(messages, opens)

    def score(self, decisions: Iterable[Decision]) -> list[OptionRewards]:
        """See `CompletionScorer`; sigma is 0."""
        read = [self.reader.read(decision.prompt, decision.options) for decision in decisions]
        trees = [self._without_end(tree) for one in read for tree in one.trees]
        by_policy = self._log_probs(self.policy, trees)
        by_reference = self._log_probs(self.reference, trees)
        ratios = [a - b for a, b in zip(by_policy, by_reference, strict=True)]
        found: list[OptionRewards] = []
        start = 0
        for one in read:
            values = np.array([float(ratios[start + tree][branch]) for tree, branch in one.places])
            found.append(OptionRewards(values, np.zeros_like(values)))
            start += len(one.trees)
        return found

    def _without_end(self, tree: Tree) -> Tree:
        eos = self.policy.tokenizer.eos_token_id
        if self._ends:
            return tree
        branches = [b[:-1] if len(b) > 1 and b[-1] == eos else b for b in tree.branches]
        return Tree(tree.prompt_ids, branches, tree.keep_first)

    @torch.inference_mode()
    def _log_probs(self, backbone: Backbone, trees: list[Tree]) -> list[Float[Tensor, " branches"]]:
        forests = plant(trees, self.settings.token_budget)
        values: list[Tensor] = []
        for planted in forests:
            forest = planted.to(backbone.device)
            hidden = forest_hidden_states(backbone.model, forest)
            values.append(branch_log_probs(backbone.model, hidden, forest).double().cpu())
        return by_tree(trees, forests, values)
