"""Low-rank changes of a language model's vocabulary head: W_k = W_0 + B_k A_k."""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn
from transformers import PreTrainedModel

from pluralign.core import InputError
from pluralign.lm.encoder_decoder import finish_states
from pluralign.lm.head import finish_logits, raw_logits
from pluralign.lm.model_parts import output_embeddings
from pluralign.lm.support import support_of


class HeadChange(nn.Module):
    """A change B A of a vocabulary head, which adds B A h to the logits W_0 h; W_0 itself stays as it is, so
    that input embeddings that are tied to it do, too.

    At first B is 0, as in LoRA (Hu et al. 2022), and A is uniform.

    Args:
        rank: Rank r of the change.
        dimension: Width d of the states.
        vocabulary: Number of rows of the head.
    """

    def __init__(self, rank: int, dimension: int, vocabulary: int) -> None:
        super().__init__()
        bound = 1 / math.sqrt(dimension)
        self.down = nn.Parameter(torch.empty(rank, dimension).uniform_(-bound, bound))
        """A, shape (rank, d)."""
        self.up = nn.Parameter(torch.zeros(vocabulary, rank))
        """B, shape (vocabulary, rank)."""

    def forward(self, states: Float[Tensor, "tokens d"]) -> Float[Tensor, "tokens vocabulary"]:
        """What is added to the logits of states that the head reads."""
        return nn.functional.linear(self._inner(states), self.up)

    def at(
        self, states: Float[Tensor, "tokens d"], targets: Int[Tensor, " tokens"]
    ) -> Float[Tensor, " tokens"]:
        """What is added to the logit of one token after each state."""
        return (self._inner(states) * self.up[targets]).sum(-1)

    def _inner(self, states: Float[Tensor, "tokens d"]) -> Float[Tensor, "tokens rank"]:
        return nn.functional.linear(states.to(self.down.dtype), self.down)


class StackedChanges:
    """Changes of one head, weighted differently in each row: logits (W_0 + sum_k w_k B_k A_k) h.

    Args:
        model: Model with the head W_0, whose linear layers are not packed yet.
        changes: The changes; their matrices are copied in the head's floating-point type.
    """

    def __init__(self, model: PreTrainedModel, changes: Sequence[HeadChange]) -> None:
        like = output_embeddings(model).weight
        self._model, self.count = model, len(changes)
        self._down = torch.cat([change.down.detach() for change in changes]).to(like.device, like.dtype)
        # Transposed, in which layout few rows are multiplied the fastest on CPUs.
        ups = torch.cat([change.up.detach().T for change in changes])
        self._up = ups.to(like.device, like.dtype).contiguous()

    def choose(self, numbers: Int[Tensor, " rows"]) -> Float[Tensor, "rows changes"]:
        """Weights of rows with one change each, by its number."""
        return nn.functional.one_hot(numbers, self.count).float()

    def logits(
        self, states: Float[Tensor, "states d"], weights: Float[Tensor, "rows changes"],
        sources: Int[Tensor, " rows"] | None = None,
    ) -> Float[Tensor, "rows vocabulary"]:  # fmt: skip
        """Logits of rows, float32.

        Args:
            states: States of the model.
            weights: Weight of each change in each row.
            sources: Number of each row's state; by default there is one row per state.
        """
        raw, read = raw_logits(self._model, states), finish_states(self._model, states)
        inner = nn.functional.linear(read, self._down).view(len(states), self.count, -1)
        if sources is not None:
            raw, inner = raw[sources], inner[sources]
        inner = (inner * weights[:, :, None].to(inner.dtype)).flatten(1)
        if inner.dtype == raw.dtype:
            return finish_logits(self._model, torch.addmm(raw, inner, self._up))
        return finish_logits(self._model, raw + (inner @ self._up).float())


def make_change(model: PreTrainedModel, rank: int) -> HeadChange:
    """A new change of a model's vocabulary head; A is drawn with PyTorch's random numbers.

    Raises:
        InputError: The model's logits are not those of a linear head on its states.
    """
    require_changeable(model)
    weight = output_embeddings(model).weight
    return HeadChange(rank, int(weight.shape[1]), int(weight.shape[0])).to(weight.device)


def require_changeable(model: PreTrainedModel) -> None:
    """Refuse a model without a vocabulary head that low-rank changes can be added to.

    Raises:
        InputError: It has none, or does not decode as one row of states.
    """
    kind = model.config.model_type
    if model.config.is_encoder_decoder:
        raise InputError(f"heads need a decoder-only model; {kind!r} is an encoder-decoder", field="model")
    support = support_of(model)
    if not support.head:
        raise InputError(
            f"models of type {kind!r} compute their logits by more than a linear head", field="model"
        )
    if support.factors is not None:
        raise InputError(
            f"models of type {kind!r} have positions that depend on the text's length, which heads do not "
            "support",
            field="model",
        )
