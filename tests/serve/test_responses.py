"""The Responses API, by OpenAI's client: it gives the answers of the chat API."""

import json
import time

import openai
import pytest

from pluralign.serve.audit import Audit
from pluralign.serve.settings import Limits
from pluralign.steer.decoder import MixtureDecoder

from .test_records import lines
from .test_tool_calls import CLOCK, TEMPLATE

MIX = {"one": 0.7, "two": 0.3, "three": 0.0}


def create(server, given="hello there", **fields):
    extra = {"steering_weights": MIX, **fields.pop("extra_body", {})}
    asked = {"model": "tiny-random", "temperature": 0, "max_output_tokens": 10, **fields}
    return server.openai.responses.create(input=given, extra_body=extra, **asked)


def chat_text(server, messages, **fields):
    asked = {"model": "tiny-random", "temperature": 0, "max_tokens": 10, **fields}
    answer = server.openai.chat.completions.create(
        messages=messages, extra_body={"steering_weights": MIX}, **asked
    )
    return answer.choices[0].message.content


def test_an_answer_is_that_of_the_chat_api(server):
    messages = [{"role": "system", "content": "Be brief."}, {"role": "user", "content": "hello there"}]
    expected = chat_text(server, messages)
    found = create(server, instructions="Be brief.", metadata={"a": "b"})
    assert found.output_text == expected
    assert (found.object, found.status, found.store) == ("response", "incomplete", False)
    assert found.incomplete_details.reason == "max_output_tokens"
    assert found.steering_weights == MIX
    assert (found.instructions, found.metadata) == ("Be brief.", {"a": "b"})
    assert found.usage.output_tokens == 10
    assert found.usage.total_tokens == found.usage.input_tokens + 10
    assert found.id.startswith("resp_")
    parts = [{"role": "developer", "content": "Be brief."}, {"role": "user", "content": [
        {"type": "input_text", "text": "hello "}, {"type": "input_text", "text": "there"}]}]  # fmt: skip
    assert create(server, parts).output_text == expected


def test_an_answer_that_ends_by_itself_is_complete(server):
    whole = create(server, max_output_tokens=40)
    found = create(server, max_output_tokens=40, extra_body={"stop": [whole.output_text[3:6]]})
    assert (found.status, found.incomplete_details) == ("completed", None)
    assert found.output[0].status == "completed"
    assert len(found.output_text) < len(whole.output_text)


def test_answers_are_sent_back(server):
    first = create(server)
    turns = [{"role": "user", "content": "hello there"}, *first.output, {"role": "user", "content": "go on"}]
    given = [one if isinstance(one, dict) else one.model_dump() for one in turns]
    expected = chat_text(
        server,
        [given[0], {"role": "assistant", "content": first.output_text}, given[-1]],
    )
    assert create(server, given).output_text == expected


def test_a_stream_has_the_events_of_the_answer(server):
    whole = create(server)
    events = list(create(server, stream=True))
    assert [event.sequence_number for event in events] == list(range(len(events)))
    kinds = [event.type.removeprefix("response.") for event in events]
    deltas = [event.delta for event in events if event.type == "response.output_text.delta"]
    assert kinds == [
        "created", "in_progress", "output_item.added", "content_part.added",
        *["output_text.delta"] * len(deltas), "output_text.done", "content_part.done", "output_item.done",
        "incomplete",
    ]  # fmt: skip
    assert len(deltas) > 1
    assert "".join(deltas) == whole.output_text
    assert {event.item_id for event in events[3:-2]} == {events[-1].response.output[0].id}
    last = events[-1].response
    assert last.output_text == whole.output_text
    assert last.usage == whole.usage
    with server.openai.responses.stream(
        model="tiny-random", input="hello there", temperature=0, max_output_tokens=10,
        extra_body={"steering_weights": MIX},
    ) as stream:  # fmt: skip
        assert list(stream)[-1].response.output_text == whole.output_text


def test_an_answer_follows_a_schema(server):
    schema = {"type": "object", "properties": {"a": {"enum": ["x", "y"]}}, "required": ["a"],
              "additionalProperties": False}  # fmt: skip
    form = {"format": {"type": "json_schema", "name": "choice", "schema": schema}}
    found = create(server, text=form, max_output_tokens=60)
    assert json.loads(found.output_text)["a"] in ("x", "y")
    assert found.status == "completed"


@pytest.fixture
def calling(serve, monkeypatch):
    """A server with a model that calls a tool."""
    call = '<tool_call>{"name": "clock", "arguments": {"zone": "UTC"}}</tool_call>'
    with serve() as server:
        deployment = server.service.deployment
        deployment.tokenizer.chat_template = TEMPLATE
        event = MixtureDecoder._event

        def scripted(decoder, number, token):
            found = event(decoder, number, token)
            ended = found.tokens == 2
            object.__setattr__(found, "text", call[:20] if found.tokens == 1 else call[20:] if ended else "")
            object.__setattr__(found, "finish_reason", "stop" if ended else None)
            return found

        monkeypatch.setattr(MixtureDecoder, "_event", scripted)
        yield server


def test_tools_are_called_and_their_outputs_sent_back(calling):
    tool = {"type": "function", "strict": False, **CLOCK["function"]}
    found = create(calling, tools=[tool])
    (item,) = found.output
    assert (item.type, item.name, json.loads(item.arguments)) == ("function_call", "clock", {"zone": "UTC"})
    assert found.tools[0].name == "clock"
    events = list(create(calling, tools=[tool], stream=True))
    assert [event.type.removeprefix("response.") for event in events] == [
        "created", "in_progress", "output_item.added", "function_call_arguments.delta",
        "function_call_arguments.done", "output_item.done", "completed",
    ]  # fmt: skip
    assert events[-2].item.arguments == item.arguments
    output = {"type": "function_call_output", "call_id": item.call_id, "output": "noon"}
    given = [{"role": "user", "content": "what time is it?"}, item.model_dump(), output]
    chat = calling.service.parser.parse(
        "responses", {"model": "tiny-random", "input": given, "tools": [tool]}
    ).prompt
    assert [one["role"] for one in chat] == ["user", "assistant", "tool"]
    assert chat[1]["tool_calls"][0]["id"] == chat[2]["tool_call_id"] == item.call_id
    assert create(calling, given, tools=[tool]).output


@pytest.mark.parametrize(
    ("fields", "param"),
    [
        ({"previous_response_id": "resp_1"}, "previous_response_id"),
        ({"background": True}, "background"),
        ({"store": True}, "store"),
        ({"conversation": "c"}, "conversation"),
        ({"include": ["message.output_text.logprobs"]}, "include"),
        ({"reasoning": {"effort": "low"}}, "reasoning"),
        ({"truncation": "auto"}, "truncation"),
        ({"tools": [{"type": "web_search"}]}, "tools[0].type"),
        ({"extra_body": {"warmth": 1}}, "warmth"),
        ({"extra_body": {"n": 2}}, "n"),
        ({"max_output_tokens": 100_000}, "max_output_tokens"),
        ({"extra_body": {"steering_weights": {"one": 0.5}}}, "steering_weights"),
        ({"given": [{"role": "user"}]}, "input[0].content"),
        ({"given": [{"role": "user", "content": [{"type": "input_image", "text": "x"}]}]},
         "input[0].content[0].type"),
        ({"given": [{"type": "item_reference", "id": "x"}]}, "input[0].type"),
        ({"given": "x" * 5000}, "input"),
    ],
)  # fmt: skip
def test_what_is_not_supported_is_refused_by_name(server, fields, param):
    with pytest.raises(openai.BadRequestError) as refused:
        create(server, **fields)
    assert refused.value.param == param
    if param in ("previous_response_id", "background", "store", "conversation", "reasoning"):
        assert refused.value.code == "unsupported_parameter"


def test_a_stream_that_fails_says_so(serve, tmp_path):
    path = tmp_path / "audit.jsonl"
    with serve(Limits(seconds=0.5), audit=Audit(path, texts=True)) as server:
        decoder = server.service.engine._decoder
        step = decoder.step
        decoder.step = lambda: (decoder.running and time.sleep(0.1), step())[1]
        events = list(create(server, stream=True, max_output_tokens=1000))
        assert events[-1].type == "response.failed"
        assert "longer than 0.5 seconds" in events[-1].response.error.message
        assert server.wait_for(lambda _: len(lines(path)) == 2)
    start, end = lines(path)
    assert (start["api"], start["id"], end["status"]) == ("responses", events[0].response.id, 504)
    assert start["prompt"] == [{"role": "user", "content": "hello there"}]
