"""Blockwise guided decoding on tiny models: plain sampling, best of n, and tokens computed from scratch."""

import dataclasses

import numpy as np
import pytest
import torch
from adapters import adapted
from tiny_heads import random_heads
from torch import nn

import pluralign as pl
from pluralign.core import InputError, SteeringWeights
from pluralign.core.splits import seed_for
from pluralign.lm.adapters import save_adapter
from pluralign.lm.backbone import load_backbone
from pluralign.lm.decoding import Decoding, TokenSampler
from pluralign.lm.forest import Tree
from pluralign.lm.tensors import seeded
from pluralign.lm.text_blocks import BlockEnds, sentence_ends
from pluralign.rewards.value_head import ValueHead
from pluralign.steer.adapter_rows import AdapterRows
from pluralign.steer.block_decoder import BlockDecoder
from pluralign.steer.block_guides import Draft
from pluralign.steer.decoder import MixtureDecoder
from pluralign.steer.head_rows import HeadRows
from pluralign.steer.mixing import ARITHMETIC, GEOMETRIC
from pluralign.steer.model_rows import ModelRows
from pluralign.steer.requests import Request
from pluralign.steer.token_rules import TokenRules
from pluralign.steer.value_rows import Guide, ValueRows

MIX = SteeringWeights(a=0.6, b=0.4)
PROMPTS = [list(range(20, 32)), list(range(40, 47)), list(range(20, 32))]
SAMPLING = Decoding(9, 1.0)


def last(draft):
    """A score that depends on the tokens: no two of these texts have the same."""
    return (draft.ids[-1] * 7919 + len(draft.ids)) % 101


@pytest.fixture(scope="module")
def folders(tmp_path_factory):
    place = tmp_path_factory.mktemp("adapters")
    for number, name in enumerate(MIX):
        save_adapter(adapted(number), place / name)
    return {name: place / name for name in MIX}


def rows_of(kind, folders):
    backbone = load_backbone("tiny-random")
    if kind == "adapters":
        return AdapterRows(backbone, folders)
    if kind == "models":
        return ModelRows({"b": load_backbone("tiny-random")}, AdapterRows(backbone, {"a": folders["a"]}))
    return HeadRows(backbone, random_heads(backbone, list(MIX)))


KINDS = pytest.mark.parametrize("kind", ["adapters", "heads", "models"])


def requests(decoding=SAMPLING):
    return [Request(ids, MIX, decoding, 5 + number) for number, ids in enumerate(PROMPTS)]


def texts_of(rows, blocks, asked, power=GEOMETRIC):
    found = dict(BlockDecoder(rows, blocks, power).answers([("", request) for request in asked]))
    assert list(rows.order) == []
    return [found[number] for number in range(len(asked))]


@KINDS
def test_one_draw_is_sampling(kind, folders):
    rows = rows_of(kind, folders)
    plain = MixtureDecoder(rows).generate(requests())
    blocks = pl.Blocks({"last": last}, draws=1, end="tokens", tokens=2)
    found = texts_of(rows, blocks, requests())
    assert [answer.text for answer in found] == plain
    assert all(answer.drawn == answer.tokens for answer in found)


@KINDS
def test_one_block_is_the_best_of_several_samples(kind, folders):
    rows = rows_of(kind, folders)
    blocks = pl.Blocks({"length": lambda d: len(d.text)}, draws=4, end="tokens", tokens=9)
    for request, answer in zip(requests(), texts_of(rows, blocks, requests()), strict=True):
        seeds = [request.seed, *(seed_for(f"draw {i}", request.seed) for i in range(1, 4))]
        samples = [Request(request.prompt_ids, MIX, SAMPLING, seed) for seed in seeds]
        assert answer.text == max(MixtureDecoder(rows).generate(samples), key=len)


def from_scratch(rows, request, draws, tokens, power):
    """Token ids of an answer, every token computed from the whole text before it."""
    seeds = [request.seed, *(seed_for(f"draw {i}", request.seed) for i in range(1, draws))]
    numbers = [list(np.random.default_rng(seed).random(200)) for seed in seeds]
    sampler, ids, most = TokenSampler([request.decoding], torch.device("cpu")), [], 9
    stops = {load_backbone("tiny-random").tokenizer.eos_token_id}
    while True:
        found = []
        for own in numbers:
            text = list(ids)
            while len(text) < most and len(text) - len(ids) < tokens and not stops & set(text):
                entries = [(0, policy, [*request.prompt_ids, *text]) for policy in range(len(rows.names))]
                seen = rows.admit(entries)
                weights = torch.tensor([MIX[name] for name in rows.names])
                mixed = seen.mixed(torch.zeros(len(entries), dtype=torch.long), weights, 1, power)
                rows.release({0})
                text.append(int(sampler.choose(mixed, torch.tensor([own.pop(0)]))))
            found.append(text)
        ids = max(found, key=lambda text: (text[-1] * 7919 + len(text)) % 101)
        if len(ids) == most or stops & set(ids):
            return ids


@pytest.mark.parametrize(
    ("kind", "power"),
    [("adapters", GEOMETRIC), ("heads", GEOMETRIC), ("heads", ARITHMETIC), ("models", GEOMETRIC)],
)
def test_the_cache_gives_the_tokens_of_a_computation_from_scratch(kind, power, folders):
    rows, seen = rows_of(kind, folders), {}

    def score(draft):
        seen[len(draft.ids), draft.ids] = last(draft)
        return last(draft)

    blocks = pl.Blocks({"last": score}, draws=3, end="tokens", tokens=4)
    for request in requests()[1:]:
        seen.clear()
        (answer,) = texts_of(rows, blocks, [request], power)
        ids = from_scratch(rows, request, 3, 4, power)
        assert (len(ids), tuple(ids)) in seen
        assert answer.tokens == len(ids)
        assert answer.drawn == sum(len(ids) - max(0, (len(ids) - 1) // 4 * 4) for _, ids in seen)


def test_prompts_and_kept_blocks_are_read_once(folders):
    rows, read = rows_of("heads", folders), []
    hook = rows.backbone.model.get_input_embeddings().register_forward_hook(
        lambda _, given, __: read.append(given[0].numel())
    )
    try:
        found = texts_of(rows, pl.Blocks({"last": last}, draws=3, end="tokens", tokens=2), requests())
    finally:
        hook.remove()
    # The prompts once, equal ones together; then each drawn token but the last ones of answers.
    assert read[0] == len(PROMPTS[0]) + len(PROMPTS[1])
    assert sum(read[1:]) <= sum(answer.drawn for answer in found)


def test_answers_do_not_depend_on_each_other_or_on_room(folders, monkeypatch):
    from pluralign.steer import requests as limits

    rows, blocks = rows_of("adapters", folders), pl.Blocks({"last": last}, draws=3, end="tokens", tokens=3)
    together = texts_of(rows, blocks, requests())
    assert [texts_of(rows, blocks, [request])[0] for request in requests()] == together
    monkeypatch.setattr(limits, "_ROWS", 6)
    assert texts_of(rows, blocks, requests()) == together


def head_of(seed):
    with seeded(seed):
        head = ValueHead(32)
        nn.init.normal_(head.linear.weight)
    return head


def test_values_of_drafts_are_those_of_the_texts_read_alone(folders):
    heads = {name: head_of(i) for i, name in enumerate((*folders, "plain", "other"))}
    values = ValueRows(
        load_backbone("tiny-random"), {name: Guide(head, folders.get(name)) for name, head in heads.items()}
    )
    trees = [Tree(PROMPTS[0], [[5, 6, 7], [8]]), Tree(PROMPTS[1], [[9, 9]])]
    found = values.after(trees)
    assert values.order == []
    paths = [(*tree.prompt_ids, *branch) for tree in trees for branch in tree.branches]
    candidates = {number: [path[-1]] for number, path in enumerate(paths)}
    for number, name in enumerate(values.names):
        own = values.admit([(i, number, path[:-1]) for i, path in enumerate(paths)], candidates)
        values.release(set(candidates))
        assert torch.allclose(torch.cat(found[name]), own[:, 0], atol=1e-5)


def test_rows_that_are_decoded_alone_are_read_again(folders, monkeypatch):
    from pluralign.lm.support import Support

    blocks = pl.Blocks({"last": last}, draws=3, end="tokens", tokens=3)
    expected = texts_of(rows_of("adapters", folders), blocks, requests())
    monkeypatch.setattr(Support, "decodes", lambda self, tokens: False)
    rows = rows_of("adapters", folders)
    assert texts_of(rows, blocks, requests()) == expected


def test_sentences_and_lines_end_where_they_should():
    tokenizer = load_backbone("tiny-random").tokenizer
    text = "3.5 is it. Yes! ... \n- a\n\nb"
    ids = tokenizer.encode(text, add_special_tokens=False)
    for kind, expected in (
        ("sentences", ["3.5 is it.", " Yes!", " ... \n- a\n"]),
        ("lines", ["3.5 is it. Yes! ... \n", "- a\n"]),
        ("tokens", []),
    ):
        ends, found, start = BlockEnds(tokenizer, kind), [], 0
        for place, token in enumerate(ids, start=1):
            if ends.add(token):
                found.append(tokenizer.decode(ids[start:place]))
                start = place
        assert found == expected
    assert sentence_ends(tokenizer, tokenizer.encode("a. b", add_special_tokens=False)) == [
        False, True, False, True
    ]  # fmt: skip


def test_a_guide_of_weight_zero_is_left_out_and_an_empty_text_has_a_score(tmp_path):
    rows = [{"prompt": f"Say {i}:", "chosen": " yes", "rejected": " no"} for i in range(8)]
    reward = pl.fit_reward(pl.load_pairs(rows, "yes"), model="tiny-random", out=tmp_path / "reward")
    blocks = pl.Blocks({"yes": tmp_path / "reward", "last": last}, {"yes": 1.0, "last": 0.0}, draws=2)
    blocks = dataclasses.replace(blocks, draws=3, dtype="float32")
    assert list(blocks.guides) == ["yes"]
    drafts = [Draft("Say 1:", text, False, PROMPTS[0], (5,), 0) for text in (" yes", "")]
    expected = reward.score(["Say 1:", "Say 1:"], [" yes", ""])
    assert blocks.scores(drafts).tolist() == pytest.approx(expected.tolist(), abs=1e-5)


def test_bad_input_is_refused_by_name(folders, tmp_path):
    rows = rows_of("adapters", folders)
    blocks = pl.Blocks({"last": last})
    for wrong, message in (
        ({"guides": {}}, "at least one guide"),
        ({"draws": 0}, "'draws': must be at least 1"),
        ({"tokens": 0}, "'tokens': must be at least 1"),
        ({"end": "words"}, "'end': must be one of sentences, lines, tokens"),
        ({"weights": {"other": 1.0}}, "unknown objective 'other'"),
        ({"guides": {"a": tmp_path / "no" / "where"}}, "no such folder"),
    ):
        with pytest.raises(InputError, match=message):
            pl.Blocks(**({"guides": {"last": last}} | wrong))
    ruled = Request(PROMPTS[0], MIX, SAMPLING, rules=TokenRules(logit_bias=((3, 1.0),)))
    for asked, message in (
        (Request(PROMPTS[0], MIX, Decoding(4, 0.0)), "'temperature': at 0, the 5 draws"),
        (ruled, "no token rules"),
        (Request(PROMPTS[0], MIX, SAMPLING, alternatives=1), "no log-probabilities"),
    ):
        with pytest.raises(InputError, match=message):
            texts_of(rows, blocks, [asked])
    for score, message in (
        (lambda _: float("nan"), "guide 'x' scored a text nan"),
        (lambda _: "good", "guide 'x' returned 'good', expected a number"),
    ):
        with pytest.raises(InputError, match=message):
            texts_of(rows, pl.Blocks({"x": score}), requests())
    mix = pl.load_policies("tiny-random", a="tiny-random")
    stream = mix.stream("Hello", weights={"a": 1.0}, max_new_tokens=4)
    next(stream)
    with pytest.raises(InputError, match="a stream of these policies is open"):
        mix.generate("Hello", weights={"a": 1.0}, blocks=blocks)
    stream.close()
    assert mix.generate("Hello", weights={"a": 1.0}, max_new_tokens=4, blocks=blocks) is not None
