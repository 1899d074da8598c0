"""Log-probabilities of answers, and of prompts that answers begin with."""

import math
from dataclasses import replace

import openai
import pytest
import torch
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, processors
from transformers import PreTrainedTokenizerFast

from pluralign.lm.backbone import load_tokenizer
from pluralign.serve.answers import Answer
from pluralign.serve.api import RequestParser
from pluralign.serve.log_probs import TokenTexts, completion_log_probs
from pluralign.serve.settings import Limits
from pluralign.steer.requests import TokenLogProb
from pluralign.steer.running import next_event, text_of
from pluralign.vllm.policies import VllmPolicies

from .mixtures import WEIGHTS, chat_of, complete, mixed, tokenizer


def sentencepieces():
    """A tokenizer with a BOS that omits the space before a first word, as those of Llama 2 and Mistral."""
    words = ["<unk>", "<s>", "▁Hello", "▁world", "world", "▁a", "▁"]
    model = Tokenizer(models.WordLevel({word: i for i, word in enumerate(words)}, "<unk>"))
    model.pre_tokenizer = pre_tokenizers.Metaspace()
    model.decoder = decoders.Sequence(
        [decoders.Replace("▁", " "), decoders.Fuse(), decoders.Strip(" ", 1, 0)]
    )
    model.post_processor = processors.TemplateProcessing(single="<s> $A", special_tokens=[("<s>", 1)])
    return PreTrainedTokenizerFast(tokenizer_object=model, bos_token="<s>", unk_token="<unk>")


def completion(known, ids, **fields):
    """The choice of a completion with these tokens."""
    deployment = VllmPolicies("m", ("one", "two"), "dialogue", 0.0, False, known, 100)
    body = {"model": "m", "logprobs": 2, "max_tokens": len(ids), **fields}
    parsed = RequestParser(deployment, Limits()).parse("completions", body)
    answer, (sample,) = Answer("id", "m", parsed, {}, TokenTexts(known)), parsed.samples
    text = text_of(sample, known)
    if sample.prompt_log_probs:
        prompt = [None, *(TokenLogProb(token, -1.0) for token in sample.prompt_ids[1:])]
        answer.choices[0].add(
            replace(next_event(0, ids[0], text_of(sample, known), (), 99), prompt=prompt, text="")
        )
    for token in ids:
        event = next_event(0, token, text, (), len(ids))
        answer.add(0, replace(event, log_prob=TokenLogProb(token, -2.0, ((0, -0.1), (5, -0.2)))))
    (choice,) = answer.whole()["choices"]
    return choice


def test_a_completion_goes_on_with_its_prompt():
    choice = completion(sentencepieces(), [3, 4, 3], prompt="Hello")
    assert choice["text"] == " worldworld world"
    assert choice["logprobs"]["tokens"] == [" world", "world", " world"]
    assert choice["logprobs"]["text_offset"] == [0, 6, 11]


@pytest.mark.parametrize(
    ("prompt", "echo", "offsets"),
    [
        ("Hello world", "Hello world", [0, 0, 5]),
        ("<s>Hello world", "<s> Hello world", [0, 3, 9]),
        ([1, 2, 3], "<s> Hello world", [0, 3, 9]),
    ],
)
def test_an_echo_is_the_prompt_as_it_was_given(prompt, echo, offsets):
    choice = completion(sentencepieces(), [3, 4], prompt=prompt, echo=True)
    assert choice["text"] == echo + " worldworld"
    assert choice["logprobs"]["text_offset"] == [*offsets, len(echo), len(echo) + 6]


def test_offsets_are_places_in_the_text():
    known = load_tokenizer("tiny-random")
    text, special = "é 😀, 日本 a", known.all_special_ids[0]
    ids = [
        i
        for word in ("é 😀", ", 日本", " a")
        for i in (*known(word, add_special_tokens=False).input_ids, special)
    ]
    choice = completion(known, ids[:-1], prompt="a")
    assert choice["text"] == text
    found = choice["logprobs"]
    assert len(found["text_offset"]) == len(ids) - 1
    for token, place in zip(found["tokens"], found["text_offset"], strict=True):
        part = token.startswith("bytes:\\x")
        assert part or token == known.decode([special]) or text[place:].startswith(token)
    assert found["text_offset"][-1] == len(text) - len(found["tokens"][-1])
    assert found["text_offset"] == sorted(found["text_offset"])


def test_the_sampled_token_is_among_the_likeliest():
    found = completion(sentencepieces(), [3, 5], prompt="Hello")["logprobs"]["top_logprobs"]
    assert found == [{" world": -2.0, " a": -0.2, "<unk>": -0.1}, {" a": -2.0, "<unk>": -0.1}]


def test_parts_of_characters_have_names_of_their_own():
    known = load_tokenizer("smollm2-135m")
    ids = known("é 😀 \N{REPLACEMENT CHARACTER}", add_special_tokens=False).input_ids
    texts = TokenTexts(known)
    names = [texts.name(token) for token in ids]
    assert names == ["é", r"bytes: \xf0\x9f\x98", r"bytes:\x80", " ", "\N{REPLACEMENT CHARACTER}"]
    # Both are a replacement character as texts.
    found = completion_log_probs([TokenLogProb(ids[2], -5.0, ((ids[2] + 1, -0.1),))], texts, [0])
    assert found["top_logprobs"] == [{r"bytes:\x81": -0.1, r"bytes:\x80": -5.0}]


def test_impossible_tokens_have_a_number_that_json_has():
    texts, never = TokenTexts(tokenizer()), -math.inf
    found = completion_log_probs([TokenLogProb(5, never, ((6, -0.1), (7, never)))], texts, [0])
    assert found["token_logprobs"] == [-9999.0]
    assert found["top_logprobs"] == [{texts[5]: -9999.0, texts[6]: -0.1, texts[7]: -9999.0}]


def test_log_probs_of_an_answer_are_the_mixtures(server, chat):
    answer = chat_of(server, chat, steering_weights=WEIGHTS, logprobs=True, top_logprobs=3).choices[0]
    ids = server.service.deployment.chat_ids([{"role": "user", "content": "hello there"}])
    decode = tokenizer().decode
    assert len(answer.logprobs.content) == 10
    for entry in answer.logprobs.content:
        expected = mixed(ids)[-1]
        best = expected.topk(3)
        assert entry.logprob == pytest.approx(float(best.values[0]), abs=2e-5)
        assert [one.logprob for one in entry.top_logprobs] == pytest.approx(best.values.tolist(), abs=2e-5)
        assert [one.token for one in entry.top_logprobs] == [decode([i]) for i in best.indices.tolist()]
        assert entry.token == decode([int(best.indices[0])])
        assert bytes(entry.bytes).decode(errors="replace") == entry.token
        ids = [*ids, int(best.indices[0])]


def test_log_probs_of_a_stream_are_those_of_the_whole(server, chat):
    settings = {"steering_weights": WEIGHTS, "logprobs": True, "top_logprobs": 2, "max_tokens": 20}
    whole = chat_of(server, chat, **settings).choices[0]
    chunks = list(chat_of(server, chat, **settings, stream=True))
    parts = [chunk.choices[0].logprobs for chunk in chunks]
    assert [one for part in parts if part for one in part.content] == whole.logprobs.content
    text = "".join(chunk.choices[0].delta.content or "" for chunk in chunks)
    assert text == whole.message.content


def test_tokens_of_a_stop_text_are_no_part_of_the_log_probs(server, chat):
    letters = {str(token): 50 for token in tokenizer()("abcdefgh", add_special_tokens=False).input_ids}
    settings = {"logprobs": 1, "max_tokens": 20, "logit_bias": letters, "temperature": 1.0, "seed": 3}
    (whole,) = complete(server, "hello", **settings).choices
    assert len(whole.text) == 20
    stop = whole.text[6:10]
    before, settings["stop"] = whole.text.find(stop), [stop, f"{stop}zz"]
    answer = complete(server, "hello", **settings)
    (choice,) = answer.choices
    assert (choice.text, choice.finish_reason) == (whole.text[:before], "stop")
    assert answer.usage.completion_tokens == before + len(stop)
    for name in ("tokens", "token_logprobs", "top_logprobs", "text_offset"):
        assert getattr(choice.logprobs, name) == getattr(whole.logprobs, name)[:before]
    parts = [chunk.choices[0] for chunk in complete(server, "hello", **settings, stream=True)]
    # A token is sent with its text, and not before.
    assert all(part.text == "".join(part.logprobs.tokens) for part in parts[:-1])
    assert "".join(part.text for part in parts) == choice.text
    told = chat_of(server, chat, **{**settings, "logprobs": True}).choices[0]
    settings["stop"] = told.message.content[3:6]
    told = chat_of(server, chat, **{**settings, "logprobs": True}).choices[0]
    assert "".join(entry.token for entry in told.logprobs.content) == told.message.content != ""


@pytest.mark.parametrize("model", ["tiny-random", "smollm2-135m"])
def test_bytes_of_tokens_that_are_parts_of_characters(model):
    text, known = "é 😀, 日本 a�", load_tokenizer(model)
    texts, ids = TokenTexts(known), known(text, add_special_tokens=False).input_ids
    assert "�" in "".join(texts[token] for token in ids[:-1])
    assert bytes(byte for token in ids for byte in texts.bytes(token)).decode() == text


def test_bytes_of_sentencepieces():
    vocabulary = {"<unk>": 0, "<0xE2>": 1, "<0x82>": 2, "<0xAC>": 3, "▁a": 4, "�": 5}
    model = Tokenizer(models.BPE(vocabulary, [], unk_token="<unk>", byte_fallback=True))
    model.decoder = decoders.Sequence([decoders.ByteFallback(), decoders.Fuse()])
    texts = TokenTexts(PreTrainedTokenizerFast(tokenizer_object=model))
    assert bytes([*texts.bytes(1), *texts.bytes(2), *texts.bytes(3)]).decode() == "€"
    assert bytes(texts.bytes(5)).decode() == "�"


@pytest.mark.parametrize("form", ["text", "ids"])
@pytest.mark.parametrize("prefill", [4, 1024])
def test_echo_reports_the_prompts_log_probs(serve, form, prefill):
    from pluralign.serve.settings import Limits

    text = "hello there, how are you today? I am well."
    ids = tokenizer()(text).input_ids
    expected = mixed(ids).gather(1, torch.tensor([*ids[1:], 0])[:, None])[:-1, 0].tolist()
    with serve(Limits(prefill=prefill)) as server:
        (choice,) = complete(
            server, text if form == "text" else ids, steering_weights=WEIGHTS, echo=True, logprobs=1,
            max_tokens=1,
        ).choices  # fmt: skip
    found = choice.logprobs
    assert found.token_logprobs[0] is None
    assert found.token_logprobs[1:-1] == pytest.approx(expected, abs=2e-5)
    assert len(found.tokens) == len(ids) + 1
    assert choice.text.startswith(text)
    assert found.top_logprobs[0] is None
    for own, best in zip(found.top_logprobs[1:], mixed(ids)[: len(ids)], strict=True):
        assert max(own.values()) == pytest.approx(float(best.max()), abs=2e-5)
    for own, token, log_prob in zip(
        found.top_logprobs[1:], found.tokens[1:], found.token_logprobs[1:], strict=True
    ):
        assert own[token] == log_prob
        assert len(own) <= 2
    starts = [0]
    for token in found.tokens[:-1]:
        starts.append(starts[-1] + len(token))
    assert found.text_offset == starts


def test_echo_alone_generates_nothing(server):
    answer = complete(server, "hello there", echo=True, logprobs=0, max_tokens=0)
    (choice,) = answer.choices
    assert choice.text == "hello there"
    assert len(choice.logprobs.tokens) == answer.usage.prompt_tokens
    assert answer.usage.completion_tokens == 0
    alone = [list(one or {}) for one in choice.logprobs.top_logprobs]
    assert alone == [[], *([token] for token in choice.logprobs.tokens[1:])]
    (choice,) = complete(server, "hello there", echo=True, max_tokens=0).choices
    assert (choice.text, choice.logprobs) == ("hello there", None)
    with pytest.raises(openai.BadRequestError, match="with 'echo' only"):
        complete(server, "hello there", max_tokens=0)


def test_a_prompt_that_fills_the_context_is_scored(server):
    ids = [5, 6, 7, 8] * (server.service.deployment.context // 4)
    for log_probs in (0, None):
        answer = complete(
            server, ids, echo=True, logprobs=log_probs, max_tokens=0, steering_weights={"one": 1}
        )
        (choice,) = answer.choices
        assert (answer.usage.total_tokens, choice.finish_reason) == (len(ids), "length")
        assert choice.text == tokenizer().decode(ids)
        if log_probs is not None:
            shorter = complete(
                server, ids[:-1], echo=True, logprobs=0, max_tokens=0, steering_weights={"one": 1}
            )
            found, same = (one.logprobs.token_logprobs for one in (choice, shorter.choices[0]))
            assert found[1:-1] == pytest.approx(same[1:], abs=2e-5)
    with pytest.raises(openai.BadRequestError, match="maximum context length"):
        complete(server, [*ids, 5], echo=True, max_tokens=0)
    assert server.wait_for(lambda m: m["pluralign_running"] == m["pluralign_waiting"] == 0)


def test_an_echoed_stream_is_the_whole(server):
    settings = {"echo": True, "logprobs": 2, "max_tokens": 5}
    (whole,) = complete(server, "hello there", **settings).choices
    parts = [chunk.choices[0] for chunk in complete(server, "hello there", **settings, stream=True)]
    assert "".join(part.text for part in parts) == whole.text
    for name in ("tokens", "token_logprobs", "top_logprobs", "text_offset"):
        joined = [one for part in parts if part.logprobs for one in getattr(part.logprobs, name)]
        assert joined == getattr(whole.logprobs, name)
