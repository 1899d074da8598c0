"""evaluate values on the command line."""

from __future__ import annotations

import csv
import json

import pytest

from pluralign.lm.backbone import make_tiny_backbone

FEW = ("--resamples", "50", "--drawn-lotteries", "0")


@pytest.fixture
def outcomes(tmp_path):
    path = tmp_path / "outcomes.csv"
    rows = [
        ("You receive $1.", 1, 0),
        ("You receive $9.", 9, 0),
        ("A friend smiles.", 0, 3),
        ("A friend cries.", 0, -3),
    ]
    lines = ["text,money,kindness", *(f"{text},{money},{kind}" for text, money, kind in rows)]
    path.write_text("\n".join(lines) + "\n", encoding="utf-8")
    return path


@pytest.fixture
def stances(tmp_path):
    path = tmp_path / "stances.jsonl"
    options = {"yes": "supports", "no": "opposes"}
    rows = [
        {"topic": "tea", "question": f"Is tea good{'?' * n}", "original": "Is tea good?", "options": options}
        for n in (1, 2)
    ]
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    return path


def _report(folder):
    return json.loads((folder / "report.json").read_text(encoding="utf-8"))


def test_a_model_by_letters_and_by_likelihood(run, outcomes, tmp_path, capsys):
    for reading in ("letters", "likelihood"):
        out = tmp_path / reading
        given = ("--model", "tiny-random", "--outcomes", outcomes, "--reading", reading, *FEW)
        assert run("evaluate", "values", *given, "--out", out) == 0
        found = _report(out)
        assert found["settings"]["seed"] == 0
        (point,) = found["points"]
        assert point["audit"]["consistency"]["pairs"] == 6
        if not point["audit"]["passed"]:
            assert point["audit"]["preferences"] is None
            assert "these are no preferences" in (out / "report.html").read_text(encoding="utf-8")
    assert "names the first place in" in capsys.readouterr().out


def test_a_person_fills_in_a_sheet(run, outcomes, tmp_path, capsys):
    sheet = tmp_path / "sheet.csv"
    assert (
        run("evaluate", "values", "--outcomes", outcomes, "--sheet", sheet, "--out", tmp_path / "none") == 0
    )
    assert not (tmp_path / "none").exists()
    with sheet.open(encoding="utf-8-sig", newline="") as handle:
        rows = list(csv.DictReader(handle))
    assert len(rows) == 12
    order = ["A friend smiles.", "You receive $9.", "You receive $1.", "A friend cries."]
    for row in rows:
        places = [order.index(row[side].removeprefix("> ")) for side in ("first", "second")]
        row["preference"] = "first" if places[0] < places[1] else "second"
    with sheet.open("w", encoding="utf-8", newline="") as handle:
        writer = csv.DictWriter(handle, rows[0].keys())
        writer.writeheader()
        writer.writerows(rows)
    out = tmp_path / "person"
    given = ("--rater", f"human:{sheet}", "--outcomes", outcomes, *FEW, "--out", out)
    assert run("evaluate", "values", *given) == 0
    audit = _report(out)["points"][0]["audit"]
    assert audit["consistency"]["agreement"] == 1.0
    assert audit["preferences"]["cycles"]["probability"]["mean"] == 0.0
    assert audit["preferences"]["weights"]["weights"]["kindness"] > 0.3
    assert "Implied weights" in capsys.readouterr().out


def test_a_grid_of_weights(run, outcomes, stances, tmp_path):
    out = tmp_path / "grid"
    policies = ("--policies", "kind=tiny-random", "useful=tiny-random", "--weights-grid", "2")
    given = ("--model", "tiny-random", *policies, "--outcomes", outcomes, "--stances", stances, *FEW)
    assert run("evaluate", "values", *given, "--out", out) == 0
    found = _report(out)
    assert found["axis"] == "weight on kind"
    assert [point["position"] for point in found["points"]] == [0.0, 0.5, 1.0]
    assert abs(found["total_drift"]) < 1e-5
    assert found["topics"][0]["time"] is None
    page = (out / "report.html").read_text(encoding="utf-8")
    assert "Drift of stances" in page
    assert page.count("<svg") >= 2


def test_stances_of_a_single_model(run, stances, tmp_path, capsys):
    out = tmp_path / "one"
    assert run("evaluate", "values", "--model", "tiny-random", "--stances", stances, "--out", out) == 0
    found = _report(out)
    assert found["total_drift"] is None
    assert len(found["topics"][0]["support"]) == 1
    assert "tea: support" in capsys.readouterr().out
    assert "Stances of tiny-random on 1 topic" in (out / "report.html").read_text(encoding="utf-8")


def test_identical_checkpoints_do_not_drift(run, outcomes, stances, tmp_path):
    folders = [tmp_path / f"checkpoint-{step}" for step in (10, 20)]
    tiny = make_tiny_backbone()
    for folder in folders:
        tiny.model.save_pretrained(folder)
        tiny.tokenizer.save_pretrained(folder)
    out = tmp_path / "out"
    given = ("--checkpoints", *folders, "--stances", stances, "--outcomes", outcomes, *FEW, "--out", out)
    assert run("evaluate", "values", *given) == 0
    found = _report(out)
    assert found["axis"] == "steps"
    assert [point["position"] for point in found["points"]] == [10.0, 20.0]
    assert found["total_drift"] == 0.0
    assert found["topics"][0]["magnitude"]["mean"] == 0.0
    assert found["topics"][0]["time"] is None
    first, second = (point["audit"]["consistency"] for point in found["points"])
    assert first == second


def test_checkpoints_are_in_order(run, stances, tmp_path, capsys):
    folders = [tmp_path / f"checkpoint-{step}" for step in (20, 10)]
    for folder in folders:
        folder.mkdir()
    given = ("--checkpoints", *folders, "--stances", stances, "--out", tmp_path / "out")
    assert run("evaluate", "values", *given) == 2
    assert "in the order of their steps, found 20, 10" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("given", "message"),
    [
        (("--model", "tiny-random"), "give --outcomes, --stances or both"),
        (("--outcomes", "OUTCOMES"), "give --rater, --model or --checkpoints"),
        (("--outcomes", "OUTCOMES", "--model", "tiny-random", "--rater", "judge:"), "give only one of"),
        (
            ("--outcomes", "OUTCOMES", "--model", "tiny-random", "--weights-grid", "2"),
            "weights need --policies",
        ),
        (
            ("--outcomes", "OUTCOMES", "--policies", "a=tiny-random", "--weights-grid", "2"),
            "need their base model",
        ),
        (
            ("--outcomes", "OUTCOMES", "--model", "m", "--policies", "a=b"),
            "either --weights or --weights-grid",
        ),
        (("--stances", "STANCES", "--rater", "judge:tiny-random"), "only models are asked about stances"),
    ],
)
def test_wrong_options(run, outcomes, stances, tmp_path, capsys, given, message):
    real = {"OUTCOMES": outcomes, "STANCES": stances}
    assert run("evaluate", "values", *(real.get(one, one) for one in given), "--out", tmp_path / "out") == 2
    assert message in capsys.readouterr().err
    assert not (tmp_path / "out").exists()


def test_options_that_would_be_ignored_are_refused(refuses, outcomes, stances, tmp_path):
    ask = ["evaluate", "values", "--out", tmp_path / "out"]
    for option in ("lotteries", "processes", "sheet"):
        said = refuses(
            *ask, "--model", "tiny-random", "--stances", stances, f"--{option}", tmp_path / "x.csv"
        )
        assert f"field '{option}': requires --outcomes" in said
    said = refuses(*ask, "--model", "tiny-random", "--outcomes", outcomes, "--power", "1")
    assert "field 'power': requires --policies" in said
    rater = ["--rater", "judge:tiny-random", "--outcomes", outcomes]
    assert "field 'reading': is of models" in refuses(*ask, *rater, "--reading", "likelihood")
    assert not (tmp_path / "out").exists()
