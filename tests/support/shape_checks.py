"""Runtime checks of array shapes: what jaxtyping's annotations say is enforced by beartype."""

import contextlib
import functools
import inspect
import re
from collections.abc import Callable, Sequence
from typing import Any

import jaxtyping
from beartype import BeartypeConf, beartype

# Only arrays are checked: the rest is checked by pyright, and tests pass fakes for protocols.
_SHAPE = re.compile(r"\b(?:Float|Int|Bool|Num|Shaped|Integer|UInt8|Int64|Float64)\[")
_CONF = BeartypeConf(is_pep484_tower=True)
_jaxtyped = jaxtyping.jaxtyped


def install(packages: Sequence[str]) -> None:
    """Check the shapes in these packages from their import on.

    The import hook decorates every function with ``jaxtyping.jaxtyped``, which takes time at each call
    whether the function has shapes or not. A function without shapes is left as it is.
    """
    jaxtyping.jaxtyped = _jaxtyped_where_shaped
    jaxtyping.install_import_hook(packages, f"{__name__}.{check_shapes.__name__}")


def _jaxtyped_where_shaped(*, typechecker: Any) -> Callable[[Any], Any]:
    def decorate(item: Any) -> Any:
        function = item.__init__ if inspect.isclass(item) else item
        plain = inspect.isfunction(function) and not _has_shapes(function)
        return item if plain else _jaxtyped(item, typechecker=typechecker)

    return decorate


def _has_shapes(function: Any) -> bool:
    hints = function.__annotations__.values()
    return any(_SHAPE.search(_text(hint)) or _SHAPE.search(_value(hint, function)) for hint in hints)


def _value(hint: Any, function: Any) -> str:
    """What a hint's names mean: one may be another name of an array's type."""
    if isinstance(hint, str):
        with contextlib.suppress(Exception):
            return repr(eval(hint, function.__globals__))
    return ""


def check_shapes(function: Callable[..., Any]) -> Callable[..., Any]:
    """Check a function's arrays, arguments and result, at every call.

    Args:
        function: A function, or the initialiser that jaxtyping makes of a dataclass.

    Returns:
        The function itself where it has no array with a shape.
    """
    hints = dict(getattr(function, "__annotations__", {}))
    shaped = {name: hint for name, hint in hints.items() if _SHAPE.search(_text(hint))}
    if not shaped:
        return function
    function.__annotations__ = shaped
    checked = beartype(function, conf=_CONF)
    function.__annotations__ = hints
    return functools.wraps(function)(checked)


def _text(hint: Any) -> str:
    return hint if isinstance(hint, str) else repr(hint)
