"""Samples of a policy during training, and their log-probabilities at the sampling temperature."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence

import torch
from jaxtyping import Float
from torch import Tensor
from transformers import PreTrainedTokenizerBase

from pluralign.core import Demonstration, InputError
from pluralign.core.messages import QUOTE
from pluralign.core.splits import seed_for
from pluralign.lm.backbone import Backbone
from pluralign.lm.bos import bos_ids, without_bos
from pluralign.lm.chat_template import chat_template_of
from pluralign.lm.decoding import Decoding
from pluralign.lm.forest import Forest, Tree
from pluralign.lm.map_forests import map_forests
from pluralign.lm.partial_text import PartialText
from pluralign.lm.prompts import completion_ids, encode, encode_after, prompt_ids
from pluralign.lm.vocabulary import branch_sum, token_log_probs


def round_prompts(rows: Sequence[Demonstration], count: int, number: int, seed: int) -> list[str]:
    """Training prompts of a round; different prompts in each round.

    Args:
        rows: Demonstrations.
        count: Largest number of prompts.
        number: Number of the round.
        seed: Random seed of the run.
    """
    known = {row.prompt for row in rows if row.split == "train"}
    return sorted(known, key=lambda prompt: seed_for(f"round {number} {prompt}", seed))[:count]


@torch.no_grad()
def sample_log_probs(
    policy: Backbone, samples: Sequence[tuple[str, Sequence[str]]], sampling: Decoding, *, token_budget: int
) -> Float[Tensor, " completions"]:
    """Log-probability of sampled completions given their prompts, nats, float32.

    A completion shorter than ``sampling.max_new_tokens`` ended by itself, so its end-of-text token counts.
    Texts are tokenised again, which may give other tokens than those that were sampled.

    Args:
        policy: Policy that scores the samples.
        samples: Prompts, each with its completions.
        sampling: Temperature and length limit of the samples.
        token_budget: Largest number of tokens per forward pass.
    """
    tokenizer, model = policy.tokenizer, policy.model
    limit = sampling.max_new_tokens
    trees: list[Tree] = []
    for prompt, completions in samples:
        read = prompt_ids(tokenizer, prompt)
        branches = [completion_ids(tokenizer, text, read.ids)[:limit] for text in completions]
        trees.append(Tree(read.ids, branches, read.keep))

    def of_branches(hidden: Tensor, forest: Forest) -> Tensor:
        return branch_sum(token_log_probs(model, hidden, forest, sampling.temperature), forest)

    return torch.cat(map_forests(model, trees, of_branches, token_budget=token_budget)).cpu()


def within_limits(
    rows: Sequence[Demonstration], tokenizer: PreTrainedTokenizerBase, max_length: int, max_new_tokens: int
) -> list[Demonstration]:
    """Demonstrations as the policy could have sampled them: completions truncated to its length limit,
    without end-of-text tokens; prompts truncated from the left if they leave no room.

    Where a completion ends with the end of the assistant's turn, that is kept, as samples in conversations
    have it (`lm.prompts.sample_texts`).

    Args:
        rows: Demonstrations.
        tokenizer: The policy's tokenizer.
        max_length: Largest number of tokens of prompt and completion.
        max_new_tokens: Largest number of tokens of a completion.

    Raises:
        InputError: The limits leave no room for a prompt.
    """
    eos, room = str(tokenizer.eos_token), prompt_room(tokenizer, max_length, max_new_tokens)
    end = chat_template_of(tokenizer).end_of_turn
    found: list[Demonstration] = []
    for row in rows:
        prompt, completion = cut_prompt(tokenizer, row.prompt, room), row.completion
        closed = completion.rstrip()
        turn = end if end and end != eos and closed.endswith(end) else ""
        if turn or closed.endswith(eos):
            completion = closed.removesuffix(turn or eos)
        before = prompt_ids(tokenizer, prompt).ids
        ids = encode_after(tokenizer, completion, before)
        if len(ids) > max_new_tokens:
            completion = _decoded(tokenizer, completion, ids[:max_new_tokens], before)
        found.append(dataclasses.replace(row, prompt=prompt, completion=completion + turn))
    return found


def prompt_room(tokenizer: PreTrainedTokenizerBase, max_length: int, max_new_tokens: int) -> int:
    """Number of tokens that a prompt may have besides its BOS.

    Raises:
        InputError: There is no room for a prompt.
    """
    # The end-of-text token needs a position as well.
    room = max_length - len(bos_ids(tokenizer)) - max_new_tokens - 1
    if room < 1:
        raise InputError(
            f"must leave room for {max_new_tokens} new tokens, found {max_length}", field="max_length"
        )
    return room


def cut_prompt(tokenizer: PreTrainedTokenizerBase, prompt: str, room: int) -> str:
    """A prompt without its BOS, and from the left no longer than its room."""
    prompt = without_bos(tokenizer, prompt)
    ids = encode(tokenizer, prompt)
    return _decoded(tokenizer, prompt, ids[-room:]) if len(ids) > room else prompt


def _decoded(
    tokenizer: PreTrainedTokenizerBase, text: str, ids: list[int], before: Sequence[int] = ()
) -> str:  # fmt: skip
    """The text of some of a text's tokens, which go on with others; where names of control tokens were
    quoted, they are again."""
    if QUOTE in text:
        return chat_template_of(tokenizer).control.decode(ids)
    found = PartialText(tokenizer, before=before[-1:], control=True)
    found.ids += ids
    return found.decoded()
