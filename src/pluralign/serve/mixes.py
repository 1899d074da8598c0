"""Steering weights of requests: in the body, in the model's name, or a preset."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

from pluralign.core import InputError, SteeringWeights
from pluralign.serve.errors import Refused


class Mixes:
    """Reads a request's steering weights.

    A model's name may carry them, for clients that cannot send fields of their own:
    ``MODEL@helpful=0.7,harmless=0.3``, or ``MODEL@PRESET``.

    Args:
        model: Name of the served model.
        objectives: Names of the objectives.
        default: Weights of requests without any.
        presets: Weights by name.

    Raises:
        InputError: Weights name an objective that is not served, or a preset's name is empty or has one of
            ``@=,``.
    """

    def __init__(
        self, model: str, objectives: Sequence[str], default: SteeringWeights,
        presets: Mapping[str, SteeringWeights] | None = None,
    ) -> None:  # fmt: skip
        self._model, self._objectives = model, tuple(objectives)
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

    def read(self, body: Mapping[str, Any]) -> SteeringWeights:
        """The weights of a request that has passed the schema.

        Raises:
            Refused: Status 404 for an unknown model, 400 for weights that do not sum to 1, that name an
                unknown objective, or that are given twice.
        """
        named = self.of_model(body["model"])
        given = body.get("steering_weights")
        if given is None:
            return self.default if named is None else named
        if named is not None:
            raise Refused(
                400, "the weights are given twice: in 'model' and in 'steering_weights'",
                param="steering_weights", code="invalid_steering_weights",
            )  # fmt: skip
        return read_weights(given, self._objectives, normalize=bool(body.get("normalize")))

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


def read_weights(given: Any, objectives: Sequence[str], *, normalize: bool = False) -> SteeringWeights:
    """Steering weights that have passed the schema.

    Args:
        given: Weights by objective.
        objectives: Names of the objectives.
        normalize: Whether to divide the weights by their sum.

    Raises:
        Refused: The weights do not sum to 1, or all are 0.
    """
    try:
        if normalize and (total := math.fsum(given.values())) > 0:
            given = {name: weight / total for name, weight in given.items()}
        weights = SteeringWeights(given)
        weights.require_known(objectives)
    except InputError as error:
        raise Refused(
            400, error.message, param="steering_weights", code="invalid_steering_weights"
        ) from error
    return weights
