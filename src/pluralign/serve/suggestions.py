"""Suggested weights for the page: the weights of a wish, and what they are predicted to achieve."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from pluralign.serve.fields import weights_schema
from pluralign.serve.mixes import Mixes
from pluralign.serve.schema import Schema, check
from pluralign.steer.request_weights import WeightsProvider, in_order
from pluralign.steer.suggest import Calibrated, Given


def suggestion_schema(objectives: Sequence[str]) -> Schema:
    """Schema of the body of `/pluralign/suggest`.

    Args:
        objectives: Names of the objectives.
    """
    return {
        "type": "object",
        "properties": {
            "steering_wish": weights_schema(objectives, 1_000_000),
            "prompt": {
                "type": ["string", "null"],
                "description": "A user's message, for which weights are suggested; dials do not read it.",
            },
            "normalize": {"type": ["boolean", "null"]},
        },
        "additionalProperties": False,
    }


def describe_provider(provider: WeightsProvider | None) -> dict[str, Any] | None:
    """Facts about a provider for the page: whether it predicts outcomes, from how many weightings, and
    whether it reads the prompt."""
    if provider is None:
        return None
    dial = isinstance(provider, Calibrated)
    weightings = len(provider.surrogate.weightings) if dial else None
    return {"predicts": dial, "weightings": weightings, "reads": not isinstance(provider, Calibrated | Given)}


def suggest(mixes: Mixes, body: dict[str, Any], objectives: Sequence[str]) -> dict[str, Any]:
    """The response of `/pluralign/suggest` to a body.

    Args:
        mixes: Reader of weights, with a provider.
        body: The body.
        objectives: Names of the objectives.

    Raises:
        Refused: The body is invalid.
    """
    check(body, suggestion_schema(objectives))
    message = {"role": "user", "content": body.get("prompt") or ""}
    weights = mixes.suggest([[message]], body.get("steering_wish"), normalize=bool(body.get("normalize")))
    provider = mixes.provider
    predicted = provider.surrogate.at(weights) if isinstance(provider, Calibrated) else None
    return {"steering_weights": in_order(weights, objectives), "predicted": predicted}
