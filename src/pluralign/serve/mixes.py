"""Steering weights of requests: in the body, in the model's name, or a preset."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

from pluralign.core import InputError, SteeringWeights
from pluralign.core.messages import Prompt
from pluralign.serve.errors import Refused
from pluralign.steer.request_weights import WeightsProvider

AUTO = "auto"
"""Value of ``steering_weights`` that leaves the weights to the provider."""


class Mixes:
    """Reads a request's steering weights.

    A model's name may carry them, for clients that cannot send fields of their own:
    ``MODEL@helpful=0.7,harmless=0.3``, or ``MODEL@PRESET``.

    Args:
        model: Name of the served model.
        objectives: Names of the objectives.
        default: Weights of requests without any.
        presets: Weights by name.
        provider: Provider of weights for requests with ``"steering_weights": "auto"`` or a wish.

    Raises:
        InputError: Weights name an objective that is not served, or a preset's name is empty or has one of
            ``@=,``.
    """

    def __init__(
        self, model: str, objectives: Sequence[str], default: SteeringWeights,
        presets: Mapping[str, SteeringWeights] | None = None, provider: WeightsProvider | None = None,
    ) -> None:  # fmt: skip
        self._model, self._objectives = model, tuple(objectives)
        self.provider = provider
        if provider is not None and set(provider.objectives) != set(objectives):
            raise InputError(
                f"is for {', '.join(provider.objectives)}; served are {', '.join(objectives)}",
                field="suggest",
            )
        self.default, self.presets = default, dict(presets or {})
        for name, weights in (("", default), *self.presets.items()):
            weights.require_known(objectives)
            if name in self.presets and (not name or set(name) & set("@=,")):
                raise InputError(f"must be a name without '@', '=' and ',', found {name!r}", field="preset")

    @property
    def models(self) -> dict[str, SteeringWeights]:
        """Weights by the names of models that are listed: the model itself, and one per preset."""
        named = {f"{self._model}@{name}": weights for name, weights in self.presets.items()}
        return {self._model: self.default, **named}

    def read(self, body: Mapping[str, Any], prompts: Sequence[Prompt] = ("",)) -> SteeringWeights:
        """The weights of a request that has passed the schema.

        Args:
            body: The body.
            prompts: Prompts of the request, for which weights may be suggested.

        Raises:
            Refused: Status 404 for an unknown model, 400 for weights that do not sum to 1, that name an
                unknown objective, or that are given twice.
        """
        named = self.of_model(body["model"])
        given, wish = body.get("steering_weights"), body.get("steering_wish")
        if given is None and wish is None:
            return self.default if named is None else named
        if named is not None:
            field = "steering_weights" if wish is None else "steering_wish"
            raise Refused(
                400, f"the weights are given twice: in 'model' and in '{field}'",
                param=field, code="invalid_steering_weights",
            )  # fmt: skip
        normalize = bool(body.get("normalize"))
        if wish is None and given != AUTO:
            return read_weights(given, self._objectives, normalize=normalize)
        if given not in (None, AUTO):
            raise Refused(
                400, "the weights are given twice: in 'steering_weights' and in 'steering_wish'",
                param="steering_wish", code="invalid_steering_weights",
            )  # fmt: skip
        return self.suggest(prompts, wish, normalize=normalize)

    def suggest(
        self, prompts: Sequence[Prompt], wish: Mapping[str, float] | None, *, normalize: bool = False
    ) -> SteeringWeights:
        """Weights that the provider suggests for a request.

        Args:
            prompts: Its prompts.
            wish: Its wish; None if it leaves the weights to the provider.
            normalize: Whether to divide the wishes by their sum.

        Raises:
            Refused: Status 400 for a wish that does not sum to 1, prompts with different suggestions, or a
                prompt that the provider cannot read.
        """
        assert self.provider is not None
        asked = None
        if wish is not None:
            asked = read_weights(wish, self._objectives, normalize=normalize, field="steering_wish")
        try:
            found = set(self.provider.suggest(prompts, asked))
        except InputError as error:
            raise Refused(
                400, f"no weights can be suggested: {error.message}", param="steering_weights",
                code="invalid_steering_weights",
            ) from error  # fmt: skip
        if len(found) > 1:
            raise Refused(
                400, "these prompts have different suggested weights; send one prompt per request",
                param="steering_weights", code="invalid_steering_weights",
            )  # fmt: skip
        return found.pop()

    def of_model(self, model: str) -> SteeringWeights | None:
        """The weights in a model's name; None if it has none.

        Raises:
            Refused: Status 404 for an unknown model, 400 for wrong weights.
        """
        name, at, mix = model.partition("@")
        # The model's own name may have an @, too.
        if model == self._model:
            return None
        if model.startswith(f"{self._model}@"):
            name, at, mix = self._model, "@", model.removeprefix(f"{self._model}@")
        if name != self._model or not at:
            listed = ", ".join(repr(known) for known in self.models)
            raise Refused(
                404, f"no model {model[:80]!r}; this server has {listed}", param="model",
                code="model_not_found",
            )  # fmt: skip
        if mix in self.presets:
            return self.presets[mix]
        if "=" not in mix:
            known = ", ".join(self.presets) or "none"
            raise Refused(
                404, f"no preset {mix[:80]!r}; presets: {known}", param="model", code="model_not_found"
            )
        try:
            weights = SteeringWeights.parse(mix)
            weights.require_known(self._objectives)
        except InputError as error:
            raise Refused(400, error.message, param="model", code="invalid_steering_weights") from error
        return weights


def read_weights(
    given: Any, objectives: Sequence[str], *, normalize: bool = False, field: str = "steering_weights"
) -> SteeringWeights:
    """Steering weights that have passed the schema.

    Args:
        given: Weights by objective.
        objectives: Names of the objectives.
        normalize: Whether to divide the weights by their sum.
        field: Field of the request.

    Raises:
        Refused: The weights do not sum to 1, or all are 0.
    """
    try:
        if normalize and (total := math.fsum(given.values())) > 0:
            given = {name: weight / total for name, weight in given.items()}
        weights = SteeringWeights(given)
        weights.require_known(objectives)
    except InputError as error:
        raise Refused(400, error.message, param=field, code="invalid_steering_weights") from error
    return weights
