"""The same rows from memory as from files, and the template that travels with them."""

import json

import datasets
import numpy as np
import pandas
import pytest

from pluralign.core import Demonstration, InputError
from pluralign.core.records import write_records
from pluralign.data.answers import load_answers
from pluralign.data.load import load_demonstrations, load_pairs, load_prompts, load_scored
from pluralign.data.reading import learned_template
from pluralign.lm.prompts import TEMPLATES
from pluralign.lm.tiny import make_tiny_tokenizer
from pluralign.pair.recipes import pair_completions

ROWS = [{"prompt": f"Q{i}", "chosen": f" good {i}", "rejected": f" bad {i}"} for i in range(30)]
ASK = [{"role": "user", "content": "Hi"}]
TALK = [{"prompt": ASK, "completion": [{"role": "assistant", "content": "Ho"}]}]


def texts(pairs):
    return [(pair.texts(), pair.split) for pair in pairs]


def test_rows_in_memory_are_the_rows_of_a_file(tmp_path):
    file = tmp_path / "d.jsonl"
    file.write_text("".join(json.dumps(row) + "\n" for row in ROWS))
    expected = load_pairs(file, "good")
    for data in (ROWS, iter(ROWS), datasets.Dataset.from_list(ROWS), {"train": ROWS, "other": []}):
        found = load_pairs(data, "good")
        assert texts(found) == texts(expected)
        assert dict(found.counts) == dict(expected.counts)
    parts = datasets.DatasetDict({name: datasets.Dataset.from_list(ROWS[:9]) for name in ("train", "test")})
    found = load_pairs(parts, "good")
    assert [pair.split for pair in found] == ["train"] * 9 + ["test"] * 9
    assert len({pair.chosen.id for pair in found}) == 18
    assert len(load_pairs(parts, split="test")) == 9
    with pytest.raises(InputError, match="has no split validation; it has train, test"):
        load_pairs(parts, split="validation")


def test_splits_of_other_names_are_said_not_to_be_read(caplog):
    parts = {"train": ROWS[:9], "val": ROWS[9:]}
    assert len(load_pairs(parts, "good")) == 9
    assert "splits val are not read: only train, validation and test are" in caplog.text
    caplog.clear()
    load_pairs(parts, "good", split="train")
    load_pairs({"train": ROWS[:9], "validation": ROWS[9:]}, "good")
    assert not caplog.text


def test_rows_of_a_data_frame_are_its_rows():
    frame = pandas.DataFrame(ROWS)
    assert texts(load_pairs(frame, "good")) == texts(load_pairs(ROWS, "good"))
    # Iterated, a frame gives the names of its columns.
    assert [row.text for row in load_prompts(frame, limit=2)] == [
        row.text for row in load_prompts(ROWS, limit=2)
    ]
    mixed = pandas.DataFrame([*TALK, {"prompt": "p", "completion": "c"}, {"prompt": "p"}])
    assert load_demonstrations(mixed[:-1])[-1].completion == "c"
    with pytest.raises(InputError, match=r"^row \d, field 'completion': is missing$"):
        load_demonstrations(mixed)


def test_numbers_of_numpy_are_numbers():
    row = {"prompt": "p", "completion": "c"}
    for number in (np.float32(0.5), np.float64(0.5), np.int64(2)):
        assert load_scored([{**row, "reward": number}])[0].reward == number
        assert load_pairs([{**ROWS[0], "margin": number}])[0].margin == number
    for number in (np.float32("nan"), np.bool_(True), True, "1"):
        with pytest.raises(InputError, match="'reward': expected a finite number"):
            load_scored([{**row, "reward": number}])


def test_errors_about_rows_in_memory_name_the_row():
    with pytest.raises(InputError, match=r"^row 2, field 'rejected': is missing$"):
        load_pairs([ROWS[0], {"prompt": "p", "chosen": "a"}])
    with pytest.raises(InputError, match=r"^row 1: expected columns and values, found 'abc'"):
        load_demonstrations(["abc"])
    with pytest.raises(InputError, match="field 'data': expected a path, a hub id or rows, found 3"):
        load_pairs(3)
    with pytest.raises(InputError, match=r"^holds no prompt"):
        load_prompts([])


@pytest.mark.parametrize("load", [load_demonstrations, load_scored, load_answers])
@pytest.mark.parametrize(
    ("row", "message"),
    [
        ({"prompt": "p"}, "field 'completion': is missing"),
        ({"completion": "c"}, "field 'prompt': is missing"),
        ({"prompt": 3, "completion": "c"}, "field 'prompt': expected a text or a list of messages, found 3"),
        ({"prompt": "p", "completion": [{"role": "a"}]}, "'completion': expected messages with a role"),
        ({"prompt": "p", "completion": TALK[0]["completion"] * 2}, "'completion': expected one message"),
        ({"messages": ASK}, "field 'messages': expected two messages or more"),
        ({"prompt": "p", "chosen": "a"}, "field 'rejected': is missing"),
    ],
)
def test_equal_mistakes_give_equal_errors(load, row, message):
    with pytest.raises(InputError, match=f"^row 1, {message}|^row 1, field {message}"):
        load([{**row, "reward": 1.0}])


def test_the_columns_that_count_are_the_same_for_all():
    row = {"messages": [*ASK, {"role": "assistant", "content": "no"}], "prompt": "p", "completion": "c"}
    assert load_demonstrations([row])[0].completion == "c"
    assert load_answers([row]).answers["p"].completions == ("c",)
    rewards = {"completion": {"reward": 1.0}, "messages": {"reward": 2.0}}
    assert load_scored([{**row, "rewards": rewards}])[0].reward == 1.0


def test_prompts_are_texts_or_rows():
    found = load_prompts(["a", "b", "a", " "])
    assert [prompt.text for prompt in found] == ["a", "b"]
    assert dict(found.counts) == {"rows": 4, "repeated": 1, "empty": 1, "unusable": 0}
    assert load_prompts([{"messages": [*ASK, *TALK[0]["completion"]]}])[0].given == ASK
    assert len(load_prompts(["a", "b"], limit=1)) == 1


def test_the_template_travels_with_what_it_rendered():
    tokenizer = make_tiny_tokenizer()
    plain, chat = load_demonstrations(TALK), load_demonstrations(TALK, template="chat", model="tiny-random")
    assert plain.template.name == "dialogue"
    assert chat.template == chat[:1].template == TEMPLATES["chat"](tokenizer)
    assert chat[0].prompt.endswith("<|im_start|>assistant\n")
    assert (
        learned_template(plain, None, tokenizer)
        == learned_template(plain, "dialogue", tokenizer)
        == "dialogue"
    )
    assert learned_template(chat, None, tokenizer) == "chat"
    with pytest.raises(InputError, match="rendered with the template 'chat', found 'dialogue'"):
        learned_template(chat, "dialogue", tokenizer)
    tokenizer.chat_template += " "
    with pytest.raises(InputError, match="another model's chat template"):
        learned_template(chat, "chat", tokenizer)
    mine = load_demonstrations(TALK, template=lambda messages, opens: "".join(m["content"] for m in messages))
    with pytest.raises(InputError, match="rendered with a function"):
        learned_template(mine, None, tokenizer)


def test_texts_go_with_every_template():
    tokenizer = make_tiny_tokenizer()
    for rows in (load_pairs(ROWS), [Demonstration("a", "b")]):
        assert learned_template(rows, None, tokenizer) == "dialogue"
        assert learned_template(rows, "chat", tokenizer) == "chat"


def test_templates_that_cannot_be_used_are_refused():
    with pytest.raises(InputError, match="field 'template': must be one of dialogue, chat, found 'x'"):
        load_pairs(ROWS, template="x")
    with pytest.raises(InputError, match="field 'model': the template 'chat' requires a model"):
        load_pairs(ROWS, template="chat")


def test_pairs_of_two_sources_keep_the_template_in_memory_and_in_files(tmp_path):
    better = load_demonstrations(TALK, template="chat", model="tiny-random")
    worse = load_demonstrations(
        [{**TALK[0], "completion": [{"role": "assistant", "content": "Hm"}]}],
        template="chat", model="tiny-random",
    )  # fmt: skip
    found = pair_completions(better, worse, objective="good")
    assert found.template == better.template
    with pytest.raises(InputError, match="different templates"):
        pair_completions(better, load_demonstrations(TALK), objective="good")
    template = {"name": found.template.name, "digest": found.template.digest}
    write_records(tmp_path / "pairs.jsonl", "pairs", found, {"template": template})
    back = load_pairs(tmp_path / "pairs.jsonl")
    assert back.template == found.template
    assert back.rows == found.rows


def test_pairs_of_our_own_are_read(tmp_path):
    file = tmp_path / "pairs.jsonl"
    pairs = load_pairs(ROWS, "good")
    write_records(file, "pairs", pairs)
    assert load_pairs(file).rows == pairs.rows
    part = load_pairs(file, "good", "validation")
    assert {pair.split for pair in part} == {"validation"}
    assert part.counts["pairs"] == len(part) == pairs.counts["pairs_validation"]
    with pytest.raises(InputError, match="pairs of other objectives than 'other'"):
        load_pairs(file, "other")


def test_two_columns_of_a_frame_are_refused():
    frame = pandas.DataFrame([["q", "a", "b", "c"]], columns=["prompt", "chosen", "rejected", "chosen"])
    with pytest.raises(InputError, match="field 'chosen': two columns have this name"):
        load_pairs(frame)


def test_what_pandas_calls_missing_is_missing():
    asked = {
        "prompt": [{"role": "user", "content": "q"}],
        "completion": [{"role": "assistant", "content": "a"}],
    }
    (row,) = load_demonstrations([{**asked, "system": pandas.NA, "tools": pandas.NA}], split="train")
    assert row == load_demonstrations([asked], split="train")[0]
    (pair,) = load_pairs([{"prompt": "q", "chosen": "a", "rejected": "b", "margin": pandas.NA}])
    assert pair.margin == 0.0
    with pytest.raises(InputError, match="row 1, field 'chosen': is missing"):
        load_pairs([{"prompt": "q", "chosen": pandas.NA, "rejected": "b"}])


def test_messages_that_pandas_reads_from_parquet_are_messages(tmp_path):
    """It reads lists as arrays, also those in messages."""
    call = {"type": "function", "function": {"name": "look", "arguments": "{}"}}
    messages = [
        {"role": "user", "content": "q"},
        {"role": "assistant", "content": "a", "tool_calls": [call]},
        {"role": "assistant", "content": "b"},
    ]
    pandas.DataFrame({"messages": [messages]}).to_parquet(tmp_path / "m.parquet")
    frame = pandas.read_parquet(tmp_path / "m.parquet")
    assert isinstance(frame.messages[0], np.ndarray)
    wanted = load_answers(tmp_path / "m.parquet").answers
    for rows in (frame, frame.to_dict("records"), [{"messages": list(frame.messages[0])}]):
        assert load_answers(rows).answers.keys() == wanted.keys()
        (found,) = load_answers(rows).answers.values()
        assert found.completions == ([{"role": "assistant", "content": "b"}],)
