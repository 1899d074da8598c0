"""``pluralign weights``: tables of many people, one person's choices, an agent's episodes."""

import csv
import json
import math

import numpy as np
import pytest

import pluralign as pl
from pluralign.data.choices import choice_row, save_rows
from pluralign.elicit.saved import load_posterior

VALUES = ["--values", "time=-tt{}", "cost=-tc{}", "--chosen", "choice"]


@pytest.fixture
def routes(tmp_path):
    random = np.random.default_rng(0)
    rows = ["ID,choice,tt1,tc1,tt2,tc2"]
    for person in range(12):
        theta = np.exp(random.normal([math.log(0.15), math.log(0.2)], 0.4))
        for _ in range(9):
            values = np.column_stack([random.uniform(10, 60, 2), random.uniform(2, 20, 2)])
            first, second = -values @ theta
            taken = int(random.random() < 1 / (1 + math.exp(first - second)))
            rows.append(",".join(map(str, (person, taken + 1, *values.round(2).ravel()))))
    path = tmp_path / "routes.csv"
    path.write_text("\n".join(rows) + "\n")
    return path


def test_a_table_of_many_people(run, routes, tmp_path, capsys):
    out = tmp_path / "out"
    assert run("weights", "--choices", routes, *VALUES, "--person", "ID", "--out", out) == 0
    rows = list(csv.DictReader((out / "weights.csv").read_text().splitlines()))
    assert len(rows) == 12
    for row in rows:
        assert float(row["time"]) + float(row["cost"]) == pytest.approx(1, abs=1e-3)
        assert float(row["time_low"]) < float(row["time"]) < float(row["time_high"])
    summary = json.loads((out / "weights.json").read_text())
    assert summary["people"] == 12
    assert summary["log_loss"] < 0.5 < summary["even_log_loss"]
    assert (out / "weights.svg").exists()
    assert "go against" not in capsys.readouterr().out
    # Without the minus, more time would be better, which explains nothing.
    wrong = ["--values", "time=tt{}", "cost=-tc{}", "--chosen", "choice", "--person", "ID"]
    assert run("weights", "--choices", routes, *wrong, "--out", tmp_path / "wrong") == 1
    assert (
        "go against time: is less of it better? (a column takes a minus: time=-COLUMN)"
        in capsys.readouterr().out
    )
    shared = tmp_path / "shared"
    options = [*VALUES, "--person", "ID", "--prior", "people", "--out", shared]
    assert run("weights", "--choices", routes, *options) == 0
    assert json.loads((shared / "weights.json").read_text())["log_loss"] < summary["log_loss"]


def test_many_people_who_answer_at_random(run, tmp_path, capsys):
    """The exit code says of many people what it says of one."""
    taken = [(person, (number + person) % 2 + 1) for person in range(4) for number in range(6)]
    rows = [f"{person},{choice},10,30,5,1" for person, choice in taken]
    (tmp_path / "routes.csv").write_text("\n".join(["ID,choice,tt1,tt2,tc1,tc2", *rows]) + "\n")
    options = ["weights", "--choices", tmp_path / "routes.csv", *VALUES, "--out", tmp_path / "out"]
    assert run(*options) == 1
    assert "better than chance" in capsys.readouterr().out
    assert run(*options, "--person", "ID") == 1
    assert "no weights explain these answers better than chance" in capsys.readouterr().out


def test_one_person_and_the_answers_that_contradict(run, tmp_path, capsys):
    def choice(first, second, number, taken=0):
        said = pl.Decision(f"question {number}", ("one", "two"))
        values = tuple(dict(zip(("kind", "short"), own, strict=True)) for own in (first, second))
        return pl.Choice(pl.Question(said, values), taken)

    fair = [choice((1.0, 0.0), (0.0, 0.4 + n / 10), n) for n in range(6)]
    path = save_rows(tmp_path / "c.jsonl", map(choice_row, [*fair, choice((0.0, 0.0), (1.0, 1.0), 9)]))
    out = tmp_path / "out"
    assert run("weights", "--choices", path, "--out", out) == 0
    printed = capsys.readouterr().out
    assert "1 contradicts all weights:" in printed
    assert "answer 7: question 9" in printed
    summary = json.loads((out / "weights.json").read_text())
    assert summary["contradicting"] == [6]
    assert summary["removed"] == [6]
    saved = load_posterior(out / "weights.json")
    assert saved.mean["kind"] == pytest.approx(summary["weights"]["kind"], abs=0.01)
    assert saved.interval("kind")[0] == pytest.approx(summary["intervals"]["kind"][0], abs=0.03)
    assert not pl.decide(saved, choice((1.0, 0.0), (0.0, 1.2), 0).question).decided
    path = save_rows(tmp_path / "one.jsonl", map(choice_row, [choice((0.0, 0.0), (1.0, 1.0), 9)]))
    assert run("weights", "--choices", path, "--out", tmp_path / "one") == 0
    printed = capsys.readouterr().out
    assert "1 contradicts all weights:" in printed
    assert "without 1 of the 1" not in printed
    # Answers by a coin.
    coin = [choice((1.0, 0.0), (0.0, 1.0), n, n % 2) for n in range(20)]
    path = save_rows(tmp_path / "coin.jsonl", map(choice_row, coin))
    assert run("weights", "--choices", path, "--out", tmp_path / "coin") == 1


def test_wrong_options_are_refused(run, refuses, routes, tmp_path, capsys):
    out = tmp_path / "out"
    assert run("weights", "--out", out) == 2
    assert run("weights", "--choices", routes, "--policies", "a=b", "--out", out) == 2
    assert run("weights", "--choices", routes, *VALUES, "--prior", "people", "--out", out) == 2
    assert "several people" in capsys.readouterr().err
    few = tmp_path / "few.csv"
    few.write_text("ID,choice,tt1,tt2,tc1,tc2\n1,1,10,30,5,1\n2,2,10,30,5,1\n3,1,10,20,5,1\n")
    said = refuses("weights", "--choices", few, *VALUES, "--person", "ID", "--prior", "people", "--out", out)
    assert "field 'prior'" in said
    assert "four people or more, two for each half, found 3" in said
    episodes = ["--trajectories", tmp_path / "t.jsonl", "--policies", "a=x", "b=y", "--out", out]
    for option, value in (("values", "a=c"), ("person", "id"), ("prior", "people"), ("missing", "drop")):
        said = refuses("weights", *episodes, f"--{option}", value)
        assert f"field '{option}': requires --choices" in said
    said = refuses("weights", "--choices", routes, "--sides", "a=b", "c=d", "--missing", "drop", "--out", out)
    assert "field 'missing': requires --values" in said
    said = refuses("weights", "--choices", routes, "--rating", "stars", "--out", out)
    assert "field 'rating': requires --values or --rewards" in said
    (tmp_path / "bad.json").write_text('{"weights": {"a": 1.0}}')
    with pytest.raises(pl.InputError, match="of one person"):
        load_posterior(tmp_path / "bad.json")
    assert not out.exists()


def test_conflicts_between_values(run, refuses, tmp_path, capsys):
    random = np.random.default_rng(1)
    lines = ["agent,a,for_a,b,for_b"]
    for _ in range(60):
        first, second = random.permutation(3)[:2]
        scores = [0.9 - 0.3 * place + 0.2 * random.normal() for place in (first, second)]
        lines.append(f"x,v{first},{scores[0]:.3f},v{second},{scores[1]:.3f}")
    path = tmp_path / "cases.csv"
    path.write_text("\n".join(lines) + "\n")
    sides = ["--choices", path, "--sides", "a=for_a", "b=for_b"]
    assert run("weights", *sides, "--out", tmp_path / "out") == 0
    found = json.loads((tmp_path / "out" / "weights.json").read_text())
    assert found["weights"]["v0"] > found["weights"]["v1"] > found["weights"]["v2"]
    assert set(found["scales"].values()) == {1.0}
    said = refuses("weights", *sides, "--values", "x=a", "--out", tmp_path / "no")
    assert "only one of --values, --rewards and --sides" in said
    said = refuses("weights", *sides, "--prompt", "a", "--out", tmp_path / "no")
    assert "requires --rewards" in said
    assert not (tmp_path / "no").exists()


def test_questions_with_empty_values_are_counted(run, tmp_path, capsys):
    path = tmp_path / "long.csv"
    path.write_text("task,a,b,chosen\n1,2,,1\n1,3,4,0\n2,2,3,1\n2,3,1,0\n")
    table = ["--values", "a=a", "b=b", "--question", "task", "--missing", "drop"]
    assert run("weights", "--choices", path, *table, "--out", tmp_path / "out") == 0
    assert "1 of 2 questions left out: a value is empty" in capsys.readouterr().out


def test_pairs_by_label(run, tmp_path):
    path = tmp_path / "acts.csv"
    path.write_text(
        "id,act,fits\n" + "".join(f"{n},She asks {n}.,1\n{n},She does not {n}.,0\n" for n in range(9))
    )
    out = tmp_path / "pairs.jsonl"
    given = ["--data", path, "--text", "act", "--label", "fits", "--group", "id", "--objective", "respect"]
    assert run("pair", "labels", *given, "--out", out) == 0
    found = pl.load_pairs(out, "respect")
    assert len(found) == 9
    assert all("asks" in pair.texts()[0][1] for pair in found)
