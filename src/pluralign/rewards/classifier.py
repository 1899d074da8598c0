"""External reward models: any sequence classifier of transformers."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
from jaxtyping import Float
from safetensors import SafetensorError
from torch import Tensor
from transformers import (
    AutoModelForSequenceClassification,
    AutoTokenizer,
    PreTrainedModel,
    PreTrainedTokenizerBase,
)

from pluralign.core import Decision, InputError, OptionRewards
from pluralign.core.messages import QUOTE, Messages, Template
from pluralign.lm.device import default_device
from pluralign.lm.forest import Forest
from pluralign.lm.map_forests import map_forests
from pluralign.lm.pretrained import missing_weights, no_loading_bars
from pluralign.lm.prompts import TEMPLATES, encode, without_bos
from pluralign.lm.trunk import branch_last
from pluralign.rewards.classifier_reader import ClassifierReader
from pluralign.rewards.export import exported_settings
from pluralign.rewards.reward import Reward

_BATCH = 16
_HEADS = ("score", "classifi")


class ClassifierReward(Reward):
    """A sequence classifier as a reward: its logit, or the log-odds of its second class if it has two.

    The text is prompt and completion, joined as the tokenizer joins a pair; texts longer than the
    classifier's context lose the beginning of the prompt, and completions that fill it lose their end.
    Decoder-only classifiers read each prompt once, and score at the last token that is not padding, as
    transformers' own do: where padding is the end-of-text token, at the token before it.

    Args:
        model: Sequence classifier with one or two classes.
        tokenizer: Its tokenizer.
        name: Name in reports.
        closes: Whether completions end with the end-of-text token (as in exports of pluralign and models
            trained with TRL).
        template: Template of messages; by default the tokenizer's chat template, or HH-RLHF's plain dialogue
            without one.
        longest: Largest number of tokens of a text; by default the classifier's.

    Raises:
        InputError: The classifier has more than two classes.
    """

    def __init__(
        self, model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase, name: str, *, closes: bool = False,
        template: Template | None = None, longest: int | None = None,
    ) -> None:  # fmt: skip
        config: Any = model.config
        labels: int = config.num_labels
        if labels > 2:
            raise InputError(f"{name!r} has {labels} classes; a reward must have one or two")
        self.model, self.tokenizer, self.name = model.eval(), tokenizer, name
        # transformers' decoder-only classifiers read the last token through a layer of this name.
        self._decoder = hasattr(model, "score") and not config.is_encoder_decoder
        self._reader = ClassifierReader(model, tokenizer, closes=closes, template=template, longest=longest)

    @property
    def counts(self) -> Mapping[str, int]:
        """See `Reward`."""
        return self._reader.counts

    def render(self, messages: Messages, opens: bool) -> str:
        """Messages rendered by the classifier's template."""
        return self.template(messages, opens)

    @property
    def template(self) -> Template:
        """See `Reward`."""
        return self._reader.template

    @torch.inference_mode()
    def score_decisions(self, decisions: Iterable[Decision]) -> list[OptionRewards]:
        """See `Reward`; sigma is 0."""
        known = list(decisions)
        texts = [[(d.prompt, option) for option in d.options] for d in known]
        flat = [pair for own in texts for pair in own]
        values = self._by_forest(known) if self._decoder else self._by_rows(flat)
        parts = np.split(values.cpu().double().numpy(), np.cumsum([len(own) for own in texts])[:-1])
        return [OptionRewards(part, np.zeros_like(part)) for part in parts] if known else []

    def _by_forest(self, decisions: list[Decision]) -> Float[Tensor, " completions"]:
        trees = [tree for decision in decisions for tree in self._reader.trees(decision)]
        if not trees:
            return torch.zeros(0, dtype=torch.float32)
        head: Any = self.model.score

        def reward(hidden: Tensor, forest: Forest) -> Tensor:
            return self._reward(head(branch_last(hidden, forest)))

        return torch.cat(map_forests(self.model, trees, reward))

    def _by_rows(self, pairs: list[tuple[str, str]]) -> Float[Tensor, " completions"]:
        self._reader.counts["completions"] += len(pairs)
        tokenizer: Any = self.tokenizer
        tokenizer.truncation_side = "left"
        found = torch.zeros(len(pairs), dtype=torch.float32)
        order = sorted(range(len(pairs)), key=lambda i: -sum(map(len, pairs[i])))
        if any(QUOTE in text for pair in pairs for text in pair):
            raise InputError(
                f"a text has the name of a control token of {self.name!r}, which this classifier cannot read "
                "as ordinary text"
            )
        fitted = [self._fitted(without_bos(self.tokenizer, prompt), text) for prompt, text in pairs]
        # Padding that a classifier takes for the text's end would move the place that it reads.
        size = 1 if self._reader.padding in (None, self.tokenizer.eos_token_id) else _BATCH
        for start in range(0, len(pairs), size):
            batch = order[start : start + size]
            encoded = tokenizer(
                [fitted[i][0] for i in batch], [fitted[i][1] for i in batch],
                return_tensors="pt", padding=size > 1, truncation="only_first", max_length=self._reader.limit,
            )  # fmt: skip
            logits = self.model(**encoded.to(self.model.device)).logits
            found[torch.tensor(batch)] = self._reward(logits).cpu()
        return found

    def _fitted(self, prompt: str, completion: str) -> tuple[str, str]:
        """A text for the tokenizer, which cuts prompts itself but no completion that fills the limit."""
        tokenizer: Any = self.tokenizer
        first, second = encode(self.tokenizer, prompt), encode(self.tokenizer, completion)
        room = self._reader.limit - self.tokenizer.num_special_tokens_to_add(pair=True)
        kept = min(len(second), room - 1)
        if kept < len(second):
            completion = str(tokenizer.decode(second[:kept]))
            # A text that was cut may have more tokens than were left of it.
            while kept > 1 and len(encode(self.tokenizer, completion)) >= room:
                kept -= 1
                completion = str(tokenizer.decode(second[:kept]))
        self._reader.count_cut(max(0, len(first) + kept - room), len(second) - kept)
        return prompt, completion

    @staticmethod
    def _reward(logits: Float[Tensor, "rows classes"]) -> Float[Tensor, " rows"]:
        values = logits.float()
        return values[:, 0] if values.shape[1] == 1 else values[:, 1] - values[:, 0]


def load_classifier(source: str, *, dtype: torch.dtype | None = None) -> ClassifierReward:
    """Load a sequence classifier as a reward; a folder that `export_folder` wrote is read as the trained
    folder is, with the template and the length on its card.

    Args:
        source: A hub id or a local folder.
        dtype: Floating-point type of the weights; float32 by default.

    Raises:
        InputError: The classifier cannot be loaded, or has no trained head.
    """
    models: Any = AutoModelForSequenceClassification
    tokenizers: Any = AutoTokenizer
    try:
        with no_loading_bars():
            model, info = models.from_pretrained(
                source, dtype=dtype or torch.float32, output_loading_info=True
            )
            tokenizer = tokenizers.from_pretrained(source)
    except (OSError, ValueError, KeyError, RuntimeError, SafetensorError) as error:
        reason = next((line for line in str(error).splitlines() if line.strip()), type(error).__name__)
        raise InputError(f"cannot be loaded as a sequence classifier: {reason}", path=source) from error
    missing = missing_weights(model, info)
    if heads := [name for name in missing if name.startswith(_HEADS)]:
        raise InputError(f"has no trained head ({heads[0]}), so it is no reward model", path=source)
    if missing:
        raise InputError(
            f"{len(missing)} of its weights are not in its files, such as {missing[0]}, and would be random",
            path=source,
        )
    if tokenizer.pad_token_id is None:
        tokenizer.pad_token = tokenizer.eos_token
    name, settings = Path(source.rstrip("/")).name, exported_settings(source)
    model = model.to(default_device())
    if settings is None:
        return ClassifierReward(model, tokenizer, name)
    template = TEMPLATES[settings.template](tokenizer, settings.control_tokens)
    return ClassifierReward(
        model, tokenizer, name, closes=True, template=template, longest=settings.max_length
    )
