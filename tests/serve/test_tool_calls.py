"""Tools: in by the chat template, out of the model's text."""

import json

import pytest

from pluralign.serve.errors import Refused
from pluralign.serve.tool_calls import ToolText, format_of
from pluralign.steer.decoder import MixtureDecoder

TEMPLATE = (
    "{% for tool in tools or [] %}{{ tool | tojson }}\n{% endfor %}"
    "{% for m in messages %}<|im_start|>{{ m.role }}\n"
    "{% if m.tool_calls %}{% for call in m.tool_calls %}<tool_call>{{ call.function.name }} "
    "{{ call.function.arguments }}</tool_call>{% endfor %}{% else %}{{ m.content }}{% endif %}<|im_end|>\n"
    "{% endfor %}{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)
CLOCK = {
    "type": "function",
    "function": {"name": "clock", "description": "Tells the time.", "parameters": {"type": "object"}},
}


def written(kind, text, size=3):
    """What a stream gives, and the rest and the calls at the end."""
    found = ToolText(kind, ["clock", "weather"])
    parts = [found.add(text[i : i + size]) for i in range(0, len(text), size)]
    rest, calls = found.finish()
    return "".join(parts), rest, [(one["function"]["name"], one["function"]["arguments"]) for one in calls]


CALL = '{"name": "clock", "arguments": {"zone": "UTC <b>"}}'


@pytest.mark.parametrize("size", [1, 3, 1000])
def test_calls_in_tags(size):
    one = f"<tool_call>\n{CALL}\n</tool_call>"
    assert written("tags", f"Let me see. {one}", size) == (
        "Let me see. ",
        "",
        [("clock", '{"zone": "UTC <b>"}')],
    )
    two = f'{one}\n<tool_call>{{"name": "weather", "arguments": {{}}}}</tool_call>'
    assert written("tags", two, size) == ("", "", [("clock", '{"zone": "UTC <b>"}'), ("weather", "{}")])
    # Text between calls and after them is text, too.
    later = f"One. {one} Two. {one}\nThree."
    sent, rest, calls = written("tags", later, size)
    assert (sent + rest, len(calls)) == ("One.  Two. \nThree.", 2)
    # An answer without calls, with what looks like the beginning of one, is sent whole.
    for text in (
        "a < b, <tool",
        "<tool_call>{broken</tool_call> x",
        '<tool_call>{"name": "rm", "arguments": {}}',
    ):
        sent, rest, calls = written("tags", text, size)
        assert (sent + rest, calls) == (text, [])


def test_calls_as_an_object():
    call = '{"name": "clock", "parameters": {"zone": 1}}'
    assert written("object", call) == ("", "", [("clock", '{"zone": 1}')])
    tags = '{"name": "clock", "parameters": {"zone": "<tool_call>1</tool_call>2"}}'
    assert written("object", tags) == ("", "", [("clock", '{"zone": "<tool_call>1</tool_call>2"}')])
    assert written("object", "It is noon.") == ("It is noon.", "", [])
    sent, rest, calls = written("object", '{"time": "noon"}')
    assert (sent + rest, calls) == ('{"time": "noon"}', [])


def test_formats_are_read_from_templates():
    assert format_of(TEMPLATE) == "tags"
    assert format_of('{{ tools }} respond with {"name": x, "parameters": {}}') == "object"
    for template in ("{{ messages }}", "{{ tools }} call them by smoke signals"):
        with pytest.raises(Refused) as caught:
            format_of(template)
        assert caught.value.param == "tools"


@pytest.fixture
def calling(serve, monkeypatch):
    """A server with a template that has tools, and a model that writes this text."""

    def make(text):
        started = serve()
        server = started.__enter__()
        deployment = server.service.deployment
        deployment.tokenizer.chat_template = TEMPLATE
        ids = deployment.tokenizer(text, add_special_tokens=False).input_ids
        stop = min(server.service.engine._decoder._admission.stops)
        choose = MixtureDecoder._choose

        def scripted(self, batch, found):
            step = len(self._running[batch.requests[0]].text.ids)
            token = [*ids, stop][step]
            batch.choose = lambda found, power: [(token, None)] * len(batch.requests)
            return choose(self, batch, found)

        monkeypatch.setattr(MixtureDecoder, "_choose", scripted)
        return started, server

    return make


def test_tools_go_in_and_calls_come_out(calling):
    started, server = calling(f"One moment. <tool_call>{CALL}</tool_call>\nDone.")
    try:
        messages = [{"role": "user", "content": "What time is it?"}]
        settings = {"model": "tiny-random", "messages": messages, "tools": [CLOCK], "max_tokens": 200}
        answer = server.openai.chat.completions.create(**settings)
        (choice,) = answer.choices
        assert choice.finish_reason == "tool_calls"
        assert choice.message.content == "One moment. \nDone."
        (call,) = choice.message.tool_calls
        assert (call.function.name, json.loads(call.function.arguments)) == ("clock", {"zone": "UTC <b>"})
        chunks = list(server.openai.chat.completions.create(**settings, stream=True))
        assert "".join(chunk.choices[0].delta.content or "" for chunk in chunks) == choice.message.content
        (part,) = [one for chunk in chunks for one in chunk.choices[0].delta.tool_calls or []]
        assert (part.index, part.function.name) == (0, "clock")
        assert chunks[-1].choices[0].finish_reason == "tool_calls"
        # The tools are in the prompt, and the result can be sent back.
        alone = server.openai.chat.completions.create(model="tiny-random", messages=messages, max_tokens=200)
        assert answer.usage.prompt_tokens > alone.usage.prompt_tokens
        assert alone.choices[0].message.content.endswith("</tool_call>\nDone.")
        messages += [
            choice.message.model_dump(),
            {"role": "tool", "tool_call_id": call.id, "content": "noon"},
        ]
        assert server.openai.chat.completions.create(**settings).choices
        none = server.openai.chat.completions.create(**settings, tool_choice="none")
        assert none.choices[0].finish_reason == "stop"
    finally:
        started.__exit__(None, None, None)
