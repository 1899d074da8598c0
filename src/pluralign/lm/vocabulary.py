"""Log-probabilities of a forest's branch tokens by a language model's vocabulary head.

A few hundred tokens at a time, so that the logits of all tokens are never held together. Under autograd, what
a frozen head computes is differentiated at once, and only the derivatives are kept; through a head that
learns, the logits are computed again in the backward pass.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

import torch
from jaxtyping import Float, Int
from torch import Tensor
from torch.autograd.function import once_differentiable
from transformers import PreTrainedModel

from pluralign.lm.encoder_decoder import finish_states, logits_bias
from pluralign.lm.forest import Forest
from pluralign.lm.head import CAPS, finish_logits, head_logits, own_logits, raw_logits
from pluralign.lm.head_change import HeadChange
from pluralign.lm.model_parts import output_embeddings, text_config
from pluralign.lm.passes import trunk_of
from pluralign.lm.support import support_of
from pluralign.lm.tensors import recomputed

_CHUNK = 256


def token_log_probs(
    model: PreTrainedModel, hidden: Float[Tensor, "tokens d"], forest: Forest, temperature: float = 1.0
) -> Float[Tensor, " branch_tokens"]:
    """Log-probability of each branch token (in the order of `Forest.places`) after its path, nats, float32.

    A token with nothing before it has 0: nothing predicts it.
    """
    found = by_chunks(
        partial(log_probs_of, model, temperature=temperature),
        hidden[forest.sources],
        forest.input_ids[0, forest.places],
        learns=head_learns(model),
    )
    return found.masked_fill(~forest.predicted, 0.0)


def changed_log_probs(
    model: PreTrainedModel, hidden: Float[Tensor, "tokens d"], forest: Forest,
    changes: Sequence[HeadChange], owners: Int[Tensor, " branches"],
) -> Float[Tensor, " branches"]:  # fmt: skip
    """`branch_log_probs` where each branch has its own change of the vocabulary head.

    Args:
        model: The language model.
        hidden: Hidden states of the forest.
        forest: The forest.
        changes: Changes of the head; each depends on its own branches alone.
        owners: Number of each branch's change.
    """
    of_tokens = owners.to(hidden.device)[forest.token_branches]
    values = hidden.new_zeros(len(of_tokens), dtype=torch.float32)
    for number, change in enumerate(changes):
        own = (of_tokens == number).nonzero()[:, 0]
        if not len(own):
            continue
        found = by_chunks(
            partial(log_probs_of, model, change=change),
            hidden[forest.sources[own]],
            forest.input_ids[0, forest.places[own]],
            learns=True,
        )
        values = values.index_copy(0, own, found.float())
    return branch_sum(values.masked_fill(~forest.predicted, 0.0), forest)


def branch_log_probs(
    model: PreTrainedModel, hidden: Float[Tensor, "tokens d"], forest: Forest
) -> Float[Tensor, " branches"]:
    """Log-probability of each branch after its prompt: the sum over its tokens, nats, float32."""
    return branch_sum(token_log_probs(model, hidden, forest), forest)


def branch_losses_and_entropies(
    model: PreTrainedModel, hidden: Float[Tensor, "tokens d"], forest: Forest
) -> Float[Tensor, "branches two"]:
    """Means over each branch's predicted tokens: negative log-probability, and entropy of the prediction.

    In nats, float32; 0 for a branch of one token with nothing before it.
    """

    def both(states: Tensor, targets: Tensor) -> Tensor:
        logits = vocabulary_logits(model, states)
        log_probs = logits.log_softmax(dim=-1)
        losses = -log_probs.gather(1, targets[:, None]).squeeze(1)
        return torch.stack([losses, -(log_probs.exp() * log_probs).sum(dim=-1)], dim=1)

    found = by_chunks(both, hidden[forest.sources], forest.input_ids[0, forest.places], learns=True)
    known = forest.predicted[:, None].float()
    totals = found.new_zeros(len(forest.ends), 3)
    totals = totals.index_add(0, forest.token_branches, torch.cat([found * known, known], dim=1))
    return totals[:, :2] / totals[:, 2:].clamp(min=1.0)


def branch_sum(values: Float[Tensor, " branch_tokens"], forest: Forest) -> Float[Tensor, " branches"]:
    """The sum over each branch's tokens."""
    return values.new_zeros(len(forest.ends)).index_add(0, forest.token_branches, values)


def by_chunks(function: Callable[..., Tensor], *columns: Tensor, learns: bool) -> Tensor:
    """Apply a function to a few hundred rows of the columns at a time, keeping only what it returns.

    Args:
        function: Function from rows of the columns to values of each row, which depend on that row alone.
        columns: States, and whatever else the function reads.
        learns: Whether the function has weights that learn, columns beside the states have gradients, or a
            row has several values. Otherwise the backward pass computes nothing again.
    """
    apply: Callable[..., Tensor] = partial(recomputed, function) if learns else partial(_Slopes.of, function)
    if not torch.is_grad_enabled():
        apply = function
    parts = [
        apply(*(column[start : start + _CHUNK] for column in columns))
        for start in range(0, len(columns[0]), _CHUNK)
    ]
    return torch.cat(parts)


class _Slopes(torch.autograd.Function):
    """A function of rows of states with one value for each row: its derivatives are taken while its
    intermediate results exist, and kept in their place."""

    @staticmethod
    def of(function: Callable[..., Tensor], states: Tensor, *others: Tensor) -> Tensor:
        """Values of the rows."""
        untyped: Any = _Slopes
        return untyped.apply(function, states, *others)

    @staticmethod
    def forward(ctx: Any, function: Callable[..., Tensor], states: Tensor, *others: Tensor) -> Tensor:
        """The values; rows do not depend on each other, so the derivatives of their sum are each row's."""
        ctx.others = len(others)
        if not states.requires_grad:
            return function(states, *others)
        with torch.enable_grad():
            own = states.detach().requires_grad_()
            found = function(own, *others)
            (slopes,) = torch.autograd.grad(found.sum(), own)
        ctx.save_for_backward(slopes)
        return found.detach()

    @staticmethod
    @once_differentiable
    def backward(  # pyright: ignore[reportIncompatibleMethodOverride] - what the decorator makes of it
        ctx: Any, *gradients: Tensor
    ) -> tuple[Tensor | None, ...]:
        """The chain rule, row by row."""
        (slopes,), (outer,) = ctx.saved_tensors, gradients
        return None, (outer[:, None] * slopes).to(slopes.dtype), *[None] * ctx.others


def head_learns(model: PreTrainedModel) -> bool:
    """Whether what follows the trunk has weights that learn; those of the embedding, where it is the head."""
    after = [*output_embeddings(model).parameters()]
    if not _follows_formula(model):
        trunk = set(map(id, trunk_of(model).parameters()))
        after += [one for one in model.parameters() if id(one) not in trunk]
    return any(one.requires_grad for one in after)


def log_probs_of(
    model: PreTrainedModel, states: Float[Tensor, "tokens d"], targets: Int[Tensor, " tokens"],
    change: HeadChange | None = None, temperature: float = 1.0,
) -> Float[Tensor, " tokens"]:  # fmt: skip
    """Log-probability of each target after its state, float32. Holds the logits of all these tokens.

    Args:
        model: The language model; with a change, one that `head_change.require_changeable` accepts.
        states: Hidden states.
        targets: Token after each state.
        change: Change of the vocabulary head.
        temperature: Sampling temperature, which divides the logits.
    """
    if change is None:
        logits = vocabulary_logits(model, states)
    else:
        logits = finish_logits(model, raw_logits(model, states) + change(states))
    # Not divided by 1: these are the largest tensors of a pass.
    if temperature != 1.0:
        logits = logits / temperature
    head = output_embeddings(model)
    # The weights of a head with an adapter are those below the adapter.
    if not _follows_formula(model) or hasattr(head, "base_layer"):
        return logits.log_softmax(dim=-1).gather(1, targets[:, None]).squeeze(1)
    states = finish_states(model, states)
    # In bfloat16 a logit near 20 is rounded to 1/8, which would make ties of close answers: the targets'
    # logits are taken in float32, in the sum over the vocabulary as well, of which a likely target is most.
    # There the roundings of the other logits even out.
    chosen = (states.float() * head.weight[targets].float()).sum(-1)
    if getattr(head, "bias", None) is not None:
        chosen = chosen + head.bias[targets].float()
    if (bias := logits_bias(model)) is not None:
        chosen = chosen + bias[targets].float()
    if change is not None:
        chosen = chosen + change.at(states, targets)
    chosen = finish_logits(model, chosen) / temperature
    total = torch.logsumexp(logits, dim=-1)
    return chosen - total - _correction(total, logits.gather(1, targets[:, None]).squeeze(1), chosen)


@torch.no_grad()
def _correction(
    total: Float[Tensor, " tokens"], rounded: Float[Tensor, " tokens"], exact: Float[Tensor, " tokens"]
) -> Float[Tensor, " tokens"]:
    """What a log of a sum of exponentials lacks because one of the logits in it was rounded."""
    return torch.log1p((rounded - total).exp() * torch.expm1(exact - rounded))


def vocabulary_logits(
    model: PreTrainedModel, states: Float[Tensor, "tokens d"]
) -> Float[Tensor, "tokens vocabulary"]:
    """The model's logits, float32."""
    return head_logits(model, states) if _follows_formula(model) else own_logits(model, states)


def has_linear_head(model: PreTrainedModel) -> bool:
    """Whether a mean of states has that mean of their logits: all but soft-capping allows it."""
    config = text_config(model)
    capped = any(getattr(config, name, None) for name in CAPS)
    return not capped and _follows_formula(model)


def _follows_formula(model: PreTrainedModel) -> bool:
    """Whether `head_logits` are the model's; encoder-decoders were checked when they were loaded."""
    return model.config.is_encoder_decoder or support_of(model).head
