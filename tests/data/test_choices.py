"""Choices in files: rows of our own, tables with a row per choice, tables with a row per option."""

import json

import pytest

import pluralign as pl
from pluralign.data.choices import choice_row, load_questions, save_rows

WIDE = ["time=-tt{}", "cost=-tc{}"]
LONG = ["time=-time", "cost=-cost"]
TASK = {"values": LONG, "question": "task"}


def question(may_tie=False):
    said = pl.Decision("Which?", ("a", "b"))
    return pl.Question(said, ({"kind": 1.0, "short": 0.5}, {"kind": 0.0, "short": 2.0}), may_tie, 1.5)


def test_rows_of_our_own_come_back(tmp_path):
    choices = [
        pl.Choice(question(), 1, "me", 2.0), pl.Choice(question(True), "same"), pl.Choice(question(), (1, 0)),
        pl.Choice(question(), 0, part_of="a ranking"),
    ]  # fmt: skip
    path = save_rows(tmp_path / "choices.jsonl", [choice_row(one) for one in choices])
    assert pl.load_choices(path) == choices
    assert load_questions(path) == [one.question for one in choices]


def test_a_table_with_a_row_per_choice(tmp_path):
    path = tmp_path / "routes.csv"
    path.write_text("ID,choice,tt1,tc1,tt2,tc2,tt3,tc3\n7,2,10,5,20,3,1,1\n8,3,1,1,2,2,3,3.5\n")
    first, second = pl.load_choices(path, values=WIDE, chosen="choice", person="ID")
    assert (first.by, first.answer, second.by, second.answer) == ("7", 1, "8", 2)
    assert [dict(own) for own in first.question.values] == [
        {"time": -10.0, "cost": -5.0}, {"time": -20.0, "cost": -3.0}, {"time": -1.0, "cost": -1.0},
    ]  # fmt: skip
    assert first.question.decision.key != second.question.decision.key


def test_rows_may_offer_options_that_the_first_one_lacks(tmp_path):
    two = {"tt1": 1, "tc1": 2, "tt2": 3, "tc2": 4, "chosen": 1}
    path = tmp_path / "routes.jsonl"
    path.write_text("".join(json.dumps(row) + "\n" for row in (two, {**two, "tt3": 5, "tc3": 6}, two)))
    found = pl.load_choices(path, values=WIDE)
    assert [one.question.decision.options[-1] for one in found] == ["option 2", "option 3", "option 2"]
    assert dict(found[1].question.values[2]) == {"time": -5.0, "cost": -6.0}
    path.write_text(
        "".join(json.dumps(row) + "\n" for row in (two, {**two, "tt3": 5, "tc3": 6}, {**two, "tt3": 5}))
    )
    with pytest.raises(pl.InputError, match=":3, field 'tc3': is missing"):
        pl.load_choices(path, values=WIDE)


def test_a_table_with_a_row_per_option(tmp_path):
    path = tmp_path / "long.csv"
    path.write_text(
        "person,task,time,cost,taken,place\n1,1,10,5,0,2\n1,1,20,3,1,1\n2,1,1,2,1,1\n2,1,3,4,0,3\n2,1,5,6,0,2\n"
    )
    found = pl.load_choices(path, values=LONG, chosen="taken", person="person", question="task")
    assert [(one.by, one.answer, len(one.question.values)) for one in found] == [("1", 1, 2), ("2", 0, 3)]
    ranked = pl.load_choices(path, values=LONG, rank="place", person="person", question="task")
    assert [one.answer for one in ranked] == [(1, 0), (0, 2, 1)]


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("table.tsv", "task\ttime\tcost\tchosen\n1\t2.5\t3\t1\n1\t3\t4\t0\n"),
        ("table.csv", "task;time;cost;chosen\n1;2,5;3;1\n1;3;4;0\n"),
        ("table.csv", "task,time,cost,chosen\n1,2.5,3,TRUE\n1,3,4,FALSE\n"),
        ("table.csv", "\ufefftask,time,cost,chosen\n1,2.5,3,1.0\n1,3,4,0.0\n"),
    ],
)
def test_tables_as_spreadsheets_write_them(tmp_path, name, text):
    path = tmp_path / name
    path.write_text(text, encoding="utf-8")
    (choice,) = pl.load_choices(path, **TASK)
    assert (choice.answer, dict(choice.question.values[0])) == (0, {"time": -2.5, "cost": -3.0})


def test_categories_and_names_of_options(tmp_path):
    path = tmp_path / "long.csv"
    path.write_text("task,time,mode,alt,choice\n1,2,bus,A,B\n1,3,train,B,B\n")
    (choice,) = pl.load_choices(
        path, values=["time=-time", "bus=-mode:bus"], question="task", option="alt", chosen="choice"
    )
    assert choice.answer == 1
    assert choice.question.decision.options == ("A", "B")
    assert [own["bus"] for own in choice.question.values] == [-1.0, 0.0]
    wide = tmp_path / "wide.csv"
    wide.write_text("mode_1,time_1,mode_2,time_2,chosen\nbus,3,train,4,2\n")
    (choice,) = pl.load_choices(wide, values=["time=-time_{}", "bus=mode_{}:bus"])
    assert [dict(own) for own in choice.question.values] == [
        {"time": -3.0, "bus": 1.0}, {"time": -4.0, "bus": 0.0},
    ]  # fmt: skip


def test_empty_values_are_refused_or_left_out(tmp_path):
    path = tmp_path / "long.csv"
    path.write_text("task,time,cost,chosen\n1,2,,1\n1,3,4,0\n2,2,3,1\n2,3,4,0\n")
    with pytest.raises(pl.InputError, match=r"csv:1, field 'cost'.*is empty"):
        pl.load_choices(path, **TASK)
    (choice,) = pl.load_choices(path, **TASK, missing="drop")
    assert choice.question.decision.prompt == "question 2"
    # An option without any value was not offered.
    wide = tmp_path / "wide.csv"
    wide.write_text("tt1,tc1,tt2,tc2,tt3,tc3,chosen\n1,2,3,4,5,6,3\n1,2,3,4,,,2\n1,2,3,4,,7,2\n")
    found = pl.load_choices(wide, values=WIDE, missing="drop")
    assert [len(one.question.values) for one in found] == [3, 2]


@pytest.mark.parametrize(
    ("text", "options", "message"),
    [
        ("tt1,tc1,tt2,choice\n1,2,3,1\n", {"values": WIDE, "chosen": "choice"}, "two options or more"),
        ("tt1,tc1,tt2,tc2,chosen\n1,2,x,4,1\n", {"values": WIDE}, r":1, field 'tt2'.*number"),
        ("tt1,tc1,tt2,tc2,chosen\n1,2,3,4,3\n", {"values": WIDE}, "one of 1, 2, found '3'"),
        ("tt1,tc1,tt2,tc2\n1,2,3,4\n", {"values": WIDE}, "field 'chosen'.*is missing"),
        ("task,time,cost,chosen\n1,2,3,1\n1,3,4,1\n", TASK, "taken.*found 2"),
        ("task,time,cost,chosen\n1,2,3,1\n1,3,4,2\n", TASK, "expected 1 or 0"),
        ("task,time,cost,chosen\n1,2,3,1\n", TASK, "at least two options"),
        ("task,time,cost,chosen\n1,2,3,1\n", {"values": LONG}, "numbers the questions"),
        ("a,b\n1,2\n", {"values": ["x=a", "y={}b"]}, "either all columns have"),
        ("a,b\n1,2\n", {"values": ["x"]}, "NAME=COLUMN"),
        ("a,b\n1,2\n", {}, "field 'prompt'.*name the columns by values: a, b"),
        ("task,time,cost,chosen\n1,2 min,3,1\n1,3,4,0\n", TASK, "number without a unit, found '2 min'"),
        ("task,time,cost,chosen\n1,bus,3,1\n1,3,4,0\n", TASK, "NAME=time:bus"),
        ("task,time,cost,chosen\n1,2,3,1\n1,3,4,1\n", TASK, "person's column missing"),
        ("task,time,cost,chosen\n1,2,3,1,\n1,3,4,0,\n", TASK, "1 cells more than the header"),
        ("task,time,cost,alt,chosen\n1,2,3,x,1\n1,3,4,x,0\n", {**TASK, "option": "alt"}, "there twice"),
        ("task,time,cost,alt,chosen\n1,2,3,x,z\n1,3,4,y,z\n", {**TASK, "option": "alt"}, "one of x, y"),
        ("task,time,cost,a,b\n1,2,3,1,1\n", {**TASK, "rank": "a", "rating": "b"}, "either rank or rating"),
        ("task,who,time,cost,chosen\n1,,3,1,1\n", {**TASK, "person": "who"}, "name of a person"),
    ],
)  # fmt: skip
def test_wrong_tables_are_refused(tmp_path, text, options, message):
    path = tmp_path / "wrong.csv"
    path.write_text(text)
    with pytest.raises(pl.InputError, match=message):
        pl.load_choices(path, **options)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"answer": None}, "field 'answer'"),
        ({"answer": 2}, "field 'answer'.*0 to 1"),
        ({"answer": True}, "field 'answer'"),
        ({"answer": "same"}, "field 'answer'"),
        ({"values": [{"kind": 1}, {"short": 2}]}, r"field 'values\[1\]'"),
        ({"values": [{"kind": 1}, 2]}, "field 'values'"),
        ({"values": [{"kind": 10**400}, {"kind": 2}]}, "field 'values.kind'.*number"),
        ({"options": ["a"]}, "two options"),
        ({"may_tie": 1}, "field 'may_tie'"),
        ({"cost": -1}, "field 'cost'"),
        ({"weight": "x"}, "number weight"),
    ],
)
def test_wrong_rows_are_refused(change, message):
    row = {**choice_row(pl.Choice(question(), 1)), **change}
    with pytest.raises(pl.InputError, match=message):
        pl.load_choices([row])


def test_an_empty_cell_of_a_data_frame_is_no_persons_name():
    row = {"t1": 1, "t2": 2, "c1": 3, "c2": 4, "choice": 1, "who": float("nan")}
    with pytest.raises(pl.InputError, match="row 1, field 'who': is empty; expected the name of a person"):
        pl.load_choices([row], values=["t=t{}", "c=c{}"], chosen="choice", person="who")


def test_options_that_were_not_offered_in_columns_with_a_colon():
    row = {"t:1": 1, "t:2": 2, "t:3": None, "by:1": "bus", "by:2": "car", "by:3": None, "choice": 1}
    (found,) = pl.load_choices([row], values=["time=-t:{}", "bus=by:{}:bus"], chosen="choice")
    assert found.question.values == ({"time": -1.0, "bus": 1.0}, {"time": -2.0, "bus": 0.0})


def test_people_whose_names_are_numbers_are_told_apart_by_their_texts(tmp_path):
    rows = "".join(f"{who},1,2,1,2\n" for who in ("007", "7", "1e1", "10", "8.0"))
    (table := tmp_path / "t.csv").write_text(f"id,t1,t2,c1,c2\n{rows}".replace("c2\n", "chosen\n", 1))
    found = pl.load_choices(table, values=["t=t{}"], person="id")
    assert [choice.by for choice in found] == ["007", "7", "1e1", "10", "8"]
    found = pl.load_choices(table, values=["t=t{}"], person="id, c1")
    assert found[0].by == "007, 1"


@pytest.mark.parametrize(
    ("cells", "expected"),
    [
        # Groups of thousands, as German spreadsheets write formatted cells.
        (["1.200", "0,5", "950", "1.234.567,25"], [1200.0, 0.5, 950.0, 1234567.25]),
        # Decimal points between semicolons.
        (["1.200", "0.5", "950", "2.5"], [1.2, 0.5, 950.0, 2.5]),
    ],
)
def test_points_in_tables_with_decimal_commas_group_thousands(tmp_path, cells, expected):
    rows = "".join(f"{cell};1;04.05.2026;1\r\n" for cell in cells)
    (table := tmp_path / "t.csv").write_text(f"t1;t2;day;chosen\r\n{rows}")
    found = pl.load_choices(table, values=["t=t{}"])
    assert [choice.question.values[0]["t"] for choice in found] == expected
