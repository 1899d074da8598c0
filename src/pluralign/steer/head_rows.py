"""Rows of policies that are heads on one model: one row per request, whatever the number of policies."""

from __future__ import annotations

from collections.abc import Callable, Generator, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace

import torch
from jaxtyping import Float, Int
from torch import Tensor

from pluralign.lm.backbone import Backbone
from pluralign.lm.head_change import HeadChange, StackedChanges, require_changeable
from pluralign.lm.vocabulary import has_linear_head
from pluralign.steer.adapter_rows import AdapterRows
from pluralign.steer.mixing import GEOMETRIC, mix_rows
from pluralign.steer.policy_rows import HeldRow, Size, finished
from pluralign.steer.prediction import Entry, StatePrediction


@dataclass(frozen=True, eq=False)
class HeadPrediction:
    """Next-token predictions of heads on the states of requests; a row is a request with one of its heads.

    Args:
        states: State of each request.
        sources: Number of each row's state.
        policies: Number of each row's head.
        heads: The heads.
        linear: Whether the logits are linear in the head's matrix, as they are without soft-capping.
    """

    states: Float[Tensor, "requests d"]
    sources: Int[Tensor, " rows"]
    policies: Int[Tensor, " rows"]
    heads: StackedChanges
    linear: bool

    @property
    def device(self) -> torch.device:
        """See `Prediction`."""
        return self.states.device

    def logits(self) -> Float[Tensor, "rows vocabulary"]:
        """See `Prediction`."""
        return self.heads.logits(self.states, self.heads.choose(self.policies), self.sources)

    def mixed(
        self, owners: Int[Tensor, " rows"], weights: Float[Tensor, " rows"], mixtures: int, power: float
    ) -> Float[Tensor, "mixtures vocabulary"]:
        """Log-probabilities of mixtures of the rows (`mixing.mix_rows`), each of one request's rows.

        A geometric mixture is the softmax of the mean logits, which are those of the mean head: the model's
        head reads one state per request. Other powers need the logits of every row.
        """
        if power != GEOMETRIC or not self.linear:
            return mix_rows(self.logits().log_softmax(-1), owners, weights, mixtures, power)
        shares = weights.new_zeros(mixtures, self.heads.count)
        shares = shares.index_put((owners, self.policies), weights, accumulate=True)
        first = self.sources.new_zeros(mixtures).scatter(0, owners, self.sources)
        return self.heads.logits(self.states[first], shares).log_softmax(-1)


class HeadRows:
    """Policies that are heads on one model: a request has one row, whatever the number of its policies.

    Args:
        backbone: The model without an adapter, loaded for this use alone.
        heads: Change of the vocabulary head of each policy, by name.

    Raises:
        InputError: The model has no vocabulary head that can be changed; see `require_changeable`.
    """

    def __init__(self, backbone: Backbone, heads: Mapping[str, HeadChange]) -> None:
        require_changeable(backbone.model)
        self.names = tuple(heads)
        # Before the rows pack the model's linear layers.
        self._heads = StackedChanges(backbone.model, list(heads.values()))
        self._rows = AdapterRows(backbone, {"model": None})
        self.backbone, self.context = self._rows.backbone, self._rows.context
        self._linear = has_linear_head(self.backbone.model)
        # Policies of each request.
        self._policies: dict[int, list[int]] = {}
        # Row of states and head of each entry; they stay the same while the rows do.
        self._places: tuple[Tensor, Tensor] | None = None

    @property
    def order(self) -> list[Entry]:
        """See `PolicyRows`: the policies of a request follow each other."""
        return [(request, policy) for request, _ in self._rows.order for policy in self._policies[request]]

    def cache_prefixes(self, tokens: int) -> None:
        """See `PolicyRows`."""
        self._rows.cache_prefixes(tokens)

    def admit(self, entries: Sequence[tuple[int, int, Sequence[int]]]) -> HeadPrediction:
        """See `PolicyRows`."""
        return finished(self.read(entries, None))()

    def read(
        self, entries: Sequence[tuple[int, int, Sequence[int]]], size: Size | None
    ) -> Generator[int, None, Callable[[], HeadPrediction]]:
        """See `PolicyRows`: a prompt is read once for all policies."""
        texts = {request: ids for request, _, ids in entries}
        enter_rows = yield from self._rows.read([(request, 0, ids) for request, ids in texts.items()], size)

        def enter() -> HeadPrediction:
            found = enter_rows()
            for request, policy, _ in entries:
                self._policies.setdefault(request, []).append(policy)
            self._places = None
            place = {request: i for i, request in enumerate(texts)}
            places = [(place[request], policy) for request, policy, _ in entries]
            return self._prediction(found, *self._tensors(places))

        return enter

    def predictions(self, policy: int, ids: Sequence[int], size: Size) -> Iterator[StatePrediction]:
        """See `PolicyRows`."""
        return self._predictions(policy, self._rows.predictions(0, ids, size))

    @torch.inference_mode()
    def _predictions(self, policy: int, parts: Iterator[StatePrediction]) -> Iterator[StatePrediction]:
        for found in parts:
            owners = torch.full((len(found.states),), policy, device=found.device)
            yield StatePrediction(self._heads.logits(found.states, self._heads.choose(owners)))

    def step(self, tokens: Mapping[int, int]) -> HeadPrediction:
        """See `PolicyRows`."""
        found = self._rows.step(tokens)
        if self._places is None:
            self._places = self._tensors(
                [(i, policy) for i, (request, _) in enumerate(self._rows.order)
                 for policy in self._policies[request]]
            )  # fmt: skip
        return self._prediction(found, *self._places)

    def release(self, requests: set[int]) -> None:
        """See `PolicyRows`."""
        self._rows.release(requests)
        self._policies = {n: own for n, own in self._policies.items() if n not in requests}
        self._places = None

    def hold(self, request: int) -> list[HeldRow]:
        """See `PolicyRows`: one row, under the number of each of its policies."""
        policies = self._policies.pop(request)
        self._places = None
        return [replace(row, policy=own) for row in self._rows.hold(request) for own in policies]

    def resume(self, held: Sequence[HeldRow], requests: Sequence[int]) -> None:
        """See `PolicyRows`."""
        self._rows.resume([replace(held[0], policy=0)], requests)
        self._policies.update({request: [row.policy for row in held] for request in requests})
        self._places = None

    def _prediction(self, found: StatePrediction, sources: Tensor, policies: Tensor) -> HeadPrediction:
        return HeadPrediction(found.states, sources, policies, self._heads, self._linear)

    def _tensors(self, places: Sequence[tuple[int, int]]) -> tuple[Tensor, Tensor]:
        whole = torch.tensor(places, device=self.backbone.device)
        return whole[:, 0], whole[:, 1]
