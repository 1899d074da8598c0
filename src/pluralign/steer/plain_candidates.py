"""Next-token candidates of rows on trunks that cannot evaluate all of them in one pass."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import torch
from jaxtyping import Float
from torch import Tensor

from pluralign.lm.adapter_stack import AdapterStack, Route
from pluralign.lm.plain import Continuation
from pluralign.lm.support import support_of
from pluralign.steer.prediction import Entry


class PlainCandidates:
    """Rows of value models, each with its own forward pass through the trunk's own cache.

    Args:
        stack: Trunk with its adapters.
        adapters: Number of adapters; a value model with a higher number reads the trunk itself.
    """

    def __init__(self, stack: AdapterStack, adapters: int) -> None:
        self._stack, self._adapters = stack, adapters
        self._model = stack.backbone.model
        self._support = support_of(self._model)
        self._rows: dict[Entry, Continuation] = {}

    def admit(
        self, entries: Sequence[tuple[int, int, Sequence[int]]], candidates: Mapping[int, Sequence[int]]
    ) -> Float[Tensor, "candidates d"]:
        """Read prompts as new rows; return the hidden states of each row's candidates, row by row."""
        found: list[Tensor] = []
        added: dict[Entry, Continuation] = {}
        for request, number, ids in entries:
            with self._stack.routed(self._route(number)):
                rows = self._support.continuation(self._model, [ids])
                rows.select([0] * len(candidates[request]))
                found.append(rows.step(candidates[request]))
            added[request, number] = rows
        self._rows |= added
        return torch.cat(found)

    def step(
        self, order: Sequence[Entry], chosen: Mapping[int, int], candidates: Mapping[int, Sequence[int]]
    ) -> Float[Tensor, "candidates d"]:
        """Append each request's chosen candidate; return the hidden states of the next ones, in the given
        order."""
        found: list[Tensor] = []
        for request, number in order:
            rows = self._rows[request, number]
            with self._stack.routed(self._route(number)):
                rows.select([chosen[request]] * len(candidates[request]))
                found.append(rows.step(candidates[request]))
        return torch.cat(found)

    def release(self, requests: set[int]) -> None:
        """Remove the rows of these requests."""
        self._rows = {entry: rows for entry, rows in self._rows.items() if entry[0] not in requests}

    def _route(self, number: int) -> Route | None:
        return Route.of_all(number) if number < self._adapters else None
