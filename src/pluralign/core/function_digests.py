"""Digests of users' functions, by which a run is told from one with another function."""

from __future__ import annotations

import dis
import importlib
import importlib.util
import inspect
import json
import re
import sys
from collections.abc import Callable, Iterator
from contextlib import suppress
from functools import partial
from types import ModuleType
from typing import Any, cast

import numpy as np

from pluralign.core.digests import digest
from pluralign.core.number_digests import numbers_of
from pluralign.core.own_code import (
    code_of,
    is_code,
    is_own,
    is_own_code,
    is_own_module,
    own_routines,
    plain_function,
    routines_of,
    steps_of,
    undecorated,
)

_FILLING = frozenset(
    ("append", "extend", "insert", "add", "update", "setdefault", "pop", "remove", "discard", "clear")
)
"""Methods that change a list, a set or a dictionary."""
_READS, _CHANGES = ("LOAD_GLOBAL", "LOAD_NAME"), ("STORE_SUBSCR", "DELETE_SUBSCR")
"""Instructions that read a global, and that change a list or a dictionary."""
_NAMES = ("LOAD_ATTR", "LOAD_METHOD", "IMPORT_FROM")
"""Instructions that read a name of a module."""
_DEEPEST = 40
"""Levels of functions and values in each other that are read; more could exceed Python's stack."""


def function_digest(function: Callable[..., Any]) -> str:
    """Digest of a function's source and of what it computes with: arguments of a `functools.partial`,
    defaults, variables of the function around it, and globals that it names. An object's is that of its class
    and of its attributes.

    Numbers, texts, arrays, tensors and regular expressions count, and lists, sets and dictionaries of them,
    unless the function fills some in use. So do the weights of PyTorch modules, the cards of pluralign's
    models, and functions and objects of the user's own code, in the same way, also of a module that is
    imported; of everything else its type does.

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
        self._depth = 0

    def described(self, function: Any) -> list[Any]:
        """Source of a function, or of an object's class, and the values that it computes with; empty where
        there is no code."""
        values: list[Any] = []
        while isinstance(function, partial):
            given = cast("partial[Any]", function)
            values += [self._value(one) for one in (*given.args, *sorted(given.keywords.items()))]
            function = given.func
        self._seen[id(function)] = function
        written = code_of(function)
        source = self._source(written)
        if not source:
            return []
        routines = routines_of(written)
        filled = any(map(_fills, routines))
        values += [self._value(one, filled) for one in _made_with(function)]
        for routine in routines:
            values += [self._value(one, filled) for one in _globals_of(routine)]
        for routine in routines:
            values += [self._value(one, filled) for one in _named_in_modules(routine)]
        # Weights of the user's own module lie in dictionaries, which are not read where it fills some.
        weights = numbers_of(function) if filled else None
        return [source, *values, *([] if weights is None else [weights])]

    def _source(self, written: Any) -> str:
        """Source; instructions where it is not kept, as of classes in a notebook."""
        ancestors = written.__mro__[1:] if inspect.isclass(written) else ()
        return "\n".join(map(self._own_source, (written, *filter(is_own, ancestors))))

    def _own_source(self, written: Any) -> str:
        try:
            return inspect.getsource(written)
        except (OSError, TypeError):
            if not inspect.isclass(written):
                steps = [step for one in routines_of(written) for step in steps_of(one)]
                return json.dumps([[one.opname, self._value(one.argval)] for one in steps]) if steps else ""
        own = own_routines(written)
        if not own:
            return ""
        members = [
            (name, plain_function(one)) for name, one in vars(written).items() if not name.startswith("__")
        ]
        kept = [(name, self._value(one)) for name, one in members if not is_code(one)]
        return "\n".join([*map(self._own_source, own), json.dumps(kept)])

    def _value(self, value: Any, filled: bool = False) -> Any:
        """What JSON can express of a value; its type where that is nothing, or where it is filled in use."""
        if isinstance(value, str | int | float | None):
            return value
        kind = type(value).__name__
        given: Any = value  # of unknown types
        if isinstance(value, bytes | complex | np.generic):
            return [kind, repr(given.item() if isinstance(value, np.generic) else given)]
        if isinstance(value, re.Pattern):
            return [kind, repr(given.pattern), given.flags]
        if id(value) in self._seen or self._depth == _DEEPEST:
            return kind
        # Kept, so that no other value gets its address.
        self._seen[id(value)] = value
        self._depth += 1
        try:
            return self._content(value, kind, filled)
        finally:
            self._depth -= 1

    def _content(self, value: Any, kind: str, filled: bool) -> Any:
        items: Any = value
        if isinstance(value, tuple):
            return [self._value(one, filled) for one in items]
        if filled and isinstance(value, list | set | dict):
            return kind
        if isinstance(value, list):
            return [kind, *(self._value(one, filled) for one in items)]
        if isinstance(value, set | frozenset | dict):
            pairs = items.items() if isinstance(value, dict) else items
            return [kind, *sorted((self._value(one, filled) for one in pairs), key=repr)]
        if isinstance(value, partial) or is_own(undecorated(value)):
            return self.described(value) or kind
        return numbers_of(value) or kind


def _fills(routine: Any) -> bool:
    """Whether a function changes a list, a set or a dictionary."""
    steps = steps_of(routine)
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
    if not (is_code(owner) or inspect.ismodule(owner)):
        held: dict[str, Any] = getattr(owner, "__dict__", {})
        fixed: dict[str, Any] = {
            name: type(held[name]) for name in _assigned_in_use(function, owner) & set(held)
        }
        if {"training", "_modules"} <= set(held):
            # Training and every use switch this of a PyTorch module; of a new one it is switched on.
            fixed["training"] = True
        yield from sorted({**held, **fixed}.items())


def _assigned_in_use(function: Any, owner: Any) -> set[str]:
    """Attributes that an object assigns when it is called, such as a counter of calls."""
    methods = {
        name: plain_function(one)
        for kind in reversed(type(owner).__mro__)
        for name, one in vars(kind).items()
    }
    called = [function.__name__ if inspect.ismethod(function) else "__call__", "forward"]
    assigned: set[str] = set()
    for name in called:
        method = methods.get(name)
        if hasattr(method, "__code__") and is_own(method):
            steps = steps_of(method)
            assigned |= {str(one.argval) for one in steps if one.opname == "STORE_ATTR"}
            reads = {str(one.argval) for one in steps if one.opname in _NAMES}
            called += sorted(reads & set(methods) - set(called))
    return assigned


def _globals_of(routine: Any) -> Iterator[tuple[str, Any]]:
    """Globals that a function of the user reads and does not assign: names and values."""
    if not is_own(routine):
        return
    steps = steps_of(routine)
    assigned = {one.argval for one in steps if one.opname == "STORE_GLOBAL"}
    known: dict[str, Any] = routine.__globals__
    for name in sorted({one.argval for one in steps if one.opname in _READS} - assigned):
        value = known.get(name)
        if name in known and _counts(value):
            yield name, value


def _counts(value: Any) -> bool:
    """Whether a global is more than code of a library."""
    return not inspect.ismodule(value) and (not is_code(value) or is_own(undecorated(value)))


def _named_in_modules(routine: Any) -> Iterator[tuple[str, Any]]:
    """What a function of the user reads from modules of the user: names and values."""
    if not is_own(routine):
        return
    steps = steps_of(routine)
    reads = {one.argval for one in steps if one.opname in _READS}
    named = {one.argval for one in steps if one.opname in _NAMES}
    near = [*(routine.__globals__.get(name) for name in sorted(reads)), *_made_with(routine)]
    modules = [one for one in (*near, *_imported(routine, steps)) if is_own_module(one)]
    for place, module in enumerate(modules):
        # A package's modules are read through it. Names of its own are not assigned in use.
        for name in sorted(named & set(vars(module))):
            value = vars(module)[name]
            if is_own_module(value) and not any(value is one for one in modules):
                modules.append(value)
            elif _counts(value) and not any(module is one for one in modules[:place]):
                yield f"{module.__name__}.{name}", value


def _imported(routine: Any, steps: list[dis.Instruction]) -> Iterator[ModuleType]:
    """Modules of the user that a function itself imports: they are imported now, as it would at its first
    call, so that its digest is the same before and after that."""
    package = str(routine.__globals__.get("__package__") or "")
    for number, one in enumerate(steps):
        if one.opname != "IMPORT_NAME":
            continue
        # Whatever fails here fails where the function is called, with its own message.
        with suppress(Exception):
            level = int(steps[number - 2].argval)
            name = importlib.util.resolve_name("." * level + str(one.argval), package)
            found = None if name in sys.modules else importlib.util.find_spec(name)
            if found is None or is_own_code(name, str(found.origin)):
                yield importlib.import_module(name.partition(".")[0])
                yield importlib.import_module(name)
