"""Fields of requests: log-probabilities, echo, token ids, penalties, JSON Schemas, mixes in model names."""

import json
from functools import cache

import openai
import pytest
import torch

from pluralign.core import SteeringWeights
from pluralign.lm.backbone import load_backbone
from pluralign.steer.mixing import mix_rows

from .conftest import NAMES, adapted

WEIGHTS = {"one": 0.5, "two": 0.2, "three": 0.3}


@cache
def model(name):
    return adapted(NAMES.index(name))


def mixed(ids, weights=WEIGHTS):
    """Log-probabilities of the next token after each of these, of the geometric mixture, by plain passes."""
    rows = [torch.log_softmax(model(name)(torch.tensor([ids])).logits[0].detach(), -1) for name in weights]
    count = len(ids)
    owners = torch.arange(count).repeat(len(rows))
    shares = torch.tensor(list(weights.values())).repeat_interleave(count)
    return mix_rows(torch.cat(rows), owners, shares, count)


@cache
def tokenizer():
    return load_backbone("tiny-random").tokenizer


def chat_of(server, chat, **fields):
    names = (
        "steering_weights",
        "top_k",
        "min_p",
        "normalize",
        "continue_final_message",
        "chat_template_kwargs",
    )
    body = chat(**fields)
    extra = {name: body.pop(name) for name in names if name in body}
    return server.openai.chat.completions.create(**body, extra_body=extra)


def complete(server, prompt, **fields):
    extra = {name: fields.pop(name) for name in ("steering_weights", "normalize") if name in fields}
    body = {"model": "tiny-random", "temperature": 0, "max_tokens": 6, **fields}
    return server.openai.completions.create(prompt=prompt, extra_body=extra, **body)


def refused(server, text, status=400, **body):
    found = server.post(model=body.pop("model", "tiny-random"), **body)
    assert found.status_code == status
    assert text in found.json()["error"]["message"]


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
        assert bytes(entry.bytes).decode() == entry.token == decode([int(best.indices[0])])
        ids = [*ids, int(best.indices[0])]


def test_log_probs_of_a_stream_are_those_of_the_whole(server, chat):
    settings = {"steering_weights": WEIGHTS, "logprobs": True, "top_logprobs": 2, "max_tokens": 20}
    whole = chat_of(server, chat, **settings).choices[0]
    chunks = list(chat_of(server, chat, **settings, stream=True))
    parts = [chunk.choices[0].logprobs for chunk in chunks]
    assert [one for part in parts if part for one in part.content] == whole.logprobs.content
    text = "".join(chunk.choices[0].delta.content or "" for chunk in chunks)
    assert text == whole.message.content


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
        assert list(own.values()) == pytest.approx([float(best.max())], abs=2e-5)
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
    assert [list(one or {}) for one in choice.logprobs.top_logprobs] == [[]] * answer.usage.prompt_tokens
    (choice,) = complete(server, "hello there", echo=True, max_tokens=0).choices
    assert (choice.text, choice.logprobs) == ("hello there", None)
    with pytest.raises(openai.BadRequestError, match="with 'echo' only"):
        complete(server, "hello there", max_tokens=0)


def test_an_echoed_stream_is_the_whole(server):
    settings = {"echo": True, "logprobs": 2, "max_tokens": 5}
    (whole,) = complete(server, "hello there", **settings).choices
    parts = [chunk.choices[0] for chunk in complete(server, "hello there", **settings, stream=True)]
    assert "".join(part.text for part in parts) == whole.text
    for name in ("tokens", "token_logprobs", "top_logprobs", "text_offset"):
        joined = [one for part in parts if part.logprobs for one in getattr(part.logprobs, name)]
        assert joined == getattr(whole.logprobs, name)


def test_prompts_as_token_ids_and_many_at_once(server):
    texts = [f"prompt number {i} says hello" for i in range(20)]
    ids = [tokenizer()(text).input_ids for text in texts]
    assert [one.text for one in complete(server, ids).choices] == [
        one.text for one in complete(server, texts).choices
    ]
    with pytest.raises(openai.BadRequestError, match="token ids must be below"):
        complete(server, [1, 10**6])
    with pytest.raises(openai.BadRequestError, match="'prompt' must be a string or an array"):
        complete(server, [[1, 2], "a"])


def rules(server, chat, **fields):
    """Greedy tokens with penalties and biases, by plain passes; and the answer of the server."""
    ids = server.service.deployment.chat_ids([{"role": "user", "content": "hello there"}])
    new = []
    for _ in range(10):
        scores = mixed([*ids, *new])[-1].clone()
        for token in set(new):
            scores[token] -= fields.get("presence_penalty", 0) + new.count(token) * fields.get(
                "frequency_penalty", 0
            )
        for token, bias in fields.get("logit_bias", {}).items():
            scores[int(token)] += bias
        new.append(int(scores.argmax()))
    answer = chat_of(server, chat, steering_weights=WEIGHTS, **fields)
    return tokenizer().decode(new, skip_special_tokens=True), answer.choices[0].message.content


@pytest.mark.parametrize(
    "fields",
    [
        {"presence_penalty": 2.0},
        {"frequency_penalty": 1.5},
        {"presence_penalty": 0.5, "frequency_penalty": 0.25},
        {"presence_penalty": -1.0, "frequency_penalty": -2.0, "logit_bias": {"50": 4, "60": 4.5}},
        {"logit_bias": {"40": 5, "41": 5.5, "80": -100}},
    ],
)
def test_penalties_and_biases_change_the_mixture(server, chat, fields):
    # Biases under which some tokens are repeated.
    biases = {"50": 9, "60": 8.5, "70": 8}
    expected, found = rules(server, chat, **{"logit_bias": biases, **fields})
    assert found == expected
    assert found != rules(server, chat, logit_bias=biases)[1]


def test_sampling_settings(server, chat):
    greedy = chat_of(server, chat).choices[0].message.content
    hot = {"temperature": 1.5, "seed": 3}
    free = chat_of(server, chat, **hot).choices[0].message.content
    assert chat_of(server, chat, **hot, min_p=1.0).choices[0].message.content == greedy
    assert chat_of(server, chat, **hot, top_k=-1).choices[0].message.content == free != greedy


PERSON = {
    "type": "object",
    "properties": {"name": {"type": "string", "maxLength": 8}, "age": {"enum": [30, 41]}},
    "required": ["name", "age"],
    "additionalProperties": False,
}


def schema_form(schema):
    return {"type": "json_schema", "json_schema": {"name": "x", "schema": schema, "strict": True}}


@pytest.mark.parametrize("temperature", [0, 1])
def test_answers_follow_a_json_schema(server, chat, temperature):
    answer = chat_of(
        server, chat, steering_weights=WEIGHTS, response_format=schema_form(PERSON), max_tokens=400, n=3,
        temperature=temperature, seed=1, logprobs=True,
    )  # fmt: skip
    for choice in answer.choices:
        assert choice.finish_reason == "stop"
        person = json.loads(choice.message.content)
        assert set(person) == {"name", "age"}
        assert len(person["name"]) <= 8
        assert person["age"] in (30, 41)
        # Those of the mixture, not of what the grammar leaves of it.
        assert min(entry.logprob for entry in choice.logprobs.content) < -5
    free = chat_of(server, chat).choices[0].message.content
    assert chat_of(server, chat, response_format={"type": "text"}).choices[0].message.content == free


def test_json_objects_and_schemas_that_cannot_be_followed(server, chat):
    answer = chat_of(server, chat, response_format={"type": "json_object"}, max_tokens=2)
    assert answer.choices[0].message.content.lstrip().startswith("{")
    for form, text in (
        (schema_form({"type": "number", "minimum": 3, "maximum": 2}), "cannot be followed"),
        (schema_form({"type": "nonsense"}), "cannot be followed"),
        ({"type": "json_schema"}, "'response_format.json_schema.schema' is missing"),
        ({"type": "regex"}, 'must be one of "text", "json_object", "json_schema"'),
    ):  # fmt: skip
        refused(server, text, messages=[{"role": "user", "content": "a"}], response_format=form)
    # The server goes on.
    assert chat_of(server, chat).choices[0].message.content


def test_models_may_carry_a_mix(serve, chat):
    careful = SteeringWeights(two=0.25, three=0.75)
    with serve(presets={"careful": careful}) as server:
        listed = {model.id: model.steering_weights for model in server.openai.models.list().data}
        assert list(listed) == ["tiny-random", "tiny-random@careful"]
        assert listed["tiny-random@careful"] == {"one": 0.0, "two": 0.25, "three": 0.75}
        given = chat_of(server, chat, steering_weights=dict(careful)).choices[0].message.content
        for name in ("tiny-random@careful", "tiny-random@two=0.25,three=0.75"):
            answer = chat_of(server, chat, model=name)
            assert answer.choices[0].message.content == given
            assert answer.model == name
            assert answer.steering_weights == {"one": 0.0, "two": 0.25, "three": 0.75}
            assert server.openai.models.retrieve(name).steering_weights["three"] == 0.75
        messages = [{"role": "user", "content": "a"}]
        for name, status, text in (
            ("tiny-random@brave", 404, "presets: careful"),
            ("other@careful", 404, "'tiny-random', 'tiny-random@careful'"),
            ("tiny-random@one=0.5", 400, "must sum to 1"),
            ("tiny-random@four=1", 400, "unknown objective 'four'"),
            ("tiny-random@one=x", 400, "NAME=NUMBER"),
        ):
            refused(server, text, status, model=name, messages=messages)
        refused(
            server, "the weights are given twice", model="tiny-random@careful", messages=messages,
            steering_weights={"one": 1},
        )  # fmt: skip
        assert server.get("/v1/models/tiny-random@brave").status_code == 404


def test_weights_are_normalised_when_asked(server, chat):
    answer = chat_of(server, chat, steering_weights={"one": 5, "two": 15}, normalize=True)
    assert answer.steering_weights == {"one": 0.25, "two": 0.75, "three": 0.0}
    with pytest.raises(openai.BadRequestError, match="must sum to 1"):
        chat_of(server, chat, steering_weights={"one": 5, "two": 15})
    with pytest.raises(openai.BadRequestError, match="must sum to 1"):
        chat_of(server, chat, steering_weights={"one": 0}, normalize=True)


@pytest.mark.parametrize("field", ["seed", "temperature", "max_tokens", "top_k", "n", "steering_weights"])
@pytest.mark.parametrize("digits", [40, 400, 5000])
def test_numbers_of_many_digits_are_refused(server, field, digits):
    number = "9" * digits
    value = f'{{"one": {number}}}' if field == "steering_weights" else number
    body = f'{{"model": "tiny-random", "messages": [{{"role": "user", "content": "a"}}], "{field}": {value}}}'
    assert server.post(data=body.encode()).status_code == 400


def test_an_answer_continues_a_beginning(server, chat):
    asked = [{"role": "user", "content": "hello there"}]
    ids = server.service.deployment.chat_ids(asked)
    more = tokenizer()("well then", add_special_tokens=False).input_ids
    messages = [*asked, {"role": "assistant", "content": "well then"}]
    for fields in (
        {"continue_final_message": True},
        {"continue_final_message": True, "add_generation_prompt": False},
    ):
        found = server.post(
            model="tiny-random", messages=messages, temperature=0, max_tokens=6, **fields
        ).json()
        expected = complete(server, [*ids, *more])
        assert found["choices"][0]["message"]["content"] == expected.choices[0].text
        assert found["usage"]["prompt_tokens"] == len(ids) + len(more)
    refused(
        server,
        "exclude each other",
        messages=messages,
        continue_final_message=True,
        add_generation_prompt=True,
    )
    refused(server, "can be continued", messages=asked, continue_final_message=True)


def test_the_context_length_error_has_the_words_that_clients_look_for(server):
    with pytest.raises(openai.BadRequestError, match="maximum context length is 4096 tokens") as caught:
        complete(server, list(range(3, 103)) * 41)
    assert caught.value.code == "context_length_exceeded"


def test_answers_and_results_of_tools_can_be_sent_back(server, chat):
    answer = chat_of(server, chat).choices[0].message.model_dump()
    more = {"role": "user", "content": "and now?", "name": None}
    found = server.post(
        model="tiny-random", messages=[{"role": "user", "content": "hello"}, answer, more], max_tokens=3
    )
    assert found.status_code == 200
    empty = [{"role": "user", "content": "a"}, {"role": "assistant", "content": None}]
    refused(server, "'messages[1].content' is missing", messages=empty)
    # This model's template has no tools.
    tool = {"type": "function", "function": {"name": "clock", "parameters": {"type": "object"}}}
    refused(server, "takes no tools", messages=[{"role": "user", "content": "a"}], tools=[tool])
