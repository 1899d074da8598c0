"""Loading of stories from folders."""

from __future__ import annotations

from importlib import resources
from pathlib import Path

from pluralign.core import InputError
from pluralign.games.choicescript.compile.context import STARTUP
from pluralign.games.choicescript.compile.story import compile_story
from pluralign.games.choicescript.run.game import ChoiceScriptStory


def list_stories() -> list[str]:
    """Names of the built-in stories, in alphabetical order."""
    folder = resources.files("pluralign.games") / "stories"
    if not folder.is_dir():
        return []
    return sorted(child.name for child in folder.iterdir() if (child / f"{STARTUP}.txt").is_file())


def load_story(path_or_name: str | Path) -> ChoiceScriptStory:
    """Read and compile a story.

    Args:
        path_or_name: Path of a folder, or name of a built-in story.

    Raises:
        InputError: There is no such story, or it has errors; the message is the first of them (`check_story`
            finds all).
    """
    name, folder, scenes = read_scenes(path_or_name)
    return compile_story(name, scenes, folder)


def read_scenes(path_or_name: str | Path) -> tuple[str, str, dict[str, str]]:
    """Read a story's name, its folder, and the text of its scenes by name.

    Raises:
        InputError: There is no such story, or startup.txt is not UTF-8 (in other files, lines that are not
            UTF-8 become errors of their own).
    """
    builtin = str(path_or_name) in list_stories()
    root = resources.files("pluralign.games") / "stories" / str(path_or_name) if builtin else None
    folder = Path(str(root)) if root is not None else Path(path_or_name)
    if not folder.is_dir():
        known = ", ".join(list_stories()) or "none"
        raise InputError(f"no story '{path_or_name}': neither a folder nor built in (built in: {known})")
    if not (folder / f"{STARTUP}.txt").is_file():
        raise InputError("a story's folder needs a startup.txt", path=folder)
    scenes: dict[str, str] = {}
    for file in sorted(folder.glob("*.txt")):
        name, content = file.stem.lower(), file.read_bytes()
        try:
            scenes[name] = content.decode("utf-8", errors="strict" if name == STARTUP else "replace")
        except UnicodeDecodeError as error:
            raise InputError(f"not UTF-8: {error.reason} at byte {error.start}", path=file) from None
    return folder.resolve().name, str(folder), scenes
