"""External reward models: any sequence classifier of transformers."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor
from transformers import (
    AutoModelForSequenceClassification,
    AutoTokenizer,
    PreTrainedModel,
    PreTrainedTokenizerBase,
)

from pluralign.core import Decision, InputError, OptionRewards
from pluralign.core.messages import QUOTE, Messages, Template
from pluralign.lm.backbone import no_loading_bars
from pluralign.lm.forest import Tree
from pluralign.lm.map_forests import map_forests
from pluralign.lm.prompts import TEMPLATES, completion_ids, encode, prompt_ids, without_bos
from pluralign.lm.trunk import branch_last, context_length
from pluralign.rewards.export import CARD_COPY
from pluralign.rewards.reward import Reward

_BATCH = 16


class ClassifierReward(Reward):
    """A sequence classifier as a reward: its logit, or the log-odds of its second class if it has two.

    The text is prompt and completion, joined as the tokenizer joins a pair; texts longer than the
    classifier's context lose the beginning of the prompt. Decoder-only classifiers read each prompt once.

    Args:
        model: Sequence classifier with one or two classes.
        tokenizer: Its tokenizer.
        name: Name in reports.
        closes: Whether completions end with the end-of-text token (as in exports of pluralign and models
            trained with TRL).

    Raises:
        InputError: The classifier has more than two classes.
    """

    def __init__(
        self, model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase, name: str, *, closes: bool = False
    ) -> None:
        labels: Any = model.config.num_labels
        if labels > 2:
            raise InputError(f"{name!r} has {labels} classes; a reward must have one or two")
        self.model, self.tokenizer, self.name = model.eval(), tokenizer, name
        self._closes = closes
        # transformers' decoder-only classifiers read the last token through a layer of this name.
        self._decoder = hasattr(model, "score") and not model.config.is_encoder_decoder
        self._counts: Counter[str] = Counter(completions=0, cut_prompts=0, cut_completions=0, cut_tokens=0)

    @property
    def counts(self) -> Mapping[str, int]:
        """See `Reward`."""
        return self._counts

    def render(self, messages: Messages, opens: bool) -> str:
        """Messages rendered by the tokenizer's chat template, or as HH-RLHF's plain dialogue without one."""
        return self.template(messages, opens)

    @property
    def template(self) -> Template:
        """See `Reward`."""
        return TEMPLATES["dialogue" if self.tokenizer.chat_template is None else "chat"](self.tokenizer)

    @torch.inference_mode()
    def score_decisions(self, decisions: Iterable[Decision]) -> list[OptionRewards]:
        """See `Reward`; sigma is 0."""
        known = list(decisions)
        texts = [[(d.prompt, option) for option in d.options] for d in known]
        flat = [pair for own in texts for pair in own]
        self._counts["completions"] += len(flat)
        values = self._by_forest(known) if self._decoder else self._by_rows(flat)
        parts = np.split(values.double().cpu().numpy(), np.cumsum([len(own) for own in texts])[:-1])
        return [OptionRewards(part, np.zeros_like(part)) for part in parts] if known else []

    def _by_forest(self, decisions: list[Decision]) -> Float[Tensor, " completions"]:
        trees = [tree for decision in decisions for tree in self._trees(decision)]
        if not trees:
            return torch.zeros(0)
        head: Any = self.model.score
        return torch.cat(map_forests(self.model, trees, lambda *of: self._reward(head(branch_last(*of)))))

    def _trees(self, decision: Decision) -> list[Tree]:
        """One tree; if truncation is needed, one per completion."""
        prompt = prompt_ids(self.tokenizer, decision.prompt)
        branches = [self._branch(text) for text in decision.options]
        limit = context_length(self.model)
        if limit is None or len(prompt.ids) + max(map(len, branches)) <= limit:
            return [Tree(prompt.ids, branches)]
        trees: list[Tree] = []
        for branch in branches:
            kept = branch[: limit - prompt.keep - 1]
            end = prompt.truncated(limit - len(kept))
            self._counts["cut_prompts"] += len(end.ids) < len(prompt.ids)
            self._counts["cut_completions"] += len(kept) < len(branch)
            self._counts["cut_tokens"] += len(prompt.ids) - len(end.ids) + len(branch) - len(kept)
            trees.append(Tree(end.ids, [kept]))
        return trees

    def _branch(self, completion: str) -> list[int]:
        """Token ids of a completion; an empty one is the end-of-text token alone."""
        ids = [] if self._closes else encode(self.tokenizer, completion)
        return ids or completion_ids(self.tokenizer, completion)

    def _by_rows(self, pairs: list[tuple[str, str]]) -> Float[Tensor, " completions"]:
        self.tokenizer.truncation_side = "left"
        limit = context_length(self.model) or self.tokenizer.model_max_length
        found = torch.zeros(len(pairs))
        order = sorted(range(len(pairs)), key=lambda i: -sum(map(len, pairs[i])))
        if any(QUOTE in text for pair in pairs for text in pair):
            raise InputError(
                f"a text has the name of a control token of {self.name!r}, which this classifier cannot read "
                "as ordinary text"
            )
        for start in range(0, len(pairs), _BATCH):
            batch = order[start : start + _BATCH]
            told = self.tokenizer(
                [without_bos(self.tokenizer, pairs[i][0]) for i in batch], [pairs[i][1] for i in batch],
                return_tensors="pt", padding=True, truncation="only_first", max_length=min(limit, 1 << 20),
            )  # fmt: skip
            logits = self.model(**told.to(self.model.device)).logits
            found[torch.tensor(batch)] = self._reward(logits).cpu()
        return found

    @staticmethod
    def _reward(logits: Float[Tensor, "rows classes"]) -> Float[Tensor, " rows"]:
        values = logits.float()
        return values[:, 0] if values.shape[1] == 1 else values[:, 1] - values[:, 0]


def load_classifier(source: str, *, dtype: torch.dtype | None = None) -> ClassifierReward:
    """Load a sequence classifier as a reward.

    Args:
        source: A hub id or a local folder.
        dtype: Floating-point type of the weights; float32 by default.

    Raises:
        InputError: The classifier cannot be loaded, or has no trained head.
    """
    try:
        with no_loading_bars():
            loaded: Any = AutoModelForSequenceClassification.from_pretrained(
                source, dtype=dtype or torch.float32, output_loading_info=True
            )
            tokenizer: Any = AutoTokenizer.from_pretrained(source)
    except (OSError, ValueError) as error:
        raise InputError(
            f"cannot be loaded as a sequence classifier: {str(error).splitlines()[0]}", path=source
        ) from error
    model, info = loaded
    if missing := [name for name in info["missing_keys"] if name.startswith(("score", "classifier"))]:
        raise InputError(f"has no trained head ({missing[0]}), so it is no reward model", path=source)
    if tokenizer.pad_token_id is None:
        tokenizer.pad_token = tokenizer.eos_token
    device = "cuda" if torch.cuda.is_available() else "cpu"
    closes = (Path(source) / CARD_COPY).is_file()
    return ClassifierReward(model.to(device), tokenizer, Path(source.rstrip("/")).name, closes=closes)
