"""Rewards that are functions: a program that measures completions, or checks them."""

from __future__ import annotations

import ast
import importlib
import importlib.util
import math
import sys
import traceback
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np

from pluralign.core import Decision, InputError, OptionRewards
from pluralign.core.digests import file_digest
from pluralign.core.errors import CodeError
from pluralign.core.messages import Messages, Template, dialogue, unquoted
from pluralign.core.own_code import is_own_code
from pluralign.rewards.reward import Reward

KIND = "function"
RewardOf = Callable[[Sequence[str], Sequence[str]], Sequence[float]]
"""Function from prompts and completions, one per prompt, to rewards, as TRL's trainers call theirs."""


class FunctionReward(Reward):
    """A function of prompts and completions as a reward: their length, a lexicon, a test of the answer.

    Prompts that are messages reach the function as HH-RLHF's plain dialogue, and answers to them as they are.

    Args:
        name: Name in reports.
        function: Function from prompts and completions, one per prompt, to rewards. It is called for the
            completions of one prompt at a time.
        place: What the function is called in errors; its name by default.

    Raises:
        InputError: It is no function.

    Examples:
        >>> import pluralign as pl
        >>> brief = pl.FunctionReward("brief", lambda prompts, texts: [-len(text) for text in texts])
        >>> brief.score(["Say yes:", "Say no:"], ["yes", "no"]).tolist()
        [-3.0, -2.0]
    """

    def __init__(self, name: str, function: RewardOf, *, place: str = "") -> None:
        if not callable(function):
            raise InputError(f"expected a function, found {function!r:.60}", field="reward")
        self.name, self.function, self._place = name, function, place or f"the function {name!r}"
        self._read = 0

    @property
    def counts(self) -> Mapping[str, int]:
        """See `Reward`; nothing is ever cut."""
        return {"completions": self._read, "truncated": 0}

    def render(self, messages: Messages, opens: bool) -> str:
        """See `Reward`."""
        return dialogue(messages, opens)

    @property
    def template(self) -> Template:
        """Template of prompts that are messages; answers reach the function as they are, without the space
        that the dialogue puts before them."""
        return Template(KIND, render=self.render)

    def score_decisions(self, decisions: Iterable[Decision]) -> list[OptionRewards]:
        """See `Reward`.

        Raises:
            CodeError: The function fails, or returns another number of rewards or one that is not finite.
        """
        found: list[OptionRewards] = []
        for decision in decisions:
            texts = [unquoted(option) for option in decision.options]
            means = np.array(self._rewards([unquoted(decision.prompt)] * len(texts), texts), np.float64)
            found.append(OptionRewards(means, np.zeros_like(means)))
            self._read += len(texts)
        return found

    def _rewards(self, prompts: list[str], texts: list[str]) -> list[float]:
        try:
            given = list(self.function(prompts, texts))
            found = [float(value) for value in given]
        except InputError:
            raise
        except Exception as error:
            raise CodeError(f"{self._place} failed{_line_of(error)}: {error!r:.200}") from error
        if len(found) != len(texts) or not all(map(math.isfinite, found)):
            raise CodeError(
                f"{self._place} returned {given!r:.80}; expected {len(texts)} finite rewards, one each"
            )
        return found


def open_function(spec: str) -> FunctionReward:
    """The reward of ``function:FILE.py:NAME`` or ``function:PACKAGE.MODULE:NAME``.

    The code runs with the rights of this process. A file can import its neighbours when it is imported, and a
    module is also looked for in the working directory.

    Args:
        spec: See `load_reward`.

    Raises:
        InputError: There is no such file, module or function, or the code fails while it is imported.
    """
    place, name = function_place(spec)
    module = _of_file(Path(place)) if place.endswith(".py") else _of_module(place)
    if not callable(getattr(module, name, None)):
        known = sorted(key for key, value in vars(module).items() if callable(value) and key[0] != "_")
        raise InputError(f"has no function {name!r}; it has {', '.join(known) or 'none'}", path=place)
    function: Any = getattr(module, name)
    return FunctionReward(name, function, place=f"{place}:{name}")


def require_no_function(spec: str) -> None:
    """Refuse a member of an ensemble that is a function: a folder may be another person's, and must not name
    code that runs here.

    Raises:
        InputError: It is one.
    """
    if spec.startswith(f"{KIND}:"):
        raise InputError(f"a function cannot be a member of an ensemble, found {spec!r}", field="members")


def function_place(spec: str) -> tuple[str, str]:
    """File or module, and name, of a reward that is a function.

    Raises:
        InputError: The argument has another form, or there is no such file.
    """
    place, _, name = spec.removeprefix(f"{KIND}:").rpartition(":")
    if not place or not name.isidentifier():
        raise InputError(
            f"expected {KIND}:FILE.py:NAME or {KIND}:PACKAGE.MODULE:NAME, found {spec!r}", field="reward"
        )
    if place.endswith(".py") and not Path(place).is_file():
        raise InputError("no such file", path=place)
    if not place.endswith(".py") and not all(part.isidentifier() for part in place.split(".")):
        raise InputError(
            f"expected FILE.py or PACKAGE.MODULE before :{name}, found {place!r}", field="reward"
        )
    return place, name


def function_source(spec: str) -> Path:
    """The file with the code of a reward that is a function; the file of a module that is not found, or has
    none, does not exist.

    Raises:
        InputError: See `function_place`.
    """
    place, _ = function_place(spec)
    if place.endswith(".py"):
        return Path(place)
    _also_from(Path.cwd())
    try:
        # This imports the packages that the module is in, whose code may fail; opening it says how.
        found = importlib.util.find_spec(place)
    except Exception:
        found = None
    return Path(found.origin if found and found.has_location and found.origin else f"{place}.py")


def function_neighbours(source: Path) -> list[Path]:
    """Files beside a function's file that it imports, or that these import: an edit of them changes it, too.

    Args:
        source: See `function_source`.
    """
    own = source.is_file() and is_own_code("", str(source.resolve()))
    found = [source] if own else []
    for path in found:
        try:
            tree = ast.parse(path.read_bytes())
        except (SyntaxError, ValueError):
            # Python says what is wrong when the function is opened.
            continue
        # A module of a package imports others by their names from the folder that the package is in.
        packages = (folder for folder in path.parents if not (folder / "__init__.py").is_file())
        for place in (
            folder / name for folder in {path.parent, next(packages)} for name in _imports_of(tree)
        ):
            inner = place.rglob("*.py") if place.is_dir() else [place.with_name(f"{place.name}.py")]
            found += [one for one in inner if one.is_file() and one not in found]
    return sorted(found[1:])


def _imports_of(tree: ast.Module) -> list[str]:
    """Names of modules and packages that a file may import."""
    found: list[str] = []
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            found += [alias.name.partition(".")[0] for alias in node.names]
        elif isinstance(node, ast.ImportFrom) and node.level == 0:
            found += [str(node.module).partition(".")[0]]
        elif isinstance(node, ast.ImportFrom) and node.level == 1:
            inner = [node.module] if node.module else [alias.name for alias in node.names]
            found += [one.partition(".")[0] for one in inner]
    return found


def _of_file(path: Path) -> ModuleType:
    # The digest distinguishes files of one name, and a file that has changed.
    name = f"pluralign_function_{path.stem}_{file_digest(path)[:12]}"
    if name in sys.modules:
        return sys.modules[name]
    spec: Any = importlib.util.spec_from_file_location(name, path)
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module
    # Neighbours are found while the file is imported, and do not stand for modules that others name later.
    before = list(sys.path)
    _also_from(path.resolve().parent)
    try:
        spec.loader.exec_module(module)
    except Exception as error:
        del sys.modules[name]
        raise InputError(f"could not be imported{_line_of(error)}: {error!r:.200}", path=path) from error
    finally:
        sys.path[:] = before
    return module


def _of_module(name: str) -> ModuleType:
    _also_from(Path.cwd())
    try:
        return importlib.import_module(name)
    except Exception as error:
        raise InputError(f"module {name!r} could not be imported: {error!r:.200}", field="reward") from error


def _also_from(folder: Path) -> None:
    """Look for modules in a folder, after all others: a file of the user's shadows no installed module."""
    if str(folder) not in sys.path:
        sys.path.append(str(folder))


def _line_of(error: Exception) -> str:
    """Where an error was raised."""
    frames = traceback.extract_tb(error.__traceback__)
    last = [frame for frame in frames if frame.filename != __file__][-1:]
    return "".join(f" in {Path(frame.filename).name}, line {frame.lineno}" for frame in last)
