"""MACHIAVELLI's ``game_data`` folder: its games, and what is missing of each."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from pluralign.core import InputError
from pluralign.core.files import read_json
from pluralign.core.jsonl import is_object
from pluralign.games.choicescript.compile.story import compile_scenes
from pluralign.games.choicescript.problems import WARNING
from pluralign.games.machiavelli.files import (
    COEFFICIENTS,
    METADATA,
    Metadata,
    MetadataFile,
    Source,
    TreeNode,
    read_annotations,
    read_source,
    read_tree,
)
from pluralign.games.machiavelli.game import MachiavelliGame, MachiavelliStory
from pluralign.games.machiavelli.nodes import annotate_lines, nodes_of_lines
from pluralign.games.random_play import play_at_random

SOURCES = "source"

TRIAL_EPISODES = 20
"""Number of random episodes that a check plays."""

TRIAL_STEPS = 500
"""Maximum number of steps of each of these episodes."""


@dataclass(frozen=True)
class GameReport:
    """Result of the check of a game.

    Args:
        name: Name of the game in the folder.
        playable: Whether its source can be played.
        missing: Missing files and entries.
        problems: Inconsistencies between the files, and errors that stop play.
        scenes: Number of nodes of its tree.
        annotated: Number of these that are annotated.
        points: Points of all achievements.
    """

    name: str
    playable: bool
    missing: tuple[str, ...] = ()
    problems: tuple[str, ...] = ()
    scenes: int = 0
    annotated: int = 0
    points: float = 0.0

    @property
    def whole(self) -> bool:
        """Whether the game is playable, complete and without problems."""
        return self.playable and not self.missing and not self.problems

    def __str__(self) -> str:
        missing = f"; missing: {', '.join(self.missing)}" if self.missing else ""
        if not self.playable:
            return f"{self.name}: cannot be played{missing}"
        scenes = f"{self.annotated} of {self.scenes} scenes annotated" if self.scenes else "not annotated"
        return f"{self.name}: playable, {scenes}, {self.points:g} points{missing}"


@dataclass
class _Parts:
    """The contents of a game's files."""

    source: Source | None = None
    tree: Mapping[str, TreeNode] = field(default_factory=dict[str, TreeNode])
    annotations: Mapping[str, Mapping[str, Any]] = field(default_factory=dict[str, Mapping[str, Any]])
    metadata: Metadata | None = None
    missing: list[str] = field(default_factory=list[str])


class GameData:
    """A ``game_data`` folder. Files are read when they are needed.

    Args:
        path: Path of the folder.

    Raises:
        InputError: The folder has no ``source`` folder.
    """

    def __init__(self, path: str | Path) -> None:
        self.path = Path(path)
        if not (self.path / SOURCES).is_dir():
            raise InputError(
                f"is not a game_data folder: it has no '{SOURCES}' with games' files", path=self.path
            )
        self._metadata = MetadataFile(self.path / METADATA)

    @property
    def games(self) -> list[str]:
        """Names of the games that any file of the folder is about, in alphabetical order."""
        named = {file.stem for file in (self.path / SOURCES).glob("*.json")}
        named |= {
            file.name.removesuffix("_game_tree.json") for file in self.path.glob("trees/*_game_tree.json")
        }
        named |= {file.stem for file in self.path.glob("annotations_clean/*.json")} - {"variables"}
        return sorted(named | self._metadata.games)

    def coefficients(self) -> dict[str, Any]:
        """Normalisation coefficients by game; empty if the folder has none.

        Raises:
            InputError: The file has another form.
        """
        file = self.path / COEFFICIENTS
        row: Any = read_json(file) if file.is_file() else {}
        if not is_object(row) or not all(isinstance(game, dict) for game in row.values()):
            raise InputError("must be an object of games, each an object of metrics", path=file)
        return row

    def story(self, name: str, *, compatible: bool = False) -> MachiavelliStory:
        """The story of a game. The tree, annotations and metadata may be missing.

        Args:
            name: Name of the game in the folder.
            compatible: Whether steps count as in the original code (see `MachiavelliGame`).

        Raises:
            InputError: There is no such game, or one of its files has an error.
        """
        parts = self._parts(name)
        if parts.source is None:
            known = ", ".join(self.games) or "none"
            raise InputError(f"the folder has no source of '{name}'; it has games {known}", path=self.path)
        lengths = {scene: text.count("\n") + 1 for scene, text in parts.source.scenes.items()}
        line_annotations, nodes = annotate_lines(nodes_of_lines(parts.tree, lengths), parts.annotations)
        # So that errors name file, scene and line: source/GAME.json/SCENE.txt:LINE.
        folder = str(self.path / SOURCES / f"{name}.json")
        source = parts.source
        story, problems = compile_scenes(name, source.scenes, folder, line_annotations, source.scene_list)
        if story is None:
            raise problems[0].error()
        errors = tuple(problem for problem in problems if problem.kind != WARNING)
        return MachiavelliStory.make(
            story, errors, source, parts.metadata, parts.annotations, nodes, compatible=compatible
        )

    def check(self, name: str) -> GameReport:
        """Check which parts of a game exist, and whether they are consistent and playable."""
        parts = _Parts()
        try:
            self._read(name, parts)
        except InputError as error:
            return GameReport(name, playable=False, missing=tuple(parts.missing), problems=(str(error),))
        if parts.source is None:
            return GameReport(name, playable=False, missing=tuple(parts.missing))
        try:
            story = self.story(name)
            game = MachiavelliGame(story)
        except InputError as error:
            return GameReport(name, playable=False, missing=tuple(parts.missing), problems=(str(error),))
        problems = [*_misfits(parts, story), *_trial(game)]
        return GameReport(
            name,
            playable=True,
            missing=tuple(parts.missing),
            problems=tuple(problems),
            scenes=len(parts.tree),
            annotated=len(parts.tree.keys() & parts.annotations.keys()),
            points=story.info.max_points,
        )

    def _parts(self, name: str) -> _Parts:
        parts = _Parts()
        self._read(name, parts)
        return parts

    def _read(self, name: str, parts: _Parts) -> None:
        source = self.path / SOURCES / f"{name}.json"
        tree = self.path / "trees" / f"{name}_game_tree.json"
        annotations = self.path / "annotations_clean" / f"{name}.json"
        for file in (source, tree, annotations):
            if not file.is_file():
                parts.missing.append(str(file.relative_to(self.path)))
        if source.is_file():
            parts.source = read_source(source)
        if tree.is_file():
            parts.tree = read_tree(tree)
        if annotations.is_file():
            parts.annotations = read_annotations(annotations)
        parts.metadata = self._metadata.of(name)
        if parts.metadata is None:
            parts.missing.append(f"'{name}' in {METADATA}")


def load_machiavelli(path: str | Path, *, compatible: bool = False) -> MachiavelliStory:
    """The story of a game by the path of its source, ``game_data/source/GAME.json``.

    Raises:
        InputError: See `GameData.story`.
    """
    path = Path(path).absolute()
    if not path.is_file():
        raise InputError("there is no such file", path=path)
    return GameData(path.parent.parent).story(path.stem, compatible=compatible)


def is_machiavelli(path: str | Path) -> bool:
    """Whether a path is that of a game's source in a ``game_data`` folder.

    Raises:
        InputError: It looks like one and cannot be read.
    """
    path = Path(path).absolute()
    if path.suffix != ".json" or path.parent.name != SOURCES:
        return False
    folder = path.parent.parent
    if any((folder / part).exists() for part in (METADATA, "trees", "annotations_clean")):
        return True
    row = read_json(path) if path.is_file() else None
    return is_object(row) and {"scenes", "scene_list"} <= set(row)


def _misfits(parts: _Parts, story: MachiavelliStory) -> list[str]:
    source = parts.source
    assert source is not None, "games without a source are not checked further"
    found = [f"{p.file}:{p.line}: {p.message}" for p in story.problems]
    lengths = {scene: text.count("\n") + 1 for scene, text in source.scenes.items()}
    for name, node in parts.tree.items():
        if node.scene not in lengths:
            found.append(f"node '{name}' is in scene '{node.scene}', which the source does not have")
        elif node.lines and max(node.lines) >= lengths[node.scene]:
            last = lengths[node.scene] - 1
            found.append(f"node '{name}' has line {max(node.lines)}, and the scene's last is {last}")
    there = f"trees/{story.info.name}_game_tree.json" not in parts.missing
    for name in parts.annotations if there else ():
        if name not in parts.tree:
            found.append(f"'{name}' is annotated, but is not a node of the tree")
        elif not parts.tree[name].lines:
            found.append(f"'{name}' is annotated, but has no lines")
    early = MachiavelliGame(story)
    if early.decision is None:
        found.append("the game ends before its first decision")
    if early.unlocked:
        found.append(f"won before the first choice, so that no step counts it: {', '.join(early.unlocked)}")
    if parts.metadata is not None:
        declared = {a.name: a.points for a in story.story.program.achievements}
        for name, facts in parts.metadata.achievements.items():
            if declared.get(name) != facts["points"]:
                there = f"{declared[name]} points" if name in declared else "no such achievement"
                found.append(
                    f"achievement '{name}' has {facts['points']} points in {METADATA}, {there} in the source"
                )
    return found


def _trial(game: MachiavelliGame) -> list[str]:
    for seed in range(TRIAL_EPISODES):
        try:
            for _ in play_at_random(game, seed, TRIAL_STEPS):
                pass
        except InputError as error:
            return [f"random play stops: {error}"]
    return []
