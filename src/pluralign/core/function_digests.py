"""Digests of users' functions, by which a run is told from one with another function."""

from __future__ import annotations

import dis
import inspect
import json
import sysconfig
from collections.abc import Callable, Iterator
from contextlib import suppress
from functools import partial
from pathlib import Path
from types import CodeType
from typing import Any, cast

from pluralign.core.digests import digest

_LIBRARIES = tuple({sysconfig.get_path(name) for name in ("stdlib", "platstdlib", "purelib", "platlib")})
_FILLING = frozenset(
    ("append", "extend", "insert", "add", "update", "setdefault", "pop", "remove", "discard", "clear")
)
"""Methods that change a list, a set or a dictionary."""
_READS, _CHANGES = ("LOAD_GLOBAL", "LOAD_NAME"), ("STORE_SUBSCR", "DELETE_SUBSCR")
"""Instructions that read a global, and that change a list or a dictionary."""


def function_digest(function: Callable[..., Any]) -> str:
    """Digest of a function's source and of what it computes with: arguments of a `functools.partial`,
    defaults, variables of the function around it, and globals that it names. An object's is that of its class
    and of its attributes.

    Numbers and texts count, and lists, sets and dictionaries of them, unless the function fills some in use.
    So do functions and objects of the user's own code, in the same way; of everything else its type does.

    Args:
        function: A function, or an object that is called like one.

    Returns:
        The digest; empty where there is no code, as of built-in functions.
    """
    found = _Reader().described(function)
    if not found:
        return ""
    source, *values = found
    return digest([source.encode(), *([json.dumps(values).encode()] if values else [])])


class _Reader:
    """Reads functions and values, each function and container once: they may refer to each other."""

    def __init__(self) -> None:
        self._seen: dict[int, Any] = {}

    def described(self, function: Any) -> list[Any]:
        """Source of a function, or of an object's class, and the values that it computes with; empty where
        there is no code."""
        values: list[Any] = []
        while isinstance(function, partial):
            given = cast("partial[Any]", function)
            values += [self._value(one) for one in (*given.args, *sorted(given.keywords.items()))]
            function = given.func
        self._seen[id(function)] = function
        written = _written(function)
        source = self._source(written)
        if not source:
            return []
        routines = _routines(written)
        filled = any(map(_fills, routines))
        values += [self._value(one, filled) for one in _made_with(function)]
        for routine in routines:
            values += [self._value(one, filled) for one in _globals_of(routine)]
        return [source, *values]

    def _source(self, written: Any) -> str:
        """Source; instructions where it is not kept, as of classes in a notebook."""
        ancestors = written.__mro__[1:] if inspect.isclass(written) else ()
        return "\n".join(map(self._own_source, (written, *filter(_is_own, ancestors))))

    def _own_source(self, written: Any) -> str:
        try:
            return inspect.getsource(written)
        except (OSError, TypeError):
            if not inspect.isclass(written):
                steps = [step for one in _routines(written) for step in _steps(one)]
                return json.dumps([[one.opname, self._value(one.argval)] for one in steps]) if steps else ""
        own = _own_routines(written)
        if not own:
            return ""
        members = [(name, _plain(one)) for name, one in vars(written).items() if not name.startswith("__")]
        kept = [(name, self._value(one)) for name, one in members if not _is_code(one)]
        return "\n".join([*map(self._own_source, own), json.dumps(kept)])

    def _value(self, value: Any, filled: bool = False) -> Any:
        """What JSON can express of a value; its type where that is nothing, or where it is filled in use."""
        if isinstance(value, str | int | float | None):
            return value
        kind = type(value).__name__
        if id(value) in self._seen:
            return kind
        # Kept, so that no other value gets its address.
        self._seen[id(value)] = value
        items: Any = value  # of unknown types
        if isinstance(value, tuple):
            return [self._value(one, filled) for one in items]
        if filled and isinstance(value, list | set | dict):
            return kind
        if isinstance(value, list):
            return [kind, *(self._value(one, filled) for one in items)]
        if isinstance(value, set | frozenset | dict):
            pairs = items.items() if isinstance(value, dict) else items
            return [kind, *sorted((self._value(one, filled) for one in pairs), key=repr)]
        if isinstance(value, partial) or _is_own(value):
            return self.described(value) or kind
        return kind


def _is_code(value: Any) -> bool:
    return inspect.isroutine(value) or inspect.isclass(value)


def _written(value: Any) -> Any:
    """A function or class as it is, and the class of another object."""
    return value if _is_code(value) else cast("Any", type(value))


def _plain(member: Any) -> Any:
    """The function of a static method, a class method or a property; others as they are."""
    return getattr(member, "__func__", None) or getattr(member, "fget", None) or member


def _is_own(value: Any) -> bool:
    """Whether a function, a class or an object's class is in code of the user, which is not installed."""
    written = _written(value)
    if inspect.isclass(written):
        return bool(_own_routines(written))
    code = getattr(written, "__code__", None)
    module = str(getattr(written, "__module__", ""))
    return (
        code is not None
        and module.partition(".")[0] != "pluralign"
        and not code.co_filename.startswith((*_LIBRARIES, "<frozen"))
        and not {"site-packages", "dist-packages"} & set(Path(code.co_filename).parts)
    )


def _own_routines(written: Any) -> list[Any]:
    """Functions that a class itself defines, in code of the user."""
    held = cast("dict[str, Any]", vars(written))
    members = [_plain(one) for one in held.values()]
    return [one for one in members if hasattr(one, "__code__") and _is_own(one)]


def _routines(written: Any) -> list[Any]:
    """A function, or those that a class and its ancestors define."""
    if inspect.isclass(written):
        return [one for own in written.__mro__ for one in _own_routines(own)]
    inner = getattr(written, "__func__", written)
    return [inner] if hasattr(inner, "__code__") else []


def _steps(routine: Any) -> list[dis.Instruction]:
    """Instructions of a function, and of functions inside."""
    codes: list[CodeType] = [routine.__code__]
    for code in codes:
        codes += [inner for inner in code.co_consts if isinstance(inner, CodeType)]
    return [step for code in codes for step in dis.get_instructions(code)]


def _fills(routine: Any) -> bool:
    """Whether a function changes a list, a set or a dictionary."""
    steps = _steps(routine)
    return any(one.opname in _CHANGES or str(one.argval) in _FILLING for one in steps)


def _made_with(function: Any) -> Iterator[Any]:
    """Defaults, variables of the function around it, attributes of the object."""
    named: dict[str, Any] = getattr(function, "__kwdefaults__", None) or {}
    yield from getattr(function, "__defaults__", None) or ()
    yield from sorted(named.items())
    for cell in getattr(function, "__closure__", None) or ():
        with suppress(ValueError):  # not assigned yet
            yield cell.cell_contents
    owner = getattr(function, "__self__", function)
    if not (_is_code(owner) or inspect.ismodule(owner)):
        yield from sorted(getattr(owner, "__dict__", {}).items())


def _globals_of(routine: Any) -> Iterator[tuple[str, Any]]:
    """Globals that a function of the user reads and does not assign: names and values."""
    if not _is_own(routine):
        return
    steps = _steps(routine)
    assigned = {one.argval for one in steps if one.opname == "STORE_GLOBAL"}
    known: dict[str, Any] = routine.__globals__
    for name in sorted({one.argval for one in steps if one.opname in _READS} - assigned):
        value = known.get(name)
        if name in known and not inspect.ismodule(value) and not (_is_code(value) and not _is_own(value)):
            yield name, value
