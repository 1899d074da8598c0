"""Value guidance on a tiny model: against candidates that are run one by one, with comings and goings."""

import dataclasses

import pytest
import torch
from adapters import adapted

from pluralign.core import InputError, SteeringWeights
from pluralign.lm.adapters import save_adapter
from pluralign.lm.backbone import load_backbone, make_tiny_backbone
from pluralign.lm.decoding import Decoding, TokenSampler
from pluralign.lm.generation import draw_completions
from pluralign.lm.passes import trunk_of
from pluralign.lm.prompts import PromptIds
from pluralign.losses.value import Bins
from pluralign.rewards.value_head import ValueHead
from pluralign.steer.adapter_rows import AdapterRows
from pluralign.steer.decoder import MixtureDecoder
from pluralign.steer.draws import draw_mixture_completions
from pluralign.steer.requests import Request
from pluralign.steer.value_guided import Guidance, ValueGuidedRows
from pluralign.steer.value_rows import Guide, ValueRows

PROMPTS = ["hello there", "a", "what is it that you want?"]
NAMES = ("kind", "brief", "plain")
ADAPTED = ("kind", "brief")


def head_of(seed, bins=None):
    torch.manual_seed(100 + seed)
    head = ValueHead(32, bins)
    torch.nn.init.normal_(head.linear.weight)
    torch.nn.init.normal_(head.linear.bias)
    return head


HEADS = dict(zip(NAMES, (head_of(0), head_of(1, Bins(-3.0, 3.0, 11)), head_of(2)), strict=True))


@pytest.fixture(scope="module")
def folders(tmp_path_factory):
    place = tmp_path_factory.mktemp("adapters")
    for number, name in enumerate(ADAPTED):
        save_adapter(adapted(number), place / name)
    return {name: place / name for name in ADAPTED}


@pytest.fixture
def stacked(folders):
    """Two adapters and the plain trunk in one pass."""
    return ValueRows(
        load_backbone("tiny-random"), {name: Guide(HEADS[name], folders.get(name)) for name in NAMES}
    )


@pytest.fixture
def wholes():
    """The same value models, each whole."""
    models = [adapted(0).merge_and_unload(), adapted(1).merge_and_unload(), make_tiny_backbone().model]
    base = make_tiny_backbone()
    return [
        ValueRows(dataclasses.replace(base, model=model.eval()), {name: Guide(HEADS[name])})
        for name, model in zip(NAMES, models, strict=True)
    ]


def guided(values, strength=2.0, candidates=20):
    base = AdapterRows(load_backbone("tiny-random"), {"base": None})
    return ValueGuidedRows(base, values, Guidance(strength, candidates))


def ids(prompt):
    return make_tiny_backbone().tokenizer(prompt)["input_ids"]


@torch.inference_mode()
def plain_values(name, sequences):
    """V of whole sequences, each run alone."""
    model = adapted(ADAPTED.index(name)) if name in ADAPTED else make_tiny_backbone().model
    found = []
    for sequence in sequences:
        states = trunk_of(model)(input_ids=torch.tensor([sequence])).last_hidden_state[0, -1:]
        found.append(HEADS[name].values(HEADS[name](states)))
    return torch.cat(found)


@torch.inference_mode()
def by_the_book(path, weights, strength=2.0, k=20):
    """Guided log-probabilities of what follows a path, every candidate a sequence of its own."""
    logits = make_tiny_backbone().model(torch.tensor([path])).logits[0, -1]
    likeliest = logits.topk(k).indices
    total = torch.zeros(k)
    for name, weight in weights.items():
        values = plain_values(name, [[*path, int(c)] for c in likeliest])
        total += weight * (values - values.mean())
    result = torch.full_like(logits, float("-inf"))
    result[likeliest] = logits[likeliest] + strength * total
    return result.log_softmax(-1)


MIXES = [{"kind": 0.3, "brief": 0.7}, {"brief": 0.5, "plain": 0.5}, {"kind": 0.2, "brief": 0.3, "plain": 0.5}]


@pytest.fixture
def recorded(monkeypatch):
    """The mixed log-probabilities that tokens were chosen from, step by step."""
    seen, choose = [], TokenSampler.choose

    def record(sampler, log_probs, uniforms):
        seen.append(log_probs.clone())
        return choose(sampler, log_probs, uniforms)

    monkeypatch.setattr(TokenSampler, "choose", record)
    return seen


@pytest.mark.parametrize("kind", ["stacked", "wholes"])
def test_guided_logits_are_those_of_candidates_run_alone(kind, request, recorded):
    values = request.getfixturevalue(kind)
    decoder = MixtureDecoder(guided(values if isinstance(values, list) else [values]))
    asked = [
        Request(ids(prompt), SteeringWeights(mix), Decoding(6, 0.0 if i == 1 else 1.0), i)
        for i, (prompt, mix) in enumerate(zip(PROMPTS, MIXES, strict=True))
    ]
    numbers, events = decoder.admit(asked)
    paths = {number: list(ids(prompt)) for number, prompt in zip(numbers, PROMPTS, strict=True)}
    checked = 0
    while events:
        alive = [event.request for event in events]
        chosen = {n: decoder._running[n].text.ids[-1] for n in alive if n in decoder._running}
        for row, number in zip(recorded[-1], alive, strict=True):
            expected = by_the_book(paths[number], MIXES[number])
            assert torch.equal(torch.isfinite(row), torch.isfinite(expected))
            torch.testing.assert_close(row, expected, atol=2e-5, rtol=1e-5)
            checked += 1
        for number, token in chosen.items():
            paths[number].append(token)
        events = decoder.step()
    assert checked > 9


def test_values_of_candidates_are_within_1e5_of_sequences_run_alone(stacked):
    entries = [(r, model, ids(prompt)) for r, prompt in enumerate(PROMPTS) for model in range(3)]
    candidates = {r: [5 + 7 * i + r for i in range(30)] for r in range(3)}
    found = stacked.admit(entries, candidates)
    paths, rows = {r: ids(prompt) for r, prompt in enumerate(PROMPTS)}, [entry[:2] for entry in entries]
    for _ in range(3):
        for (r, model), values in zip(rows, found, strict=True):
            sequences = [[*paths[r], c] for c in candidates[r]]
            expected = plain_values(stacked.names[model], sequences)
            torch.testing.assert_close(values, expected, atol=1e-5, rtol=1e-5)
        chosen = {r: 3 * r + 1 for r in range(3)}
        paths = {r: [*paths[r], candidates[r][chosen[r]]] for r in range(3)}
        candidates = {r: [9 + 5 * i + r for i in range(30)] for r in range(3)}
        found, rows = stacked.step(chosen, candidates), stacked.order


def test_no_strength_is_the_base_model_token_for_token(stacked):
    rows = guided([stacked], strength=0.0)
    calls = passes(stacked)
    prompts = [PromptIds(ids(prompt)) for prompt in PROMPTS]
    seeds = [[1, 2], [3], [4, 5, 6]]
    for temperature in (1.0, 0.7, 0.0):
        sampling = Decoding(12, temperature)
        expected = draw_completions(make_tiny_backbone(), prompts, seeds, sampling)
        mix = SteeringWeights(kind=0.3, brief=0.7)
        assert draw_mixture_completions(rows, prompts, seeds, mix, sampling) == expected
    assert calls == []
    assert not rows.order


def test_little_strength_draws_what_the_base_draws_from_its_likeliest(stacked):
    rows = guided([stacked], strength=1e-9, candidates=7)
    plain = AdapterRows(load_backbone("tiny-random"), {"base": None})
    for seed in range(3):
        decoding = Decoding(10, 1.0)
        one = MixtureDecoder(rows).generate([Request(ids("a"), SteeringWeights(kind=1.0), decoding, seed)])
        cut = dataclasses.replace(decoding, top_k=7)
        other = MixtureDecoder(plain).generate([Request(ids("a"), SteeringWeights(base=1.0), cut, seed)])
        assert one == other


def passes(values):
    """Tokens of every pass through the trunk from now on."""
    seen = []
    trunk_of(values.backbone.model).register_forward_hook(
        lambda module, arguments, given, result: seen.append(given["input_ids"].shape[1]), with_kwargs=True
    )
    return seen


def test_one_pass_looks_at_all_candidates_and_weight_zero_costs_nothing(stacked):
    calls = passes(stacked)
    decoder = MixtureDecoder(guided([stacked], candidates=11))
    asked = [
        Request(ids(prompt), SteeringWeights({**dict.fromkeys(NAMES, 0.0), **mix}), Decoding(4, 1.0), i)
        for i, (prompt, mix) in enumerate(
            zip(PROMPTS, [MIXES[0], {"kind": 1.0}, {"plain": 1.0}], strict=True)
        )
    ]
    _, events = decoder.admit(asked)
    assert calls == [2 * len(ids(PROMPTS[0])) + len(ids("a")) + len(ids(PROMPTS[2])) + 4 * 11]
    assert all(event.finish_reason is None for event in events)
    decoder.step()
    assert calls[1:] == [4 * 11]


def test_completions_depend_on_no_neighbour(stacked, folders):
    plans = [(PROMPTS[i % 3], MIXES[i % 3], Decoding(4 + 2 * i, 1.0)) for i in range(5)]
    asked = [Request(ids(p), SteeringWeights(mix), plan, i) for i, (p, mix, plan) in enumerate(plans)]
    alone = []
    for one in asked:
        own = ValueRows(
            load_backbone("tiny-random"), {name: Guide(HEADS[name], folders.get(name)) for name in NAMES}
        )
        alone.append(MixtureDecoder(guided([own])).generate([one])[0])
    rows = guided([stacked])
    decoder = MixtureDecoder(rows)
    waiting, numbers, events = list(range(len(asked))), {}, []
    while waiting or decoder.running:
        if waiting:
            number = waiting.pop(0)
            (new,), first = decoder.admit([asked[number]])
            numbers[new] = number
            events += first
        events += decoder.step()
    texts = dict.fromkeys(range(5), "")
    for event in events:
        texts[numbers[event.request]] += event.text
    assert [texts[i] for i in range(5)] == alone
    assert not rows.order
    assert not stacked.order


def test_a_failing_pass_leaves_nothing_begun(stacked, monkeypatch):
    rows = guided([stacked])
    decoder = MixtureDecoder(rows)
    monkeypatch.setattr(stacked, "admit", lambda *given: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        decoder.admit([Request(ids("a"), SteeringWeights(kind=1.0))])
    assert not decoder.running
    assert not rows.order
    assert not rows._base.order


def test_the_trunk_is_shared_with_a_plain_model(stacked):
    shared = ValueGuidedRows(AdapterRows(stacked.backbone, {"base": None}), [stacked], Guidance(2.0))
    mix = SteeringWeights(MIXES[2])
    asked = [Request(ids(prompt), mix, Decoding(8, 1.0), i) for i, prompt in enumerate(PROMPTS)]
    found = MixtureDecoder(shared).generate(asked)
    assert found == MixtureDecoder(guided([stacked])).generate(asked)


def test_more_candidates_than_tokens_are_all_tokens(stacked):
    rows = guided([stacked], candidates=10_000)
    logits = rows.admit([(0, 0, ids("a"))]).logits()
    assert torch.isfinite(logits).all()


def test_what_cannot_guide_is_told(stacked):
    base = AdapterRows(load_backbone("tiny-random"), {"base": None})
    for wrong in ({"strength": -1.0}, {"strength": float("inf")}, {"candidates": 0}):
        with pytest.raises(InputError, match=next(iter(wrong))):
            Guidance(**wrong)
    with pytest.raises(InputError, match="different names"):
        ValueGuidedRows(base, [stacked, stacked])
    with pytest.raises(InputError, match="different names"):
        ValueGuidedRows(base, [])
    two = AdapterRows(load_backbone("tiny-random"), {"a": None, "b": None})
    with pytest.raises(InputError, match="one language model"):
        ValueGuidedRows(two, [stacked])
    with pytest.raises(InputError, match="states of width 9"):
        ValueRows(load_backbone("tiny-random"), {"kind": Guide(ValueHead(9))})
    with pytest.raises(InputError, match="unknown objective 'four'"):
        MixtureDecoder(guided([stacked])).admit([Request(ids("a"), SteeringWeights(four=1.0))])
    other = make_tiny_backbone()
    other.tokenizer.add_tokens(["<new>"])
    with pytest.raises(InputError, match="another vocabulary"):
        ValueGuidedRows(AdapterRows(other, {"base": None}), [stacked])
