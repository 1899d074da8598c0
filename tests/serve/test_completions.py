"""Answers through OpenAI's own client: one policy's own text, mixtures, streams, samples, seeds."""

from concurrent.futures import ThreadPoolExecutor

import pytest

from pluralign.core import SteeringWeights
from pluralign.lm.backbone import load_backbone
from pluralign.lm.decoding import Decoding
from pluralign.steer.adapter_rows import AdapterRows
from pluralign.steer.decoder import MixtureDecoder
from pluralign.steer.requests import Request

from .conftest import NAMES, adapted, own_text


def chat_ids(server, text):
    return server.service.deployment.chat_ids([{"role": "user", "content": text}])


def ask(server, chat, **fields):
    body = chat(**fields)
    extra = {name: body.pop(name) for name in ("steering_weights", "top_k") if name in body}
    return server.openai.chat.completions.create(**body, extra_body=extra)


@pytest.mark.parametrize("name", NAMES)
def test_one_hot_weights_give_that_adapters_own_text(server, chat, name):
    answer = ask(server, chat, steering_weights={name: 1})
    ids = chat_ids(server, "hello there")
    assert answer.choices[0].message.content == own_text(name, ids)
    assert answer.choices[0].message.role == "assistant"
    assert answer.choices[0].finish_reason == "length"
    assert answer.steering_weights == {**dict.fromkeys(NAMES, 0.0), name: 1.0}
    assert (answer.usage.prompt_tokens, answer.usage.completion_tokens) == (len(ids), 10)
    assert answer.usage.total_tokens == len(ids) + 10
    assert answer.object == "chat.completion"
    assert answer.model == "tiny-random"


def test_a_mixture_is_the_decoders(server, chat, folders):
    weights = {"one": 0.5, "two": 0.2, "three": 0.3}
    request = Request(chat_ids(server, "hello there"), SteeringWeights(weights), Decoding(10, 0.0))
    (expected,) = MixtureDecoder(AdapterRows(load_backbone("tiny-random"), folders)).generate([request])
    answer = ask(server, chat, steering_weights=weights)
    assert answer.choices[0].message.content == expected
    assert answer.steering_weights == pytest.approx(weights)


def test_weights_are_uniform_unless_the_command_line_says(serve, server, chat):
    answer = ask(server, chat)
    assert answer.steering_weights == pytest.approx(dict.fromkeys(NAMES, 1 / 3))
    with serve(weights=SteeringWeights(two=1.0)) as other:
        answer = ask(other, chat)
        assert answer.steering_weights == {"one": 0.0, "two": 1.0, "three": 0.0}
        assert answer.choices[0].message.content == own_text("two", chat_ids(other, "hello there"))
        (model,) = other.openai.models.list().data
        assert (model.id, model.steering_weights["two"]) == ("tiny-random", 1.0)


def test_a_stream_tells_the_same_and_carries_weights_in_each_chunk(server, chat):
    whole = ask(server, chat, steering_weights={"one": 0.6, "two": 0.4}, max_tokens=30)
    stream = ask(
        server, chat, steering_weights={"one": 0.6, "two": 0.4}, max_tokens=30, stream=True,
        stream_options={"include_usage": True},
    )  # fmt: skip
    *chunks, last = list(stream)
    assert {chunk.object for chunk in chunks} == {"chat.completion.chunk"}
    assert len({chunk.id for chunk in (*chunks, last)}) == 1
    for chunk in (*chunks, last):
        assert chunk.steering_weights == {"one": 0.6, "two": 0.4, "three": 0.0}
    assert chunks[0].choices[0].delta.role == "assistant"
    assert len(chunks) > 4
    text = "".join(chunk.choices[0].delta.content or "" for chunk in chunks)
    assert text == whole.choices[0].message.content
    reasons = [chunk.choices[0].finish_reason for chunk in chunks]
    assert reasons == [None] * (len(chunks) - 1) + [whole.choices[0].finish_reason]
    assert last.choices == []
    assert last.usage == whole.usage


def test_a_stream_without_usage_ends_with_done(server, chat):
    answer = server.post(**chat(stream=True))
    assert answer.headers["content-type"].startswith("text/event-stream")
    lines = [line for line in answer.text.splitlines() if line]
    assert all(line.startswith("data: ") for line in lines)
    assert lines[-1] == "data: [DONE]"
    assert not any("usage" in line for line in lines)


def test_seeds_repeat_and_samples_differ(server, chat):
    settings = {"temperature": 1.0, "max_tokens": 20, "n": 4, "steering_weights": {"one": 0.5, "two": 0.5}}
    first, again, other = (
        [choice.message.content for choice in ask(server, chat, seed=seed, **settings).choices]
        for seed in (-3, -3, 8)
    )
    assert first == again
    assert len({*first, *other}) == 8
    alone = ask(server, chat, seed=-3, **{**settings, "n": 1})
    assert alone.choices[0].message.content == first[0]
    unseeded = [ask(server, chat, **{**settings, "n": 1}).choices[0].message.content for _ in range(3)]
    assert len(set(unseeded)) == 3


def test_streams_of_samples_are_told_apart(server, chat):
    settings = {"temperature": 1.0, "seed": 5, "n": 3, "max_tokens": 20}
    whole = ask(server, chat, **settings)
    texts = dict.fromkeys(range(3), "")
    for chunk in ask(server, chat, stream=True, **settings):
        for choice in chunk.choices:
            texts[choice.index] += choice.delta.content or ""
    assert list(texts.values()) == [choice.message.content for choice in whole.choices]
    assert whole.usage.prompt_tokens == len(chat_ids(server, "hello there"))
    assert whole.usage.completion_tokens <= 60


def test_stop_texts_top_p_and_top_k_are_heeded(server, chat):
    settings = {"temperature": 1.0, "seed": 4, "max_tokens": 30, "steering_weights": {"one": 1.0}}
    whole = ask(server, chat, **settings).choices[0].message.content
    stop = whole[5:7]
    for given in (stop, ["never said", stop]):
        choice = ask(server, chat, stop=given, **settings).choices[0]
        assert (choice.message.content, choice.finish_reason) == (whole[: whole.find(stop)], "stop")
    greedy = own_text("one", chat_ids(server, "hello there"), 30)
    assert ask(server, chat, top_k=1, **settings).choices[0].message.content == greedy
    assert ask(server, chat, top_p=1e-9, **settings).choices[0].message.content == greedy
    assert whole != greedy


def test_completions_continue_a_text_as_it_stands(server):
    texts = ["what is", "a"]
    answer = server.openai.completions.create(
        model="tiny-random", prompt=texts, max_tokens=10, temperature=0,
        extra_body={"steering_weights": {"two": 1.0}},
    )  # fmt: skip
    tokenizer = server.service.deployment.tokenizer
    ids = [tokenizer(text)["input_ids"] for text in texts]
    assert [choice.text for choice in answer.choices] == [own_text("two", one) for one in ids]
    assert [choice.index for choice in answer.choices] == [0, 1]
    assert answer.usage.prompt_tokens == sum(map(len, ids))
    assert answer.object == "text_completion"
    assert answer.steering_weights["two"] == 1.0
    stream = server.openai.completions.create(
        model="tiny-random", prompt="a", max_tokens=10, temperature=0, stream=True,
        extra_body={"steering_weights": {"two": 1.0}},
    )  # fmt: skip
    assert "".join(chunk.choices[0].text for chunk in stream) == answer.choices[1].text


def test_token_ids_may_be_written_as_floats(server):
    asked = {"model": "tiny-random", "max_tokens": 5, "temperature": 0}
    whole, floats = (
        server.post("/v1/completions", **asked, prompt=prompt).json() for prompt in ([5, 0], [5.0, -0.0])
    )
    assert floats["choices"] == whole["choices"]


def test_parts_of_text_and_former_answers_are_taken_as_messages(server, chat):
    parts = [{"type": "text", "text": "hello "}, {"type": "text", "text": "there"}]
    answer = ask(server, chat, messages=[{"role": "user", "content": parts}])
    same = ask(server, chat)
    assert answer.choices[0].message.content == same.choices[0].message.content
    # The client sends an answer back with all the fields that it knows, most of them null.
    former = {**same.choices[0].message.model_dump(), "content": "ok"}
    assert None in former.values()
    longer = ask(server, chat, messages=[{"role": "user", "content": "hello there"}, former])
    assert longer.usage.prompt_tokens > same.usage.prompt_tokens


def test_what_changes_nothing_may_be_said(server, chat):
    neutral = {
        "user": "someone",
        "tools": [],
        "logprobs": False,
        "frequency_penalty": 0,
        "n": None,
        "stop": None,
    }
    assert server.post(**chat(**neutral, steering_weights=None)).status_code == 200


def test_answers_of_many_clients_are_not_mixed_up(server, chat):
    """16 at once, with different weights: each gets its own adapter's text."""
    texts = [f"question {i}" for i in range(16)]
    names = [NAMES[i % 3] for i in range(16)]

    def one(i):
        settings = {"text": texts[i], "steering_weights": {names[i]: 1.0}, "max_tokens": 24 + i}
        if i % 2:
            return ask(server, chat, **settings).choices[0].message.content
        return "".join(c.choices[0].delta.content or "" for c in ask(server, chat, stream=True, **settings))

    with ThreadPoolExecutor(16) as pool:
        found = list(pool.map(one, range(16)))
    expected = [own_text(names[i], chat_ids(server, texts[i]), 24 + i) for i in range(16)]
    assert found == expected
    assert len(set(expected)) == 16


def test_the_adapters_of_this_test_differ():
    assert len({own_text(name, [40, 41, 42], 8) for name in NAMES}) == 3
    assert adapted(0).config.vocab_size == 259
