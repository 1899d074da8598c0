"""What a ``game_data`` folder holds, what it lacks, and what it is refused for."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from pluralign.cli import main
from pluralign.core import InputError
from pluralign.games.choicescript.load import load_story
from pluralign.games.machiavelli.folder import GameData, is_machiavelli
from pluralign.games.machiavelli.game import MachiavelliStory
from pluralign.games.open import open_story

WriteGame = Callable[..., Path]


def edit(path: Path, change: Callable[[Any], Any]) -> None:
    """Change a JSON file."""
    row = json.loads(path.read_text())
    changed = change(row)
    path.write_text(json.dumps(row if changed is None else changed))


def test_a_whole_folder_is_told_so(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    data = GameData(folder)
    assert data.games == ["high_water", "salt_ledger"]
    report = data.check("salt_ledger")
    assert report.whole
    assert report.points == load_story("salt_ledger").info.max_points > 0
    assert 0 < report.annotated < report.scenes
    with pytest.raises(SystemExit) as left:
        main(["games", "import", "machiavelli", str(folder)])
    assert left.value.code == 0
    told = capsys.readouterr().out
    assert "2 games: 2 can be played, 2 are whole; coefficients for 2 games" in told
    assert (
        f"salt_ledger: playable, {report.annotated} of {report.scenes} scenes annotated, 1000 points\n"
        in told
    )


@pytest.mark.parametrize(
    ("lost", "missing", "playable"),
    [
        ("source/salt_ledger.json", "source/salt_ledger.json", False),
        ("trees/salt_ledger_game_tree.json", "trees/salt_ledger_game_tree.json", True),
        ("annotations_clean/salt_ledger.json", "annotations_clean/salt_ledger.json", True),
        ("game_metadata.json", "'salt_ledger' in game_metadata.json", True),
    ],
)
def test_what_is_missing_is_named(
    folder: Path, lost: str, missing: str, playable: bool, tmp_path: Path
) -> None:
    (folder / lost).unlink()
    report = GameData(folder).check("salt_ledger")
    assert (report.missing, report.playable) == ((missing,), playable)
    figures = tmp_path / "figures.json"
    with pytest.raises(SystemExit) as left:
        main(["games", "import", "machiavelli", str(folder), "--json", str(figures)])
    assert left.value.code == 1
    rows = {row["name"]: row for row in json.loads(figures.read_text())["games"]}
    assert rows["salt_ledger"]["missing"] == [missing]
    if playable:
        game = open_story(folder / "source/salt_ledger.json").make_game()
        assert game.decision is not None
        game.choose(0)


def test_missing_coefficients_leave_a_folder_unwhole(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (folder / "normalization_coeffs.json").unlink()
    with pytest.raises(SystemExit) as left:
        main(["games", "import", "machiavelli", str(folder)])
    assert left.value.code == 1
    assert "coefficients for 0 games" in capsys.readouterr().out


WRONG: list[tuple[str, Callable[[Any], Any], str, str]] = [
    ("source/salt_ledger.json", lambda r: r.pop("scenes"), "scenes", "is missing"),
    ("source/salt_ledger.json", lambda r: r.update(scenes=[]), "scenes", "must be an object"),
    (
        "source/salt_ledger.json",
        lambda r: r["scenes"].update(startup=["x"]),
        "scenes.startup[0]",
        "a line's text",
    ),
    (
        "source/salt_ledger.json",
        lambda r: r["scenes"].update(startup=[["x", -1]]),
        "scenes.startup[0][1]",
        "0 or more",
    ),
    (
        "source/salt_ledger.json",
        lambda r: r["scenes"].update(startup=[["x\ny", 0]]),
        "scenes.startup[0][0]",
        "one line",
    ),
    ("source/salt_ledger.json", lambda r: r["metadata"].update(title=3), "metadata.title", "be a string"),
    ("source/salt_ledger.json", lambda r: [], "", "must be an object"),
    (
        "trees/salt_ledger_game_tree.json",
        lambda r: r["startup_0"].update(type="LEAF"),
        "startup_0.type",
        "must be one of",
    ),
    (
        "trees/salt_ledger_game_tree.json",
        lambda r: r["startup_0"].update(lines=3),
        "startup_0.lines",
        "must be a list",
    ),
    (
        "annotations_clean/salt_ledger.json",
        lambda r: r["scenes"].update(x={"money": {"dollars": "many"}}),
        "scenes.x.money.dollars",
        "must be a finite number",
    ),
    ("game_metadata.json", lambda r: r["salt_ledger"].pop("summary"), "salt_ledger.summary", "is missing"),
]


@pytest.mark.parametrize(("file", "change", "field", "said"), WRONG)
def test_a_wrong_field_is_named(
    folder: Path,
    file: str,
    change: Callable[[Any], Any],
    field: str,
    said: str,
    capsys: pytest.CaptureFixture[str],
) -> None:
    def apply(row: Any) -> Any:
        result = change(row)
        return result if result == [] else None

    edit(folder / file, apply)
    with pytest.raises(InputError) as caught:
        GameData(folder).story("salt_ledger")
    assert (caught.value.path, caught.value.field or "") == (str(folder / file), field)
    assert said in str(caught.value)
    report = GameData(folder).check("salt_ledger")
    assert not report.playable
    assert GameData(folder).check("high_water").whole
    with pytest.raises(SystemExit) as left:
        main(["games", "show", str(folder / "source/salt_ledger.json")])
    assert left.value.code == 2
    assert said in capsys.readouterr().err


def test_what_does_not_fit_together_is_told(folder: Path) -> None:
    edit(
        folder / "trees/salt_ledger_game_tree.json",
        lambda r: r["startup_0"].update(lines=[0, 5000], scene="startup"),
    )
    edit(folder / "annotations_clean/salt_ledger.json", lambda r: r["scenes"].update(nowhere={}))
    edit(
        folder / "game_metadata.json",
        lambda r: r["salt_ledger"]["achievements"].update(x={"description": "", "points": 3}),
    )
    edit(folder / "source/salt_ledger.json", lambda r: r["scenes"]["pans"].append(["*shout", 0]))
    found = "\n".join(GameData(folder).check("salt_ledger").problems)
    for said in (
        "node 'startup_0' has line 5000",
        "'nowhere' is annotated, but is not a node of the tree",
        "achievement 'x' has 3 points in game_metadata.json, no such achievement in the source",
        "*shout is not understood",
    ):
        assert said in found


def test_the_order_of_scenes_is_the_files_where_the_source_has_none(
    write_game: WriteGame, tmp_path: Path
) -> None:
    from pluralign.games.choicescript.compile.story import compile_story

    scenes = {"startup": "*title T\nOne.\n*finish", "last": "Three.\n*finish", "next": "Two.\n*finish"}
    path = write_game(tmp_path, "order", compile_story("order", scenes))
    edit(path, lambda row: row.update(scene_list=["next", "last"]))
    assert open_story(path).make_game().text == "One.\n\nTwo.\n\nThree."


def test_play_that_stops_is_told(folder: Path) -> None:
    def break_it(row: Any) -> None:
        startup = row["scenes"]["startup"]
        first = next(i for i, (text, _) in enumerate(startup) if text.startswith("*choice"))
        startup.insert(first, ["*bug the author says so", 0])

    edit(folder / "source/salt_ledger.json", break_it)
    report = GameData(folder).check("salt_ledger")
    assert not report.playable
    assert "the author says so" in report.problems[0]


def test_an_option_that_the_original_never_lists(folder: Path) -> None:
    def add(row: Any) -> None:
        startup = row["scenes"]["startup"]
        first = next(i for i, (text, _) in enumerate(startup) if text.startswith("#"))
        startup.insert(first, ["#Return to the start of this chapter.", startup[first][1]])
        startup.insert(first + 1, ["*finish", startup[first][1] + 2])

    before = open_story(folder / "source/salt_ledger.json").make_game().decision
    edit(folder / "source/salt_ledger.json", add)
    assert open_story(folder / "source/salt_ledger.json").make_game().decision == before


def test_what_is_no_such_folder_is_refused(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as left:
        main(["games", "import", "machiavelli", str(tmp_path)])
    assert left.value.code == 2
    assert "is not a game_data folder" in capsys.readouterr().err
    (tmp_path / "source").mkdir()
    with pytest.raises(InputError, match="the folder has no source of 'nothing'; it has games none"):
        GameData(tmp_path).story("nothing")


def test_typed_answers_are_the_originals(write_game: WriteGame, tmp_path: Path) -> None:
    from pluralign.games.choicescript.compile.story import compile_story

    startup = (
        '*title Tally Ho\n*create codename ""\n*create name ""\n*create n 0\n*create m 0\n'
        "*input_text codename\n*input_text name\n*input_number n 0 9\n*input_number m 5 9\n"
        "${codename} ${name} ${n} ${m}\n*finish\n"
    )
    path = write_game(tmp_path, "tally", compile_story("tally", {"startup": startup}))
    game = open_story(path).make_game()
    assert game.text == "user_input_2 user_input 1 5"


def test_side_files_stand_for_games(folder: Path, tmp_path: Path) -> None:
    with pytest.raises(SystemExit) as left:
        main(
            [
                "games",
                "import",
                "machiavelli",
                str(folder),
                "--out",
                str(tmp_path / "out"),
                "--compatible",
                "True",
            ]
        )
    assert left.value.code == 0
    story = open_story(tmp_path / "out" / "salt_ledger.pluralign.json")
    assert isinstance(story, MachiavelliStory)
    assert story.compatible
    plain = open_story(folder / "source" / "salt_ledger.json")
    assert isinstance(plain, MachiavelliStory)
    assert not plain.compatible


def test_importing_again_keeps_what_side_files_say(
    folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "out"
    arguments = ["games", "import", "machiavelli", str(folder), "--out", str(out)]
    side = out / "salt_ledger.pluralign.json"
    for compatible in ("False", "True"):
        with pytest.raises(SystemExit):
            main([*arguments, "--compatible", compatible])
        row = json.loads(side.read_text())
        assert row.get("compatible", False) == (compatible == "True")
        edit(side, lambda row: row.update(title="Mine"))
    assert json.loads(side.read_text())["title"] == "Mine"
    edit(side, lambda row: row.update(story="elsewhere"))
    with pytest.raises(SystemExit) as left:
        main(arguments)
    assert left.value.code == 2
    assert "is of another story" in capsys.readouterr().err


def test_only_sources_in_such_a_folder_are_games(folder: Path, tmp_path: Path) -> None:
    assert is_machiavelli(folder / "source/salt_ledger.json")
    lone = tmp_path / "source"
    lone.mkdir()
    shutil.copy(folder / "source/salt_ledger.json", lone)
    assert is_machiavelli(lone / "salt_ledger.json")
    assert open_story(lone / "salt_ledger.json").make_game().decision is not None
    (lone / "ink.json").write_text('{"inkVersion": 21, "root": []}')
    assert not is_machiavelli(lone / "ink.json")
    assert not is_machiavelli(folder / "trees/salt_ledger_game_tree.json")
