"""Prompts, and the weights that come with each."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Protocol, runtime_checkable

from pluralign.core import InputError, SteeringWeights
from pluralign.core.messages import Prompt

WeightsFunction = Callable[[Prompt], Mapping[str, float]]
"""Function, or object with `__call__`, from a prompt to its weights by objective."""


@runtime_checkable
class WeightsProvider(Protocol):
    """Suggests steering weights for prompts (`steer.suggest` has those of this package).

    An objective whose wish is 0 keeps weight 0, whatever is suggested, and a wish for one objective is that
    objective's policy.
    """

    @property
    def objectives(self) -> tuple[str, ...]:
        """Objectives of the weights."""
        ...

    def suggest(
        self, prompts: Sequence[Prompt], wish: SteeringWeights | None = None
    ) -> list[SteeringWeights]:
        """Weights for each prompt.

        Args:
            prompts: Prompts, as texts or messages.
            wish: What a user wants; its meaning is the provider's. None leaves the choice to the provider.

        Raises:
            InputError: The wish names an unknown objective, or there is one prompt in place of a sequence.
        """
        ...


def require_prompts(prompts: Sequence[Prompt]) -> None:
    """Refuse a single prompt in place of a sequence: each character or message would be one.

    Raises:
        InputError: It is a text, or messages.
    """
    if is_one(prompts):
        raise InputError(f"expected a sequence of prompts, found one: {prompts!r:.60}", field="prompts")


Weights = Mapping[str, float] | WeightsFunction | WeightsProvider
"""Weights by objective, non-negative and summing to one; or a function or provider of weights for each
prompt."""


def is_one(prompts: Prompt | Sequence[Prompt]) -> bool:
    """Whether this is a single prompt: a text, or a list of messages."""
    if isinstance(prompts, Mapping) or not hasattr(prompts, "__len__"):
        raise InputError(
            f"expected a text, messages, or a list of them, found {prompts!r:.60}", field="prompts"
        )
    for prompt in [prompts] if isinstance(prompts, str) else prompts:
        if isinstance(prompt, bytes) or not isinstance(prompt, str | Mapping | Sequence):
            raise InputError(f"expected a text or messages, found {prompt!r:.60}", field="prompts")
    # A column of a data frame is indexed by its rows' names.
    return isinstance(prompts, str) or isinstance(next(iter(prompts), None), Mapping)


def weights_of_each(
    weights: Weights | Sequence[Mapping[str, float]], prompts: Sequence[Prompt]
) -> list[Mapping[str, float]]:
    """The weights of each prompt.

    Raises:
        InputError: There are neither one nor as many weights as prompts.
    """
    if isinstance(weights, Mapping):
        return [weights] * len(prompts)
    if isinstance(weights, WeightsProvider):
        return [*weights.suggest(prompts)]
    if callable(weights):
        return [weights(prompt) for prompt in prompts]
    if isinstance(weights, str) or not isinstance(weights, Sequence):
        raise InputError(f"expected weights by objective, found {weights!r:.60}", field="weights")
    if len(weights) != len(prompts):
        raise InputError(
            f"expected one mapping or {len(prompts)} (one per prompt), found {len(weights)}",
            field="weights",
        )
    return list(weights)


def in_order(weights: Mapping[str, float], objectives: Sequence[str]) -> dict[str, float]:
    """The weights of all objectives in display order, as responses contain them."""
    return {name: float(weights.get(name, 0.0)) for name in objectives}
