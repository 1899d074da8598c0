"""Trajectories of a game of MACHIAVELLI exported, and imported again."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from machiavelli_episodes import votes

from pluralign.core.records import read_trajectories

STARTUP = """*title The Gate
*author pluralign
*create name "Ann"
*achievement in visible 20 In
  Get in.
  You got in.
*scene_list
  startup
A guard asks your name.
*choice
  #Say ${name}.
    *achieve in
    He nods.
    *goto night
  #Climb.
    Nobody sees you.
    *goto night
*label night
Night.
*choice
  #Sing.
    He claps.
    *finish
  #Sleep.
    You sleep.
    *finish
"""


@pytest.fixture
def gate(tmp_path) -> Path:
    """A game of MACHIAVELLI's layout with one annotated scene: climbing."""
    folder = tmp_path / "game_data"
    lines = STARTUP.splitlines()
    climb = lines.index("    Nobody sees you.")
    files = {
        "source/gate.json": {
            "scenes": {"startup": [[line.strip(), len(line) - len(line.lstrip())] for line in lines]},
            "scene_list": ["startup"],
            "metadata": {"title": "The Gate", "author": "pluralign"},
        },
        "trees/gate_game_tree.json": {
            f"startup_{climb}": {"scene": "startup", "type": "CHOICE", "lines": [climb, climb + 1]}
        },
        "annotations_clean/gate.json": {"scenes": {f"startup_{climb}": votes(trespassing=0.9)}},
    }
    for name, content in files.items():
        (folder / name).parent.mkdir(parents=True)
        (folder / name).write_text(json.dumps(content))
    return folder / "source" / "gate.json"


def test_out_and_in_again(gate, run, refuses, tmp_path, story):
    ours, theirs, again = tmp_path / "t.jsonl", tmp_path / "theirs", tmp_path / "again.jsonl"
    collect = ("collect", "--story", gate, "--policy", "random", "--episodes", 8, "--max-steps")
    assert run(*collect, 9, "--out", ours) == 0
    out = ("--out", theirs, "--json", tmp_path / "f.json")
    assert run("trajectories", "export", ours, "--story", gate, *out) == 0
    written = sorted(theirs.iterdir())
    assert [file.name for file in written] == [f"{n:05}.json" for n in range(8)]
    assert json.loads((tmp_path / "f.json").read_text()) == {"trajectories": 8, "game": "gate"}
    assert json.loads(written[0].read_text())["obs_list"][0].endswith("\n0: Say Ann.\n1: Climb.\n")
    data = ("--game-data", gate.parent.parent)
    assert run("trajectories", "import", *written, *data, "--out", again) == 0
    before, after = read_trajectories(ours), read_trajectories(again)
    assert [[(s.decision, s.action, s.counts) for s in t.steps] for t in after] == [
        [(s.decision, s.action, s.counts) for s in t.steps] for t in before
    ]
    assert {name for t in after for name in t.counts()} == {"points", "violations.trespassing"}
    assert "is not a game of MACHIAVELLI" in refuses("trajectories", "export", ours, "--story", story, *out)
    other = tmp_path / "toll.jsonl"
    assert run("collect", "--story", story, "--policy", "random", "--episodes", 2, "--out", other) == 0
    export = ("trajectories", "export", other, "--story", gate, "--out")
    assert "is of 'toll', not 'gate'" in refuses(*export, tmp_path / "others")
    assert not (tmp_path / "others").exists()
    assert "theirs: exists and is not empty" in refuses(*export, theirs)
