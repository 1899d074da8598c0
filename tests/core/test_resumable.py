import json
import os
import random
import resource
import signal
import subprocess
import sys
import time

import pytest

from pluralign.core import InputError
from pluralign.core.records import RecordWriter
from pluralign.core.resumable import OneAtATime, RowsInProgress, run_batches, run_unordered

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


def test_a_run_that_is_taken_over_stops_and_spoils_nothing(tmp_path):
    path = tmp_path / "rows.jsonl"
    with RowsInProgress(path, {"seed": 1}) as early, RowsInProgress(path, {"seed": 1}) as late:
        with pytest.raises(InputError, match="another run has taken over this file"):
            early.write([{"row": 0}])
        late.write([{"row": 0}])
        with pytest.raises(InputError, match="another run has taken over this file"):
            early.finish()
        early.__exit__()
        late.write([{"row": 1}])
        late.finish()
    assert path.read_text() == '{"row": 0}\n{"row": 1}\n'


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


def shuffled(asked=None, seed=0):
    """Work that finishes its items in another order."""

    def work(missing):
        order = list(missing)
        random.Random(seed).shuffle(order)
        for number in order:
            if asked is not None:
                asked.append(number)
            yield number, {"n": number, "text": "é" * (number % 5)}

    return work


def test_rows_that_finish_in_any_order_have_their_items_order(tmp_path):
    out = tmp_path / "rows.jsonl"
    run_unordered(out, {"seed": 1}, 40, shuffled(), shown=False)
    assert lines(out) == [{"n": n, "text": "é" * (n % 5)} for n in range(40)]
    assert [path.name for path in tmp_path.iterdir()] == ["rows.jsonl"]


def test_an_unordered_run_works_on_missing_items_only(tmp_path):
    out, asked = tmp_path / "rows.jsonl", []

    def stops(missing):
        for done, found in enumerate(shuffled(asked)(missing)):
            if done == 15:
                raise KeyboardInterrupt
            yield found

    for _ in range(2):
        with pytest.raises(KeyboardInterrupt):
            run_unordered(out, {"seed": 1}, 40, stops, shown=False)
        asked.pop()
        assert not out.exists()
        with (tmp_path / ".rows.jsonl.partial").open("ab") as handle:
            handle.write(b'{"item": 3, "ro')
    run_unordered(out, {"seed": 1}, 40, shuffled(asked), shown=False)
    assert sorted(asked) == list(range(40))
    assert [row["n"] for row in lines(out)] == list(range(40))


def test_rows_of_another_run_and_of_batches_are_not_taken_for_those_of_an_unordered_run(tmp_path):
    out, asked = tmp_path / "rows.jsonl", []
    with RowsInProgress(out, {"seed": 1}) as target:
        target.write(ROWS)
    run_unordered(out, {"seed": 1}, 5, shuffled(asked), shown=False)
    assert sorted(asked) == list(range(5))


def test_work_that_leaves_an_item_out_is_no_finished_file(tmp_path):
    with pytest.raises(ValueError, match="3 items became 2 rows"):
        run_unordered(tmp_path / "r", {}, 3, lambda missing: [(0, {}), (2, {})], shown=False)
    assert not (tmp_path / "r").exists()


SLOW = """
import random, sys, time
from pathlib import Path
from pluralign.core.resumable import run_unordered

most = int(sys.argv[2])

def work(missing):
    random.shuffle(missing)
    for count, number in enumerate(missing):
        time.sleep(0.002 if count < most else 60)
        yield number, {"n": number}

run_unordered(Path(sys.argv[1]), {}, 500, work, shown=False)
"""


def test_kill_9_loses_and_doubles_no_row(tmp_path):
    out, partial = tmp_path / "rows.jsonl", tmp_path / ".rows.jsonl.partial"
    for enough in (100, 300):
        process = subprocess.Popen([sys.executable, "-c", SLOW, str(out), "240"])
        deadline = time.monotonic() + 60
        while not partial.exists() or partial.read_bytes().count(b"\n") <= enough:
            assert time.monotonic() < deadline
            time.sleep(0.005)
        os.kill(process.pid, signal.SIGKILL)
        assert process.wait() == -signal.SIGKILL, "it ended before it was killed"
    subprocess.run([sys.executable, "-c", SLOW, str(out), "500"], check=True, timeout=120)
    assert lines(out) == [{"n": n} for n in range(500)]


@pytest.mark.parametrize("kind", ["rows", "records"])
def test_a_full_disk_is_told_with_its_file_and_the_rows_that_it_took_are_kept(kind, tmp_path):
    out, limits = tmp_path / "rows.jsonl", resource.getrlimit(resource.RLIMIT_FSIZE)
    rows = [{"n": n, "text": "x" * 100} for n in range(200)]

    def write():
        if kind == "rows":
            run_batches(out, {}, rows, lambda some: some, batch=7, shown=False)
            return
        with RecordWriter(out, "rows") as writer:
            for row in rows:
                writer.write_row(row)

    handler = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (5000, limits[1]))
    try:
        with pytest.raises(InputError, match=r"rows\.jsonl: cannot be written: File too large"):
            write()
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
        signal.signal(signal.SIGXFSZ, handler)
    (kept,) = tmp_path.iterdir()
    assert kept.stat().st_size == 5000
    if kind == "rows":
        write()
        assert lines(out) == rows
