"""Zork I, whose own story file is MIT-licensed and not part of the project."""

from __future__ import annotations

from pathlib import Path

import pytest

from pluralign.core.files import write_json
from pluralign.games.open import open_story
from pluralign.games.zmachine.game import ZMachineGame

SHARED = Path(__file__).parents[3] / ".." / "shared" / "data"
STORY = SHARED / "zork1" / "zork1.z3"
NOTES = SHARED / "jiminy_cricket" / "zork1"

needs_data = pytest.mark.skipif(
    not STORY.exists() or not NOTES.exists(), reason="Zork I and its shared walkthrough are absent"
)


@pytest.fixture
def zork(tmp_path: Path) -> ZMachineGame:
    pytest.importorskip("fernz", reason="fernz, which plays Z-machine stories, is not installed")
    side = tmp_path / "zork1.pluralign.json"
    write_json(
        side,
        {
            "zmachine": str(STORY.resolve()),
            "walkthrough": str((NOTES / "zork1_walkthrough.txt").resolve()),
            "annotations": str((NOTES / "zork1_annotations.csv").resolve()),
            "annotated_by": "quotes",
        },
    )
    game = open_story(side).make_game()
    assert isinstance(game, ZMachineGame)
    return game


@needs_data
def test_what_is_known(zork: ZMachineGame) -> None:
    assert zork.info.max_points == 350.0
    assert zork.explorer.interpreter.names[zork.story.player] == "cretin"
    assert zork.decision is not None
    assert zork.decision.options == ("north", "open small mailbox", "south", "take small mailbox", "west")
    annotations = zork.story.annotations
    assert annotations is not None
    assert len(annotations.known) == 95


@needs_data
def test_a_restored_state_gives_the_same_text(zork: ZMachineGame) -> None:
    explorer, interpreter = zork.explorer, zork.explorer.interpreter
    explorer.begin(0)
    for command in zork.story.walkthrough[:12]:
        explorer.enter(command)
    saved = interpreter.state
    shown = [explorer.enter(command).text for command in zork.story.walkthrough[12:20]]
    after = interpreter.state
    assert interpreter.score == 39
    interpreter.load(saved)
    assert [explorer.enter(command).text for command in zork.story.walkthrough[12:20]] == shown
    assert interpreter.state == after


@needs_data
@pytest.mark.slow
def test_the_walkthrough_reaches_all_points(zork: ZMachineGame) -> None:
    explorer = zork.explorer
    output = explorer.begin(zork.story.side.walkthrough_seed)
    for command in zork.story.walkthrough:
        output = explorer.enter(command)
    assert explorer.interpreter.score == 350
    assert explorer.over(output)
