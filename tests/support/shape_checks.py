"""Runtime checks of array shapes: what jaxtyping's annotations say is enforced by beartype."""

import functools
import re
from collections.abc import Callable
from typing import Any

from beartype import BeartypeConf, beartype

# Only arrays are checked: the rest is checked by pyright, and tests pass fakes for protocols.
_SHAPE = re.compile(r"\b(?:Float|Int|Bool|Num|Shaped|Integer|UInt8|Int64|Float64)\[")
_CONF = BeartypeConf(is_pep484_tower=True)


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
