"""Policies on a trunk whose rows cannot be decoded together: each row uses the model's own cache."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor

from pluralign.lm.adapter_stack import AdapterStack, Route
from pluralign.lm.plain import Continuation
from pluralign.lm.support import support_of
from pluralign.lm.vocabulary import vocabulary_logits
from pluralign.steer.policy_rows import HeldRow
from pluralign.steer.prediction import Entry, StatePrediction, head_prediction


@dataclass
class _Group:
    """Rows of one policy with the same number of tokens."""

    policy: int
    requests: list[int]
    rows: Continuation


class PlainRows:
    """Rows of policies that are adapters of one trunk, or the trunk itself; slower than `AdapterRows`.

    Rows of one policy that are admitted together, with prompts of equal length, share their forward passes.

    Args:
        stack: Trunk with its adapters.
        adapters: Number of adapters; a policy with a higher number is the trunk itself.
    """

    def __init__(self, stack: AdapterStack, adapters: int) -> None:
        self._stack, self._adapters = stack, adapters
        self._model = stack.backbone.model
        self._support = support_of(self._model)
        self._groups: list[_Group] = []

    @property
    def order(self) -> list[Entry]:
        """See `PolicyRows`."""
        return [(request, group.policy) for group in self._groups for request in group.requests]

    @torch.inference_mode()
    def admit(self, entries: Sequence[tuple[int, int, Sequence[int]]]) -> StatePrediction:
        """See `PolicyRows`."""
        alike: dict[tuple[int, int], list[int]] = {}
        for i, (_, policy, ids) in enumerate(entries):
            alike.setdefault((policy, len(ids)), []).append(i)
        found: list[tuple[int, Tensor]] = []
        groups: list[_Group] = []
        for (policy, _), own in alike.items():
            # Rows with the same prompt are read once.
            texts = sorted({tuple(entries[i][2]) for i in own})
            with self._stack.routed(self._route(policy)):
                rows = self._support.continuation(self._model, texts)
                rows.select([texts.index(tuple(entries[i][2])) for i in own])
            groups.append(_Group(policy, [entries[i][0] for i in own], rows))
            found += zip(own, rows.states, strict=True)
        # If a forward pass fails, no request has been added.
        self._groups += groups
        return self._prediction(
            torch.stack([states for _, states in sorted(found, key=lambda one: one[0])]),
            [policy for _, policy, _ in entries],
        )

    @torch.inference_mode()
    def step(self, tokens: Mapping[int, int]) -> StatePrediction:
        """See `PolicyRows`."""
        states: list[Tensor] = []
        for group in self._groups:
            with self._stack.routed(self._route(group.policy)):
                states.append(group.rows.step([tokens[request] for request in group.requests]))
        return self._prediction(torch.cat(states), [policy for _, policy in self.order])

    def held(self, request: int) -> list[HeldRow]:
        """The rows of a request, as texts that are read again."""
        return [
            HeldRow(group.policy, group.rows.ids(group.requests.index(request)), 0, {})
            for group in self._groups
            if request in group.requests
        ]

    @torch.inference_mode()
    def release(self, requests: set[int]) -> None:
        """See `PolicyRows`."""
        for group in self._groups:
            left = [i for i, request in enumerate(group.requests) if request not in requests]
            if left and len(left) < len(group.requests):
                group.rows.select(left)
            group.requests = [group.requests[i] for i in left]
        self._groups = [group for group in self._groups if group.requests]

    def _prediction(self, states: Float[Tensor, "rows d"], policies: Sequence[int]) -> StatePrediction:
        if not self._stack.adapts_head:
            return head_prediction(self._model, states)
        # The logits depend on the policy as well as the state.
        logits: list[Tensor] = []
        for row, policy in enumerate(policies):
            with self._stack.routed(self._route(policy)):
                logits.append(vocabulary_logits(self._model, states[row : row + 1]))
        return StatePrediction(torch.cat(logits))

    def _route(self, policy: int) -> Route | None:
        return Route.of_all(policy) if policy < self._adapters else None
