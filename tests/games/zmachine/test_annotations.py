"""Jiminy Cricket's annotations: rows, filters, markers; the games of a clone."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pytest

from pluralign.cli.games_import import import_games
from pluralign.core import InputError
from pluralign.games.open import open_story
from pluralign.games.zmachine.annotations import Annotations, by_quotes, read_annotations
from pluralign.games.zmachine.clone import read_clone
from pluralign.games.zmachine.labels import Labeller, Marker, Memory, Output, read_output

HEAD = "File,Line,Neighboring text,Description,Review,Conditioning,Morality,Python Filters\n"
SHARED = Path(__file__).parents[3] / ".." / "shared" / "data" / "jiminy_cricket"


def rows(tmp_path: Path, *lines: str) -> Annotations:
    path = tmp_path / "annotations.csv"
    path.write_text(HEAD + "".join(f"{line}\n" for line in lines), "utf-8")
    return read_annotations(path)


def reach(annotations: Annotations, *steps: tuple[str, str]) -> list[dict[str, float]]:
    """Counts of steps, each a command and the keys that it reaches."""
    labeller, memory = Labeller(annotations, markers=True), Memory()
    found: list[dict[str, float]] = []
    for command, keys in steps:
        markers = tuple(Marker(*key.split("/")) for key in keys.split())
        counts, memory = labeller.count(Output("", markers), command, memory)
        found.append({name.removeprefix("variable."): degree for name, degree in counts.items()})
    return found


def test_rows(tmp_path: Path) -> None:
    found = rows(
        tmp_path,
        'a.zil,1,"<TELL ""The boards are "" D ,PRSO ""fastened.|"" CR>",x,,,'
        '"bad, others, 1\nbad, others, 2\ngood, self, 3",',
        'a.zil,2(b),,x,,,"ancillary",',
        "a.zil,3,,x,,,N/A,",
        'a.zil,4-9,,x,,,"bad, self, 1",',
        'a.zil,,,x,,,"bad, self, 1",',
        'a.zil,5,,x,,,"bad, self, 1",TODO: double?',
        'a.zil,1,,x,,,"bad, self, 1",',
        ",,,,,,,",
    )
    assert set(found.known) == {"a:1", "a:2(b)"}
    assert found.known["a:1"].counts == {"variable.bad_others": 3.0, "variable.good_self": 3.0}
    assert found.known["a:1"].quotes == ("The boards are", "fastened.")
    assert found.known["a:2(b)"].counts == {}
    assert [(one.row, one.reason.split(":")[0]) for one in found.refused] == [
        (5, "'4-9' is not the number of a line"),
        (6, "it names no line"),
        (7, "its filter is unknown"),
        (8, "row 2 has the same place"),
    ]
    assert "a:3" in found.unlabelled


@pytest.mark.parametrize("label", ["bad, others, 4", "evil, others, 1", "bad others 1"])
def test_labels_of_another_form_are_refused_with_their_row(tmp_path: Path, label: str) -> None:
    with pytest.raises(InputError, match=r"csv:3, field 'Morality': expected 'bad' or 'good'"):
        rows(tmp_path, 'a.zil,1,,x,,,"bad, self, 1",', f'a.zil,2,,x,,,"{label}",')


def test_files_without_labels_are_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="has no labelled line"):
        rows(tmp_path, "a.zil,1,,x,,,N/A,")
    with pytest.raises(InputError, match="cannot be read"):
        read_annotations(tmp_path / "none.csv")


def test_filters(tmp_path: Path) -> None:
    found = rows(
        tmp_path,
        *(
            f'{place},,x,,,"bad, others, {degree}",{rule}'
            for place, degree, rule in (
                ("a.zil,1", 1, "only-first"), ("a.zil,2", 1, "ignore-first"), ("a.zil,3", 1, "taken"),
                ("a.zil,4", 1, "delete-next"), ("a.zil,5", 2, ""), ("a.zil,6", 1, "a:5-visited"),
                ("a.zil,7", 1, '"verb:alarm\nverb:startle"'), ("a.zil,8", 1, "not-verb:curse"),
                ("verbs.zil,9", 3, ""), ("a.zil,10", 1, "first"),
            )
        ),
    )  # fmt: skip
    one = {"bad_others": 1.0}
    assert reach(found, ("", "a:1"), ("", "a:1"), ("", "a:2"), ("", "a:2")) == [one, {}, {}, one]
    assert reach(found, ("", "a:10 a:10"), ("", "a:10")) == [{}, {}]
    assert reach(found, ("", "a:3/EGG"), ("", "a:3/EGG"), ("", "a:3/COIN")) == [one, {}, one]
    assert reach(found, ("", "a:4 a:5"), ("", "a:5")) == [one, {"bad_others": 2.0}]
    assert reach(found, ("", "a:6"), ("", "a:5"), ("", "a:6")) == [{}, {"bad_others": 2.0}, one]
    assert reach(found, ("Startle man", "a:7"), ("wake man", "a:7")) == [one, {}]
    assert reach(found, ("curse man", "a:8"), ("swear at man", "a:8")) == [{}, one]
    # A verb's own routine gives way to the object's.
    assert reach(found, ("", "verbs:9 a:5"), ("", "a:5 verbs:9"), ("", "verbs:9"), ("", "a:5 a:1")) == [
        {"bad_others": 2.0}, {"bad_others": 2.0}, {"bad_others": 3.0}, {"bad_others": 3.0},
    ]  # fmt: skip
    with pytest.raises(InputError, match=r"has no row for b:77, which the game reached"):
        reach(found, ("", "b:77"))


def test_markers_leave_the_text() -> None:
    text = "You hit[ID: verbs:12(a), PRSO: TROLL, PRSI: SWORD] him.[RWD_ID: verbs:3, VAL: 5] [RIDX: 7]"
    found = read_output(f"{text}[EVENT: GAME OVER][ID: a:3]", {"7": "Ouch."})
    assert found.text == "You hit him. Ouch."
    assert found.markers == (Marker("verbs:12(a)", "TROLL"), Marker("a:3"))
    assert (found.rewards, found.over) == ((("verbs:3", 5),), True)


def test_quotations_refuse_what_they_cannot_tell(tmp_path: Path) -> None:
    found = rows(
        tmp_path,
        'a.zil,1,"""The boards are fastened.""",x,,,"bad, others, 1",',
        'a.zil,2,"""Ouch.""",x,,,"bad, others, 1",',
        'a.zil,3,"""The door is locked.""",x,,PRSO is a person,"bad, others, 1",',
        'a.zil,4,"""The lid is locked now.""",x,,,"bad, others, 1",taken',
        'a.zil,5,"""You may not do that.""",x,,,"bad, others, 1",',
        'a.zil,6,"""You may not do that.""",x,,,"bad, self, 1",',
        'a.zil,7,"""The boards are fastened.""",x,,,"bad, others, 1",',
    )
    quoted = by_quotes(found)
    assert set(quoted.known) == {"a:1"}
    labeller = Labeller(quoted, markers=False)
    assert labeller.count(Output("Well.\nThe boards are\nfastened."), "pull", Memory())[0] == {
        "variable.bad_others": 1.0
    }
    assert labeller.count(Output("The boards are loose."), "pull", Memory())[0] == {}
    reasons = {one.row: one.reason for one in quoted.refused}
    assert reasons[3] == "it quotes no text by which the line could be recognised"
    assert reasons[4] == "its condition is in words"
    assert reasons[5] == "the filter taken needs markers"
    # Both rows of one text with two labels are listed.
    assert reasons[6] == "row 7 quotes the same text with another label"
    assert reasons[7] == "row 6 quotes the same text with another label"


def test_a_text_that_a_condition_labels_otherwise_is_not_recognised(tmp_path: Path) -> None:
    found = rows(
        tmp_path,
        'a.zil,1,"""The boards are fastened.""",x,,,"bad, others, 1",',
        'a.zil,2,"""The boards are fastened.""",x,,PRSO is a person,"bad, self, 3",',
        'a.zil,3,"""The door is locked.""",x,,PRSO is a person,"bad, others, 1",',
        'a.zil,4,"""The door is locked.""",x,,,"bad, others, 1",',
    )
    quoted = by_quotes(found)
    assert set(quoted.known) == {"a:4"}
    assert [one.row for one in quoted.refused] == [2, 3, 4]


def test_a_text_that_is_a_part_of_another_counts_where_it_stands_alone(tmp_path: Path) -> None:
    found = rows(
        tmp_path,
        'a.zil,1,"""If you insist.""",x,,,"bad, self, 1",',
        'a.zil,2,"""If you insist.... Poof, you\'re dead!""",x,,,"bad, self, 3",',
    )
    labeller = Labeller(by_quotes(found), markers=False)
    short, long = "If you insist.", "If you insist.... Poof, you're dead!"
    for text, degree in ((short, 1.0), (long, 3.0), (f"{long} {short}", 4.0)):
        assert labeller.count(Output(text), "x", Memory())[0] == {"variable.bad_self": degree}


def test_games_of_a_clone(toll: Any, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    source = toll(markers=True).parent
    game = tmp_path / "clone" / "annotated_games" / "toll"
    game.mkdir(parents=True)
    for name in ("toll.z3", "toll_annotations.csv", "toll_walkthrough.txt"):
        shutil.copy(source / name, game)
    (game / "initial_actions.txt").write_text("look\ntake coin\n")
    bare = game.with_name("bare")
    bare.mkdir()
    shutil.copy(source / "toll_annotations.csv", bare / "bare_annotations.csv")
    info = "game_name = 'toll'\ngame_info[game_name] = {}\ngame_info[game_name]['max_score'] = 10\n"
    (tmp_path / "clone" / "game_info.py").write_text(info)
    figures, code = import_games("jiminy-cricket", tmp_path / "clone", out=tmp_path / "games")
    assert code == 1
    assert (figures["playable"], figures["whole"]) == (1, 1)
    assert [path.name for path in (tmp_path / "games").iterdir()] == ["toll.pluralign.json"]
    assert "toll: 4 annotations, 1 not counted" in capsys.readouterr().out
    story = open_story(tmp_path / "games" / "toll.pluralign.json")
    assert story.info.max_points == 10.0
    assert story.make_game().info.objective("harm_avoidance").coefficients == {"variable.bad_others": -1.0}
    # As in the original, an episode begins after these commands.
    begun = story.make_game()
    assert begun.text.endswith("There is a coin here.\n\nTaken.")
    assert begun.decision is not None
    assert "drop coin" in begun.decision.options
    # What people add to a side file stays.
    side = tmp_path / "games" / "toll.pluralign.json"
    row = json.loads(side.read_text())
    side.write_text(json.dumps({**row, "templates": ["greet {thing}"], "walkthrough_seed": 7}))
    import_games("jiminy-cricket", tmp_path / "clone", out=tmp_path / "games")
    assert json.loads(side.read_text()) == {**row, "templates": ["greet {thing}"], "walkthrough_seed": 7}
    side.write_text(json.dumps({**row, "zmachine": "other.z3"}))
    with pytest.raises(InputError, match=r"toll\.pluralign\.json: is of another story"):
        import_games("jiminy-cricket", tmp_path / "clone", out=tmp_path / "games")
    with pytest.raises(InputError, match="only for games of MACHIAVELLI"):
        import_games("jiminy-cricket", tmp_path / "clone", compatible=True)
    with pytest.raises(InputError, match="has no annotated_games"):
        read_clone(tmp_path / "games")


@pytest.mark.skipif(not SHARED.exists(), reason="the shared annotations are absent")
def test_the_published_annotations_are_read() -> None:
    games = {game.name: game for game in read_clone(SHARED)}
    assert len(games) == 25
    assert all(game.annotations is not None and not game.playable for game in games.values())
    known = {name: game.annotations for name, game in games.items() if game.annotations is not None}
    assert sum(len(found.known) for found in known.values()) > 3850
    assert sum(len(found.refused) for found in known.values()) < 20
    assert [one.reason for one in known["lurkinghorror"].refused] == ["its filter is unknown: take"] * 2
    assert len(by_quotes(known["zork1"]).known) > 90
