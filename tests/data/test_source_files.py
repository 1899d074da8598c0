"""Files and folders of rows: their names, tables, dates, and what `datasets` would do with them."""

import gzip
import json
import os

import datasets
import pytest

from pluralign.core import InputError
from pluralign.data.load import load_demonstrations, load_pairs, load_prompts, load_scored
from pluralign.data.source import open_table

ROWS = [{"prompt": f"Q{i}", "chosen": f" good {i}", "rejected": f" bad {i}"} for i in range(30)]


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


def test_tables_of_a_folder_that_are_separated_differently_are_refused(tmp_path):
    (tmp_path / "test.csv").write_text("prompt;chosen;rejected\nq;a;b\n")
    (tmp_path / "train.csv").write_text("prompt,chosen,rejected\nq,a,b\n")
    with pytest.raises(InputError, match=r"train\.csv: is separated otherwise than test\.csv"):
        load_pairs(tmp_path, "good")


def test_numbers_of_all_tables_of_a_folder_are_read_alike(tmp_path):
    (tmp_path / "test.csv").write_text("prompt;price\nq;0,5\n")
    (tmp_path / "train.csv").write_text("prompt;price\nq;1.200\nr;0,5\n")
    rows = [row for _, _, row in open_table(tmp_path).rows()]
    assert sorted(float(row["price"]) for row in rows) == [0.5, 0.5, 1200.0]
