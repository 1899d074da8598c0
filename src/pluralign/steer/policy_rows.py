"""Rows of tokens, each continued by one of several policies: adapters over one trunk, or whole models."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Protocol

import torch
from jaxtyping import Float
from torch import Tensor

from pluralign.core import InputError
from pluralign.models.adapter_stack import AdapterStack, Route
from pluralign.models.backbone import Backbone
from pluralign.models.forest import Tree, plant
from pluralign.models.row_attention import RowLayout
from pluralign.models.sample_attention import PromptLayout
from pluralign.models.trunk import run_layout
from pluralign.models.vocabulary import vocabulary_logits

Entry = tuple[int, int]
"""A request's number and a policy's."""


class PolicyRows(Protocol):
    """Rows that are continued together, one for each policy that a request weighs."""

    @property
    def names(self) -> tuple[str, ...]:
        """Of the policies."""
        ...

    @property
    def backbone(self) -> Backbone:
        """Whose tokenizer, device and vocabulary the policies share."""
        ...

    @property
    def order(self) -> Sequence[Entry]:
        """The rows that there are, in the order of logits."""
        ...

    def admit(self, entries: Sequence[tuple[int, int, Sequence[int]]]) -> Float[Tensor, "rows vocabulary"]:
        """Read prompts (request, policy, token ids) as new rows; the logits of what follows each."""
        ...

    def step(self, tokens: Mapping[int, int]) -> Float[Tensor, "rows vocabulary"]:
        """Give every row its request's next token; the logits of what follows, in `order`."""
        ...

    def release(self, requests: set[int]) -> None:
        """Let go of these requests' rows."""
        ...


class AdapterRows:
    """Policies that are adapters of one trunk: all rows go through it together.

    Args:
        backbone: loaded for this use alone.
        adapters: folder of each PEFT adapter, by its policy's name; None is the trunk as it is.

    Raises:
        InputError: see `AdapterStack`.
    """

    def __init__(self, backbone: Backbone, adapters: Mapping[str, Path | None]) -> None:
        folders = {name: folder for name, folder in adapters.items() if folder is not None}
        # The trunk itself comes last: rows that go through no adapter stand behind all others.
        self.names = (*folders, *(name for name in adapters if name not in folders))
        self._stack = AdapterStack(backbone, folders)
        self.backbone = self._stack.backbone
        self._rows = RowLayout()
        self.order: list[Entry] = []
        self._adapters = len(folders)

    @torch.inference_mode()
    def admit(self, entries: Sequence[tuple[int, int, Sequence[int]]]) -> Float[Tensor, "rows vocabulary"]:
        """See `PolicyRows`."""
        by_policy = sorted(range(len(entries)), key=lambda i: entries[i][1])
        prompts = [entries[i][2] for i in by_policy]
        # A prompt's last token is its tree's branch, so that its hidden state is the one that is read.
        trees = [Tree(list(ids[:-1]), [list(ids[-1:])]) for ids in prompts]
        (forest,) = plant(trees, sum(map(len, prompts)))
        forest = forest.to(self.backbone.device)
        layout = PromptLayout(forest)
        policies = [entries[i][1] for i in by_policy]
        with self._stack.routed(self._route(policies, [len(ids) for ids in prompts])):
            hidden: Any = run_layout(
                self.backbone.model, layout, forest.position_ids, input_ids=forest.input_ids
            ).last_hidden_state[0]
        logits = vocabulary_logits(self.backbone.model, hidden[forest.ends])
        self._rows.append(layout.kept, [len(ids) for ids in prompts])
        self.order += [entries[i][:2] for i in by_policy]
        self._arrange(sorted(range(len(self.order)), key=lambda row: self.order[row][1]))
        back = torch.empty(len(entries), dtype=torch.long)
        back[torch.tensor(by_policy)] = torch.arange(len(entries))
        return logits[back.to(logits.device)]

    @torch.inference_mode()
    def step(self, tokens: Mapping[int, int]) -> Float[Tensor, "rows vocabulary"]:
        """See `PolicyRows`."""
        device = self.backbone.device
        ids = torch.tensor([[tokens[request] for request, _ in self.order]], device=device)
        positions = self._rows.begin(device)
        with self._stack.routed(self._route([policy for _, policy in self.order], [1] * len(self.order))):
            hidden: Any = run_layout(self.backbone.model, self._rows, positions, input_ids=ids)
        self._rows.end()
        return vocabulary_logits(self.backbone.model, hidden.last_hidden_state[0])

    def release(self, requests: set[int]) -> None:
        """See `PolicyRows`."""
        self._arrange([row for row, (request, _) in enumerate(self.order) if request not in requests])

    def _arrange(self, rows: list[int]) -> None:
        self._rows.select(rows)
        self.order = [self.order[row] for row in rows]

    def _route(self, policies: Sequence[int], counts: Sequence[int]) -> Route:
        """Of rows in the policies' order, with so many tokens each."""
        by: dict[int, int] = {}
        for policy, count in zip(policies, counts, strict=True):
            if policy < self._adapters:
                by[policy] = by.get(policy, 0) + count
        return Route(tuple(by), tuple(by.values()))


class ModelRows:
    """Policies that are whole models, each with its own pass: slower, and whatever they have in common is a
    vocabulary.

    Args:
        models: by name.

    Raises:
        InputError: none, or different vocabularies.
    """

    def __init__(self, models: Mapping[str, Backbone]) -> None:
        if not models:
            raise InputError("expected a policy or more, found none")
        self.names = tuple(models)
        self.backbone = next(iter(models.values()))
        vocabulary = self.backbone.tokenizer.get_vocab()
        for name, model in models.items():
            if model.tokenizer.get_vocab() != vocabulary:
                raise InputError(
                    f"{name!r} has another vocabulary than {self.names[0]!r}; they cannot be mixed"
                )
        self._parts = [AdapterRows(model, {name: None}) for name, model in models.items()]

    @property
    def order(self) -> list[Entry]:
        """See `PolicyRows`."""
        return [(request, number) for number, part in enumerate(self._parts) for request, _ in part.order]

    def admit(self, entries: Sequence[tuple[int, int, Sequence[int]]]) -> Float[Tensor, "rows vocabulary"]:
        """See `PolicyRows`."""
        found: dict[int, Tensor] = {}
        for number, part in enumerate(self._parts):
            mine = [i for i, entry in enumerate(entries) if entry[1] == number]
            if mine:
                logits = part.admit([(entries[i][0], 0, entries[i][2]) for i in mine])
                found.update(zip(mine, logits.to(self.backbone.device), strict=True))
        return torch.stack([found[i] for i in range(len(entries))])

    def step(self, tokens: Mapping[int, int]) -> Float[Tensor, "rows vocabulary"]:
        """See `PolicyRows`."""
        return torch.cat([part.step(tokens).to(self.backbone.device) for part in self._parts if part.order])

    def release(self, requests: set[int]) -> None:
        """See `PolicyRows`."""
        for part in self._parts:
            part.release(requests)
