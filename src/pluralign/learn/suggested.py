"""Weights of objectives in a policy gradient that are suggested for each prompt."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, final

import torch
from jaxtyping import Float
from torch import Tensor

from pluralign.core import SteeringWeights
from pluralign.core.messages import Messages
from pluralign.learn.run_folder import own_source
from pluralign.learn.weighting import Constant
from pluralign.losses.advantages import Weights

SuggestWeights = Callable[[Sequence[Any]], Sequence[Mapping[str, float]]]
"""Function from prompts to weights by objective, such as the method of a provider of weights."""


@final
class Suggested(Constant):
    """Weights that depend on the prompt (Preference Orchestrator, Liu et al. 2025, eq. 9).

    Args:
        suggest: Function from prompts, as the policy reads them, to weights; or ``provider.suggest`` of a
            provider of weights, which reads messages in its own template.
        objectives: Objectives of the weights.
        source: Name of what suggests them, for the card; another name makes another run.
    """

    def __init__(self, suggest: SuggestWeights, objectives: Sequence[str], source: str = "") -> None:
        self.objectives = tuple(objectives)
        self._suggest, self._source = suggest, source
        self._known: dict[str, Float[Tensor, " objectives"]] = {}
        self._given: Mapping[str, str | Messages] = {}

    def on(self, given: Mapping[str, str | Messages]) -> Suggested:
        """The same weighting of prompts whose source is known.

        Args:
            given: Text or messages in the source, by the text that the policy reads.
        """
        found = Suggested(self._suggest, self.objectives, self._source)
        # Providers (`steer.request_weights.WeightsProvider`) read messages in a template of their own; a text
        # that the policy's template made of them would be quoted.
        if hasattr(getattr(self._suggest, "__self__", None), "objectives"):
            found._given = given
        return found

    def weights(self, prompts: Sequence[str]) -> Weights:
        """See `Weighting.weights`; each prompt is asked about once."""
        missing = [prompt for prompt in dict.fromkeys(prompts) if prompt not in self._known]
        if missing:
            asked = [self._given.get(prompt, prompt) for prompt in missing]
            for prompt, found in zip(missing, self._suggest(asked), strict=True):
                aligned = SteeringWeights(found).aligned_to(self.objectives)
                self._known[prompt] = torch.tensor(aligned)
        return torch.stack([self._known[prompt] for prompt in prompts])

    def describe(self) -> dict[str, Any]:
        """See `Weighting.describe`."""
        return {"kind": "suggested", "source": self._source, **own_source("suggest", self._suggest)}
