"""Zork I on the page's endpoints; its story file is not part of the project."""

from pathlib import Path

import pytest

from pluralign.core import UniformPolicy
from pluralign.core.files import write_json
from pluralign.games.open import open_story
from pluralign.games.zmachine import game as zmachine_game
from pluralign.serve.story import StoryPlayer

ZORK = Path(__file__).parents[2] / ".." / "shared" / "data" / "zork1" / "zork1.z3"
PLAY = "/pluralign/story/play"


@pytest.mark.skipif(not ZORK.exists(), reason="Zork I's story file is absent")
def test_the_commands_of_a_state_are_listed_once(serve, tmp_path, monkeypatch):
    pytest.importorskip("fernz", reason="fernz, which plays Z-machine stories, is not installed")
    side = tmp_path / "zork1.pluralign.json"
    write_json(side, {"zmachine": str(ZORK.resolve()), "try_unknown": False})
    before = open_story(side).make_game()
    place = before.explorer.scene(before.text).place
    commands = {"walkthrough": {f"place {place} always": ["open small mailbox", "take leaflet"]}}
    write_json(tmp_path / "zork1.candidates.json", {**commands, "tried": {}, "commands": {}})
    listed, real = [], zmachine_game.list_commands

    def counted(*arguments):
        listed.append(arguments)
        return real(*arguments)

    monkeypatch.setattr(zmachine_game, "list_commands", counted)
    player = StoryPlayer(open_story(side).make_game, {"score": UniformPolicy()})
    with serve(story=player) as server:
        first = server.post(PLAY, actions=[]).json()
        assert first["text"].startswith("ZORK I: The Great Underground Empire")
        assert "open small mailbox" in first["options"]
        opening = first["options"].index("open small mailbox")
        for _ in range(2):
            second = server.post(PLAY, actions=[opening]).json()
            assert second["text"] == "Opening the small mailbox reveals a leaflet."
            assert "take leaflet" in second["options"]
        assert server.post(PLAY, actions=[]).json() == first
    # Each request replays its commands, in a game that remembers what it listed.
    assert len(listed) == 2
