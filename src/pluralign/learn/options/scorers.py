"""Trainable log-probabilities of options: from cached features, or through the trunk."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn

from pluralign.core import Decision, InputError
from pluralign.lm.adapters import add_lora
from pluralign.lm.backbone import load_backbone
from pluralign.lm.decisions import decision_tree
from pluralign.lm.tensors import distinct_values, seeded, to_list
from pluralign.options.features import FeatureSource, FeatureStore, tree_features
from pluralign.options.option_policy import OptionHead, option_log_probs, pad_features

_FOREST_TOKENS = 4096


class FrozenScorer(nn.Module):
    """A head on frozen features; the standardised features of all decisions are in one buffer.

    Args:
        decisions: Distinct decisions of the data.
        source: Features of the decisions.
        hidden: Width of the head's hidden layer.
        seed: Random seed of the head's weights.
    """

    def __init__(self, decisions: Sequence[Decision], source: FeatureSource, hidden: int, seed: int) -> None:
        super().__init__()
        features, mask = pad_features(source.get(decisions))
        with seeded(seed):
            self.head = OptionHead(features.shape[-1], hidden)
        self.head.fit_standardisation(features[mask])
        self.features: Tensor
        self.mask: Tensor
        # Not persistent: training checkpoints contain trained weights, not the data.
        self.register_buffer("features", self.head.standardise(features), persistent=False)
        self.register_buffer("mask", mask, persistent=False)

    def all_log_probs(self) -> Float[Tensor, "decisions options"]:
        """log pi of every option of every decision; a large negative number at padded options."""
        return option_log_probs(self.head.score(self.features), self.mask)

    def taken(self, states: Int[Tensor, "*batch"], actions: Int[Tensor, "*batch"]) -> Float[Tensor, "*batch"]:
        """log pi of the options taken. Each distinct decision passes through the head once."""
        if states.numel() >= len(self.features):
            table, places = self.all_log_probs(), states
        else:
            distinct, places = distinct_values(states)
            table = option_log_probs(self.head.score(self.features[distinct]), self.mask[distinct])
        return _pick(table, places, actions)


class AdaptedScorer(nn.Module):
    """A head on a trunk that is trained through a LoRA adapter; decisions pass through it as forests.

    Args:
        decisions: Distinct decisions of the data.
        store: Features of the trunk before training, for the head's standardisation.
        hidden: Width of the head's hidden layer.
        rank: Rank of the adapter.
        seed: Random seed of the head's and the adapter's weights.
    """

    def __init__(
        self, decisions: Sequence[Decision], store: FeatureSource, hidden: int, rank: int, seed: int
    ) -> None:
        super().__init__()
        if not isinstance(store, FeatureStore):
            raise InputError("a LoRA adapter needs a backbone: give a FeatureStore", field="lora_rank")
        # A separate copy of the trunk: PEFT inserts its layers into the model that it is given.
        backbone = load_backbone(store.backbone.name, dtype=store.backbone.dtype)
        self._trees = [decision_tree(backbone.tokenizer, decision) for decision in decisions]
        with seeded(seed):
            self.head = OptionHead(store.dimension, hidden)
            model: Any = add_lora(backbone.model, rank)
        features, mask = pad_features(store.get(decisions))
        self.head.fit_standardisation(features[mask])
        # Only trained modules are registered, so that training checkpoints do not contain the trunk.
        self._unregistered = (model,)
        learned = {name: value for name, value in model.named_parameters() if value.requires_grad}
        self.adapter = nn.ParameterDict({name.replace(".", "/"): value for name, value in learned.items()})

    @property
    def model(self) -> Any:
        """The PEFT model."""
        return self._unregistered[0]

    def all_log_probs(self) -> Float[Tensor, "decisions options"]:
        """log pi of every option of every decision; a large negative number at padded options."""
        return self._log_probs(range(len(self._trees)))

    def taken(self, states: Int[Tensor, "*batch"], actions: Int[Tensor, "*batch"]) -> Float[Tensor, "*batch"]:
        """log pi of the options taken. Each distinct decision passes through the trunk once."""
        distinct, places = distinct_values(states)
        return _pick(self._log_probs(to_list(distinct)), places, actions)

    def _log_probs(self, numbers: Sequence[int]) -> Float[Tensor, "decisions options"]:
        features = tree_features(self.model, [self._trees[i] for i in numbers], _FOREST_TOKENS)
        counts = torch.tensor([len(part) for part in features], device=features[0].device)
        padded = nn.utils.rnn.pad_sequence(features, batch_first=True)
        mask = torch.arange(padded.shape[1], device=padded.device) < counts[:, None]
        return option_log_probs(self.head(padded), mask)


AnyScorer = FrozenScorer | AdaptedScorer


def _pick(
    table: Float[Tensor, "decisions options"], places: Int[Tensor, "*batch"], actions: Int[Tensor, "*batch"]
) -> Float[Tensor, "*batch"]:
    flat = (places * table.shape[1] + actions).flatten()
    return table.flatten().index_select(0, flat).view(places.shape)
