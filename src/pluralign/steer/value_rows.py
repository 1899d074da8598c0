"""Value models that run with a language model: the value of every candidate for the next token."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor

from pluralign.core import InputError
from pluralign.folders.backbones import load_folder_backbone
from pluralign.lm.adapter_stack import AdapterStack, Route, why_not_stacked
from pluralign.lm.backbone import Backbone, merged_backbone
from pluralign.lm.candidate_attention import CandidateLayout
from pluralign.lm.forest import Tree, by_tree, plant
from pluralign.lm.passes import run_layout
from pluralign.lm.sample_attention import PromptLayout
from pluralign.lm.support import support_of
from pluralign.lm.trunk import branch_last, context_length, forest_hidden_states
from pluralign.rewards.value_head import ValueHead
from pluralign.rewards.value_model import ValueFolder, load_value_model, read_value_folder
from pluralign.steer.plain_candidates import PlainCandidates
from pluralign.steer.prediction import Entry

# Number of tokens that `ValueRows.after` reads at a time.
_TOKENS = 8192

Candidates = Mapping[int, Sequence[int]]
"""Token ids of each request, equally many."""


@dataclass(frozen=True, eq=False)
class Guide:
    """A value model on a given trunk.

    Args:
        head: Head from hidden states to values.
        adapter: Folder of its PEFT adapter; None if it uses the trunk without one.
    """

    head: ValueHead
    adapter: Path | None = None


class ValueRows:
    """Value models on one trunk: the candidates of all rows of all models pass through it together.

    Args:
        backbone: Model loaded for this use alone, or shared with a policy without adapter.
        guides: Value models by objective.

    Raises:
        InputError: See `AdapterStack`; or a head has another width, or the model is an encoder-decoder.
    """

    def __init__(self, backbone: Backbone, guides: Mapping[str, Guide]) -> None:
        if backbone.model.config.is_encoder_decoder:
            raise InputError(
                f"{backbone.name!r} is an encoder-decoder; value guidance needs a decoder-only model"
            )
        folders = {name: guide.adapter for name, guide in guides.items() if guide.adapter is not None}
        # Rows without an adapter come after all others.
        self.names = (*folders, *(name for name in guides if name not in folders))
        self._stack = AdapterStack(backbone, folders)
        self.backbone = self._stack.backbone
        self._heads = [guides[name].head.to(backbone.device).eval() for name in self.names]
        for name, head in zip(self.names, self._heads, strict=True):
            if head.dimension != backbone.hidden_size:
                raise InputError(
                    f"{name!r} reads states of width {head.dimension}, the trunk's are {backbone.hidden_size}"
                )
        self._adapters = len(folders)
        self._layout: CandidateLayout | None = None
        support = support_of(self.backbone.model)
        # Where position factors change with the length, all keys of a row may change at any token.
        plain = support.decoding is not None or support.factors is not None
        self._plain = PlainCandidates(self._stack, self._adapters) if plain else None
        self.order: list[Entry] = []
        """The rows: (request, number of the value model)."""

    def require_fit(self, base: Backbone) -> None:
        """Refuse a language model that these value models cannot guide.

        Raises:
            InputError: It has another vocabulary, or a longer context.
        """
        names = ", ".join(self.names)
        if self.backbone.tokenizer.get_vocab() != base.tokenizer.get_vocab():
            raise InputError(f"the value model of {names} has another vocabulary than {base.name!r}")
        limit, own = context_length(base.model), context_length(self.backbone.model)
        if own is not None and (limit is None or own < limit):
            raise InputError(
                f"the value model of {names} reads {own} tokens, {base.name!r} reads {limit or 'more'}"
            )

    @torch.inference_mode()
    def after(self, trees: Sequence[Tree]) -> dict[str, list[Float[Tensor, " branches"]]]:
        """Value after each branch of each tree, by name; no row is added.

        Value models without an adapter share one pass, others have one each; a tree's prompt is read once a
        pass.

        Args:
            trees: Texts with their continuations.
        """
        model, count = self.backbone.model, len(self.names)
        factors = support_of(model).factors
        forests = [one.to(self.backbone.device) for one in plant(trees, _TOKENS, factors=factors)]
        found: dict[str, list[Tensor]] = {}
        routes = [Route.of_all(i) for i in range(self._adapters)] + [None] * (count > self._adapters)
        for first, route in enumerate(routes):
            with self._stack.routed(route):
                states = [branch_last(forest_hidden_states(model, forest), forest) for forest in forests]
            for number in range(first, count if route is None else first + 1):
                head = self._heads[number]
                values = [head.values(head(own)) for own in states]
                found[self.names[number]] = by_tree(trees, forests, values)
        return found

    @torch.inference_mode()
    def admit(
        self, entries: Sequence[tuple[int, int, Sequence[int]]], candidates: Candidates
    ) -> Float[Tensor, "rows candidates"]:
        """Read prompts (request, value model, token ids) as new rows; return the value after each
        candidate."""
        by_model = sorted(range(len(entries)), key=lambda i: entries[i][1])
        chosen = [entries[i] for i in by_model]
        models, count = [model for _, model, _ in chosen], len(candidates[chosen[0][0]])
        if self._plain is not None:
            values = self._read(self._plain.admit(chosen, candidates), models, count)
        else:
            values = self._admit(chosen, candidates)
        self.order += [entry[:2] for entry in chosen]
        self._arrange(sorted(range(len(self.order)), key=lambda row: self.order[row][1]))
        back = torch.empty(len(entries), dtype=torch.long)
        back[torch.tensor(by_model)] = torch.arange(len(entries))
        return values[back.to(values.device)]

    def _admit(
        self, chosen: Sequence[tuple[int, int, Sequence[int]]], candidates: Candidates
    ) -> Float[Tensor, "rows candidates"]:
        """Values of new rows, which are in the order of models."""
        # A prompt with its candidates is a tree with branches of one token.
        trees = [Tree(list(ids), [[c] for c in candidates[request]]) for request, _, ids in chosen]
        count = len(trees[0].branches)
        (forest,) = plant(trees, sum(len(tree.prompt_ids) + count for tree in trees))
        forest = forest.to(self.backbone.device)
        layout = PromptLayout(forest)
        models, lengths = [model for _, model, _ in chosen], [len(ids) for _, _, ids in chosen]
        with self._stack.routed(self._route(models, [length + count for length in lengths])):
            hidden: Any = run_layout(
                self.backbone.model, layout, forest.position_ids, input_ids=forest.input_ids
            ).last_hidden_state[0]
        values = self._read(hidden[forest.ends], models, count)
        fresh = CandidateLayout(layout.kept, lengths, count)
        if self._layout is None:
            self._layout = fresh
        else:
            self._layout.join(fresh)
        return values

    @torch.inference_mode()
    def step(self, chosen: Mapping[int, int], candidates: Candidates) -> Float[Tensor, "rows candidates"]:
        """Append each request's chosen candidate, given by index; return the values after the next
        candidates, in `order`."""
        models, count = [model for _, model in self.order], len(candidates[self.order[0][0]])
        if self._plain is not None:
            return self._read(self._plain.step(self.order, chosen, candidates), models, count)
        assert self._layout is not None, "there are rows"
        self._layout.keep([chosen[request] for request, _ in self.order])
        ids = torch.tensor([candidates[request] for request, _ in self.order], device=self.backbone.device)
        positions = self._layout.begin(self.backbone.device)
        with self._stack.routed(self._route(models, [count] * len(models))):
            hidden: Any = run_layout(self.backbone.model, self._layout, positions, input_ids=ids.view(1, -1))
        return self._read(hidden.last_hidden_state[0], models, count)

    @torch.inference_mode()
    def release(self, requests: set[int]) -> None:
        """Remove the rows of these requests."""
        if self._plain is not None:
            self._plain.release(requests)
        self._arrange([row for row, (request, _) in enumerate(self.order) if request not in requests])

    def _arrange(self, rows: list[int]) -> None:
        if self._layout is not None:
            self._layout.select(rows)
        self.order = [self.order[row] for row in rows]
        if not rows:
            self._layout = None

    def _read(
        self, states: Float[Tensor, "tokens d"], models: Sequence[int], count: int
    ) -> Float[Tensor, "rows candidates"]:
        """Values of the states under the head of each row's model; rows of one model are contiguous."""
        parts: list[Tensor] = []
        for number in sorted(set(models)):
            own = states[models.index(number) * count :][: models.count(number) * count]
            head = self._heads[number]
            parts.append(head.values(head(own)))
        return torch.cat(parts).view(-1, count)

    def _route(self, models: Sequence[int], counts: Sequence[int]) -> Route:
        """Route of rows in the order of models, with the given numbers of tokens."""
        by: dict[int, int] = {}
        for model, count in zip(models, counts, strict=True):
            if model < self._adapters:
                by[model] = by.get(model, 0) + count
        return Route(tuple(by), tuple(by.values()), sum(counts), self.backbone.device)


def open_value_rows(
    folders: Mapping[str, Path], *, dtype: torch.dtype | None = None
) -> tuple[list[ValueRows], dict[str, Backbone]]:
    """Load value models. Plain LoRA adapters of one trunk, or heads on it, share the trunk; others are loaded
    whole.

    Args:
        folders: Folder of each objective's value model (``learn value``).
        dtype: Floating-point type of the trunks; float32 by default.

    Returns:
        The rows, one per trunk; and the trunks that are plain models, by name.

    Raises:
        InputError: A folder holds no value model, or its trunk is not the one that it was trained on.
    """
    found = {name: read_value_folder(folder) for name, folder in folders.items()}
    shared: dict[tuple[str, ...], dict[str, ValueFolder]] = {}
    rows: list[ValueRows] = []
    trunks: dict[str, Backbone] = {}
    for name, folder in found.items():
        if folder.whole:
            rows.append(_whole_rows(name, folder, dtype))
        else:
            trunk = folder.content["backbone"]
            kind = tuple(
                str(trunk.get(key)) for key in ("name", "fingerprint", "dtype", "load_in", "tokenizer")
            )
            shared.setdefault(kind, {})[name] = folder
    for own in shared.values():
        first = next(iter(own.values()))
        backbone = load_folder_backbone(first.path, first.content, dtype=dtype)
        adapters = {name: folder.adapter for name, folder in own.items() if folder.adapter is not None}
        reasons = zip(adapters, why_not_stacked(backbone.model, adapters.values()), strict=True)
        alone = [name for name, reason in reasons if reason]
        rows += [_whole_rows(name, own.pop(name), dtype) for name in alone]
        if not own:
            continue
        guides = {name: Guide(folder.head, folder.adapter) for name, folder in own.items()}
        rows.append(ValueRows(backbone, guides))
        trunks[backbone.name] = rows[-1].backbone
    return rows, trunks


def _whole_rows(name: str, folder: ValueFolder, dtype: torch.dtype | None) -> ValueRows:
    """Rows of one value model on a trunk of its own."""
    model = load_value_model(folder.path, dtype=dtype)
    return ValueRows(merged_backbone(model.backbone), {name: Guide(model.head)})
