"""Sheets that people fill in: out and back, in both orders, and their errors."""

import json

import pytest
from collect_fakes import SCORE

from pluralign.annotate.annotator import annotate_comparisons
from pluralign.annotate.comparisons import make_comparisons
from pluralign.annotate.human import export_sheet, import_sheet
from pluralign.core import Comparison, InputError, Objective
from pluralign.core.records import read_annotations, read_trajectories


@pytest.fixture(scope="module")
def comparisons(file):
    return make_comparisons(read_trajectories(file), count=6, seed=0)


@pytest.mark.parametrize("suffix", [".csv", ".jsonl"])
def test_a_sheet_goes_out_and_comes_back(comparisons, tmp_path, suffix):
    sheet, out = tmp_path / f"sheet{suffix}", tmp_path / "a.jsonl"
    export_sheet(comparisons, SCORE, sheet)
    assert import_sheet(sheet, comparisons).answers == {}
    told = ["first", "second", "tie", "", " First ", ""]
    fill_in(sheet, told)
    rater = import_sheet(sheet, comparisons)
    report = annotate_comparisons(comparisons, out, SCORE, rater, progress=False)
    assert report.unanswered == 2
    assert rater.name == f"human:sheet{suffix}"
    expected = {c.id: t.strip().lower() for c, t in zip(comparisons, told, strict=True) if t}
    assert {a.comparison.id: a.preference for a in read_annotations(out)} == expected
    # Filled in further, the same file goes on.
    fill_in(sheet, ["first", "second", "tie", "tie", "first", "second"])
    report = annotate_comparisons(comparisons, out, SCORE, import_sheet(sheet, comparisons), progress=False)
    assert (report.new_annotations, report.unanswered) == (2, 0)


@pytest.mark.parametrize("suffix", [".csv", ".jsonl"])
def test_a_sheet_with_answers_is_not_replaced(comparisons, tmp_path, suffix):
    sheet = tmp_path / f"sheet{suffix}"
    export_sheet(comparisons, SCORE, sheet)
    empty = sheet.read_bytes()
    export_sheet(comparisons, SCORE, sheet)
    assert sheet.read_bytes() == empty
    fill_in(sheet, ["first", *[""] * 5])
    with pytest.raises(InputError, match=f"sheet{suffix}: exists, perhaps with answers"):
        export_sheet(comparisons, SCORE, sheet)
    assert len(import_sheet(sheet, comparisons).answers) == 1


def fill_in(sheet, told):
    import csv

    if sheet.suffix == ".jsonl":
        rows = [json.loads(line) for line in sheet.read_text().splitlines()]
        for row, preference in zip(rows, told, strict=True):
            row["preference"] = preference
        sheet.write_text("".join(json.dumps(row) + "\n" for row in rows))
        return
    with sheet.open(encoding="utf-8-sig", newline="") as handle:
        delimiter = "," if handle.readline().startswith("comparison,") else ";"
        handle.seek(0)
        rows = list(csv.DictReader(handle, delimiter=delimiter))
    assert all(row["objective"] == SCORE.description for row in rows)
    with sheet.open("w", encoding="utf-8", newline="") as handle:
        writer = csv.DictWriter(handle, rows[0].keys(), delimiter=";")
        writer.writeheader()
        writer.writerows({**row, "preference": p} for row, p in zip(rows, told, strict=True))


def test_a_sheet_may_list_segments_the_other_way_round(comparisons, tmp_path):
    sheet = tmp_path / "s.csv"
    c = comparisons[0]
    sheet.write_text(f"preference,comparison\nfirst,{Comparison(c.second, c.first).id}\n")
    assert import_sheet(sheet, comparisons).answers == {c.id: "second"}


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("comparison\nx\n", r"s\.csv:1, field 'preference': has no such column"),
        ("", r"s\.csv:1, field 'comparison': has no such column"),
        ("comparison,preference,preference\n{0},first,tie\n", r"s\.csv:1, field 'preference': two columns"),
        ("comparison,preference\nwho|knows,first\n", r"s\.csv:2, field 'comparison': unknown comparison"),
        ("comparison,preference\n{0},first\n{1},better\n", r"s\.csv:3, field 'preference': .*'better'"),
        ("comparison,preference\n{0},first\n{0},first\n", r"s\.csv:3, field 'comparison': .*second time"),
    ],
)
def test_sheet_errors(comparisons, tmp_path, text, message):
    sheet = tmp_path / "s.csv"
    sheet.write_text(text.format(comparisons[0].id, comparisons[1].id))
    with pytest.raises(InputError, match=message):
        import_sheet(sheet, comparisons)


def test_jsonl_sheet_errors(comparisons, tmp_path):
    sheet = tmp_path / "s.jsonl"
    for text, message in (
        ('{"comparison": "x"', r"s\.jsonl:1: "),
        ('{"preference": "first"}\n', r"s\.jsonl:1, field 'comparison': is missing"),
        ('{"comparison": 3, "preference": "first"}\n', r"field 'comparison': expected a text, found 3"),
    ):
        sheet.write_text(text)
        with pytest.raises(InputError, match=message):
            import_sheet(sheet, comparisons)
    with pytest.raises(InputError, match=r"expected a \.csv or \.jsonl file"):
        import_sheet(tmp_path / "s.xlsx", comparisons)
    with pytest.raises(InputError, match=r"none\.csv: cannot be read"):
        import_sheet(tmp_path / "none.csv", comparisons)


@pytest.mark.parametrize("suffix", [".csv", ".jsonl"])
def test_changed_answers_and_answers_to_another_question_are_refused(comparisons, tmp_path, suffix):
    sheet, out = tmp_path / f"sheet{suffix}", tmp_path / "a.jsonl"
    export_sheet(comparisons, SCORE, sheet)
    told = ["first", "second", "tie", "", "first", ""]
    fill_in(sheet, told)
    other = Objective("harm_avoidance", "Less harm.", {"variable.harm": -1.0})
    with pytest.raises(InputError, match=rf"sheet{suffix}:\d, field 'objective': asks about"):
        annotate_comparisons(comparisons, out, other, import_sheet(sheet, comparisons), progress=False)
    out.unlink(missing_ok=True)
    annotate_comparisons(comparisons, out, SCORE, import_sheet(sheet, comparisons), progress=False)
    before = out.read_bytes()
    fill_in(sheet, ["second", *told[1:]])
    with pytest.raises(InputError, match="is 'second' here, and was imported as 'first'"):
        annotate_comparisons(comparisons, out, SCORE, import_sheet(sheet, comparisons), progress=False)
    assert out.read_bytes() == before


def test_empty_rows_that_a_spreadsheet_adds_are_none(comparisons, tmp_path):
    export_sheet(comparisons, SCORE, sheet := tmp_path / "sheet.csv")
    with sheet.open("a", encoding="utf-8", newline="") as handle:
        handle.write(",,,,,\r\n, ,,,,,,\r\n\r\n")
    assert import_sheet(sheet, comparisons).answers == {}
    with sheet.open("a", encoding="utf-8", newline="") as handle:
        handle.write(",,,,,first\r\n")
    with pytest.raises(InputError, match="field 'comparison': unknown comparison: ''"):
        import_sheet(sheet, comparisons)
