import gzip
import json
import math
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import numpy as np
import pytest

import pluralign as pl
from pluralign.core import Comparison, InputError
from pluralign.core.checks import checked
from pluralign.core.files import (
    folder_when_whole,
    read_json,
    replace_when_whole,
    require_free,
    write_json,
    write_text,
)
from pluralign.core.jsonl import read_rows
from pluralign.core.records import RecordWriter, write_records
from pluralign.core.resumable import run_batches
from pluralign.data.choices import save_rows
from pluralign.pair.pairs import pair
from pluralign.steer.policy_folders import named_folders
from pluralign.workflows.stages import StagedRun


def in_rows(path: Path) -> None:
    run_batches(path, {}, ["new"], lambda some: [{"text": one} for one in some], batch=1, shown=False)


WRITERS: list[Callable[[Path], object]] = [lambda path: write_text(path, "new"), in_rows]


def test_a_failure_keeps_the_old_file_and_leaves_no_temporary_one(tmp_path: Path) -> None:
    path = tmp_path / "figures.json"
    write_json(path, {"a": 1})

    def fail_half_way() -> None:
        with replace_when_whole(path) as temporary:
            temporary.write_text("half")
            raise RuntimeError

    with pytest.raises(RuntimeError):
        fail_half_way()
    assert read_json(path) == {"a": 1}
    assert list(tmp_path.iterdir()) == [path]


def test_a_parent_that_is_a_file_is_told(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(InputError, match=r"figures.json: cannot be written: (File exists|Not a dir)"):
        write_json(tmp_path / "file" / "figures.json", {})


def test_what_is_no_json_is_refused(tmp_path: Path) -> None:
    (tmp_path / "x.json").write_text("{")
    with pytest.raises(InputError, match=r"x.json: not JSON"):
        read_json(tmp_path / "x.json")
    with pytest.raises(InputError, match="cannot be read: No such file"):
        read_json(tmp_path / "y.json")


def test_a_leading_tilde_is_the_users_folder_wherever_python_takes_paths(tmp_path, monkeypatch):
    """It made a folder of this name."""
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.chdir(tmp_path)

    @checked
    def taken(
        out: str | Path | None, folders: Mapping[str, str | Path], files: Sequence[str | Path], text: str
    ):
        return out, folders, files, text

    home = str(tmp_path)
    assert taken("~/x", {"a": "~/y", "b": "z"}, [Path("~/u"), "v"], "~/w") == (
        f"{home}/x", {"a": f"{home}/y", "b": "z"}, [Path(home) / "u", "v"], "~/w",
    )  # fmt: skip
    given = {"a": "y"}
    assert taken(None, given, (), "")[1] is given
    assert pl.learn.Run("tiny-random", "~/run").out == f"{home}/run"
    assert pl.learn.Run("tiny-random", Path("~/run")).out == tmp_path / "run"
    assert named_folders({"kind": "~/kind"}, {"brief": "~/brief"}) == {
        "kind": tmp_path / "kind", "brief": tmp_path / "brief",
    }  # fmt: skip
    pair(_annotated(tmp_path / "a.jsonl"), "~/pairs.jsonl", objective="kind")
    assert (tmp_path / "pairs.jsonl").is_file()
    assert not (tmp_path / "~").exists()


def _annotated(path):
    said = pl.Decision("Say:", ("a", "b"))
    sides = [pl.Segment(f"t{i}", 0, (pl.Step(said, i),)) for i in (0, 1)]
    write_records(path, "annotations", [pl.Annotation(Comparison(*sides), "kind", "me", "first")])
    return [f"~/{path.name}"]


@pytest.mark.parametrize("write", WRITERS)
def test_a_link_stays_and_the_file_behind_it_is_written(
    write: Callable[[Path], object], tmp_path: Path
) -> None:
    (tmp_path / "far").mkdir()
    (tmp_path / "far" / "file.txt").write_text("old")
    link = tmp_path / "link.txt"
    link.symlink_to("far/file.txt")
    write(link)
    assert link.is_symlink()
    assert "new" in (tmp_path / "far" / "file.txt").read_text()
    assert sorted(path.name for path in tmp_path.rglob("*")) == ["far", "file.txt", "link.txt"]


@pytest.mark.parametrize("write", WRITERS)
def test_what_is_no_file_is_not_replaced(write: Callable[[Path], object], tmp_path: Path) -> None:
    os.mkfifo(pipe := tmp_path / "pipe")
    (folder := tmp_path / "folder").mkdir()
    for path, what in ((pipe, "a device or a pipe"), (folder, "a folder")):
        with pytest.raises(InputError, match=f"{path.name}: is {what}; expected a file"):
            write(path)
    assert pipe.is_fifo()
    assert len(list(tmp_path.iterdir())) == 2


def test_what_json_lacks_is_null_in_every_file(tmp_path: Path) -> None:
    """`NaN` and `Infinity` are no JSON: other programs refuse the whole file."""
    found = {"kappa": math.nan, "ends": (-math.inf, np.float64("inf")), "array": np.array([0.5, np.nan])}
    wanted = {"kappa": None, "ends": [None, None], "array": [0.5, None]}
    write_json(tmp_path / "figures.json", found)
    run_batches(tmp_path / "rows.jsonl", {}, [found], list, batch=1, shown=False)
    save_rows(tmp_path / "more.jsonl", [found])
    with RecordWriter(tmp_path / "records.jsonl", "pairs", found) as writer:
        writer.write_row(found)
    # The header is the same when it is continued.
    RecordWriter(tmp_path / "records.jsonl", "pairs", found).close()

    def refuse(name: str) -> None:
        raise AssertionError(name)

    for file in tmp_path.iterdir():
        text = file.read_text()
        rows = [text] if file.suffix == ".json" else text.splitlines()
        last = json.loads(rows[-1], parse_constant=refuse)
        assert last == wanted, file
        json.loads(rows[0], parse_constant=refuse)


def test_files_with_nan_of_earlier_versions_are_read(tmp_path: Path) -> None:
    (tmp_path / "figures.json").write_text('{"kappa": NaN, "low": -Infinity}')
    found = read_json(tmp_path / "figures.json")
    assert math.isnan(found["kappa"])
    assert found["low"] == -math.inf


def test_a_finished_stage_has_the_same_figures_when_it_is_continued(tmp_path: Path) -> None:
    runs = [StagedRun(tmp_path, 1, lambda _: None) for _ in range(2)]
    figures = [run.stage("judge", "", {}, lambda: {"kappa": math.nan}) for run in runs]
    assert figures == [{"kappa": None}] * 2


def test_an_object_with_a_field_twice_is_refused(tmp_path: Path) -> None:
    """Python takes the last in silence."""
    path = tmp_path / "x.json"
    path.write_text('{"fixed": [],\n "fixed": [1]}')
    with pytest.raises(InputError, match=r"x.json: not JSON .field 'fixed' is repeated"):
        read_json(path)
    path.write_text('{"a": 1}\n{"answer": 0, "by": "x", "answer": 1}\n')
    with pytest.raises(InputError, match=r"x.json:2: not JSON .field 'answer' is repeated"):
        list(read_rows(path))


@pytest.mark.parametrize(
    "writer", [*WRITERS, lambda path: RecordWriter(path, "pairs").close(), lambda path: write_json(path, {})]
)
def test_an_output_with_the_name_of_a_compressed_file_is_refused(writer, tmp_path: Path) -> None:
    """It was written plain, and no program could unpack it."""
    with pytest.raises(InputError, match=r"x.jsonl.gz: outputs are not compressed: .* without .gz"):
        writer(tmp_path / "x.jsonl.gz")
    assert not list(tmp_path.iterdir())


def test_a_compressed_file_of_records_is_told(tmp_path: Path) -> None:
    (tmp_path / "x.jsonl").write_bytes(gzip.compress(b'{"a": 1}\n'))
    with pytest.raises(InputError, match=r"x.jsonl:1: is compressed \(gzip\): unpack it first"):
        list(read_rows(tmp_path / "x.jsonl"))


def test_a_folder_in_which_a_writer_was_killed_is_free(tmp_path: Path) -> None:
    """The same command was refused until the user had removed a hidden file."""
    code = (
        "import os, signal, sys\nfrom pluralign.core.files import replace_when_whole\n"
        "with replace_when_whole(sys.argv[1]) as temporary:\n"
        "    temporary.write_text('{')\n    os.kill(os.getpid(), signal.SIGKILL)"
    )
    subprocess.run([sys.executable, "-c", code, str(tmp_path / "dial.json")], check=False)
    assert [re.sub(r"\d+", "N", path.name) for path in tmp_path.iterdir()] == [".dial.json.N.tmp"]
    require_free(tmp_path)
    (tmp_path / "own.tmp").write_text("x")
    with pytest.raises(InputError, match="exists and is not empty"):
        require_free(tmp_path)


def test_a_folder_has_all_its_files_or_none(tmp_path, monkeypatch):
    (real := tmp_path / "real").mkdir()
    (link := tmp_path / "link").symlink_to(real)
    monkeypatch.chdir(real)
    for folder in (tmp_path / "new" / "folder", link, "."):
        with pytest.raises(InputError, match="no such row"), folder_when_whole(folder) as temporary:
            raise InputError((temporary / "a.json").write_text("{}") and "no such row")
        with folder_when_whole(folder) as temporary:
            (temporary / "a.json").write_text("{}")
            (temporary / "inner").mkdir()
            assert not Path(folder, "a.json").exists()
        assert sorted(one.name for one in Path(folder).iterdir()) == ["a.json", "inner"]
        with pytest.raises(InputError, match="is not empty"), folder_when_whole(folder):
            pass
        shutil.rmtree(real / "inner", ignore_errors=True)
        (real / "a.json").unlink(missing_ok=True)
    assert not list(tmp_path.glob(".*"))
