"""What chat templates and the plain dialogue do with messages: tools, calls, and what is refused."""

import copy
import gc
import weakref

import chat_templates as styles
import pytest
from chat_templates import ANSWER, ASKED

from pluralign.core import InputError
from pluralign.core.messages import Conversation, dialogue
from pluralign.core.turns import completion_texts
from pluralign.lm.chat_template import chat_template_of
from pluralign.lm.prompts import TEMPLATES, encode, render_chat
from pluralign.lm.tiny import make_tiny_tokenizer

TOOLS = [{"type": "function", "function": {"name": "add", "parameters": {"type": "object"}}}]
CALL = {"type": "function", "function": {"name": "add", "arguments": {"a": 1}}}


def test_tools_and_their_calls_reach_the_template():
    tokenizer = styles.tokenizer_of("tools")
    called = [{"role": "assistant", "content": None, "tool_calls": [CALL]}]
    result = [{"role": "tool", "content": "2", "name": "add"}]
    before, after = completion_texts(
        TEMPLATES["chat"](tokenizer), Conversation(ASKED, {"tools": TOOLS}), [*called, *result, *ANSWER]
    )
    assert before == tokenizer.apply_chat_template(
        ASKED, tools=TOOLS, tokenize=False, add_generation_prompt=True
    )
    expected = tokenizer.apply_chat_template([*ASKED, *called, *result, *ANSWER], tools=TOOLS, tokenize=False)
    assert before + after == expected
    assert '<call>{"name": "add", "arguments": {"a": 1}}</call><|im_end|>' in after


@pytest.mark.parametrize(
    ("messages", "message"),
    [
        (Conversation(ASKED, {"tools": TOOLS}), "leaves out the tools"),
        (
            [*ASKED, {"role": "assistant", "content": "", "tool_calls": [CALL]}],
            "leaves out 'tool_calls' of message 2",
        ),
        ([{"role": "user", "content": "a", "name": "Ann"}], "leaves out 'name' of message 1"),
        (
            [*ASKED, {"role": "assistant", "content": "a", "reasoning_content": "b"}],
            "leaves out 'reasoning_content'",
        ),
    ],
)
def test_what_a_template_leaves_out_is_refused(messages, message):
    with pytest.raises(InputError, match=message):
        TEMPLATES["chat"](make_tiny_tokenizer())(messages, False)


def test_many_calls_are_rendered_a_few_times():
    tokenizer = styles.tokenizer_of("tools")
    turns = [{"role": "assistant", "content": None, "tool_calls": [CALL]}, {"role": "tool", "content": "2"}]
    named = {"role": "user", "content": "a", "name": "Ann"}
    template, count = TEMPLATES["chat"](tokenizer), []
    apply = tokenizer.apply_chat_template
    tokenizer.apply_chat_template = lambda *given, **more: (count.append(1), apply(*given, **more))[1]
    assert template([*ASKED, *turns * 30], True) == apply(
        [*ASKED, *turns * 30], tokenize=False, add_generation_prompt=True
    )
    with pytest.raises(InputError, match="leaves out 'name' of message 62"):
        template([*ASKED, *turns * 30, named], True)
    assert len(count) < 20


def test_roles_that_a_template_leaves_out_are_refused():
    tokenizer = styles.tokenizer_of("eos only")
    tokenizer.chat_template = tokenizer.chat_template.replace(
        "{% else %}", "{% elif m.role == 'assistant' %}"
    )
    system = {"role": "system", "content": "Be brief."}
    with pytest.raises(InputError, match="leaves out messages of the role 'system'"):
        TEMPLATES["chat"](tokenizer)([system, *ASKED], True)


def test_arguments_of_calls_are_encoded_once():
    tokenizer = styles.tokenizer_of("tools")
    texts = []
    for given in ({"a": "é"}, '{"a": "é"}'):
        call = {"type": "function", "function": {"name": "add", "arguments": given}}
        message = {"role": "assistant", "content": None, "tool_calls": [call]}
        texts.append(TEMPLATES["chat"](tokenizer)([*ASKED, message], False))
    assert texts[0] == texts[1]
    assert '"arguments": {"a": "é"}' in texts[0]


def test_a_content_of_none_is_no_word():
    tokenizer = styles.tokenizer_of("tools")
    tokenizer.chat_template = styles.TOOLS.replace(
        "{% if m['content'] %}{{ m['content'] }}{% endif %}", "{{ m['content'] }}"
    )
    text = TEMPLATES["chat"](tokenizer)(
        [*ASKED, {"role": "assistant", "content": None, "tool_calls": [CALL]}], False
    )
    assert "None" not in text
    assert "<call>" in text


@pytest.mark.parametrize(
    ("name", "messages", "message"),
    [
        ("gemma", [{"role": "system", "content": "a"}, *ASKED], "refuses the messages: System role not supp"),
        ("gemma", [*ASKED, *ASKED], "refuses the messages: Conversation roles must alternate"),
        ("mistral", [*ASKED, *ASKED], "refuses the messages: roles must alternate"),
    ],
)
def test_what_a_template_refuses_is_one_line(name, messages, message):
    with pytest.raises(InputError, match=message):
        TEMPLATES["chat"](styles.tokenizer_of(name))(messages, True)


def test_mistakes_inside_a_template_are_one_line():
    tokenizer = make_tiny_tokenizer()
    for broken in ("{{ messages[9]['content'] + 'x' }}", "{{ messages[0]['content'] + 1 }}", "{% if %}"):
        tokenizer.chat_template = broken
        with pytest.raises(InputError, match="the chat template refuses the messages"):
            TEMPLATES["chat"](tokenizer)(ASKED, True)


def test_half_a_character_is_refused():
    tokenizer = make_tiny_tokenizer()
    for read in (
        lambda: encode(tokenizer, "a\ud800"),
        lambda: TEMPLATES["chat"](tokenizer).quote_prompt("a\ud800"),
        lambda: render_chat(tokenizer, "a\ud800"),
    ):
        with pytest.raises(InputError, match="lone surrogate"):
            read()


def test_answers_of_the_plain_dialogue_begin_without_its_space():
    template = TEMPLATES["dialogue"](make_tiny_tokenizer())
    assert template.bare_answer(" It is 3.\n\nHuman: And") == "It is 3."
    assert template.bare_answer(" It is 3.\n\nAssistant: And") == "It is 3."
    assert template.bare_answer("It is 3.") == "It is 3."
    texts = completion_texts(template, ASKED, "It is 3.")
    assert texts == completion_texts(template, ASKED, ANSWER)
    assert texts == ("\n\nHuman: What is two?\n\nAssistant:", " It is 3.")
    # Answers that were written with it are not changed.
    assert completion_texts(template, ASKED, " It is 3.") == texts
    assert completion_texts(template, ASKED, "")[1] == ""


@pytest.mark.parametrize(
    "messages",
    [
        Conversation(ASKED, {"tools": TOOLS}),
        [{"role": "assistant", "content": None, "tool_calls": [CALL]}],
        [{"role": "user", "content": "a", "name": "Ann"}],
    ],
)
def test_the_plain_dialogue_refuses_what_it_has_no_place_for(messages):
    with pytest.raises(InputError, match="'dialogue' cannot express"):
        dialogue(messages, True)


def test_a_tokenizer_that_is_no_longer_used_is_freed():
    tokenizer = make_tiny_tokenizer()
    assert TEMPLATES["chat"](tokenizer)(ASKED, True)
    alike = copy.copy(tokenizer)
    assert chat_template_of(alike) is not chat_template_of(tokenizer) is chat_template_of(tokenizer)
    gone = weakref.ref(tokenizer)
    del tokenizer
    gc.collect()
    assert gone() is None
    assert TEMPLATES["chat"](alike)(ASKED, True)
