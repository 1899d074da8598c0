import json

import pytest

from pluralign.core import InputError
from pluralign.core.resumable import RowsInProgress

ROWS = [{"n": n, "text": "é" * n} for n in range(5)]


def lines(path):
    return [json.loads(line) for line in path.read_text("utf-8").splitlines()]


def test_rows_take_their_name_when_whole(tmp_path):
    out = tmp_path / "new" / "rows.jsonl"
    with RowsInProgress(out, {"seed": 1}) as target:
        target.write(ROWS[:3])
        assert not out.exists()
        target.write(ROWS[3:])
        assert target.done == 5
        target.finish()
    assert lines(out) == ROWS
    assert [path.name for path in out.parent.iterdir()] == ["rows.jsonl"]


@pytest.mark.parametrize("half", ["", '{"n": 9', '{"n": 9}'])
def test_a_run_goes_on_after_its_last_whole_row(tmp_path, half):
    out = tmp_path / "rows.jsonl"
    with RowsInProgress(out, {"seed": 1}) as target:
        target.write(ROWS[:2])
    with (tmp_path / ".rows.jsonl.partial").open("a") as handle:
        # Without its line break a row is not known to be whole.
        handle.write(half)
    with RowsInProgress(out, {"seed": 1}) as target:
        assert target.done == 2
        target.write(ROWS[2:])
        target.finish()
    assert lines(out) == ROWS


def test_another_run_begins_anew_and_leaves_the_finished_file_until_it_is_whole(tmp_path):
    out = tmp_path / "rows.jsonl"
    for seed, rows in ((1, ROWS[:2]), (2, ROWS[2:])):
        with RowsInProgress(out, {"seed": seed}) as target:
            assert target.done == 0
            target.write(rows)
            if seed == 2:
                assert lines(out) == ROWS[:2]
            target.finish()
    assert lines(out) == ROWS[2:]
    with RowsInProgress(out, {"seed": 3}) as target:
        target.write(ROWS[:1])
    with RowsInProgress(out, {"seed": 4}) as target:
        assert target.done == 0
    assert lines(out) == ROWS[2:]


def test_a_place_that_cannot_be_written_is_told(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(InputError, match="cannot be written"):
        RowsInProgress(tmp_path / "file" / "rows.jsonl", {})
