"""Reading of single values on the command line."""

from __future__ import annotations

import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

from tyro.constructors import ConstructorRegistry, PrimitiveConstructorSpec


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
