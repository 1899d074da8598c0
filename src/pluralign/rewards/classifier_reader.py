"""Token ids as sequence classifiers of transformers read them."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from typing import Any, cast

from torch import nn
from transformers import PreTrainedModel, PreTrainedTokenizerBase

from pluralign.core import Decision
from pluralign.core.messages import Template
from pluralign.lm.forest import Tree
from pluralign.lm.prompts import TEMPLATES, completion_ids, encode_after, prompt_ids
from pluralign.lm.trunk import context_length


class ClassifierReader:
    """Makes trees of texts for a decoder-only classifier, and counts what it cuts.

    Args:
        model: Sequence classifier; its weights are not used.
        tokenizer: Its tokenizer.
        closes: Whether completions end with the end-of-text token.
        template: Template of messages; by default the tokenizer's chat template, or HH-RLHF's plain dialogue
            without one.
        longest: Largest number of tokens of a text; by default the model's.
    """

    def __init__(
        self, model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase, *, closes: bool,
        template: Template | None = None, longest: int | None = None,
    ) -> None:  # fmt: skip
        config: Any = model.config
        self._tokenizer, self._closes = tokenizer, closes
        chat: Any = tokenizer
        self.template = template or TEMPLATES["dialogue" if chat.chat_template is None else "chat"](tokenizer)
        """Template of messages and texts."""
        self.padding: int | None = config.get_text_config().pad_token_id
        """Id of the padding token."""
        self.limit = min(_limit(model, tokenizer), longest or 1 << 20)
        """Tokens of the longest text that the classifier reads."""
        self.counts: Counter[str] = Counter(completions=0, cut_prompts=0, cut_completions=0, cut_tokens=0)
        """Completions read, and what was cut."""

    def trees(self, decision: Decision) -> list[Tree]:
        """One tree; if truncation is needed, one per completion."""
        self.counts["completions"] += len(decision.options)
        prompt = prompt_ids(self._tokenizer, decision.prompt)
        branches = [self._branch(text, prompt.ids) for text in decision.options]
        if all(branches) and len(prompt.ids) + max(map(len, branches)) <= self.limit:
            return [Tree(prompt.ids, branches)]
        trees: list[Tree] = []
        for branch in branches:
            kept = branch[: self.limit - prompt.keep - 1]
            end = prompt.truncated(self.limit - len(kept))
            self.count_cut(len(prompt.ids) - len(end.ids), len(branch) - len(kept))
            # Without a token of its own that is not padding, a completion is scored at its prompt's last.
            ids = end.ids if kept else self._unpadded(end.ids) or end.ids
            trees.append(Tree(ids, [kept]) if kept else Tree(ids[:-1], [ids[-1:]]))
        return trees

    def paths(self, decision: Decision) -> list[list[int]]:
        """Token ids of each completion after its prompt."""
        return [[*tree.prompt_ids, *branch] for tree in self.trees(decision) for branch in tree.branches]

    def count_cut(self, prompt: int, completion: int) -> None:
        """Count tokens cut from a prompt and from a completion."""
        self.counts["cut_prompts"] += prompt > 0
        self.counts["cut_completions"] += completion > 0
        self.counts["cut_tokens"] += prompt + completion

    def _branch(self, completion: str, prompt: Sequence[int]) -> list[int]:
        """Token ids of a completion; an empty one is the end-of-text token alone."""
        ids = [] if self._closes else encode_after(self._tokenizer, completion, prompt)
        return self._unpadded(ids or completion_ids(self._tokenizer, completion, prompt))

    def _unpadded(self, ids: list[int]) -> list[int]:
        """Token ids up to the last one that is not padding."""
        return ids[: max((i for i, token in enumerate(ids, 1) if token != self.padding), default=0)]


def _limit(model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase) -> int:
    """Tokens of the longest text that a classifier reads."""
    longest: Any = tokenizer
    modules = cast("dict[str, nn.Module]", dict(cast("Any", model).named_modules()))
    found: list[int] = [context_length(model) or longest.model_max_length, 1 << 20]
    for name, module in modules.items():
        # RoBERTa and related models count positions from behind their padding token's.
        if isinstance(module, nn.Embedding) and name.endswith("position_embeddings"):
            found.append(
                module.num_embeddings - (-1 if module.padding_idx is None else module.padding_idx) - 1
            )
    return min(found)
