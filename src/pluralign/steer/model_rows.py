"""Rows of several whole models, each with its own forward pass."""

from __future__ import annotations

from collections.abc import Callable, Generator, Iterator, Mapping, Sequence
from dataclasses import replace

import torch
from jaxtyping import Float
from torch import Tensor
from torch.nn.functional import pad

from pluralign.core import InputError
from pluralign.lm.backbone import Backbone
from pluralign.steer.adapter_rows import AdapterRows
from pluralign.steer.policy_rows import HeldRow, Size, finished
from pluralign.steer.prediction import Entry, Prediction, StatePrediction


class ModelRows:
    """Policies of which some or all are whole models, each with its own forward pass: slower, but they only
    need a common vocabulary.

    Args:
        models: Whole models by policy name.
        stacked: Policies that share a trunk.

    Raises:
        InputError: There are no models, or they have different vocabularies.
    """

    def __init__(self, models: Mapping[str, Backbone], stacked: AdapterRows | None = None) -> None:
        self._parts = [] if stacked is None else [stacked]
        if not models and not self._parts:
            raise InputError("expected at least one policy, found none")
        known = {} if stacked is None else {stacked.names[0]: stacked.backbone}
        first, *others = {**known, **models}.items()
        vocabulary = first[1].tokenizer.get_vocab()
        for name, model in others:
            if model.tokenizer.get_vocab() != vocabulary:
                raise InputError(f"{name!r} has another vocabulary than {first[0]!r}; they cannot be mixed")
        self._parts += [AdapterRows(model, {name: None}) for name, model in models.items()]
        self.backbone = self._parts[0].backbone
        self._common = min(part.backbone.vocabulary_size for part in self._parts)
        self.context = min((part.context for part in self._parts if part.context is not None), default=None)
        self.names = tuple(name for part in self._parts for name in part.names)
        # The first policy of each part among all.
        self._firsts = [sum(len(part.names) for part in self._parts[:i]) for i in range(len(self._parts))]

    @property
    def order(self) -> list[Entry]:
        """See `PolicyRows`."""
        return [
            (request, first + policy)
            for first, part in zip(self._firsts, self._parts, strict=True)
            for request, policy in part.order
        ]

    def admit(self, entries: Sequence[tuple[int, int, Sequence[int]]]) -> StatePrediction:
        """See `PolicyRows`."""
        return finished(self.read(entries, None))()

    def read(
        self, entries: Sequence[tuple[int, int, Sequence[int]]], size: Size | None
    ) -> Generator[int, None, Callable[[], StatePrediction]]:
        """See `PolicyRows`; without ``size`` each model reads everything in one part."""
        parts: list[tuple[list[int], Callable[[], StatePrediction]]] = []
        for first, part in zip(self._firsts, self._parts, strict=True):
            mine = [i for i, entry in enumerate(entries) if 0 <= entry[1] - first < len(part.names)]
            if mine:
                if parts:
                    yield 0
                new = [(entries[i][0], entries[i][1] - first, entries[i][2]) for i in mine]
                parts.append((mine, (yield from part.read(new, size))))

        def enter() -> StatePrediction:
            found: dict[int, Tensor] = {}
            for mine, enter_part in parts:
                logits = self._aligned(enter_part())
                found.update(zip(mine, logits, strict=True))
            return StatePrediction(torch.stack([found[i] for i in range(len(entries))]))

        return enter

    def cache_prefixes(self, tokens: int) -> None:
        """See `PolicyRows`: each model has its share of the tokens."""
        for part in self._parts:
            part.cache_prefixes(tokens // len(self._parts))

    def predictions(self, policy: int, ids: Sequence[int], size: Size) -> Iterator[StatePrediction]:
        """See `PolicyRows`."""
        first, part = next(
            (first, part)
            for first, part in zip(self._firsts, self._parts, strict=True)
            if 0 <= policy - first < len(part.names)
        )
        found = part.predictions(policy - first, ids, size)
        return (StatePrediction(self._aligned(one)) for one in found)

    def step(self, tokens: Mapping[int, int]) -> StatePrediction:
        """See `PolicyRows`."""
        parts = [part.step(tokens) for part in self._parts if part.order]
        return StatePrediction(torch.cat([self._aligned(part) for part in parts]))

    def release(self, requests: set[int]) -> None:
        """See `PolicyRows`."""
        for part in self._parts:
            part.release(requests)

    def hold(self, request: int) -> list[HeldRow]:
        """See `PolicyRows`."""
        return [
            replace(row, policy=first + row.policy)
            for first, part in zip(self._firsts, self._parts, strict=True)
            for row in part.hold(request)
        ]

    def resume(self, held: Sequence[HeldRow], requests: Sequence[int]) -> None:
        """See `PolicyRows`."""
        for first, part in zip(self._firsts, self._parts, strict=True):
            part.resume(
                [
                    replace(row, policy=row.policy - first)
                    for row in held
                    if 0 <= row.policy - first < len(part.names)
                ],
                requests,
            )

    def _aligned(self, found: Prediction) -> Float[Tensor, "rows vocabulary"]:
        """Logits on the device of the first model, and as many. Models of one vocabulary may have different
        numbers of ids after the last token: none is chosen that one of them lacks."""
        logits, width = found.logits().to(self.backbone.device), self.backbone.vocabulary_size
        if logits.shape[1] == width == self._common:
            return logits
        return pad(logits[:, : self._common], (0, width - self._common), value=-torch.inf)
