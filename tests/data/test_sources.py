"""The same rows from memory as from files, and the template that travels with them."""

import gzip
import json
import os

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


def test_reading_local_data_asks_nothing_of_the_network(tmp_path, monkeypatch):
    asked = []
    monkeypatch.setattr(datasets.load, "get_session", lambda: asked.append("a session"))
    # Without these the library asks nothing anyway.
    monkeypatch.setattr(datasets.config, "HF_HUB_OFFLINE", False)
    monkeypatch.setattr(datasets.config, "HF_UPDATE_DOWNLOAD_COUNTS", True)
    (tmp_path / "rows").mkdir()
    for file in (tmp_path / "d.jsonl", tmp_path / "rows" / "train.jsonl"):
        file.write_text("".join(json.dumps(row) + "\n" for row in ROWS))
    assert len(load_pairs(tmp_path / "d.jsonl", "good")) == len(load_pairs(tmp_path / "rows", "good")) == 30
    assert not asked
    assert datasets.config.HF_UPDATE_DOWNLOAD_COUNTS


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


def test_lines_of_a_text_file_end_at_line_breaks_only(tmp_path):
    file = tmp_path / "prompts.txt"
    file.write_bytes("\ufeffOne\u2028and the same.\r\nTwo\x0cpages.\n".encode())
    assert [one.text for one in load_prompts(file)] == ["One\u2028and the same.", "Two\x0cpages."]


def test_texts_of_tables_that_look_like_numbers_are_texts(tmp_path):
    file = tmp_path / "d.csv"
    file.write_text("prompt,chosen,rejected,reward\n6,42,007,1.5\n7,True,1e3,2\n")
    assert [pair.texts() for pair in load_pairs(file, "right")] == [
        (("6", "42"), ("6", "007")), (("7", "True"), ("7", "1e3")),
    ]  # fmt: skip
    assert [one.reward for one in load_scored(file, "right")] == [1.5, 2.0]


@pytest.mark.parametrize("name", ["d.jsonl", "d.jsonl.gz", "d.json", "folder"])
def test_texts_that_are_all_dates_stay_texts(name, tmp_path):
    """The reader of JSON takes them for times, which no loader reads, and whose words are others."""
    dates = ["2024-01-31", "2023-11-05T10:00:00", "1999-12-24 08:30:00Z"]
    rows = [{"prompt": f"When {i}?", "completion": text} for i, text in enumerate(dates)]
    talks = [
        {"messages": [{"role": "user", "content": text}, {"role": "assistant", "content": text}]}
        for text in dates
    ]
    for number, own in enumerate((rows, talks)):
        path = tmp_path / str(number) / name
        file = path / "train.jsonl" if name == "folder" else path
        file.parent.mkdir(parents=True)
        lines = "".join(json.dumps(row) + "\n" for row in own)
        text = (json.dumps(own) if name.endswith(".json") else lines).encode()
        file.write_bytes(gzip.compress(text) if name.endswith(".gz") else text)
        assert [row.completion.strip() for row in load_demonstrations(path)] == dates


@pytest.mark.parametrize("name", ["d.jsonl", "d.csv", "d.jsonl.gz", "folder/train.jsonl"])
def test_a_file_of_the_same_name_and_time_is_read_anew(name, tmp_path):
    file = tmp_path / name
    file.parent.mkdir(exist_ok=True)
    for answer in ("yes", "no!"):
        text = f"prompt,completion\nSay:,{answer}\n"
        if "jsonl" in name:
            text = json.dumps({"prompt": "Say:", "completion": answer}) + "\n"
        file.write_bytes(gzip.compress(text.encode()) if name.endswith(".gz") else text.encode())
        os.utime(file, (1e9, 1e9))
        (row,) = load_demonstrations(file.parent if "/" in name else file, split="train")
        assert row.completion == answer


@pytest.mark.parametrize(
    ("name", "other"), [("a[1].jsonl", "a1.jsonl"), ("b*.jsonl", "bb.jsonl"), ("[x]/c.jsonl", "c")]
)
def test_a_name_is_no_pattern(name, other, tmp_path):
    for number, file in enumerate((tmp_path / name, tmp_path / other)):
        file.parent.mkdir(exist_ok=True)
        file.write_text(json.dumps({"prompt": "Say:", "completion": str(number)}))
    assert [row.completion for row in load_demonstrations(tmp_path / name)] == ["0"]


ANSWERED = '{"prompt": "q", "chosen": " a", "rejected": " b", "chosen": " c"}\n'
WHOLE = ANSWERED.replace(', "chosen": " c"', "")


@pytest.mark.parametrize(
    ("name", "content", "where"),
    [
        ("x.csv", "prompt,chosen,rejected,chosen\nq, a, b, c\n", r"x.csv:1, field 'chosen': two columns"),
        ("x.tsv", "prompt\tchosen\trejected\tchosen\nq\ta\tb\tc\n", r"x.tsv:1, field 'chosen': two columns"),
        ("x.csv", "prompt;chosen;rejected;prompt\nq;1,5;2;q\n", r"x.csv:1, field 'prompt': two columns"),
        ("x.jsonl", WHOLE + ANSWERED, r"x.jsonl:2: field 'chosen' is repeated"),
        ("x.json", f"[{WHOLE}, {ANSWERED}, {WHOLE}]", r"x.json:2: field 'chosen' is repeated"),
        ("folder/train.json", f"[{ANSWERED}]", r"train.json:1: field 'chosen' is repeated"),
        ("x.jsonl", ANSWERED + WHOLE.replace('" b"', "[1]"), r"x.jsonl:1: field 'chosen' is repeated"),
        ("x.jsonl", '{"messages": [{"role": "user", "role": "a"}]}\n', r"x.jsonl:1: field 'role'"),
    ],
)  # fmt: skip
def test_two_columns_of_one_name_are_refused(name, content, where, tmp_path):
    """One of them was taken in silence."""
    path = tmp_path / name
    path.parent.mkdir(exist_ok=True)
    path.write_text(content)
    with pytest.raises(InputError, match=where):
        load_pairs(path.parent if "/" in name else path)


def test_unnamed_columns_of_tables_may_be_several(tmp_path):
    (tmp_path / "x.csv").write_text("prompt,chosen,rejected,,\nq, a, b,,\n")
    (pair,) = load_pairs(tmp_path / "x.csv")
    assert pair.texts() == (("q", " a"), ("q", " b"))


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


def test_tables_of_a_folder_are_read_as_single_ones(tmp_path):
    """Completions such as "N/A" counted as missing there, and "007" as a number."""
    table = "prompt;chosen;rejected\n42;N/A;007\n"
    for name in ("train", "test"):
        (tmp_path / f"{name}.csv").write_text(table)
    pairs = load_pairs(tmp_path)
    assert [(pair.texts(), pair.split) for pair in pairs] == [
        ((("42", "N/A"), ("42", "007")), "train"), ((("42", "N/A"), ("42", "007")), "test"),
    ]  # fmt: skip


def test_a_folder_that_would_be_a_pattern_is_refused_and_its_files_are_read(tmp_path, monkeypatch):
    """Rows of other folders that match were read as well."""
    for name in ("a*b", "a-b"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "train.jsonl").write_text(WHOLE)
    with pytest.raises(InputError, match=r"a\*b: a folder of data cannot have"):
        load_pairs(tmp_path / "a*b")
    assert len(load_pairs(tmp_path / "a*b" / "train.jsonl")) == 1
    monkeypatch.chdir(tmp_path / "a*b")
    assert len(load_pairs("train.jsonl")) == 1


@pytest.mark.parametrize("separator", [",", ";", "\t"])
def test_an_empty_cell_makes_no_texts_of_the_other_numbers(separator, tmp_path):
    """The margins were refused as texts."""
    rows = ["prompt,chosen,rejected,margin", "q,a,b,1.5", "q,a,c,", "q,NA,N/A,2"]
    path = tmp_path / ("x.tsv" if separator == "\t" else "x.csv")
    numbers = [row.replace(",", separator) for row in rows]
    if separator == ";":
        numbers[1] = "q;a;b;1,5"
    path.write_text("\n".join(numbers) + "\n")
    pairs = load_pairs(path)
    assert [pair.margin for pair in pairs] == [1.5, 0.0, 2.0]
    assert pairs[2].texts() == (("q", "NA"), ("q", "N/A"))
    scored = tmp_path / "s.csv"
    scored.write_text("prompt,completion,reward\nq,a,1.5\nq,b,\n")
    with pytest.raises(InputError, match=r"s.csv:2, field 'reward': expected a finite number"):
        load_scored(scored)
