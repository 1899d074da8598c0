"""Rows of policies that are adapters on one trunk, which all pass through it together."""

from __future__ import annotations

from collections.abc import Callable, Generator, Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor

from pluralign.core import InputError
from pluralign.lm.adapter_stack import AdapterStack, Route
from pluralign.lm.attention import Layout
from pluralign.lm.backbone import Backbone
from pluralign.lm.forest import Tree, plant
from pluralign.lm.generation import require_writer
from pluralign.lm.part_attention import PartLayout
from pluralign.lm.passes import run_layout
from pluralign.lm.prefix_cache import LayerKeys, PrefixCache
from pluralign.lm.row_attention import RowLayout
from pluralign.lm.sample_attention import KeysAndValues, PromptLayout
from pluralign.lm.support import support_of
from pluralign.lm.trunk import context_length
from pluralign.lm.vocabulary import vocabulary_logits
from pluralign.steer.plain_rows import PlainRows
from pluralign.steer.policy_rows import HeldRow, Size, finished
from pluralign.steer.prediction import Entry, StatePrediction, head_prediction, joined

# Number of tokens from which on the keys of a prompt are copied between two steps of the other rows.
_COPIED = 1024


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
        self._prefixes: PrefixCache | None = None
        # Route of a step; it stays the same while the rows do.
        self._step_route: Route | None = None
        # Ids of the rows that may outgrow the layout (see `step`).
        self._ids: dict[Entry, list[int]] = {}

    @property
    def order(self) -> list[Entry]:
        """See `PolicyRows`."""
        return [*self._together, *self._plain.order]

    def cache_prefixes(self, tokens: int) -> None:
        """See `PolicyRows`."""
        self._prefixes = PrefixCache(tokens) if tokens else None

    def admit(self, entries: Sequence[tuple[int, int, Sequence[int]]]) -> StatePrediction:
        """See `PolicyRows`."""
        return finished(self.read(entries, None))()

    @torch.inference_mode()
    def read(
        self, entries: Sequence[tuple[int, int, Sequence[int]]], size: Size | None
    ) -> Generator[int, None, Callable[[], StatePrediction]]:
        """See `PolicyRows`; without ``size`` everything is one part.

        Rows that cannot be decoded with others are read when the rows are added.
        """
        plain = [i for i, (_, _, ids) in enumerate(entries) if not self._support.decodes(len(ids))]
        together = [i for i in range(len(entries)) if i not in set(plain)]
        # Equal prompts of one policy (samples of a prompt, other weights) are read once.
        texts = sorted({(entries[i][1], tuple(entries[i][2])) for i in together})
        kept: dict[int, KeysAndValues] = {}
        found = StatePrediction(torch.empty(0, 0))
        if texts:
            kept, states = yield from self._read(texts, size)
            yield from self._remember(texts, kept)
            found = self._prediction(states, [policy for policy, _ in texts])

        @torch.inference_mode()
        def enter() -> StatePrediction:
            parts = [self._enter([entries[i] for i in together], texts, kept, found)] if texts else []
            if plain:
                parts.append(self._plain.admit([entries[i] for i in plain]))
            everything = joined(parts)
            if not plain:
                return everything
            back = torch.tensor([*together, *plain]).argsort().to(everything.states.device)
            return replace(everything, states=everything.states[back])

        return enter

    def _read(
        self, texts: Sequence[tuple[int, Sequence[int]]], size: Size | None
    ) -> Generator[int, None, tuple[dict[int, KeysAndValues], Float[Tensor, "texts d"]]]:
        """Keys and values of prompts in the order of policies, and the states of their last tokens."""
        lengths, total = [len(ids) for _, ids in texts], sum(len(ids) for _, ids in texts)
        known: list[list[LayerKeys]] = [
            [] if self._prefixes is None else self._prefixes.find(policy, ids) for policy, ids in texts
        ]
        if not any(known) and (size is None or total <= size()):
            # A prompt's last token is its tree's branch, because hidden states are returned for branches.
            (forest,) = plant([Tree(list(ids[:-1]), [list(ids[-1:])]) for _, ids in texts], total)
            forest = forest.to(self.backbone.device)
            layout = PromptLayout(forest)
            route = self._route([policy for policy, _ in texts], lengths)
            hidden = self._run(layout, route, forest.position_ids, forest.input_ids)
            return layout.kept, hidden[forest.ends]
        device = self.backbone.device
        parts, states = PartLayout(lengths, device, known), list[Tensor]()
        unread = [(policy, ids[-count:]) for (policy, ids), count in zip(texts, parts.unread, strict=True)]
        ids = torch.tensor([[token for _, own in unread for token in own]], device=device)
        owners = [policy for policy, own in unread for _ in own]
        ends, total = np.cumsum(parts.unread) - 1, len(owners)
        stop = 0
        while stop < total:
            start, stop = stop, min(total, stop + (total if size is None else size()))
            own = owners[start:stop]
            positions = parts.begin(start, stop)
            hidden = self._run(parts, self._route(own, [1] * len(own)), positions, ids[:, start:stop])
            states += [hidden[end - start] for end in ends.tolist() if start <= end < stop]
            if stop < total:
                yield stop - start
        return parts.kept, torch.stack(states)

    def predictions(self, policy: int, ids: Sequence[int], size: Size) -> Iterator[StatePrediction]:
        """See `PolicyRows`."""
        if not self._support.decodes(len(ids)):
            raise InputError(
                "this model goes the plain way, which reports no log-probabilities of prompts",
                field="prompt_log_probs",
            )
        return self._predictions(policy, ids, size)

    @torch.inference_mode()
    def _predictions(self, policy: int, ids: Sequence[int], size: Size) -> Iterator[StatePrediction]:
        device = self.backbone.device
        parts, row = PartLayout([len(ids)], device), torch.tensor([list(ids)], device=device)
        stop = 0
        while stop < len(ids):
            start, stop = stop, min(len(ids), stop + size())
            positions = parts.begin(start, stop)
            route = self._route([policy], [stop - start])
            states = self._run(parts, route, positions, row[:, start:stop])
            yield self._prediction(states, [policy] * (stop - start))

    def _remember(
        self, texts: Sequence[tuple[int, Sequence[int]]], kept: Mapping[int, KeysAndValues]
    ) -> Iterator[int]:
        """Keep what was read of prompts that follow each other among the keys; see `PolicyRows.read`."""
        if self._prefixes is None:
            return
        start = 0
        for policy, ids in texts:
            own = slice(start, start + len(ids))
            if len(ids) > _COPIED:
                # Copying takes about as long as some steps.
                yield 0
            self._prefixes.add(policy, ids, {layer: (k[:, own], v[:, own]) for layer, (k, v) in kept.items()})
            start = own.stop

    def _run(
        self, layout: Layout, route: Route, positions: Int[Tensor, "1 tokens"], ids: Int[Tensor, "1 tokens"]
    ) -> Float[Tensor, "tokens d"]:
        """Hidden states of a row of tokens."""
        with self._stack.routed(route):
            output: Any = run_layout(self.backbone.model, layout, positions, input_ids=ids)
        return output.last_hidden_state[0]

    def _enter(
        self, entries: Sequence[tuple[int, int, Sequence[int]]], texts: Sequence[tuple[int, Sequence[int]]],
        kept: Mapping[int, KeysAndValues], found: StatePrediction,
    ) -> StatePrediction:  # fmt: skip
        """Add rows of prompts that were read."""
        place = {text: i for i, text in enumerate(texts)}
        asked = [place[policy, tuple(ids)] for _, policy, ids in entries]
        self._rows.append(kept, [len(ids) for _, ids in texts], asked)
        self._together += [entry[:2] for entry in entries]
        if self._support.factors is not None:
            self._ids.update({(request, policy): list(ids) for request, policy, ids in entries})
        self._arrange(sorted(range(len(self._together)), key=lambda row: self._together[row][1]))
        return replace(found, states=found.states[torch.tensor(asked, device=found.states.device)])

    @torch.inference_mode()
    def step(self, tokens: Mapping[int, int]) -> StatePrediction:
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

    def _step(self, tokens: Mapping[int, int]) -> StatePrediction:
        device = self.backbone.device
        ids = torch.tensor([[tokens[request] for request, _ in self._together]], device=device)
        positions = self._rows.begin(device)
        policies = [policy for _, policy in self._together]
        if self._step_route is None:
            self._step_route = self._route(policies, [1] * len(policies))
        states = self._run(self._rows, self._step_route, positions, ids)
        self._rows.end()
        return self._prediction(states, policies)

    @torch.inference_mode()
    def release(self, requests: set[int]) -> None:
        """See `PolicyRows`."""
        self._arrange([row for row, (request, _) in enumerate(self._together) if request not in requests])
        self._plain.release(requests)
        self._ids = {entry: ids for entry, ids in self._ids.items() if entry[0] not in requests}

    @torch.inference_mode()
    def hold(self, request: int) -> list[HeldRow]:
        """See `PolicyRows`; rows that cannot be decoded with others are read again."""
        own = [i for i, (number, _) in enumerate(self._together) if number == request]
        held = [
            HeldRow(entry[1], tuple(self._ids.get(entry, ())), *self._rows.copy(i))
            for i, entry in ((i, self._together[i]) for i in own)
        ]
        held += self._plain.held(request)
        self.release({request})
        return held

    @torch.inference_mode()
    def resume(self, held: Sequence[HeldRow], requests: Sequence[int]) -> None:
        """See `PolicyRows`."""
        for row in (row for row in held if row.keys):
            self._rows.append(row.keys, [row.length], [0] * len(requests))
            new = [(request, row.policy) for request in requests]
            self._together += new
            if self._support.factors is not None:
                self._ids.update({entry: list(row.ids) for entry in new})
        self._arrange(sorted(range(len(self._together)), key=lambda row: self._together[row][1]))
        again = [(request, row.policy, row.ids) for row in held if not row.keys for request in requests]
        if again:
            self._plain.admit(again)

    def _prediction(self, states: Float[Tensor, "rows d"], policies: Sequence[int]) -> StatePrediction:
        """StatePrediction of rows in the order of policies."""
        model = self.backbone.model
        if self._stack.adapts_head:
            # The logits depend on the policy as well as the state.
            with self._stack.routed(self._route(policies, [1] * len(policies))):
                return StatePrediction(vocabulary_logits(model, states))
        return head_prediction(model, states)

    def _arrange(self, rows: list[int]) -> None:
        self._rows.select(rows)
        self._together = [self._together[row] for row in rows]
        self._step_route = None

    def _route(self, policies: Sequence[int], counts: Sequence[int]) -> Route:
        """Route of rows in the order of policies, with the given numbers of tokens."""
        by: dict[int, int] = {}
        for policy, count in zip(policies, counts, strict=True):
            if policy < self._adapters:
                by[policy] = by.get(policy, 0) + count
        return Route(tuple(by), tuple(by.values()), sum(counts), self.backbone.device)
