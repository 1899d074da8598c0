"""Mixture decoding on a tiny model: one policy's own text, mixtures by the book, comings and goings."""

import pytest
import torch
from adapters import adapted

from pluralign.core import InputError, SteeringWeights
from pluralign.lm import forest as forest_module
from pluralign.lm.adapters import save_adapter
from pluralign.lm.backbone import load_backbone, make_tiny_backbone
from pluralign.lm.decoding import Decoding, TokenSampler
from pluralign.steer import adapter_rows
from pluralign.steer.adapter_rows import AdapterRows
from pluralign.steer.decoder import MixtureDecoder
from pluralign.steer.mixing import mix_log_probs
from pluralign.steer.model_rows import ModelRows
from pluralign.steer.requests import Request

PROMPTS = ["hello there", "a", "what is it that you want?"]
NAMES = ("one", "two", "three")


@pytest.fixture(scope="module")
def folders(tmp_path_factory):
    place = tmp_path_factory.mktemp("adapters")
    for seed, name in enumerate(NAMES):
        save_adapter(adapted(seed, rank=4 + 4 * (seed == 2)), place / name)
    return {name: place / name for name in NAMES}


@pytest.fixture
def rows(folders):
    return AdapterRows(load_backbone("tiny-random"), folders)


def ids(prompt):
    return make_tiny_backbone().tokenizer(prompt)["input_ids"]


def request(prompt, decoding=None, seed=0, **weights):
    return Request(ids(prompt), SteeringWeights(weights), decoding or Decoding(10, 0.0), seed)


def by_the_book(models, prompt, weights, power, tokens):
    """Greedy text of a mixture, every distribution computed from nothing."""
    path = list(ids(prompt))
    drawn = []
    for _ in range(tokens):
        with torch.inference_mode():
            logs = [model(torch.tensor([path])).logits[0, -1].log_softmax(-1) for model in models]
        mixed = mix_log_probs(torch.stack(logs).numpy(), weights, power)
        drawn.append(int(mixed.argmax()))
        if drawn[-1] == make_tiny_backbone().tokenizer.eos_token_id:
            break
        path.append(drawn[-1])
    return make_tiny_backbone().tokenizer.decode(drawn, skip_special_tokens=True)


@pytest.mark.parametrize("number", [0, 1, 2])
def test_one_hot_weights_write_that_adapters_own_text(rows, number):
    model = adapted(number, rank=4 + 4 * (number == 2))
    decoder = MixtureDecoder(rows)
    texts = decoder.generate([request(prompt, **{NAMES[number]: 1.0}) for prompt in PROMPTS])
    for prompt, text in zip(PROMPTS, texts, strict=True):
        tokens = torch.tensor([ids(prompt)])
        whole = model.generate(
            input_ids=tokens, attention_mask=torch.ones_like(tokens), max_new_tokens=10, do_sample=False,
            pad_token_id=0,
        )  # fmt: skip
        tokenizer = make_tiny_backbone().tokenizer
        assert text == tokenizer.decode(whole[0, tokens.shape[1] :], skip_special_tokens=True)


@pytest.mark.parametrize("power", [1.0, 0.0, -1.0, 0.5])
def test_mixtures_are_those_of_the_book(rows, power):
    models = [adapted(seed, rank=4 + 4 * (seed == 2)) for seed in range(3)]
    weights = {"one": 0.5, "two": 0.2, "three": 0.3}
    texts = MixtureDecoder(rows, power).generate([request(prompt, **weights) for prompt in PROMPTS])
    for prompt, text in zip(PROMPTS, texts, strict=True):
        assert text == by_the_book(models, prompt, list(weights.values()), power, 10)


def test_the_first_distribution_equals_a_plain_reference(rows):
    entries = [(i, policy, ids(prompt)) for i, prompt in enumerate(PROMPTS) for policy in range(3)]
    found = rows.admit(entries).logits()
    for (_, policy, tokens), logits in zip(entries, found, strict=True):
        with torch.inference_mode():
            expected = adapted(policy, rank=4 + 4 * (policy == 2))(torch.tensor([tokens])).logits[0, -1]
        torch.testing.assert_close(logits, expected, atol=1e-5, rtol=1e-5)
    # And after three more tokens, through the kept keys.
    for token in (7, 9, 11):
        found = rows.step({i: token + i for i in range(3)}).logits()
    for (i, policy), logits in zip(rows.order, found, strict=True):
        path = [*ids(PROMPTS[i]), *(token + i for token in (7, 9, 11))]
        with torch.inference_mode():
            expected = adapted(policy, rank=4 + 4 * (policy == 2))(torch.tensor([path])).logits[0, -1]
        torch.testing.assert_close(logits, expected, atol=1e-5, rtol=1e-5)


def test_zero_weights_have_no_rows(rows):
    decoder = MixtureDecoder(rows)
    decoder.admit([request("a", one=0.5, two=0.5, three=0.0), request("b", three=1.0)])
    assert sorted(rows.order) == [(0, 0), (0, 1), (1, 2)]


def test_requests_come_and_go(rows, folders):
    plans = [
        ({"one": 1.0}, Decoding(12, 1.0)),
        ({"one": 0.3, "two": 0.7}, Decoding(3, 0.7, top_p=0.8)),
        ({"two": 0.2, "three": 0.8}, Decoding(9, 1.3, top_k=5)),
        ({"one": 0.2, "two": 0.2, "three": 0.6}, Decoding(7, 0.0)),
        ({"three": 1.0}, Decoding(6, 1.0)),
    ]
    asked = [Request(ids(PROMPTS[i % 3]), SteeringWeights(w), d, i + 1) for i, (w, d) in enumerate(plans)]
    alone = [
        MixtureDecoder(AdapterRows(load_backbone("tiny-random"), folders)).generate([r])[0] for r in asked
    ]
    decoder = MixtureDecoder(rows)
    waiting, texts, numbers = list(range(len(asked))), {}, {}
    events = []
    while waiting or decoder.running:
        if waiting:
            number = waiting.pop(0)
            (own,), first = decoder.admit([asked[number]])
            numbers[own] = number
            events += first
        events += decoder.step()
    for event in events:
        texts[numbers[event.request]] = texts.get(numbers[event.request], "") + event.text
    assert [texts[i] for i in range(len(asked))] == alone
    assert not rows.order


def test_a_released_request_is_gone(rows):
    decoder = MixtureDecoder(rows)
    (first, second), _ = decoder.admit([request("a", one=0.5, two=0.5), request("b", one=1.0)])
    decoder.release({first})
    assert decoder.running == (second,)
    assert {event.request for event in decoder.step()} == {second}


def test_whole_models_mix_as_adapters_do(rows):
    from dataclasses import replace

    base = load_backbone("tiny-random")
    models = {
        name: replace(base, model=adapted(seed, rank=4 + 4 * (seed == 2)).merge_and_unload())
        for seed, name in enumerate(NAMES)
    }
    asked = [
        request(PROMPTS[0], one=0.5, three=0.5),
        request(PROMPTS[1], two=1.0),
        request(PROMPTS[2], one=0.2, two=0.8),
    ]
    whole = ModelRows(models)
    assert MixtureDecoder(whole, 1.0).generate(asked) == MixtureDecoder(rows, 1.0).generate(asked)
    assert not whole.order


def test_the_trunk_itself_can_take_part(folders):
    rows = AdapterRows(load_backbone("tiny-random"), {"plain": None, "one": folders["one"]})
    assert rows.names == ("one", "plain")
    text = MixtureDecoder(rows, 1.0).generate([request(PROMPTS[2], plain=0.5, one=0.5)])[0]
    models = [adapted(0), make_tiny_backbone().model]
    assert text == by_the_book(models, PROMPTS[2], [0.5, 0.5], 1.0, 10)


def test_streamed_text_is_the_whole_text_up_to_a_stop(rows):
    whole = MixtureDecoder(rows).generate([request(PROMPTS[0], Decoding(30, 1.0), seed=4, one=1.0)])[0]
    assert len(whole) > 8
    stop = whole[5:7]
    decoder = MixtureDecoder(rows)
    _, events = decoder.admit([request(PROMPTS[0], Decoding(30, 1.0, stop=(stop, "zzzz")), seed=4, one=1.0)])
    seen = list(events)
    while events:
        events = decoder.step()
        seen += events
    told = "".join(event.text for event in seen)
    assert told == whole[: whole.find(stop)]
    assert seen[-1].finish_reason == "stop"
    assert [event.tokens for event in seen] == list(range(1, len(seen) + 1))


def test_what_cannot_be_asked_is_told(rows, folders):
    decoder = MixtureDecoder(rows)
    with pytest.raises(InputError, match="unknown objective 'four'"):
        decoder.admit([request("a", four=1.0)])
    with pytest.raises(InputError, match="no token"):
        decoder.admit([Request([], SteeringWeights(one=1.0))])
    with pytest.raises(InputError, match="exceed the context"):
        decoder.admit([request("a" * 400, Decoding(10_000), one=1.0)])
    assert not decoder.running
    assert decoder.step() == []
    for options in ({"max_new_tokens": 0}, {"temperature": -1}, {"top_p": 0}, {"top_k": -1}, {"stop": ("",)}):
        with pytest.raises(InputError, match=next(iter(options))):
            Decoding(**options)
    with pytest.raises(InputError, match="expected at least one policy"):
        ModelRows({})


def test_a_prompt_that_several_requests_share_is_read_once_by_each_policy(rows, monkeypatch):
    planted = []

    def plant(trees, budget):
        planted.append(len(trees))
        return forest_module.plant(trees, budget)

    monkeypatch.setattr(adapter_rows, "plant", plant)
    asked = [
        request("hello there", Decoding(8, 1.0), seed, one=share, two=1 - share)
        for seed, share in enumerate([0.1, 0.5, 0.9])
    ]
    asked.append(request("another", Decoding(8, 1.0), 9, two=1.0))
    together = MixtureDecoder(rows).generate(asked)
    assert planted == [3]
    assert together == [MixtureDecoder(rows).generate([one])[0] for one in asked]


def test_rows_that_come_and_go_keep_their_slots(rows):
    """Slots are reused, left empty for a while, and moved together where most are empty."""
    texts = ["hello there", "a", "what is it that you want?", "and then", "so", "no"]
    plans = [request(text, Decoding(4 + 3 * i, 0.0), one=0.5, two=0.5) for i, text in enumerate(texts)]
    alone = [MixtureDecoder(rows).generate([plan])[0] for plan in plans]
    decoder = MixtureDecoder(rows)
    found = dict.fromkeys(range(len(plans)), "")
    waiting, events = list(range(1, len(plans))), decoder.admit(plans[:1])[1]
    while events or waiting:
        for event in events:
            found[event.request] += event.text
        events = decoder.step()
        if waiting:
            events += decoder.admit([plans[waiting.pop(0)]])[1]
    assert list(found.values()) == alone
    assert rows._rows.capacity == 0


@pytest.mark.parametrize("place", ["forward pass", "sampling"])
def test_requests_whose_admission_fails_leave_nothing(rows, folders, monkeypatch, place):
    whole = load_backbone("tiny-random")
    both = ModelRows({"whole": whole}, AdapterRows(load_backbone("tiny-random"), folders))
    decoder = MixtureDecoder(both)
    asked = request(PROMPTS[0], one=0.5, whole=0.5)
    (expected,) = decoder.generate([asked])

    def fail(*arguments, **settings):
        raise MemoryError("no room")

    with monkeypatch.context() as broken:
        if place == "sampling":
            broken.setattr(TokenSampler, "choose", fail)
        else:
            broken.setattr(whole.model, "forward", fail)
            broken.setattr(whole.model.model, "forward", fail)
        for admit in (lambda: decoder.admit([asked]), lambda: decoder.generate([asked])):
            with pytest.raises(MemoryError):
                admit()
            assert (decoder.running, list(both.order)) == ((), [])
    assert decoder.generate([asked]) == [expected]


def test_a_step_that_fails_ends_every_request_in_it(rows, monkeypatch):
    decoder = MixtureDecoder(rows)
    one, other = (decoder.events([request(prompt, one=1.0)]) for prompt in PROMPTS[:2])
    next(one), next(other)

    def fail(tokens):
        raise ValueError("broken")

    with monkeypatch.context() as broken:
        broken.setattr(rows, "step", fail)
        with pytest.raises(ValueError, match="broken"):
            list(one)
    assert (decoder.running, list(rows.order)) == ((), [])
    with pytest.raises(RuntimeError, match="shared with others"):
        list(other)
    assert len(decoder.generate([request(PROMPTS[0], one=1.0)])) == 1


@pytest.mark.parametrize("power", [0.0, 1.0])
@pytest.mark.parametrize("wide", ["one", "two"])
def test_models_with_different_numbers_of_unused_ids_are_mixed(power, wide):
    def texts(names):
        models = {name: load_backbone("tiny-random") for name in ("one", "two")}
        for name in names:
            own = models[name].model
            own.resize_token_embeddings(own.config.vocab_size + 64, mean_resizing=False)
            # Ids that no token has, and that this model would choose.
            own.lm_head.weight.data[-64:] = 50 * own.lm_head.weight.data[:64]
        decoder = MixtureDecoder(ModelRows(models), power)
        return decoder.generate([request(prompt, Decoding(6), one=0.5, two=0.5) for prompt in PROMPTS])

    assert texts([wide]) == texts([])
