"""Preference pairs whose columns are conversations."""

import pytest
from json_lines import write

from pluralign.core.messages import says_nothing
from pluralign.data.columns import FieldError
from pluralign.data.load import load_pairs
from pluralign.data.rows import read_pair
from pluralign.data.text_pairs import TextPair, to_trl_rows


def trl(source, split=None, **settings):
    return to_trl_rows(load_pairs(source, "good", split, **settings))


def user(text):
    return {"role": "user", "content": text}


def assistant(text):
    return {"role": "assistant", "content": text}


DIALOGUE = TextPair("\n\nHuman: Hi\n\nAssistant:", " Good.", " Bad.")


@pytest.mark.parametrize(
    "row",
    [
        {"prompt": [user("Hi")], "chosen": [assistant("Good.")], "rejected": [assistant("Bad.")]},
        {"chosen": [user("Hi"), assistant("Good.")], "rejected": [user("Hi"), assistant("Bad.")]},
        {
            "prompt": "Hi",
            "chosen": [user("Hi"), assistant("Good.")],
            "rejected": [user("Hi"), assistant("Bad.")],
        },
    ],
    ids=["explicit", "implicit", "text beside"],
)
def test_conversations(tmp_path, row):
    assert read_pair(row) == DIALOGUE
    [found] = trl(write(tmp_path / "d.jsonl", [row]))
    assert found == {"prompt": DIALOGUE.prompt, "chosen": " Good.", "rejected": " Bad."}


def test_a_text_prompt_beside_the_assistants_messages_alone_is_their_prompt():
    row = {"prompt": "Hi,", "chosen": [assistant(" Jo.")], "rejected": [assistant(" Al.")]}
    assert read_pair(row) == TextPair("Hi,", " Jo.", " Al.")
    system = [{"role": "system", "content": "Be brief."}]
    for more in ({"system": "Be brief."}, {"chosen": [*system, assistant(" Jo.")]}):
        with pytest.raises(FieldError, match="is a text, which has no system message"):
            read_pair(row | more)


def test_conversations_of_several_turns_and_a_system_message():
    start = [{"role": "system", "content": "Be brief."}, user("Hi")]
    found = read_pair(
        {
            "chosen": [*start, assistant("A"), user("So?"), assistant("B")],
            "rejected": [*start, assistant("C")],
        }
    )
    assert found.prompt == "\n\nSystem: Be brief.\n\nHuman: Hi\n\nAssistant:"
    assert found.chosen == " A\n\nHuman: So?\n\nAssistant: B"


def test_a_chat_template_of_the_users():
    def render(messages, opens):
        return "".join(f"<{m['role']}>{m['content']}" for m in messages) + "<assistant>" * opens

    row = {"chosen": [user("Hi"), assistant("Good.")], "rejected": [user("Hi"), assistant("Bad.")]}
    assert read_pair(row, render) == TextPair("<user>Hi<assistant>", "Good.", "Bad.")


def test_an_answer_without_text_is_empty_in_a_chat_template_too():
    ask, told = [user("Hi")], [assistant("a")]
    rows = [
        {"prompt": ask, "chosen": told, "rejected": [assistant("")]},
        {"chosen": [*ask, assistant(" ")], "rejected": ask + told},
        {"chosen": ask + told, "rejected": [user("Ho"), assistant("")]},
        {"prompt": ask, "chosen": told, "rejected": [assistant("b")]},
    ]
    pairs = load_pairs(rows, "good", template="chat", model="tiny-random", two_prompts=True)
    assert (pairs.counts["empty"], pairs.counts["pairs"]) == (3, 1)
    assert not says_nothing([{"role": "assistant", "content": "", "tool_calls": [{"type": "function"}]}])


def test_conversations_that_cannot_be_used():
    one = [user("Hi"), assistant("a")]
    assert read_pair({"chosen": one, "rejected": [user("Ho"), assistant("a")]}) == "prompts_differ"
    assert read_pair({"chosen": one, "rejected": one}) == "identical"
    assert read_pair({"chosen": one, "rejected": [user("Hi")]}) == "prompts_differ"
    assert read_pair({"chosen": one, "rejected": [user("Hi"), assistant("")]}) == "empty"
