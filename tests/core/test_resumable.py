import json

import pytest

from pluralign.core import InputError
from pluralign.core.resumable import OneAtATime, RowsInProgress, run_batches

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


def numbered(path, count, *, batch, stop=None, seen=None, **more):
    """Items 0, 1, ... as rows; the batches go into ``seen``, and the one that has ``stop`` fails."""

    def work(items):
        if stop in items:
            raise KeyboardInterrupt
        if seen is not None:
            seen.append(list(items))
        return [{"n": n} for n in items]

    run_batches(path, {"seed": 1}, range(count), work, batch=batch, **more)


@pytest.mark.parametrize(
    ("batch", "expected"),
    [(2, [[0, 1], [2, 3], [4]]), (9, [[0, 1, 2, 3, 4]]), ([1, 4, 5], [[0], [1, 2, 3], [4]])],
)
def test_items_become_rows_in_batches(tmp_path, batch, expected):
    seen = []
    numbered(tmp_path / "rows.jsonl", 5, batch=batch, seen=seen)
    assert seen == expected
    assert lines(tmp_path / "rows.jsonl") == [{"n": n} for n in range(5)]
    numbered(tmp_path / "none.jsonl", 0, batch=2)
    assert lines(tmp_path / "none.jsonl") == []


@pytest.mark.parametrize("header", [None, {"run": "first row"}])
def test_a_killed_run_continues_with_the_batches_of_one_that_was_not_interrupted(tmp_path, header):
    out, seen = tmp_path / "rows.jsonl", []
    with pytest.raises(KeyboardInterrupt):
        numbered(out, 7, batch=3, stop=4, seen=seen, header=header)
    partial = tmp_path / ".rows.jsonl.partial"
    # The kill came while the batch was written: its second row is cut off.
    partial.write_text("".join(partial.read_text().splitlines(keepends=True)[:-1])[:-1] + '\n{"n"')
    numbered(out, 7, batch=3, seen=seen, header=header)
    assert seen == [[0, 1, 2], [2], [3, 4, 5], [6]]
    assert lines(out) == ([] if header is None else [header]) + [{"n": n} for n in range(7)]


def test_rows_of_another_number_than_items_are_a_mistake_of_the_caller(tmp_path):
    with pytest.raises(ValueError, match="2 items became 1 rows"):
        run_batches(tmp_path / "rows.jsonl", {}, range(4), lambda items: [{}], batch=2)
    assert not (tmp_path / "rows.jsonl").exists()


def test_one_thing_at_a_time_is_held():
    alive = []

    class Model:
        def __init__(self, name):
            # Whatever was open before is gone by now.
            assert not alive
            alive.append(name)

        def __del__(self):
            alive.clear()

    held = OneAtATime(Model)
    first = id(held("a"))
    assert id(held("a")) == first
    held("b")
    assert alive == ["b"]
