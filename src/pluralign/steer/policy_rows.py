"""Rows of tokens, each continued by one of several policies: adapters on one trunk, or whole models."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, Protocol

import torch
from jaxtyping import Float
from torch import Tensor

from pluralign.core import InputError
from pluralign.lm.adapter_stack import AdapterStack, Route
from pluralign.lm.backbone import Backbone
from pluralign.lm.forest import Tree, plant
from pluralign.lm.generation import require_writer
from pluralign.lm.passes import run_layout
from pluralign.lm.row_attention import RowLayout
from pluralign.lm.sample_attention import PromptLayout
from pluralign.lm.support import support_of
from pluralign.lm.trunk import context_length
from pluralign.lm.vocabulary import vocabulary_logits
from pluralign.steer.plain_rows import PlainRows
from pluralign.steer.prediction import Entry, Prediction, head_prediction, joined


class PolicyRows(Protocol):
    """Rows that are decoded together, one per request and weighted policy."""

    @property
    def names(self) -> tuple[str, ...]:
        """Names of the policies."""
        ...

    @property
    def backbone(self) -> Backbone:
        """Model with the tokenizer, device and vocabulary that the policies share."""
        ...

    @property
    def context(self) -> int | None:
        """Largest number of tokens of a row; None for no limit."""
        ...

    @property
    def order(self) -> Sequence[Entry]:
        """Current rows, in the order of the logits."""
        ...

    def admit(self, entries: Sequence[tuple[int, int, Sequence[int]]]) -> Prediction:
        """Read prompts (request, policy, token ids) as new rows; return their next-token predictions."""
        ...

    def step(self, tokens: Mapping[int, int]) -> Prediction:
        """Append each request's next token to its rows; return the next predictions, in `order`."""
        ...

    def release(self, requests: set[int]) -> None:
        """Remove the rows of these requests."""
        ...


class AdapterRows:
    """Policies that are adapters on one trunk: all rows pass through it together.

    Args:
        backbone: Model loaded for this use alone.
        adapters: Folder of each PEFT adapter, by policy name; None for the trunk itself.

    Raises:
        InputError: See `AdapterStack`.
    """

    def __init__(self, backbone: Backbone, adapters: Mapping[str, Path | None]) -> None:
        require_writer(backbone)
        folders = {name: folder for name, folder in adapters.items() if folder is not None}
        # The trunk itself comes last: rows without an adapter come after all others.
        self.names = (*folders, *(name for name in adapters if name not in folders))
        self._stack = AdapterStack(backbone, folders)
        self.backbone = self._stack.backbone
        self.context = context_length(self.backbone.model)
        self._support = support_of(self.backbone.model)
        self._rows = RowLayout()
        self._together: list[Entry] = []
        self._adapters = len(folders)
        self._plain = PlainRows(self._stack, self._adapters)
        # Ids of the rows that may outgrow the layout (see `step`).
        self._ids: dict[Entry, list[int]] = {}

    @property
    def order(self) -> list[Entry]:
        """See `PolicyRows`."""
        return [*self._together, *self._plain.order]

    @torch.inference_mode()
    def admit(self, entries: Sequence[tuple[int, int, Sequence[int]]]) -> Prediction:
        """See `PolicyRows`."""
        plain = [i for i, (_, _, ids) in enumerate(entries) if not self._support.decodes(len(ids))]
        if not plain:
            return self._admit(entries)
        together = [i for i in range(len(entries)) if i not in set(plain)]
        parts = [self._admit([entries[i] for i in together])] if together else []
        parts.append(self._plain.admit([entries[i] for i in plain]))
        found = joined(parts)
        back = torch.tensor([*together, *plain]).argsort().to(found.states.device)
        return replace(found, states=found.states[back])

    def _admit(self, entries: Sequence[tuple[int, int, Sequence[int]]]) -> Prediction:
        # Equal prompts of one policy (samples of a prompt, other weights) are read once.
        texts = sorted({(policy, tuple(ids)) for _, policy, ids in entries})
        place = {text: i for i, text in enumerate(texts)}
        asked = [place[policy, tuple(ids)] for _, policy, ids in entries]
        lengths = [len(ids) for _, ids in texts]
        # A prompt's last token is its tree's branch, because hidden states are returned for branches.
        trees = [Tree(list(ids[:-1]), [list(ids[-1:])]) for _, ids in texts]
        (forest,) = plant(trees, sum(lengths))
        forest = forest.to(self.backbone.device)
        layout = PromptLayout(forest)
        policies = [policy for policy, _ in texts]
        with self._stack.routed(self._route(policies, lengths)):
            hidden: Any = run_layout(
                self.backbone.model, layout, forest.position_ids, input_ids=forest.input_ids
            ).last_hidden_state[0]
        found = self._prediction(hidden[forest.ends], policies)
        self._rows.append(layout.kept, lengths, asked)
        self._together += [entry[:2] for entry in entries]
        if self._support.factors is not None:
            self._ids.update({(request, policy): list(ids) for request, policy, ids in entries})
        self._arrange(sorted(range(len(self._together)), key=lambda row: self._together[row][1]))
        return replace(found, states=found.states[torch.tensor(asked, device=found.states.device)])

    @torch.inference_mode()
    def step(self, tokens: Mapping[int, int]) -> Prediction:
        """See `PolicyRows`."""
        late = self._outgrown(tokens)
        parts = [self._step(tokens)] if self._together else []
        if self._plain.order:
            parts.append(self._plain.step(tokens))
        if late:
            parts.append(self._plain.admit(late))
        return joined(parts)

    def _outgrown(self, tokens: Mapping[int, int]) -> list[tuple[int, int, list[int]]]:
        """Take out the rows whose position factors, and so all their keys, change with the next token."""
        for (request, _), ids in self._ids.items():
            ids.append(tokens[request])
        late = [entry for entry, ids in self._ids.items() if not self._support.decodes(len(ids))]
        if late:
            self._arrange([row for row, entry in enumerate(self._together) if entry not in late])
        # In the order in which they stand among the plain rows.
        found = [(*entry, self._ids.pop(entry)) for entry in late]
        return sorted(found, key=lambda one: (one[1], len(one[2])))

    def _step(self, tokens: Mapping[int, int]) -> Prediction:
        device = self.backbone.device
        ids = torch.tensor([[tokens[request] for request, _ in self._together]], device=device)
        positions = self._rows.begin(device)
        policies = [policy for _, policy in self._together]
        with self._stack.routed(self._route(policies, [1] * len(policies))):
            hidden: Any = run_layout(self.backbone.model, self._rows, positions, input_ids=ids)
        self._rows.end()
        return self._prediction(hidden.last_hidden_state[0], policies)

    def release(self, requests: set[int]) -> None:
        """See `PolicyRows`."""
        self._arrange([row for row, (request, _) in enumerate(self._together) if request not in requests])
        self._plain.release(requests)
        self._ids = {entry: ids for entry, ids in self._ids.items() if entry[0] not in requests}

    def _prediction(self, states: Float[Tensor, "rows d"], policies: Sequence[int]) -> Prediction:
        """Prediction of rows in the order of policies."""
        model = self.backbone.model
        if self._stack.adapts_head:
            # The logits depend on the policy as well as the state.
            with self._stack.routed(self._route(policies, [1] * len(policies))):
                return Prediction(vocabulary_logits(model, states))
        return head_prediction(model, states)

    def _arrange(self, rows: list[int]) -> None:
        self._rows.select(rows)
        self._together = [self._together[row] for row in rows]

    def _route(self, policies: Sequence[int], counts: Sequence[int]) -> Route:
        """Route of rows in the order of policies, with the given numbers of tokens."""
        by: dict[int, int] = {}
        for policy, count in zip(policies, counts, strict=True):
            if policy < self._adapters:
                by[policy] = by.get(policy, 0) + count
        return Route(tuple(by), tuple(by.values()), sum(counts))


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

    def admit(self, entries: Sequence[tuple[int, int, Sequence[int]]]) -> Prediction:
        """See `PolicyRows`."""
        found: dict[int, Tensor] = {}
        for first, part in zip(self._firsts, self._parts, strict=True):
            mine = [i for i, entry in enumerate(entries) if 0 <= entry[1] - first < len(part.names)]
            if mine:
                new = [(entries[i][0], entries[i][1] - first, entries[i][2]) for i in mine]
                logits = part.admit(new).logits()
                found.update(zip(mine, logits.to(self.backbone.device), strict=True))
        return Prediction(torch.stack([found[i] for i in range(len(entries))]))

    def step(self, tokens: Mapping[int, int]) -> Prediction:
        """See `PolicyRows`."""
        parts = [part.step(tokens).logits() for part in self._parts if part.order]
        return Prediction(torch.cat([logits.to(self.backbone.device) for logits in parts]))

    def release(self, requests: set[int]) -> None:
        """See `PolicyRows`."""
        for part in self._parts:
            part.release(requests)
