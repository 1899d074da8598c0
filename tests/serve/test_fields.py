"""Fields of requests: token ids, penalties, JSON Schemas, mixes in model names."""

import json

import openai
import pytest

from pluralign.core import InputError, SteeringWeights
from pluralign.lm.grammar import GrammarState

from .mixtures import WEIGHTS, chat_of, complete, mixed, tokenizer


def refused(server, text, status=400, **body):
    found = server.post(model=body.pop("model", "tiny-random"), **body)
    assert found.status_code == status
    assert text in found.json()["error"]["message"]


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


@pytest.mark.parametrize("after", [0, 3])
def test_a_schema_that_proves_too_complex_ends_its_own_request_alone(server, chat, monkeypatch, after):
    allowed, asked = GrammarState.allowed, []

    def failing(state):
        asked.append(state)
        if len(asked) > after:
            raise InputError("cannot be followed: too many expressions", field="schema")
        return allowed(state)

    expected = chat_of(server, chat, max_tokens=100).choices[0].message.content
    monkeypatch.setattr(GrammarState, "allowed", failing)
    for stream in (False, True):
        asked.clear()
        other = chat_of(server, chat, max_tokens=100, stream=True)
        text = [next(other).choices[0].delta.content]
        with pytest.raises(openai.APIError, match="too many expressions") as caught:
            list(chat_of(server, chat, response_format=schema_form(PERSON), stream=stream))
        assert caught.value.param == "response_format"
        text += [chunk.choices[0].delta.content or "" for chunk in other]
        assert "".join(text) == expected
    assert server.wait_for(lambda m: m["pluralign_running"] == 0)


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
    asked = [{"role": "user", "content": "hello"}, answer, more]
    settings = {"model": "tiny-random", "messages": asked, "max_tokens": 3, "temperature": 0}
    found = server.post(**settings)
    assert found.status_code == 200
    # OpenAI's own answers have an empty list.
    same = {**settings, "messages": [settings["messages"][0], {**answer, "annotations": []}, more]}
    assert server.post(**same).json()["choices"] == found.json()["choices"]
    refused(server, "array of 0 to 0", messages=[{**more, "annotations": [{"type": "url_citation"}]}])
    empty = [{"role": "user", "content": "a"}, {"role": "assistant", "content": None}]
    refused(server, "'messages[1].content' is missing", messages=empty)
    # This model's template has no tools.
    tool = {"type": "function", "function": {"name": "clock", "parameters": {"type": "object"}}}
    refused(server, "takes no tools", messages=[{"role": "user", "content": "a"}], tools=[tool])
