"""Architectures that transformers has: right in each use, by forests or the plain way.

The table of docs/architectures.md is written by this file (PLURALIGN_WRITE_TABLE=1) and compared with it.
"""

from __future__ import annotations

import os
from functools import cache
from pathlib import Path
from typing import Any

import pytest
import torch
from architectures import ARCHITECTURES, FEW, linear_names, make
from peft import LoraConfig, get_peft_model
from torch import Tensor
from transformers import PreTrainedModel

from pluralign.lm.backbone import Backbone, make_backbone
from pluralign.lm.decoding import Decoding
from pluralign.lm.forest import Forest, Tree, plant
from pluralign.lm.generation import draw_completions
from pluralign.lm.map_forests import map_forests
from pluralign.lm.passes import trunk_of
from pluralign.lm.positions import reset_factors
from pluralign.lm.prompts import PromptIds
from pluralign.lm.support import Support, support_of
from pluralign.lm.tiny import make_tiny_tokenizer
from pluralign.lm.trunk import branch_last, forest_hidden_states
from pluralign.lm.vocabulary import branch_log_probs
from pluralign.rewards.value_head import ValueHead
from pluralign.steer.adapter_rows import AdapterRows
from pluralign.steer.mixing import GEOMETRIC
from pluralign.steer.value_rows import Guide, ValueRows

PAGE = Path(__file__).parents[2] / "docs" / "architectures.md"
# Of the largest number that is compared; of gradients, which add up over tokens and layers, ten times that.
TOLERANCE = 1e-5
# Its random weights make ten times as much of a rounding error as others (`Trial.rounded`).
TOLERANCES = {"gemma4_text": 1e-4}
pytestmark = [pytest.mark.filterwarnings("ignore")]
NAMES = [
    name if name in FEW else pytest.param(name, marks=pytest.mark.slow) for name in sorted(ARCHITECTURES)
]


@pytest.fixture(scope="module")
def verdicts(tmp_path_factory):
    return tmp_path_factory.mktemp("verdicts")


@pytest.fixture(autouse=True)
def own_cache(verdicts, monkeypatch):
    """Verdicts of these models are found out here, once, not read from an earlier run."""
    monkeypatch.setenv("PLURALIGN_CACHE", str(verdicts))


def tokens(length: int, seed: int) -> list[int]:
    generator = torch.Generator().manual_seed(seed)
    return torch.randint(3, 250, (length,), generator=generator).tolist()


# Paths are longer than windows, chunks and original positions, and shorter; neighbours of all kinds.
TREES = [
    Tree(tokens(30, 0), [tokens(12, 1), tokens(25, 2), tokens(2, 3)]),
    Tree(tokens(5, 4), [tokens(3, 5)]),
    Tree(tokens(12, 6), [tokens(45, 7), tokens(9, 8)]),
]


def alone(model: PreTrainedModel, ids: list[int]) -> Any:
    """A sequence by itself through the model, as transformers has it."""
    reset_factors(trunk_of(model))
    network: Any = model
    try:
        return network(input_ids=torch.tensor([ids]), use_cache=False, output_hidden_states=False)
    finally:
        reset_factors(trunk_of(model))


def states_alone(model: PreTrainedModel, ids: list[int]) -> Tensor:
    reset_factors(trunk_of(model))
    return trunk_of(model)(input_ids=torch.tensor([ids]), use_cache=False).last_hidden_state[0]


def close(found: Tensor, expected: Tensor, tolerance: float = TOLERANCE) -> None:
    assert found.shape == expected.shape
    gap = float((found - expected).abs().max())
    assert gap <= tolerance * max(1.0, float(expected.abs().max())), f"differs by {gap:.1e}"


@cache
def fresh(name: str) -> PreTrainedModel:
    """The model as transformers loads it, in which nothing was replaced."""
    return make(name)


@pytest.mark.parametrize("name", NAMES)
def test_states_and_log_probs_are_those_of_separate_sequences(name):
    model, tolerance = make(name), TOLERANCES.get(name, TOLERANCE)

    def of_branches(states: Tensor, forest: Forest) -> Tensor:
        return torch.cat([branch_last(states, forest), branch_log_probs(model, states, forest)[:, None]], 1)

    with torch.no_grad():
        found = map_forests(model, TREES, of_branches)
        neighbours = map_forests(model, [Tree(tokens(33, 9), [tokens(31, 10)]), *TREES[::-1]], of_branches)
        for tree, own, other in zip(TREES, found, neighbours[:0:-1], strict=True):
            for branch, row in zip(tree.branches, own, strict=True):
                ids = [*tree.prompt_ids, *branch]
                close(row[:-1], states_alone(fresh(name), ids)[-1], tolerance)
                logits = alone(fresh(name), ids).logits[0].float().log_softmax(-1)
                places = range(len(tree.prompt_ids), len(ids))
                close(row[-1], logits[[p - 1 for p in places], [ids[p] for p in places]].sum(), tolerance)
            close(own, other, tolerance)


@pytest.mark.parametrize("name", NAMES)
def test_gradients_are_those_of_separate_sequences(name):
    model = make(name)
    trees = [Tree(tokens(20, 0), [tokens(9, 1), tokens(6, 2)]), Tree(tokens(4, 3), [tokens(3, 4)])]
    forests = plant(trees, factors=support_of(model).factors)
    log_probs = [branch_log_probs(model, forest_hidden_states(model, forest), forest) for forest in forests]
    torch.cat(log_probs).sum().backward()
    other = make(name)
    total = torch.zeros(())
    for tree in trees:
        for branch in tree.branches:
            ids = [*tree.prompt_ids, *branch]
            logits = alone(other, ids).logits[0].float().log_softmax(-1)
            places = range(len(tree.prompt_ids), len(ids))
            total = total + logits[[p - 1 for p in places], [ids[p] for p in places]].sum()
    total.backward()
    gradients = {key: value.grad for key, value in other.named_parameters() if value.grad is not None}
    assert gradients
    for key, value in model.named_parameters():
        if key in gradients:
            assert value.grad is not None, key
            close(value.grad, gradients[key], 10 * TOLERANCE)


def adapter(name: str, folder: Path, seed: int) -> Path:
    """An adapter of random weights on the model's linear layers."""
    torch.manual_seed(seed)
    config = LoraConfig(r=2 + seed, lora_alpha=8, target_modules=linear_names(make(name)))
    adapted: Any = get_peft_model(make(name), config)  # pyright: ignore[reportArgumentType]
    for key, value in adapted.named_parameters():
        if "lora_" in key:
            torch.nn.init.normal_(value, std=0.15)
    adapted.save_pretrained(str(folder), save_embedding_layers=False)
    return folder


def with_adapter(name: str, folder: Path) -> PreTrainedModel:
    from peft import PeftModel

    return PeftModel.from_pretrained(make(name), str(folder)).eval()  # pyright: ignore


def backbone(name: str) -> Backbone:
    return make_backbone(make(name), make_tiny_tokenizer(), name)


@pytest.mark.parametrize("name", NAMES)
def test_mixtures_are_those_of_a_plain_reference(name, tmp_path):
    mixtures_are_those_of_a_plain_reference(name, tmp_path)


def mixtures_are_those_of_a_plain_reference(name: str, tmp_path: Path) -> None:
    folders = {"a": adapter(name, tmp_path / "a", 1), "b": adapter(name, tmp_path / "b", 2)}
    rows = AdapterRows(backbone(name), {**folders, "base": None})
    policies = [*(with_adapter(name, folder) for folder in folders.values()), fresh(name)]
    prompts = {0: tokens(29, 1), 1: tokens(9, 2), 2: tokens(29, 3)}
    weights = {0: [0.5, 0.3, 0.2], 1: [1.0, 0.0, 0.0], 2: [0.0, 0.4, 0.6]}
    entries = [
        (request, policy, ids)
        for request, ids in prompts.items()
        for policy in range(3)
        if weights[request][policy]
    ]
    with torch.no_grad():
        found = rows.admit(entries)
        order = [entry[:2] for entry in entries]
        for _ in range(8):
            live = sorted({request for request, _ in order})
            owners = torch.tensor([live.index(request) for request, _ in order])
            shares = torch.tensor([weights[request][policy] for request, policy in order])
            mixed = found.mixed(owners, shares, len(live), GEOMETRIC)
            for row, request in zip(mixed, live, strict=True):
                logits = torch.stack([alone(policy, prompts[request]).logits[0, -1] for policy in policies])
                mean = torch.tensor(weights[request]) @ logits.float().log_softmax(-1)
                close(row.exp(), mean.softmax(-1))
                prompts[request] = [*prompts[request], int(row.argmax())]
            if len(live) == 3 and len(prompts[1]) == 13:
                rows.release({1})
            order = list(rows.order)
            found = rows.step({request: prompts[request][-1] for request in {r for r, _ in order}})
            order = list(rows.order)


@pytest.mark.parametrize("name", NAMES)
def test_samples_do_not_depend_on_their_batch(name):
    model = backbone(name)
    prompts = [PromptIds(tokens(length, length)) for length in (24, 7, 24, 15)]
    seeds = [[1, 2], [3], [4, 5], [6, 7, 8]]
    together = draw_completions(model, prompts, seeds, Decoding(12))
    for prompt, own, expected in zip(prompts, seeds, together, strict=True):
        assert [draw_completions(model, [prompt], [[seed]], Decoding(12))[0][0] for seed in own] == expected
    greedy = draw_completions(model, prompts[:2], [[0], [0]], Decoding(12, temperature=0))
    for prompt, (text,) in zip(prompts[:2], greedy, strict=True):
        ids = list(prompt.ids)
        for _ in range(12):
            ids.append(int(alone(fresh(name), ids).logits[0, -1].argmax()))
            if ids[-1] == 2:
                break
        decoded = model.tokenizer.decode(ids[len(prompt.ids) :], skip_special_tokens=True)
        assert text == decoded


@pytest.mark.parametrize("name", NAMES)
def test_values_of_candidates_are_those_of_separate_sequences(name, tmp_path):
    model = backbone(name)
    heads = [ValueHead(model.hidden_size).eval() for _ in range(2)]
    for head in heads:
        torch.nn.init.normal_(next(head.parameters()), std=0.3)
    folder = adapter(name, tmp_path / "a", 1)
    rows = ValueRows(model, {"own": Guide(heads[0], folder), "base": Guide(heads[1])})
    policies = [with_adapter(name, folder), fresh(name)]
    prompts = {0: tokens(29, 1), 1: tokens(9, 2)}
    entries = [(request, value, ids) for request, ids in prompts.items() for value in range(2)]
    candidates = {0: [11, 12, 13], 1: [21, 22, 23]}
    with torch.no_grad():
        found, order = rows.admit(entries, candidates), [entry[:2] for entry in entries]
        for step in range(4):
            for row, (request, value) in zip(found, order, strict=True):
                expected = [
                    heads[value].values(
                        heads[value](states_alone(policies[value], [*prompts[request], c])[-1:])
                    )
                    for c in candidates[request]
                ]
                # A value adds up a state's numbers, and their roundings.
                close(row, torch.cat(expected).flatten(), 10 * TOLERANCE)
            chosen = {0: step % 3, 1: (step + 1) % 3}
            prompts = {
                request: [*ids, candidates[request][chosen[request]]] for request, ids in prompts.items()
            }
            candidates = {request: tokens(3, 100 + 10 * step + request) for request in prompts}
            found, order = rows.step(chosen, candidates), list(rows.order)


def verdict(name: str) -> str:
    support: Support = support_of(make(name))
    forest = "forest" if support.forest is None else "plain way"
    if support.forest is None and support.factors is not None:
        forest += f" up to {'the original context' if not support.factors.by_length else 'its context'}"
    decoding = "together" if support.decoding is None else "row by row"
    cache_kind = "" if support.caching else ", without a cache"
    return f"| {name} | {forest} | {decoding}{cache_kind if support.decoding else ''} |"


@pytest.mark.slow
def test_the_table_of_the_documentation():
    rows = "\n".join(verdict(name) for name in sorted(ARCHITECTURES))
    page = PAGE.read_text()
    begin, end = "<!-- table -->\n", "\n<!-- end of table -->"
    head, tail = page.split(begin)[0], page.split(end)[1]
    table = f"| architecture | forests | decoding |\n|---|---|---|\n{rows}"
    if os.environ.get("PLURALIGN_WRITE_TABLE"):
        PAGE.write_text(head + begin + table + end + tail)
    assert PAGE.read_text() == head + begin + table + end + tail
