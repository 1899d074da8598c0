"""Files of outcomes, lotteries and processes."""

import json

import numpy as np
import pytest

import pluralign as pl
from pluralign.evaluate.values.outcomes import (
    Lottery,
    Outcome,
    Process,
    load_lotteries,
    load_outcomes,
    load_processes,
)


@pytest.fixture
def write(tmp_path):
    def write(name, content):
        path = tmp_path / name
        path.write_text(content if isinstance(content, str) else json.dumps(content), encoding="utf-8")
        return path

    return write


def test_three_formats_say_the_same(write):
    expected = [Outcome("a", "x", {"kind": 1.0}), Outcome("b", "x", {"kind": 2.5})]
    rows = [{"text": "a", "scores": {"kind": 1}}, {"text": "b", "scores": {"kind": 2.5}}]
    assert load_outcomes(write("o.json", {"x": rows})) == expected
    lines = "".join(json.dumps({**row, "group": "x"}) + "\n" for row in rows)
    assert load_outcomes(write("o.jsonl", lines)) == expected
    assert load_outcomes(write("o.csv", "text,group,kind\na,x,1\nb,x,2.5\n")) == expected
    assert load_outcomes(write("p.json", ["a", "b"])) == [Outcome("a"), Outcome("b")]


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("o.txt", "a", r"\.json, \.jsonl or \.csv"),
        ("o.json", ["a", "a"], "o.json:2, field 'text': is there twice"),
        ("o.json", ["a", " "], "o.json:2, field 'text': an outcome has no text"),
        ("o.json", [{"group": "x"}], "field 'text': is missing"),
        ("o.json", {"x": "a"}, "expected a list of outcomes"),
        ("o.csv", "text,kind\na,many\n", "o.csv:2, field 'kind': expected a number"),
        ("o.csv", "text,kind,kind\na,1,2\n", "o.csv:1, field 'kind': two columns have this name"),
        ("o.csv", "name\na\n", "o.csv:2"),
    ],
)
def test_wrong_outcomes_are_refused(write, name, content, message):
    with pytest.raises(pl.InputError, match=message):
        load_outcomes(write(name, content))


def test_lotteries(write):
    parts = [{"option": "a", "probability": 0.25}, {"option": "b", "probability": 0.75}]
    path = write(
        "l.json", {"base_options": [{"option": "a or b", "sub_options": parts}, {"sub_options": parts}]}
    )
    implied, explicit = load_lotteries(path)
    assert implied.text == "a or b"
    assert "25 %: a" in explicit.text
    assert "75 %: b" in explicit.text
    with pytest.raises(pl.InputError, match=r"l\.json:1.*sum to 1"):
        load_lotteries(write("l.json", [{"sub_options": parts[:1]}]))


STATES = [
    {"id": 0, "observation": "start", "is_terminal": False},
    {"id": 1, "observation": "middle", "is_terminal": False},
    {"id": 2, "observation": "good", "is_terminal": True},
    {"id": 3, "observation": "bad", "is_terminal": True},
]


def test_values_of_a_process(write):
    chain = {"0": [[1, 0.5], [2, 0.5]], "1": [[2, 0.2], [3, 0.8]]}
    (process,) = load_processes(
        write("m.json", {"MarkovProcesses": [{"name": "m", "states": STATES, "transitions": chain}]})
    )
    middle = 0.2 * 3 - 0.8
    values = process.values(np.array([9.0, 9.0, 3.0, -1.0]))
    assert values.tolist() == pytest.approx([0.5 * middle + 1.5, middle, 3.0, -1.0])


@pytest.mark.parametrize(
    ("transitions", "message"),
    [
        ({"0": None}, r"expected a list of \[id, probability\], found None"),
        ({"0": [[1, 0.5]], "1": [[2, 1.0]]}, "must sum to 1, found 0.5"),
        ({"0": [[1, 1.0]], "1": [[0, 1.0]]}, "never reaches a terminal state"),
        ({"0": [[7, 1.0]], "1": [[2, 1.0]]}, "expected \\[id, probability\\]"),
    ],
)
def test_wrong_processes_are_refused(write, transitions, message):
    with pytest.raises(pl.InputError, match=message):
        load_processes(write("m.json", [{"states": STATES, "transitions": transitions}]))


def test_the_published_files_are_read(shared_data):
    folder = shared_data / "emergent_values"
    if not folder.is_dir():
        pytest.skip("the data of emergent values are absent")
    outcomes = load_outcomes(folder / "shared_options__options_hierarchical.json")
    assert len(outcomes) == 510
    assert len({one.group for one in outcomes}) == 30
    assert len(load_lotteries(folder / "implicit_lotteries__options.json")) == 20
    processes = load_processes(folder / "instrumental_values__markov_processes.json")
    assert len(processes) == 21
    assert all(isinstance(one, Process) for one in processes)


def test_a_lottery_needs_two_outcomes():
    with pytest.raises(pl.InputError, match="two or more outcomes"):
        Lottery((("a", 1.0),))


@pytest.mark.parametrize(
    ("share", "said", "rest"),
    [
        (0.3, "30", "70"), (0.125, "12.5", "87.5"), (0.005, "0.5", "99.5"), (1 / 3, "33.33", "66.67"),
        (1e-6, "0.0001", "99.9999"),
    ],
)  # fmt: skip
def test_a_lottery_is_asked_about_with_its_own_probabilities(share, said, rest):
    text = Lottery((("It rains.", share), ("It snows.", 1 - share))).text
    assert f"probability of {said} %: It rains." in text
    assert f"probability of {rest} %: It snows." in text
