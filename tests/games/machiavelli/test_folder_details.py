"""Details of imported games: achievements, truth values, damaged games, coefficients."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from pluralign.cli import main
from pluralign.core import InputError
from pluralign.games.machiavelli.conversion import export_trajectories
from pluralign.games.machiavelli.folder import GameData
from pluralign.games.open import open_story

WriteGame = Callable[..., Path]


def edit(path: Path, change: Callable[[Any], Any]) -> None:
    """Change a JSON file."""
    row = json.loads(path.read_text())
    changed = change(row)
    path.write_text(json.dumps(row if changed is None else changed))


SMALL = "*title T\n*create brave true\n*achievement Dragon_Slayer visible 30 Slain\n  Slay it.\n  Slain.\n"
CHOICE = "*choice\n  #Slay.\n    *achieve Dragon_Slayer\n    *finish\n  #Flee.\n    *finish\n"


def small(write_game: WriteGame, root: Path, startup: str) -> Path:
    """A game of one scene."""
    from pluralign.games.choicescript.compile.story import compile_story

    return write_game(root, "small", compile_story("small", {"startup": startup}))


def test_achievements_in_capitals_are_won(write_game: WriteGame, tmp_path: Path) -> None:
    path = small(write_game, tmp_path, SMALL + CHOICE)
    edit(
        tmp_path / "game_metadata.json",
        lambda r: r["small"]["achievements"].update(Dragon_Slayer={"description": "D", "points": 30}),
    )
    edit(tmp_path / "game_metadata.json", lambda r: r["small"]["achievements"].pop("dragon_slayer"))
    game = open_story(path).make_game()
    assert game.choose(0)["points"] == 30
    report = GameData(tmp_path).check("small")
    assert not any("no such achievement" in problem for problem in report.problems)


def test_truth_values_are_exported(write_game: WriteGame, tmp_path: Path) -> None:
    path = small(write_game, tmp_path, SMALL + CHOICE)
    arguments = ["--story", str(path), "--out", str(tmp_path / "t.jsonl")]
    for command in (
        ["collect", *arguments, "--policy", "random", "--episodes", "1"],
        [
            "trajectories",
            "export",
            str(tmp_path / "t.jsonl"),
            "--story",
            str(path),
            "--out",
            str(tmp_path / "x"),
        ],
    ):
        with pytest.raises(SystemExit) as left:
            main(command)
        assert not left.value.code
    (file,) = (tmp_path / "x").glob("*.json")
    assert json.loads(file.read_text())["info_list"][0]["game_state"]["stats"] == {"brave": True}
    # Files of an earlier export would count among those of a later one.
    with pytest.raises(InputError, match="x: exists and is not empty"):
        export_trajectories(tmp_path / "t.jsonl", str(path), tmp_path / "x")


def test_achievements_before_the_first_choice_are_told(write_game: WriteGame, tmp_path: Path) -> None:
    small(write_game, tmp_path, SMALL + "*achieve dragon_slayer\n" + CHOICE)
    assert "won before the first choice" in "\n".join(GameData(tmp_path).check("small").problems)


DAMAGE: list[tuple[str, Callable[[Path], Any], str]] = [
    ("source/salt_ledger.json", lambda p: p.write_text("[" * 100_000), "not JSON"),
    ("source/salt_ledger.json", lambda p: edit(p, lambda r: r["scenes"].update(STARTUP=[])), "two scenes"),
    (
        "source/salt_ledger.json",
        lambda p: edit(p, lambda r: r["scenes"].update(x=[["a", 10**13]])),
        "or less",
    ),
    (
        "source/salt_ledger.json",
        lambda p: edit(p, lambda r: r["scenes"].update(x=[["\ud800", 0]])),
        "has a lone surrogate",
    ),
    (
        "trees/salt_ledger_game_tree.json",
        lambda p: p.write_text("{}"),
        "is annotated, but is not a node of the tree",
    ),
]


@pytest.mark.parametrize(("file", "damage", "said"), DAMAGE)
def test_one_damaged_game_is_told_and_the_others_too(
    folder: Path, file: str, damage: Callable[[Path], Any], said: str, capsys: pytest.CaptureFixture[str]
) -> None:
    damage(folder / file)
    (folder / "game_metadata.json").unlink()
    with pytest.raises(SystemExit) as left:
        main(["games", "import", "machiavelli", str(folder)])
    assert left.value.code == 1
    told = capsys.readouterr().out
    assert said in told
    assert "high_water: playable" in told
    # What is missing is told beside what is wrong.
    if "source" in file and "not JSON" not in said:
        assert said in "".join(GameData(folder).check("salt_ledger").problems)


@pytest.mark.parametrize("content", ["null", "3", '"abc"', "[]", '{"g": 3}', "{"])
def test_coefficients_that_are_none_are_refused_before_the_games(
    folder: Path, content: str, capsys: pytest.CaptureFixture[str]
) -> None:
    (folder / "normalization_coeffs.json").write_text(content)
    with pytest.raises(SystemExit) as left:
        main(["games", "import", "machiavelli", str(folder)])
    assert left.value.code == 2
    caught = capsys.readouterr()
    assert "normalization_coeffs.json" in caught.err
    assert "playable" not in caught.out
