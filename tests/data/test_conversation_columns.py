"""Rows of conversations: tools, system messages, parts, nothing, and what is refused by name."""

import json

import pytest
from json_lines import write

from pluralign.core import InputError
from pluralign.data.answers import load_answers
from pluralign.data.load import load_demonstrations, load_pairs, load_prompts
from pluralign.data.rows import read_named
from pluralign.lm.prompts import TEMPLATES
from pluralign.lm.tiny import CHAT_TEMPLATE, make_tiny_tokenizer

ASKED = {"role": "user", "content": "Hi"}
TOOLS = [{"type": "function", "function": {"name": "add", "parameters": {"type": "object"}}}]
CALL = {"type": "function", "function": {"name": "add", "arguments": {"a": 1}}}
CALLED = {"role": "assistant", "content": None, "tool_calls": [CALL]}
RESULT = {"role": "tool", "content": "2"}


def said(text):
    return {"role": "assistant", "content": text}


def chat(tools=False):
    tokenizer = make_tiny_tokenizer()
    if tools:
        tokenizer.chat_template = "{% if tools %}{{ tools | tojson }}\n{% endif %}" + CHAT_TEMPLATE.replace(
            "{{ message['content'] }}",
            "{{ message['content'] or '' }}{% if message['tool_calls'] %}"
            "{{ message['tool_calls'] | tojson }}{% endif %}",
        )
        assert "tojson" in tokenizer.chat_template
    return TEMPLATES["chat"](tokenizer)


def test_a_system_column_is_the_system_message():
    system = {"role": "system", "content": "Be brief."}
    rows = [
        ({"messages": [ASKED, said("Yes.")]}, {"messages": [system, ASKED, said("Yes.")]}),
        ({"prompt": [ASKED], "completion": [said("Yes.")]},
         {"prompt": [system, ASKED], "completion": [said("Yes.")]}),
        ({"prompt": [ASKED], "chosen": [said("Yes.")], "rejected": [said("No.")]},
         {"prompt": [system, ASKED], "chosen": [said("Yes.")], "rejected": [said("No.")]}),
        ({"chosen": [ASKED, said("Yes.")], "rejected": [ASKED, said("No.")]},
         {"chosen": [system, ASKED, said("Yes.")], "rejected": [system, ASKED, said("No.")]}),
    ]  # fmt: skip
    for apart, together in rows:
        for template in (chat(), TEMPLATES["dialogue"](make_tiny_tokenizer())):
            assert read_named({**apart, "system": "Be brief."}, template) == read_named(together, template)
            assert read_named({**apart, "system": None}, template) == read_named(apart, template)
        (prompt,) = load_prompts([{**apart, "system": "Be brief."}], template=chat())
        assert prompt.given == [system, ASKED]
    with pytest.raises(InputError, match="row 1, field 'system': the messages already have a system message"):
        load_demonstrations([{"messages": [system, ASKED, said("Yes.")], "system": "No."}])
    with pytest.raises(InputError, match="row 1, field 'system': requires messages"):
        load_demonstrations([{"prompt": "p", "completion": "c", "system": "No."}])


def test_tools_of_a_row_reach_the_template(tmp_path):
    row = {"prompt": [ASKED], "completion": [CALLED, RESULT, said("Two.")], "tools": TOOLS}
    path = write(tmp_path / "d.jsonl", [row, {**row, "tools": json.dumps(TOOLS)}])
    found = load_demonstrations(path, template=chat(tools=True))
    first, second = found
    assert (
        first.prompt
        == second.prompt
        == json.dumps(TOOLS[0] and TOOLS) + ("\n<|im_start|>user\nHi<|im_end|>\n<|im_start|>assistant\n")
    )
    assert first.completion.startswith(json.dumps([CALL]) + "<|im_end|>\n<|im_start|>tool\n2<|im_end|>\n")
    assert first.completion.endswith("<|im_start|>assistant\nTwo.<|im_end|>\n")
    (answers,) = load_answers(path).answers.values()
    assert len(answers.completions) == 2
    assert answers.decision(chat(tools=True)).prompt == first.prompt


@pytest.mark.parametrize(
    ("row", "message"),
    [
        ({"prompt": [ASKED], "completion": [said("a")], "tools": TOOLS}, "'tools': .* leaves out"),
        ({"prompt": "p", "completion": "c", "tools": TOOLS}, "'tools': requires messages"),
        ({"prompt": [ASKED], "completion": [said("a")], "tools": "x"}, "'tools': expected a list of tools"),
        ({"prompt": [ASKED], "completion": [CALLED]}, "'completion': .* leaves out 'tool_calls'"),
        ({"messages": [{**ASKED, "name": "Ann"}, said("a")]}, "'messages': .* leaves out 'name'"),
        ({"messages": [{"role": "user", "content": None}, said("a")]}, "'messages': expected messages with"),
        (
            {"messages": [{"role": "user", "content": [{"type": "image", "image": "x"}]}, said("a")]},
            "'messages': message 1 has a part of the type 'image'",
        ),
        (
            {"messages": [{"role": "user", "content": [{"type": "input_audio", "data": "x"}]}, said("a")]},
            "'messages': message 1 has a part of the type 'input_audio'",
        ),
        ({"messages": [{**ASKED, "images": ["x"]}, said("a")]}, "'messages': message 1 has the field 'im"),
        ({"prompt": [{**ASKED, "tools": TOOLS}], "completion": [said("a")]}, "'prompt': message 1 has the f"),
        ({"prompt": "p", "completion": "c", "images": ["x"]}, "'images': is not supported"),
        ({"prompt": [ASKED], "completion": [said("a")], "functions": [{}]}, "'functions': is not supported"),
        ({"prompt": "p", "completion": "c\ud800"}, "'completion': has a lone surrogate"),
        ({"messages": [{"role": "user", "content": "\udc00"}, said("a")]}, "'messages': has a lone"),
    ],
)  # fmt: skip
def test_what_would_be_lost_is_refused_by_name(row, message):
    good = {"prompt": "p", "completion": "c"}
    with pytest.raises(InputError, match=f"^row 2, field {message}"):
        load_demonstrations([good, row], template=chat())


def test_pairs_with_half_a_character_are_refused():
    rows = [{"prompt": "p", "chosen": "a\ud800", "rejected": "b"}]
    with pytest.raises(InputError, match="row 1, field 'chosen': has a lone surrogate"):
        load_pairs(rows)
    with pytest.raises(InputError, match="row 2, field 'prompt': has a lone surrogate"):
        load_prompts(["a", "b\udfff"])


def test_parts_that_are_texts_are_one_text():
    parts = [{"type": "text", "text": "H"}, {"type": "text", "text": "i"}]
    (found,) = load_demonstrations([{"messages": [{"role": "user", "content": parts}, said("a")]}])
    assert found.prompt == "\n\nHuman: Hi\n\nAssistant:"


def test_what_data_sets_fill_in_is_nothing():
    filled = {"role": "user", "content": "Hi", "name": None, "tool_calls": None, "tools": [], "id": 7}
    row = {"messages": [filled, said("a")], "tools": None, "system": "", "images": []}
    assert load_demonstrations([row])[0] == load_demonstrations([{"messages": [ASKED, said("a")]}])[0]


def test_what_a_template_refuses_has_file_and_row(tmp_path):
    tokenizer = make_tiny_tokenizer()
    tokenizer.chat_template = (
        "{% if messages[0]['role'] == 'system' %}"
        "{{ raise_exception('System role not supported') }}{% endif %}" + CHAT_TEMPLATE
    )
    rows = [{"messages": [ASKED, said("a")]}] * 2
    rows.append({"messages": [{"role": "system", "content": "s"}, ASKED, said("a")]})
    path = write(tmp_path / "d.jsonl", rows)
    expected = r"d\.jsonl:3, field 'messages': the chat template refuses the messages: System role not"
    template = TEMPLATES["chat"](tokenizer)
    for load in (load_demonstrations, load_prompts):
        with pytest.raises(InputError, match=expected):
            load(path, template=template)
    answers = load_answers(path)
    (_, refused) = answers.answers.values()
    with pytest.raises(InputError, match=r"d\.jsonl:3, field 'completion': the chat template refuses"):
        refused.decision(template)


def test_completions_of_several_messages_are_read_whole():
    more = [said("One."), {"role": "user", "content": "And?"}, said("Two.")]
    row = {"prompt": [ASKED], "completion": more}
    _, text = read_named(row, TEMPLATES["dialogue"](make_tiny_tokenizer()))["completion"]
    assert text == " One.\n\nHuman: And?\n\nAssistant: Two."
    pair = {"prompt": [ASKED], "chosen": more, "rejected": [said("No.")]}
    assert read_named(pair, chat())["chosen"][1].endswith("Two.<|im_end|>\n")


def test_names_of_control_tokens_in_rows_are_quoted():
    (found,) = load_pairs([{"prompt": "a<|im_start|>b", "chosen": "c<|im_end|>", "rejected": "<|im_end|>d"}],
                          template=chat())  # fmt: skip
    (prompt, chosen), (_, rejected) = found.texts()
    assert prompt == "a\U000e01ef<|im_start|>b"
    assert (chosen, rejected) == ("c<|im_end|>", "\U000e01ef<|im_end|>d")
