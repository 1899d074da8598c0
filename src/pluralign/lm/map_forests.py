"""The loop over forests: from trees to what is computed of their branches, in the trees' order."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from typing import Any, TypeVar

from torch import Tensor
from transformers import PreTrainedModel

from pluralign.lm.completion_trees import CompletionTrees
from pluralign.lm.forest import Forest, Tree, by_tree, plant
from pluralign.lm.support import support_of
from pluralign.lm.tensors import to_list
from pluralign.lm.trunk import forest_hidden_states

T = TypeVar("T")
States = Callable[[PreTrainedModel, Forest], Any]
"""From a model and a forest on its device to hidden states, such as `forest_hidden_states`."""


def forest_states(
    model: PreTrainedModel, trees: Sequence[Tree], *, token_budget: int = 4096,
    max_path: int | None = None, states: States = forest_hidden_states,
) -> Iterator[tuple[Forest, Any]]:  # fmt: skip
    """Run trees through a model, one forest at a time.

    Args:
        model: See `forest_hidden_states`.
        trees: See `plant`.
        token_budget: Largest number of tokens in one forward pass.
        max_path: Tokens of the longest path; see `plant`.
        states: What is computed of each forest.

    Yields:
        Each forest, on the model's device, and its states.

    Raises:
        InputError: See `plant` and ``states``.
    """
    factors = None if model.config.is_encoder_decoder else support_of(model).factors
    for planted in plant(trees, token_budget, max_path=max_path, factors=factors):
        forest = planted.to(model.device)
        yield forest, states(model, forest)


def map_forests(
    model: PreTrainedModel, trees: Sequence[Tree], f: Callable[[Any, Forest], Tensor], *,
    token_budget: int = 4096, max_path: int | None = None, states: States = forest_hidden_states,
) -> list[Tensor]:  # fmt: skip
    """Values that a function computes for every tree's branches.

    Args:
        model: See `forest_hidden_states`.
        trees: See `plant`.
        f: Function from a forest's states and the forest to values of its branches, shape (branches, ...).
        token_budget: Largest number of tokens in one forward pass.
        max_path: Tokens of the longest path; see `plant`.
        states: What is computed of each forest.

    Returns:
        For each tree a tensor of shape (its branches, ...).

    Raises:
        InputError: See `plant` and ``states``.
    """
    forests: list[Forest] = []
    values: list[Tensor] = []
    for forest, found in forest_states(
        model, trees, token_budget=token_budget, max_path=max_path, states=states
    ):
        # Without its masks, which are large.
        forests.append(replace(forest, blocks=()))
        values.append(f(found, forest))
    return by_tree(trees, forests, values)


def map_completions(
    model: PreTrainedModel, read: Sequence[CompletionTrees], f: Callable[[Any, Forest], Sequence[T]], *,
    token_budget: int = 4096, states: States = forest_hidden_states,
) -> list[list[T]]:  # fmt: skip
    """Values that a function computes for every completion, such as the rewards of its tokens.

    Args:
        model: See `forest_hidden_states`.
        read: Prompts with completions, as `CompletionReader` read them.
        f: Function from a forest's states and the forest to one value for each of its branches.
        token_budget: Largest number of tokens in one forward pass.
        states: What is computed of each forest.

    Returns:
        For each prompt the values of its completions.
    """
    found: dict[tuple[int, int], T] = {}
    trees = [tree for one in read for tree in one.trees]
    for forest, hidden in forest_states(model, trees, token_budget=token_budget, states=states):
        values = f(hidden, forest)
        found.update(
            ((tree, branch), value)
            for (tree, branch), value in zip(to_list(forest.owners), values, strict=True)
        )
    own: list[list[T]] = []
    start = 0
    for one in read:
        own.append([found[start + tree, branch] for tree, branch in one.places])
        start += len(one.trees)
    return own
