import json
import math
import resource
import signal
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pluralign.core import Annotation, Comparison, Decision, InputError, PreferencePair, Step, Trajectory
from pluralign.core.records import (
    RecordWriter,
    read_annotations,
    read_header,
    read_pairs,
    read_trajectories,
    write_records,
)

texts = st.text(min_size=1, max_size=20)
decisions = st.builds(Decision, texts, st.lists(texts, min_size=1, max_size=4).map(tuple))
numbers = st.dictionaries(st.sampled_from(["points", "violations.killing"]), st.floats(-9, 9), max_size=2)


@st.composite
def steps(draw: st.DrawFn) -> Step:
    decision = draw(decisions)
    action = draw(st.integers(0, len(decision.options) - 1))
    info = draw(st.dictionaries(texts, st.integers(), max_size=2))
    return Step(decision, action, draw(numbers), draw(numbers), draw(st.text(max_size=5)), info)


@st.composite
def trajectories(draw: st.DrawFn) -> Trajectory:
    body = tuple(draw(st.lists(steps(), min_size=1, max_size=5)))
    return Trajectory(draw(texts), "story", "random", draw(st.integers(0, 99)), body, draw(st.booleans()))


@given(st.lists(trajectories(), max_size=4))
def test_trajectories_round_trip(tmp_path_factory: pytest.TempPathFactory, given: list[Trajectory]) -> None:
    path = tmp_path_factory.mktemp("records") / "trajectories.jsonl"
    write_records(path, "trajectories", given, {"story": "x"})
    assert read_trajectories(path) == given
    assert read_header(path, "trajectories")["story"] == "x"


def bare(trajectory: Trajectory) -> Trajectory:
    """What segments keep: decisions and actions."""
    body = tuple(Step(step.decision, step.action) for step in trajectory.steps)
    return Trajectory(trajectory.id, "story", "random", 0, body, terminated=True)


@given(trajectories(), trajectories())
def test_annotations_and_pairs_round_trip(
    tmp_path_factory: pytest.TempPathFactory, one: Trajectory, two: Trajectory
) -> None:
    folder = tmp_path_factory.mktemp("records")
    first, second = bare(one).segment(0), bare(two).segment(len(two.steps) - 1)
    annotation = Annotation(Comparison(first, second), "score", "oracle", "tie", {"noise": 0.1})
    write_records(folder / "a.jsonl", "annotations", [annotation])
    assert read_annotations(folder / "a.jsonl") == [annotation]
    pair = PreferencePair(first, second, "score", "oracle", 0.75, "test")
    write_records(folder / "p.jsonl", "pairs", [pair, pair])
    assert read_pairs(folder / "p.jsonl") == [pair, pair]


@pytest.fixture
def example(tmp_path: Path) -> Path:
    path = tmp_path / "trajectories.jsonl"
    decision = Decision("A door.", ("Open it.", "Leave."))
    step = Step(decision, 1, {"score": 1.0}, {"points": 1.0})
    runs = [Trajectory(f"t{i}", "story", "random", i, (step, step), terminated=True) for i in range(3)]
    write_records(path, "trajectories", runs)
    return path


def change(path: Path, row: int, old: str, new: str) -> None:
    lines = path.read_text().splitlines()
    assert old in lines[row - 1]
    lines[row - 1] = lines[row - 1].replace(old, new)
    path.write_text("\n".join(lines) + "\n")


@pytest.mark.parametrize(
    ("row", "old", "new", "message"),
    [
        (1, '"version": 1', '"version": 2', r"trajectories.jsonl:1, field 'version': expected 1, found 2"),
        (
            1,
            '"trajectories"',
            '"pairs"',
            r":1, field 'pluralign': expected a trajectories file, found 'pairs'",
        ),
        (2, "A door.", "A gate.", r":2, field 'digest': does not match the prompt"),
        (2, '"options": [', '"options": [1, ', r":2, field 'options': expected a list of strings"),
        (3, '"action": 1', '"action": 2', r":3, field 'action': must be 0 to 1, found 2"),
        (3, '"action": 1', '"action": true', r":3, field 'action': expected int, found True"),
        (4, '"at": 0', '"at": 7', r":4, field 'at': refers to decision 7"),
        (
            4,
            '"points": 1.0',
            '"points": NaN',
            r":4, field 'counts.points': expected a finite number, found nan",
        ),
        (4, '"points": 1.0', f'"points": {10**400}', r":4, field 'counts.points': expected a finite number"),
        (4, '"points": 1.0', f'"points": {"9" * 5000}', r":4: not JSON"),
        (2, "A door.", r"A \ud83d door.", r":2: has a lone surrogate, which cannot be encoded: 'A \\ud83d"),
        (4, '"seed": 1, ', "", r":4, field 'seed': is missing"),
        (5, '"truncated": false', '"truncated": true', r":5, field 'truncated': .*both"),
        (5, '{"id"', '{"id', r":5: not JSON"),
        (5, '"steps": [', '"steps": [3, ', r":5: expected a JSON object, found int"),
    ],
)
def test_a_changed_line_is_refused_with_its_place(
    example: Path, row: int, old: str, new: str, message: str
) -> None:
    change(example, row, old, new)
    with pytest.raises(InputError, match=message):
        read_trajectories(example)


def test_a_cut_off_line_is_refused_unless_it_may_be_dropped(example: Path) -> None:
    data = example.read_bytes()
    example.write_bytes(data[:-10])
    with pytest.raises(InputError, match=r":5: the line is cut off"):
        read_trajectories(example)
    assert [t.id for t in read_trajectories(example, drop_cut_off_line=True)] == ["t0", "t1"]


def test_a_writer_continues_a_killed_file(example: Path) -> None:
    before = read_trajectories(example)
    example.write_bytes(example.read_bytes()[:-10])
    with RecordWriter(example, "trajectories") as writer:
        writer.write(before[2])
    assert read_trajectories(example) == before
    assert sum('"decision"' in line for line in example.read_text().splitlines()) == 1


def played(name: str, prompt: str) -> Trajectory:
    return Trajectory(name, "story", "random", 0, (Step(Decision(prompt, ("x", "y")), 0),), terminated=True)


def test_two_writers_of_one_file_do_not_mix_their_decisions(tmp_path: Path) -> None:
    path = tmp_path / "t.jsonl"
    with RecordWriter(path, "trajectories") as one, RecordWriter(path, "trajectories") as other:
        other.write(played("b0", "A door."))
        with pytest.raises(InputError, match="another process writes to this file"):
            one.write(played("a0", "A window."))
        other.write(played("b1", "A window."))
    assert [(t.id, t.steps[0].decision.prompt) for t in read_trajectories(path)] == [
        ("b0", "A door."), ("b1", "A window."),
    ]  # fmt: skip


def test_a_file_in_which_two_decisions_have_one_number_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "t.jsonl"
    write_records(path, "trajectories", [played("a0", "A door."), played("a1", "A door.")])
    write_records(tmp_path / "other.jsonl", "trajectories", [played("b0", "A window.")])
    header, decision, first, last = path.read_text().splitlines()
    _, another, _ = (tmp_path / "other.jsonl").read_text().splitlines()
    path.write_text("\n".join([header, decision, first, another, last]) + "\n")
    with pytest.raises(InputError, match=r":4, field 'decision': two decisions have the number 0"):
        read_trajectories(path)


def test_missing_empty_and_foreign_files(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="cannot be read: No such file"):
        read_trajectories(tmp_path / "none.jsonl")
    (tmp_path / "empty.jsonl").touch()
    with pytest.raises(InputError, match="is empty; expected the header of a pairs file"):
        read_pairs(tmp_path / "empty.jsonl")
    (tmp_path / "other.jsonl").write_text(json.dumps({"prompt": "x"}) + "\n")
    with pytest.raises(InputError, match="expected a pairs file, found None"):
        read_pairs(tmp_path / "other.jsonl")
    (tmp_path / "binary.jsonl").write_bytes(b"\xff\xfe\n")
    with pytest.raises(InputError, match=r"binary.jsonl:1: not JSON"):
        read_pairs(tmp_path / "binary.jsonl")


def test_a_full_disk_leaves_the_old_file_and_nothing_half_written(example: Path) -> None:
    before = example.read_bytes()
    long = Trajectory("long", "s", "p", 0, (Step(Decision("x" * 100_000, ("a",)), 0),), terminated=True)
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    handler = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (50_000, limits[1]))
    try:
        with pytest.raises(InputError, match="cannot be written: File too large"):
            write_records(example, "trajectories", [long])
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
        signal.signal(signal.SIGXFSZ, handler)
    assert example.read_bytes() == before
    assert list(example.parent.iterdir()) == [example]


@pytest.mark.parametrize("value", [math.nan, math.inf])
def test_numbers_that_no_reader_takes_are_refused_before_they_are_written(
    tmp_path: Path, value: float
) -> None:
    path, decision = tmp_path / "trajectories.jsonl", Decision("Go?", ("Yes.", "No."))

    def played(name: str, reward: float) -> Trajectory:
        return Trajectory(name, "s", "p", 0, (Step(decision, 0), Step(decision, 1, {"calm": reward})), True)

    with RecordWriter(path, "trajectories") as writer:
        writer.write(played("one", 1.0))
        with pytest.raises(InputError, match=r"'rewards.calm': expected a finite number in step 2 of two"):
            writer.write(played("two", value))
    assert [one.id for one in read_trajectories(path)] == ["one"]
