"""Prompts that are read in parts between the tokens of running requests."""

import pytest
import torch
from adapters import adapted

from pluralign.core import SteeringWeights
from pluralign.lm.adapters import save_adapter
from pluralign.lm.backbone import load_backbone, merged_backbone
from pluralign.lm.decoding import Decoding
from pluralign.rewards.value_head import ValueHead
from pluralign.steer.adapter_rows import AdapterRows
from pluralign.steer.decoder import MixtureDecoder
from pluralign.steer.memory import RequestDropped
from pluralign.steer.model_rows import ModelRows
from pluralign.steer.requests import Request, prompt_tokens
from pluralign.steer.value_guided import ValueGuidedRows
from pluralign.steer.value_rows import Guide, ValueRows

LONG, SHORT = list(range(5, 45)), [7, 8, 9]


@pytest.fixture(scope="module")
def folders(tmp_path_factory):
    place = tmp_path_factory.mktemp("adapters")
    for seed, name in enumerate(("one", "two")):
        save_adapter(adapted(seed), place / name)
    return {name: place / name for name in ("one", "two")}


def stacked(folders):
    return AdapterRows(load_backbone("tiny-random"), folders)


def mixed(folders):
    one = AdapterRows(load_backbone("tiny-random"), {"one": folders["one"]})
    return ModelRows({"two": merged_backbone(load_backbone("tiny-random"))}, one)


def guided(folders):
    backbone = load_backbone("tiny-random")
    guides = {}
    for seed, (name, folder) in enumerate(folders.items()):
        torch.manual_seed(seed)
        guides[name] = Guide(ValueHead(backbone.hidden_size), folder)
    values = ValueRows(load_backbone("tiny-random"), guides)
    return ValueGuidedRows(AdapterRows(backbone, {"base": None}), [values])


def request(prompt, tokens=12, seed=0, **weights):
    return Request(prompt, SteeringWeights(weights or {"one": 0.4, "two": 0.6}), Decoding(tokens, 1.0), seed)


@pytest.mark.parametrize("rows", [stacked, mixed, guided])
@pytest.mark.parametrize("prefill", [1, 7, 50])
def test_prompts_read_in_parts_get_the_same_texts(folders, rows, prefill):
    asked = [
        request(LONG),
        request(LONG[:30], seed=1),
        request(SHORT, seed=2),
        request(LONG, seed=3, one=1.0),
    ]
    rows = rows(folders)
    assert MixtureDecoder(rows, prefill=prefill).generate(asked) == MixtureDecoder(rows).generate(asked)


def test_running_requests_get_a_token_while_a_long_prompt_is_read(folders):
    decoder = MixtureDecoder(stacked(folders), prefill=16)
    (first,), events = decoder.admit([request(SHORT, one=1.0)])
    assert len(events) == 1
    numbers, events = decoder.admit([request(LONG, seed=5), request(LONG, seed=6)])
    # Both policies read the prompt of 40 tokens, once for both requests: 80 tokens in 5 parts.
    assert events == []
    assert decoder.running == (first, *numbers)
    for _ in range(4):
        assert [event.request for event in decoder.step()] == [first]
    assert [event.request for event in decoder.step()] == [*numbers, first, *numbers]
    # A short prompt is read at once, whatever is being read.
    decoder.admit([request(LONG)])
    assert len(decoder.admit([request(SHORT, one=1.0)])[1]) == 1


def test_requests_that_are_released_while_their_prompt_is_read_leave_nothing(folders):
    rows = stacked(folders)
    decoder = MixtureDecoder(rows, prefill=16)
    numbers, _ = decoder.admit([request(LONG, seed=5), request(LONG, seed=6)])
    decoder.step()
    decoder.release({numbers[0]})
    seen = [event.request for _ in range(6) for event in decoder.step()]
    assert set(seen) == {numbers[1]}
    other, _ = decoder.admit([request(LONG, seed=7)])
    decoder.step()
    decoder.release({numbers[1], *other})
    assert decoder.running == ()
    assert decoder.step() == []
    assert rows.order == []
    assert rows._rows.capacity == 0


def test_prompt_tokens_are_those_that_policies_read():
    asked = [request(LONG), request(LONG, one=1.0), request(SHORT, one=1.0, two=0.0)]
    assert prompt_tokens(asked) == 2 * len(LONG) + len(SHORT)


def short_of_memory(decoder, part, times=1):
    """Makes a part of the decoder's next steps fail, after the model's rows have changed."""
    whole, left = getattr(decoder.rows, part), [times]

    def fail(*arguments):
        found = whole(*arguments)
        if left[0]:
            left[0] -= 1
            raise torch.OutOfMemoryError("CUDA out of memory")
        return found

    setattr(decoder.rows, part, fail)


@pytest.mark.parametrize("rows", [stacked, mixed])
@pytest.mark.parametrize("prefill", [None, 7])
def test_short_memory_drops_the_newest_request_alone(folders, rows, prefill):
    asked = [request(LONG), request(SHORT, seed=1), request(LONG[:30], seed=2)]
    expected = MixtureDecoder(rows(folders)).generate(asked)
    decoder = MixtureDecoder(rows(folders), prefill=prefill)
    numbers, events = decoder.admit(asked)
    while len(decoder._running) < 3:
        events += decoder.step()
    for _ in range(3):
        events += decoder.step()
    short_of_memory(decoder, "step")
    with pytest.raises(RequestDropped) as dropped:
        decoder.step()
    assert dropped.value.number == numbers[2]
    events += dropped.value.events
    assert set(decoder.running) == set(numbers[:2])
    while decoder.running:
        events += decoder.step()
    texts = ["".join(event.text for event in events if event.request == number) for number in numbers]
    assert texts[:2] == expected[:2]
    counts = [event.tokens for event in events if event.request == numbers[0]]
    assert counts == list(range(1, len(counts) + 1))


def test_a_prompt_too_long_for_the_memory_leaves_the_others(folders):
    asked = [request(SHORT, seed=1), request(LONG)]
    expected = MixtureDecoder(stacked(folders)).generate(asked)[0]
    decoder = MixtureDecoder(stacked(folders))
    (number,), events = decoder.admit(asked[:1])
    events += decoder.step()
    short_of_memory(decoder, "admit")
    with pytest.raises(torch.OutOfMemoryError):
        decoder.admit(asked[1:])
    assert decoder.running == (number,)
    while decoder.running:
        events += decoder.step()
    assert "".join(event.text for event in events) == expected
    # Alone, a request that does not fit fails as before.
    decoder.admit(asked[1:])
    short_of_memory(decoder, "step")
    with pytest.raises(torch.OutOfMemoryError):
        decoder.step()
    assert not decoder.running
