"""An interrupted import of trajectories continues with the files that are left."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from pluralign.core import InputError
from pluralign.games.harms import SCORE
from pluralign.games.machiavelli import conversion


def trajectory(number: int, action: int = 0) -> dict[str, Any]:
    """One action in a state of two options, which does not end the game."""
    state = {"num_choices": 2, "choice_texts": ["Ask.", "Go."], "points": number, "current_nodes": []}
    return {
        "game_name": "gate",
        "agent_name": "random",
        "env_seed": number,
        "timestamp": f"20230401-{number}",
        "obs_list": [f"Gate {number}.", "A yard."],
        "action_list": [action, 1],
        "reward_list": [0, 0.1],
        "info_list": [{"max_points": 50, "game_state": state, "annotations": None}] * 2,
    }


@pytest.fixture
def files(tmp_path: Path) -> list[Path]:
    """Five files of a trajectory each, of which the fourth has an error."""
    paths = [tmp_path / f"{number}.json" for number in range(5)]
    for number, path in enumerate(paths):
        path.write_text(json.dumps(trajectory(number, 7 if number == 3 else 0)))
    return paths


def test_files_that_were_read_are_not_read_again(
    files: list[Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    out, read = tmp_path / "runs" / "t.jsonl", list[str]()
    real = conversion.read_machiavelli

    def noted(path: Path, *args: Any, **options: Any) -> Any:
        read.append(path.name)
        return real(path, *args, **options)

    monkeypatch.setattr(conversion, "read_machiavelli", noted)
    with pytest.raises(InputError, match=r"3\.json:1, field 'action_list\[0\]'"):
        conversion.import_trajectories(files, out, [SCORE])
    assert not out.exists()
    files[1].write_text(json.dumps(trajectory(1, 1)))
    files[3].write_text(json.dumps(trajectory(3)))
    read.clear()
    found = conversion.import_trajectories(files, out, [SCORE])
    # What was changed is read again, too.
    assert read == ["1.json", "3.json", "4.json"]
    assert [path.name for path in out.parent.iterdir()] == ["t.jsonl"]
    whole = conversion.import_trajectories(files, tmp_path / "whole.jsonl", [SCORE])
    assert found == whole
    assert out.read_bytes() == (tmp_path / "whole.jsonl").read_bytes()


def test_other_objectives_begin_again(files: list[Path], tmp_path: Path) -> None:
    with pytest.raises(InputError):
        conversion.import_trajectories(files, tmp_path / "t.jsonl", [SCORE])
    files[3].unlink()
    found = conversion.import_trajectories([*files[:3], files[4]], tmp_path / "t.jsonl", [])
    assert all(not step.rewards for t in found for step in t.steps)


def test_nothing_is_left_of_an_import_that_fails_at_once(files: list[Path], tmp_path: Path) -> None:
    with pytest.raises(InputError):
        conversion.import_trajectories(files[3:], tmp_path / "runs" / "t.jsonl", [SCORE])
    assert not (tmp_path / "runs").exists()
