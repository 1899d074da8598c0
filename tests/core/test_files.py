from pathlib import Path

import pytest

from pluralign.core import InputError
from pluralign.core.files import read_json, replace_when_whole, write_json


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
