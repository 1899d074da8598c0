"""Ink stories and side files that cannot be used, and faults of play."""

from __future__ import annotations

import json
import re
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from pluralign.core import InputError
from pluralign.games.ink.check import check_ink
from pluralign.games.ink.game import InkGame
from pluralign.games.ink.load import load_ink
from pluralign.games.open import open_story

STORIES = Path(__file__).with_name("ink_stories")


WEALTH = {"description": "The player grows rich.", "coefficients": {"variable.gold": 1}}


Write = Callable[..., Path]


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (
            '{"inkVersion":11,"root":[]}',
            "inkVersion 11, and 18 to 21 can be played: recompile its source with inklecate",
        ),
        ('{"inkVersion":22,"root":[]}', "compiled for inkVersion 22, and 18 to 21 can be played"),
        ('{"inkVersion":"21","root":[]}', "is not compiled Ink"),
        ('{"inkVersion":21}', "is not compiled Ink"),
        ("[1]", "is not compiled Ink"),
        ('{"inkVersion":21,"root":' + "[" * 900 + "]" * 900 + "}", "the Ink runtime stopped"),
        ("[" * 100_000, "not JSON"),
        ('{"inkVersion":', "not JSON"),
        ('{"inkVersion":21,"root":[["nonsense"],"done",null]}', "the Ink runtime stopped"),
    ],
)
def test_files_that_are_no_playable_ink(tmp_path: Path, content: str, message: str) -> None:
    path = tmp_path / "x.json"
    path.write_text(content)
    with pytest.raises(InputError, match=message) as caught:
        InkGame(load_ink(path))
    assert caught.value.path == str(path)


def test_sources_and_missing_files_are_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"compile it first: inklecate -o ferry\.json ferry\.ink"):
        open_story(STORIES / "ferry.ink")
    for name in ("x.json", "x.pluralign.json"):
        with pytest.raises(InputError, match=f"{name}: cannot be read"):
            open_story(tmp_path / name)
    with pytest.raises(
        InputError, match=r"neither a folder of ChoiceScript scenes, nor an Ink story's \.json"
    ):
        open_story(tmp_path / "nowhere")
    (tmp_path / "x.doc").write_text("")
    with pytest.raises(InputError, match=r"x\.doc: is not a story"):
        open_story(tmp_path / "x.doc")


OBJECTIVE = {"description": "More.", "coefficients": {"points": 1}}


def of(coefficients: object) -> dict[str, object]:
    return {"objectives": {"a": {"description": "More.", "coefficients": coefficients}}}


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"goals": {}}, "field 'goals': unknown; expected ink, title"),
        ({"title": 3}, "field 'title': must be a string, found 3"),
        ({"max_options": 0}, "field 'max_options': must be a whole number of 1 or more"),
        ({"objectives": []}, "field 'objectives': must be an object from names to objectives"),
        ({"objectives": {"score": OBJECTIVE}}, "is the name of a built-in objective"),
        ({"objectives": {"a": {}}}, "field 'objectives.a': must have 'description' and 'coefficients'"),
        ({"objectives": {"A": OBJECTIVE}}, "objective name 'A' must be lower case"),
        (of({}), "must be an object from counts to numbers"),
        (of({"gold": 1}), "unknown count; known: variable.NAME"),
        (of({"points": True}), "must be a finite number, found True"),
        (
            of({"variable.silver": 1}),
            "no numeric variable of this name; it has gold, trusted",
        ),
        (
            of({"variable.mood": 1}),
            "field 'objectives.a.coefficients.variable.mood': the story has no numeric variable",
        ),
        ({"ink": "elsewhere.json"}, "elsewhere.json: cannot be read"),
    ],
)  # fmt: skip
def test_side_files_that_cannot_be_used(side: Write, fields: dict[str, Any], message: str) -> None:
    with pytest.raises(InputError, match=re.escape(message)):
        load_ink(side("ferry", **fields))


def test_a_side_file_is_found_beside_its_story(tmp_path: Path) -> None:
    shutil.copy(STORIES / "ferry.json", tmp_path)
    row = {"objectives": {"wealth": WEALTH}}
    (tmp_path / "ferry.pluralign.json").write_text(json.dumps(row))
    for name in ("ferry.json", "ferry.pluralign.json"):
        game = open_story(tmp_path / name).make_game()
        assert game.info.name == "ferry"
        assert game.choose(0)["variable.gold"] == -2.0
    (tmp_path / "ferry.pluralign.json").write_text("[]")
    with pytest.raises(InputError, match="expected an object with ink, title"):
        load_ink(tmp_path / "ferry.json")


def test_more_options_than_was_said(side: Write) -> None:
    game = InkGame(load_ink(side("ferry", max_options=3)))
    with pytest.raises(InputError, match="lists 4 options, more than max_options, 3"):
        game.choose(0)


def test_faults_of_play() -> None:
    around = InkGame(load_ink(STORIES / "around.json"), line_seconds=0.05)
    with pytest.raises(InputError, match=r"around\.json: a line did not end within 0\.05 seconds"):
        around.choose(0)
    chatter = InkGame(load_ink(STORIES / "chatter.json"))
    with pytest.raises(InputError, match=r"chatter\.json: no choice after 10000 lines: an endless loop"):
        chatter.choose(0)
    # A new episode begins all the same.
    for game in (around, chatter):
        game.reset()
        assert game.decision is not None
    with pytest.raises(InputError, match=r"deaf\.json: the Ink runtime stopped: .*external: 'ring'"):
        InkGame(load_ink(STORIES / "deaf.json"))


def test_a_loose_end_is_an_end_and_divisions_by_zero_are_told(
    side: Write, capfd: pytest.CaptureFixture[str]
) -> None:
    objective = {"description": "More.", "coefficients": {"variable.number": 1}}
    game = InkGame(load_ink(side("loose", objectives={"number": objective})))
    assert game.choose(0) == {"violations.other": 1.0}
    assert (game.decision, game.text) == (None, "You fall.")
    assert "ran out of content" in game.loose_end
    game.reset()
    with pytest.raises(InputError, match="variable 'number' has become something other than a number"):
        game.choose(1)
    game.reset()
    assert game.loose_end == ""
    with pytest.raises(InputError, match=r"loose\.json: the Ink runtime stopped"):
        game.choose(2)


def test_what_a_check_finds(side: Write) -> None:
    assert check_ink(STORIES / "ferry.json") == []
    assert check_ink(STORIES / "toll.json") == []
    (chatter,) = check_ink(STORIES / "chatter.json", episodes=3)
    assert "endless loop" in chatter.message
    messages = [error.message for error in check_ink(STORIES / "loose.json", episodes=30)]
    assert len(messages) == 2
    assert any("ran out of content" in message for message in messages)
    with pytest.raises(InputError, match="cannot be read"):
        check_ink(STORIES / "nowhere.json")
