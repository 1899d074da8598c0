"""Relevance in requests: weights that depend on what is at stake in the prompt, for requests that ask."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

from pluralign.core import InputError
from pluralign.core.errors import ServerError
from pluralign.core.messages import Prompt
from pluralign.serve.api import ParsedRequest
from pluralign.serve.chat import messages_of
from pluralign.serve.errors import Refused
from pluralign.serve.turns import Turns
from pluralign.steer.relevance import Relevance

_log = logging.getLogger(__name__)

FIELD = "steering_relevance"
"""Field of requests that asks for it, and of answers with the factors."""


class RequestRelevance:
    """Weighs requests by relevance, one at a time; nothing about a request is kept.

    Args:
        relevance: Estimator of what is at stake.
        served: Objectives of the policies.

    Raises:
        InputError: An objective is not served.
    """

    def __init__(self, relevance: Relevance, served: Sequence[str]) -> None:
        if unknown := [name for name in relevance.objectives if name not in served]:
            raise InputError(
                f"'{unknown[0]}' is not served; served are {', '.join(served)}", field="principles"
            )
        self._relevance = relevance
        self._turns = Turns("prompts to weigh")

    def describe(self) -> dict[str, Any]:
        """Facts for the page: the estimator and the objectives that have a principle."""
        return {"name": self._relevance.name, "objectives": list(self._relevance.objectives)}

    async def weighed(self, request: ParsedRequest) -> ParsedRequest:
        """The request with its weights times the factors of its prompt.

        Raises:
            Refused: The request has several prompts or one of token ids, too many requests are waiting, or
                the estimator fails.
        """
        try:
            prompt = _prompt(request)
            factors = await self._turns.take(lambda: self._relevance.of(prompt))
        except ServerError as error:
            # The message has addresses, which are not for clients.
            _log.error("relevance by %s: %s", self._relevance.name, error.message)
            message = "the server of the relevance does not answer as expected; try again later"
            raise Refused(502, message, code="relevance_unavailable") from error
        except InputError as error:
            raise Refused(400, error.message, param=FIELD) from error
        weights = self._relevance.weigh(request.weights, factors)
        samples = [replace(sample, weights=weights) for sample in request.samples]
        return replace(request, samples=samples, relevance=factors)


def asks_for_relevance(body: Mapping[str, Any]) -> bool:
    """Whether a body that has passed the schema asks for weights by relevance."""
    return bool(body.get(FIELD))


def _prompt(request: ParsedRequest) -> Prompt:
    given = request.prompt
    if request.kind == "completions":
        if not isinstance(given, str):
            raise Refused(400, f"'{FIELD}' is for requests with one prompt, as text", param=FIELD)
        return given
    return messages_of(given)
