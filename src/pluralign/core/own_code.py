"""Code of the user, as opposed to that of installed packages, Python and pluralign; and its instructions."""

from __future__ import annotations

import dis
import inspect
import sysconfig
from pathlib import Path
from types import CodeType
from typing import Any, cast

_LIBRARIES = tuple({sysconfig.get_path(name) for name in ("stdlib", "platstdlib", "purelib", "platlib")})
_DECORATORS = 40
"""Decorators of one function that are looked through; objects may have endless ones."""


def is_code(value: Any) -> bool:
    """Whether this is a function or a class."""
    return inspect.isroutine(value) or inspect.isclass(value)


def code_of(value: Any) -> Any:
    """A function or class as it is, and the class of another object."""
    return value if is_code(value) else cast("Any", type(value))


def plain_function(member: Any) -> Any:
    """The function of a static method, a class method or a property; others as they are."""
    return getattr(member, "__func__", None) or getattr(member, "fget", None) or member


def undecorated(value: Any) -> Any:
    """The user's function that a decorator of a library was put on, such as `functools.cache`; others as they
    are."""
    inner, passed = value, 0
    while inspect.isroutine(inner) and not is_own(inner) and passed < _DECORATORS:
        inner, passed = getattr(inner, "__wrapped__", None), passed + 1
    return value if inner is None else inner


def is_own(value: Any) -> bool:
    """Whether a function, a class or an object's class is in code of the user, which is not installed."""
    written = code_of(value)
    if inspect.isclass(written):
        return bool(own_routines(written))
    code = getattr(written, "__code__", None)
    return code is not None and is_own_code(str(getattr(written, "__module__", "")), code.co_filename)


def is_own_code(module: str, file: str) -> bool:
    """Whether a module's file is the user's, which is not installed."""
    return (
        module.partition(".")[0] != "pluralign"
        and not file.startswith((*_LIBRARIES, "<frozen"))
        and not {"site-packages", "dist-packages"} & set(Path(file).parts)
    )


def is_own_module(value: Any) -> bool:
    """Whether this is a module, or a package, of the user."""
    if not inspect.ismodule(value):
        return False
    places = [getattr(value, "__file__", None), *getattr(value, "__path__", ())]
    known = [one for one in places if isinstance(one, str)]
    return bool(known) and all(is_own_code(value.__name__, one) for one in known)


def own_routines(written: Any) -> list[Any]:
    """Functions that a class itself defines, in code of the user."""
    held = cast("dict[str, Any]", vars(written))
    members = [plain_function(one) for one in held.values()]
    return [one for one in members if hasattr(one, "__code__") and is_own(one)]


def routines_of(written: Any) -> list[Any]:
    """A function, or those that a class and its ancestors define."""
    if inspect.isclass(written):
        return [one for own in written.__mro__ for one in own_routines(own)]
    inner = getattr(written, "__func__", written)
    # What `functools.cache` returns has no code.
    inner = inner if hasattr(inner, "__code__") else undecorated(inner)
    return [inner] if hasattr(inner, "__code__") else []


def steps_of(routine: Any) -> list[dis.Instruction]:
    """Instructions of a function, and of functions inside."""
    codes: list[CodeType] = [routine.__code__]
    for code in codes:
        codes += [inner for inner in code.co_consts if isinstance(inner, CodeType)]
    return [step for code in codes for step in dis.get_instructions(code)]
