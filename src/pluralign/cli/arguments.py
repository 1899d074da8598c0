"""Values on the command line: how single ones are read, and that no output is an input."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any, cast

from tyro.constructors import ConstructorRegistry, PrimitiveConstructorSpec

from pluralign.core import InputError
from pluralign.core.files import file_to_write, in_home, require_plain


def value_rules() -> ConstructorRegistry:
    """Rules for values that tyro would accept: an empty path, which would be the working directory, and
    NaN."""

    def path(info: Any) -> PrimitiveConstructorSpec[Path] | None:
        return _spec("PATH", Path, _path) if info.type is Path else None

    def number(info: Any) -> PrimitiveConstructorSpec[float] | None:
        return _spec("FLOAT", float, _number) if info.type is float else None

    # Its types are incomplete.
    rules: Any = ConstructorRegistry()
    rules.primitive_rule(path)
    rules.primitive_rule(number)
    return rules


def _spec(metavar: str, kind: type, read: Callable[[str], Any]) -> PrimitiveConstructorSpec[Any]:
    return PrimitiveConstructorSpec(
        nargs=1,
        metavar=metavar,
        instance_from_str=lambda texts: read(texts[0]),
        is_instance=lambda value: isinstance(value, kind),
        str_from_instance=lambda value: [str(value)],
    )


def _path(text: str) -> Path:
    if not text:
        raise ValueError("the path is empty")
    return Path(text)


def _number(text: str) -> float:
    value = float(text)
    if math.isnan(value):
        raise ValueError(f"expected a number, found {text!r}")
    return value


def in_home_folders(run: partial[Any]) -> partial[Any]:
    """The call with the user's folder for ~ at the beginning of values, and of what follows NAME=: shells do
    not replace it in ``--out=~/x``."""
    return partial(run.func, *map(_in_home, run.args), **{k: _in_home(v) for k, v in run.keywords.items()})


def _in_home(value: Any) -> Any:
    if isinstance(value, Path):
        return in_home(value)
    if isinstance(value, str):
        name, equals, thing = value.partition("=")
        return in_home(value) if value.startswith("~") or not equals else f"{name}={in_home(thing)}"
    if isinstance(value, tuple):
        return tuple(map(_in_home, cast("tuple[Any, ...]", value)))
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        own = {one.name: getattr(value, one.name) for one in dataclasses.fields(value) if one.init}
        changed = {name: new for name, old in own.items() if (new := _in_home(old)) != old}
        return dataclasses.replace(value, **changed) if changed else value
    return value


def require_own_outputs(run: partial[Any], json: Path | None) -> None:
    """Refuse, before any work, outputs that would replace an input of the call, or each other, and those
    that cannot be written.

    Args:
        run: Call of a verb; its output is ``out``.
        json: File for the figures.

    Raises:
        InputError: An output is an input, both outputs are one file, one is named ``-`` or as a compressed
            file or is below a file, or the figures' file is a folder.
    """
    out = run.keywords.get("out")
    inputs = [value for name, value in run.keywords.items() if name != "out"]
    paths = [path for value in (*run.args, *inputs) for path in _paths(value)]
    for field, output in (("out", out), ("json", json)):
        if str(output) == "-":
            raise InputError("standard output is not taken: give the name of a file", field=field)
        if isinstance(output, str | Path):
            require_plain(output)
            _require_folders(Path(output))
        if isinstance(output, str | Path) and any(_same(path, output) for path in paths):
            raise InputError("is an input as well, which the output would replace", path=output, field=field)
    if json is not None:
        file_to_write(json)
    if json is not None and isinstance(out, str | Path) and Path(out).resolve() == json.resolve():
        raise InputError("is the output as well, which the figures would replace", path=json, field="json")


def _require_folders(output: Path) -> None:
    above = next((folder for folder in output.parents if folder.exists()), None)
    if above is not None and not above.is_dir():
        raise InputError(f"cannot be written: {above} is a file", path=output)


def _paths(value: Any) -> Iterator[str]:
    """Possible paths in a value: texts, their parts after NAME=, and those of settings."""
    if isinstance(value, str | Path):
        text = str(value)
        yield from (text, text.partition("=")[2])
    elif isinstance(value, tuple):
        for one in cast("tuple[Any, ...]", value):
            yield from _paths(one)
    elif dataclasses.is_dataclass(value):
        for own in dataclasses.fields(value):
            yield from _paths(getattr(value, own.name))


def _same(path: str, output: str | Path) -> bool:
    try:
        return bool(path) and Path(path).samefile(output)
    except OSError:
        return False  # there is no such file, or the text is too long for a path
