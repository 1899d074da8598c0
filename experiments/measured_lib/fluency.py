"""Fluency of texts: how likely the base model finds them, and how much they repeat themselves."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence

import torch
from torch import Tensor

from pluralign.lm.backbone import Backbone
from pluralign.lm.completion_trees import CompletionReader
from pluralign.lm.forest import Forest
from pluralign.lm.map_forests import map_completions
from pluralign.lm.tensors import to_list
from pluralign.lm.vocabulary import branch_losses_and_entropies


@torch.inference_mode()
def surprisals(base: Backbone, texts: Mapping[str, Sequence[str]]) -> list[list[float]]:
    """Mean negative log-probability of each text's tokens after its prompt under the base model, nats.

    The end-of-text token counts, also after texts that were truncated at the limit, where it is less likely.

    Args:
        base: Base model.
        texts: Texts by prompt; prompts are rendered chats.
    """

    def means(hidden: Tensor, forest: Forest) -> list[float]:
        return to_list(branch_losses_and_entropies(base.model, hidden, forest)[:, 0].cpu().double())

    reader = CompletionReader.for_model(base.model, base.tokenizer, 100_000)
    read = [reader.read(prompt, own) for prompt, own in texts.items()]
    return map_completions(base.model, read, means, token_budget=2048)


def repetition(text: str) -> float:
    """Share of the words' trigrams that occurred earlier in the text."""
    words = re.findall(r"\w+", text.lower())
    found = list(zip(words, words[1:], words[2:], strict=False))
    return 1 - len(set(found)) / len(found) if found else 0.0
