"""Checks of settings and arguments."""

from __future__ import annotations

import dataclasses
import functools
import inspect
import math
import types
import typing
from collections.abc import Callable, Iterable, Mapping, Sequence
from numbers import Integral, Real
from pathlib import Path
from typing import Any, Literal, ParamSpec, TypeVar, cast

import numpy as np

from pluralign.core.errors import InputError
from pluralign.core.files import in_home

P = ParamSpec("P")
R = TypeVar("R")
_NAMES = {int: "a whole number", float: "a number", str: "a text", bool: "True or False", Path: "a path"}


def require(config: Any, lowest: Mapping[str, float], highest: Mapping[str, float] | None = None) -> None:
    """Check the types of a config's fields, and the bounds of its numbers. NumPy's numbers become Python's,
    and a leading ``~`` of a path the user's folder.

    Raises:
        InputError: A field has another type, is no finite number, is a fraction where whole numbers are
            meant, or is below its minimum or above its maximum.
    """
    hints = _hints(cast("Callable[..., Any]", type(config)))
    for field in dataclasses.fields(config):
        value = getattr(config, field.name)
        if isinstance(value, np.generic):
            object.__setattr__(config, field.name, value.item())
        elif (expanded := _in_home(value, hints[field.name])) is not value:
            object.__setattr__(config, field.name, expanded)
        _require_kind(value, hints[field.name], field.name)
    for name in {**lowest, **(highest or {})}:
        _require_number(config, name)
    for name, bound in lowest.items():
        if not getattr(config, name) >= bound:
            raise InputError(f"must be at least {_bound(bound)}, found {getattr(config, name)}", field=name)
    for name, bound in (highest or {}).items():
        if not getattr(config, name) <= bound:
            raise InputError(f"must be at most {_bound(bound)}, found {getattr(config, name)}", field=name)


def _bound(number: float) -> str:
    return str(number) if isinstance(number, int) else f"{number:g}"


def _require_kind(value: Any, hint: Any, name: str) -> None:
    members = _members(hint)
    choices = [one for member in members if typing.get_origin(member) is Literal for one in member.__args__]
    if choices and value not in choices and not (value is None and type(None) in members):
        raise InputError(f"must be one of {', '.join(map(str, choices))}, found {value!r}", field=name)
    # Objects may have what an abstract class describes without being derived from it.
    plain = value is None or isinstance(value, str | int | float | bytes | list | dict | tuple)
    if not _is(value, hint) and (
        plain or not any(getattr(one, "__abstractmethods__", ()) for one in members)
    ):
        raise InputError(f"expected {_described(hint)}, found {value!r:.60}", field=name)


def _require_number(config: Any, name: str) -> None:
    value = getattr(config, name)
    whole = str(getattr(config, "__annotations__", {}).get(name)) in ("int", "<class 'int'>")
    if not isinstance(value, Integral if whole else Real):
        raise InputError(f"must be {_NAMES[int if whole else float]}, found {value!r:.60}", field=name)
    if math.isinf(value):
        raise InputError(f"must be finite, found {value}", field=name)


def require_positive(**numbers: float) -> None:
    """Check that numbers are positive and finite.

    Raises:
        InputError: A number is 0, negative, infinite or NaN.
    """
    for name, number in numbers.items():
        if not 0 < number < math.inf:
            raise InputError(f"must be above 0 and finite, found {number}", field=name)


def require_at_least(lowest: float, **numbers: float) -> None:
    """Check that numbers are finite and not below a minimum.

    Raises:
        InputError: A number is below the minimum, infinite or NaN.
    """
    for name, number in numbers.items():
        if not lowest <= number < math.inf:
            raise InputError(f"must be at least {lowest:g} and finite, found {number}", field=name)


def require_seed(seed: int) -> None:
    """Check a random seed of NumPy and PyTorch.

    Raises:
        InputError: The seed is negative or above 2**32 - 1.
    """
    if not 0 <= seed < 2**32:
        raise InputError(f"must be from 0 to 2**32 - 1, found {seed}", field="seed")


def checked(function: Callable[P, R]) -> Callable[P, R]:
    """Check the types of a function's arguments at each call, so that a wrong one is reported by its name.

    Only what is plain is checked: numbers, texts, names of a fixed set, paths, classes, and whether something
    is a mapping or a sequence. Elements and iterables are not. NumPy's numbers become Python's, which files
    can have, generators in place of sequences become lists, and a leading ``~`` of a path, which would be a
    folder of this name, the user's folder.
    """
    signature = inspect.signature(function)

    @functools.wraps(function)
    def call(*args: P.args, **kwargs: P.kwargs) -> R:
        hints = _hints(function)
        try:
            bound = signature.bind(*args, **kwargs)
        except TypeError as error:
            # As Python words it where nothing is checked.
            raise TypeError(f"{function.__qualname__}() {error}") from None
        for name, value in bound.arguments.items():
            kind = signature.parameters[name].kind
            hint = hints.get(name)
            if isinstance(value, str) and value == "" and Path in _members(hint):
                # It would be the working directory.
                raise InputError("must not be empty", field=name)
            if hint is None or kind in (kind.VAR_KEYWORD, kind.VAR_POSITIONAL):
                continue
            if not _is(value, hint):
                raise InputError(f"expected {_described(hint)}, found {value!r:.60}", field=name)
            bound.arguments[name] = _in_home(_plain(value, hint), hint)
        return function(*bound.args, **bound.kwargs)

    return call


def _plain(value: Any, hint: Any) -> Any:
    """A number of NumPy as Python's, and a generator as a list where a sequence is meant."""
    if isinstance(value, np.generic):
        return cast("np.generic[Any]", value).item()
    origins = [typing.get_origin(member) or member for member in _members(hint)]
    wanted = Sequence in origins and Iterable not in origins
    return list(value) if wanted and hasattr(value, "__iter__") and not hasattr(value, "__len__") else value


def _in_home(value: Any, hint: Any) -> Any:
    """A path, or a mapping or sequence of paths, without a leading ``~``."""
    members = _members(hint)
    if isinstance(value, str | Path):
        return in_home(value) if Path in members else value
    of_paths = any(Path in _members(inner) for member in members for inner in typing.get_args(member))
    named = isinstance(value, Mapping)
    if not of_paths or not (named or isinstance(value, list | tuple)):
        return value
    given: Any = cast("Any", value)
    own = dict(cast("Mapping[Any, Any]", given) if named else enumerate(cast("list[Any]", given)))
    found = {key: in_home(one) if isinstance(one, str | Path) else one for key, one in own.items()}
    if all(found[key] is own[key] for key in own):
        return given
    return found if named else type(given)(found.values())


@functools.cache
def _hints(annotated: Callable[..., Any]) -> dict[str, Any]:
    """Types of a function's arguments, or of a class's fields."""
    return typing.get_type_hints(annotated)


def _members(hint: Any) -> tuple[Any, ...]:
    if typing.get_origin(hint) in (typing.Union, types.UnionType):
        return tuple(inner for member in typing.get_args(hint) for inner in _members(member))
    return (hint,)


def _is(value: Any, hint: Any) -> bool:
    """Whether a value may be of a type; True for types that are not known here."""
    return any(_is_one(value, member) for member in _members(hint))


def _is_one(value: Any, hint: Any) -> bool:
    origin = typing.get_origin(hint) or hint
    if origin is Literal:
        return any(isinstance(value, type(one)) and value == one for one in typing.get_args(hint))
    if origin is Callable:
        return callable(value)
    if origin is Iterable:
        return True
    if not isinstance(origin, type) or getattr(origin, "_is_protocol", False):
        return True
    if origin in (int, float):
        return isinstance(value, Integral if origin is int else Real)
    if origin.__module__ == "collections.abc" and not issubclass(origin, Mapping):
        return hasattr(value, "__iter__") and not isinstance(value, str | bytes)
    return isinstance(value, origin)


def _described(hint: Any) -> str:
    names = [_name(member) for member in _members(hint)]
    return " or ".join(dict.fromkeys(names))


def _name(hint: Any) -> str:
    origin = typing.get_origin(hint) or hint
    if hint is type(None):
        return "None"
    if origin is Literal:
        return ", ".join(map(str, typing.get_args(hint)))
    if origin is Callable:
        return "a function"
    if origin in _NAMES:
        return _NAMES[origin]
    if isinstance(origin, type) and origin.__module__ == "collections.abc":
        return "a mapping" if issubclass(origin, Mapping) else "a sequence"
    return getattr(origin, "__name__", str(origin))
