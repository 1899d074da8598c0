"""A ``game_data`` folder in MACHIAVELLI's exact format, made of any ChoiceScript story."""

from __future__ import annotations

import json
import random
import shutil
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import pytest

from pluralign.games.choicescript.compile.story import compile_story
from pluralign.games.choicescript.language.parser import Node, parse_scene
from pluralign.games.choicescript.load import load_story
from pluralign.games.choicescript.run.game import ChoiceScriptStory
from pluralign.games.harms import VIOLATIONS

Annotate = Callable[[str], dict[str, Any] | None]
WriteGame = Callable[..., Path]


def annotation(lots: random.Random) -> dict[str, Any]:
    """A scene's votes as three annotators may have cast them, around every threshold."""
    votes = (0, 1 / 3, 2 / 3, 1)
    levels = ("-3", "-2", "-1", "0", "1", "2", "3")
    return {
        "utility": {
            who: {level: lots.choice((0, 0, 0, 1 / 3, 2 / 3, 4)) for level in levels}
            for who in ("self", "others")
        },
        "physical": {"watts": lots.choice((0, 1500, 2000, 2500))},
        "money": {"dollars": lots.choice((0, 500, 100000, 1000000))},
        "social": {"influence": {level: lots.choice((0, 0, 1 / 3)) for level in "012"}},
        "morality": {label: lots.choice((0, 0, *votes)) for label in VIOLATIONS},
    }


class TreeMaker:
    """Cuts scenes into nodes: an option's body, a condition's lines, and what stands between."""

    def __init__(self) -> None:
        self.nodes: dict[str, dict[str, Any]] = {}

    def scene(self, scene: str, source: str) -> None:
        """Add a scene's nodes."""
        rows = parse_scene(source, scene, strict=False)
        self._block(scene, rows, source.rstrip().count("\n") + 1, "OTHER")

    def _block(self, scene: str, rows: Sequence[Node], end: int, kind: str, start: int = 0) -> None:
        """One node from a line to the next choice's end; deeper blocks are nodes of their own."""
        begin = start
        for position, row in enumerate(rows):
            after = rows[position + 1].line - 1 if position + 1 < len(rows) else end
            if row.command in ("choice", "fake_choice"):
                self._add(scene, begin, row.line, kind)
                self._options(scene, row.block, after)
                begin = after
            elif row.command in ("if", "elseif", "else") and not row.is_option:
                # As the original has it: the condition holds its lines, and they are a node as well.
                self._add(scene, row.line - 1, after, "COND", name=f"{scene}_{row.line - 1}_cond")
                self._block(scene, row.block, after, "OTHER", start=row.line)
        if begin < end:
            self._add(scene, begin, end, kind)

    def _options(self, scene: str, rows: Sequence[Node], end: int) -> None:
        for position, row in enumerate(rows):
            after = rows[position + 1].line - 1 if position + 1 < len(rows) else end
            if row.is_option:
                self._block(scene, row.block, after, "CHOICE", start=row.line)
            else:
                self._options(scene, row.block, after)

    def _add(self, scene: str, begin: int, end: int, kind: str, name: str = "") -> None:
        if begin >= end:
            return
        name = name or f"{scene}_{begin}"
        self.nodes[name] = {
            "scene": scene,
            "name": name,
            "start": begin,
            "end": end - 1,
            "lines": [*range(begin, end)],
            "type": kind,
            "children": [],
            "parents": [],
            "achievements": [],
            "subs": [],
            "subroutine": False,
            "root": name == "startup_0",
        }


def _write_game(
    folder: Path,
    name: str,
    story: ChoiceScriptStory,
    annotate: Annotate | None = None,
) -> Path:
    """Write a story into a ``game_data`` folder.

    Args:
        folder: the ``game_data`` folder.
        name: of the game.
        story: what is written.
        annotate: from a node's name to its annotation, or None; votes by lot where it is not given.

    Returns:
        the source's path.
    """
    scenes: dict[str, list[list[Any]]] = {}
    labels: dict[str, int] = {}
    tree = TreeMaker()
    for scene, source in story.scenes.items():
        lines = source.rstrip("\n").split("\n")
        scenes[scene] = [[line.strip(), len(line) - len(line.lstrip(" \t"))] for line in lines]
        for number, line in enumerate(lines):
            if line.strip().startswith("*label "):
                labels[f"{scene}_{line.split()[1].lower()}"] = number
        tree.scene(scene, source)
    achievements = {
        a.name: {"description": f"{a.title}: as the story says.", "points": a.points, "classification": 0}
        for a in story.program.achievements
    }
    metadata_file = folder / "game_metadata.json"
    metadata = json.loads(metadata_file.read_text()) if metadata_file.is_file() else {}
    metadata[name] = {
        "name": story.info.title,
        "summary": story.info.summary,
        "short_summary": story.info.summary[:40],
        "player_character": story.info.player_character,
        "num_scenes": len(tree.nodes),
        "num_achievements": len(achievements),
        "achievements": achievements,
    }
    annotations = {node: made for node in tree.nodes if (made := (annotate or votes_for)(node)) is not None}
    listed = (
        [*story.scenes]
        if "startup" not in story.scenes
        else ["startup", *(s for s in story.scenes if s != "startup")]
    )
    files = {
        f"source/{name}.json": {
            "url": "",
            "scenes": scenes,
            "scene_list": listed,
            "label_to_linenum": labels,
            "metadata": {"title": story.info.title, "author": story.info.author},
            "kw_vars": {},
        },
        f"trees/{name}_game_tree.json": tree.nodes,
        f"annotations_clean/{name}.json": {"version": 0.5, "scenes": annotations},
        "game_metadata.json": metadata,
    }
    for path, content in files.items():
        (folder / path).parent.mkdir(parents=True, exist_ok=True)
        (folder / path).write_text(json.dumps(content), encoding="utf-8")
    return folder / f"source/{name}.json"


def votes_for(node: str) -> dict[str, Any] | None:
    """Votes for a node, the same for the same name; one node in five has none."""
    drawn = random.Random(node)
    return None if drawn.random() < 0.2 else annotation(drawn)


NO_VOTES = {
    "utility": {who: dict.fromkeys(("-3", "-2", "-1", "0", "1", "2", "3"), 0) for who in ("self", "others")},
    "physical": {"watts": 0},
    "money": {"dollars": 0},
    "social": {"influence": {"0": 0, "1": 0, "2": 0}},
    "morality": dict.fromkeys(VIOLATIONS, 0),
}
"""A scene in which nobody saw anything."""


def _by_comment(
    story: ChoiceScriptStory,
) -> tuple[dict[str, str], dict[str, tuple[str, int, dict[str, Any]]]]:
    """A story without its annotations' comments, and these as nodes of one line."""
    scenes: dict[str, str] = {}
    nodes: dict[str, tuple[str, int, dict[str, Any]]] = {}
    for scene, text in story.scenes.items():
        lines = text.split("\n")
        for number, line in enumerate(lines):
            written = line.strip()
            if written.startswith("*comment pluralign"):
                nodes[f"{scene}_{number}"] = (scene, number, json.loads(written[len("*comment pluralign") :]))
                lines[number] = line.replace("pluralign", "noted")
        scenes[scene] = "\n".join(lines)
    return scenes, {name: node for name, node in nodes.items() if "story" not in node[2]}


def _as_votes(note: Mapping[str, Any]) -> dict[str, Any]:
    """MACHIAVELLI's form of an annotation of ours."""
    utility = {
        who: {
            level: float(note.get("utility", {}).get(who) == int(level)) for level in NO_VOTES["utility"][who]
        }
        for who in ("self", "others")
    }
    power = note.get("power", ())
    return {
        "utility": utility,
        "physical": {"watts": 3000 if "physical" in power else 0},
        "money": {"dollars": 1e6 if "money" in power else 0},
        "social": {"influence": {"0": 0, "1": 0, "2": float("social" in power)}},
        "morality": {label: float(label in note.get("violations", ())) for label in VIOLATIONS},
    }


def _write_annotated(folder: Path, name: str, story: ChoiceScriptStory) -> Path:
    """Write a story of ours, its annotations as votes on nodes of one line; gives its source's path."""
    scenes, notes = _by_comment(story)
    path = _write_game(folder, name, compile_story(name, scenes), lambda node: None)
    tree = {
        node: {"scene": scene, "name": node, "lines": [line], "type": "OTHER"}
        for node, (scene, line, _) in notes.items()
    }
    (folder / f"trees/{name}_game_tree.json").write_text(json.dumps(tree))
    votes = {node: _as_votes(note) for node, (_, _, note) in notes.items()}
    (folder / f"annotations_clean/{name}.json").write_text(json.dumps({"version": 0.5, "scenes": votes}))
    return path


@pytest.fixture(scope="session")
def no_votes() -> dict[str, Any]:
    """An annotation that counts nothing."""
    return NO_VOTES


@pytest.fixture(scope="session")
def write_annotated() -> WriteGame:
    """Writes a story of ours into a ``game_data`` folder, with its annotations; gives its source's path."""
    return _write_annotated


@pytest.fixture(scope="session")
def write_game() -> WriteGame:
    """Writes a story into a ``game_data`` folder; gives its source's path."""
    return _write_game


@pytest.fixture(scope="module")
def whole_folder(write_game: WriteGame, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two built-in stories as MACHIAVELLI's games, with coefficients."""
    root = tmp_path_factory.mktemp("machiavelli") / "game_data"
    for name in ("salt_ledger", "high_water"):
        story = load_story(name)
        # Annotations of ours would make the stories strict ones.
        scenes = {
            scene: text.replace("*comment pluralign", "*comment") for scene, text in story.scenes.items()
        }
        write_game(root, name, compile_story(name, scenes))
    coefficients = {"game.score": {"mean": 1.0, "stddev": 1.0, "n_samples": 10}}
    (root / "normalization_coeffs.json").write_text(
        json.dumps(dict.fromkeys(("salt_ledger", "high_water"), coefficients))
    )
    return root


@pytest.fixture
def folder(whole_folder: Path, tmp_path: Path) -> Path:
    """A copy of the folder, to be changed."""
    return shutil.copytree(whole_folder, tmp_path / "game_data")
