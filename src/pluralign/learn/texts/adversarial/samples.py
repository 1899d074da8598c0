"""What a policy writes while it learns, and how likely it finds that, at its temperature."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence

import torch
from jaxtyping import Float
from torch import Tensor
from transformers import PreTrainedTokenizerBase

from pluralign.core import Demonstration, InputError
from pluralign.core.splits import seed_for
from pluralign.lm.backbone import Backbone
from pluralign.lm.decoding import Decoding
from pluralign.lm.forest import Forest, Tree
from pluralign.lm.map_forests import map_forests
from pluralign.lm.prompts import bos_ids, completion_ids, encode, prompt_ids, without_bos
from pluralign.lm.vocabulary import branch_sum, by_chunks, vocabulary_logits


def round_prompts(rows: Sequence[Demonstration], count: int, number: int, seed: int) -> list[str]:
    """The training prompts of a round: other ones in each.

    Args:
        rows: demonstrations.
        count: at most so many prompts.
        number: of the round.
        seed: of the run.
    """
    known = {row.prompt for row in rows if row.split == "train"}
    return sorted(known, key=lambda prompt: seed_for(f"round {number} {prompt}", seed))[:count]


@torch.no_grad()
def sample_log_probs(
    policy: Backbone, samples: Sequence[tuple[str, Sequence[str]]], sampling: Decoding, *, token_budget: int
) -> Float[Tensor, " completions"]:
    """Log-probability of sampled completions after their prompts, nats, float32.

    A completion shorter than ``sampling.max_new_tokens`` ended by itself, so its end-of-text token counts.
    Texts are cut into tokens anew, which may not be the tokens that were drawn.

    Args:
        policy: who is asked.
        samples: prompts, each with its completions.
        sampling: temperature and limit that they were drawn with.
        token_budget: tokens in one forward pass.
    """
    tokenizer, model = policy.tokenizer, policy.model
    limit = sampling.max_new_tokens
    trees: list[Tree] = []
    for prompt, completions in samples:
        read = prompt_ids(tokenizer, prompt)
        branches = [completion_ids(tokenizer, text)[:limit] for text in completions]
        trees.append(Tree(read.ids, branches, read.keep))

    def of_tokens(states: Tensor, targets: Tensor) -> Tensor:
        logits = vocabulary_logits(model, states) / sampling.temperature
        return logits.log_softmax(-1).gather(1, targets[:, None]).squeeze(1)

    def of_branches(hidden: Tensor, forest: Forest) -> Tensor:
        found = by_chunks(of_tokens, hidden[forest.sources], forest.input_ids[0, forest.places])
        return branch_sum(found, forest)

    return torch.cat(map_forests(model, trees, of_branches, token_budget=token_budget)).cpu()


def within_limits(
    rows: Sequence[Demonstration], tokenizer: PreTrainedTokenizerBase, max_length: int, max_new_tokens: int
) -> list[Demonstration]:
    """Demonstrations as a policy could have written them: no longer than its samples, without special tokens
    at their ends, after prompts of which the end is kept where they leave no room.

    Args:
        rows: as they were read.
        tokenizer: the policy's.
        max_length: tokens of prompt and completion.
        max_new_tokens: of a completion.

    Raises:
        InputError: the limits leave no room for a prompt.
    """
    eos = str(tokenizer.eos_token)
    # The end-of-text token needs a place, too.
    room = max_length - len(bos_ids(tokenizer)) - max_new_tokens - 1
    if room < 1:
        raise InputError(
            f"must leave room for {max_new_tokens} new tokens, found {max_length}", field="max_length"
        )
    found: list[Demonstration] = []
    for row in rows:
        prompt, completion = without_bos(tokenizer, row.prompt), row.completion
        if completion.rstrip().endswith(eos):
            completion = completion.rstrip().removesuffix(eos)
        prompt_ids, ids = encode(tokenizer, prompt), encode(tokenizer, completion)
        if len(prompt_ids) > room:
            prompt = str(tokenizer.decode(prompt_ids[-room:]))
        if len(ids) > max_new_tokens:
            completion = str(tokenizer.decode(ids[:max_new_tokens]))
        found.append(dataclasses.replace(row, prompt=prompt, completion=completion))
    return found
