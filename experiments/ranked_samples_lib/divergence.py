"""KL divergence of a policy from its base model, from the distributions of next tokens along samples."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import torch
from jaxtyping import Float
from torch import Tensor

from pluralign.lm.backbone import Backbone
from pluralign.lm.completion_trees import CompletionReader
from pluralign.lm.forest import Forest
from pluralign.lm.map_forests import map_completions
from pluralign.lm.tensors import to_list
from pluralign.lm.trunk import forest_hidden_states
from pluralign.lm.vocabulary import branch_sum, vocabulary_logits

_CHUNK = 256


@torch.inference_mode()
def divergences(
    policy: Backbone,
    base: Backbone,
    draws: Mapping[str, Sequence[str]],
    tokens: int,
    temperature: float = 1.0,
    *,
    quotes: bool = True,
) -> list[float]:
    """Mean over each prompt's samples of KL(policy || base), nats.

    The KL of a completion is the expectation of the sum over steps of KL(pi(. | prefix) || pi_0(. | prefix)),
    which unlike the log-ratio of the sampled tokens is never negative. It includes the step at which a sample
    ended; samples that were truncated at the limit have no such step.

    Args:
        policy: Policy that drew the samples.
        base: Base model with the same tokenizer.
        draws: Samples by prompt.
        tokens: Largest number of new tokens of a sample.
        temperature: Sampling temperature, which both distributions have.
        quotes: Whether names of control tokens in prompts are ordinary text; not in rendered chats.
    """

    def kl(hidden: Tensor, forest: Forest) -> list[float]:
        others = forest_hidden_states(base.model, forest)
        found: list[Tensor] = []
        for chunk in forest.sources.split(_CHUNK):
            own, other = (
                (vocabulary_logits(one.model, states[chunk]) / temperature).log_softmax(-1)
                for one, states in ((policy, hidden), (base, others))
            )
            found.append((own.exp() * (own - other)).sum(-1))
        return to_list(branch_sum(_until(torch.cat(found), forest, tokens), forest).cpu().double())

    reader = CompletionReader.for_model(policy.model, policy.tokenizer, 100_000, quotes=quotes)
    read = [reader.read(prompt, texts) for prompt, texts in draws.items()]
    return [sum(own) / len(own) for own in map_completions(policy.model, read, kl, token_budget=1024)]


def _until(
    values: Float[Tensor, " branch_tokens"], forest: Forest, tokens: int
) -> Float[Tensor, " branch_tokens"]:
    """The values of each branch's first tokens, and 0 for the others."""
    starts = forest.lengths.cumsum(0) - forest.lengths
    steps = torch.arange(len(values), device=values.device) - starts.repeat_interleave(forest.lengths)
    return values.masked_fill((steps >= tokens) | ~forest.predicted, 0.0)
