"""Settings of a loss that is a method by itself, from its keyword parameters."""

from __future__ import annotations

import inspect
import re
from collections.abc import Callable
from dataclasses import field, make_dataclass
from typing import Any


def loss_settings(loss: Callable[..., Any]) -> type[Any]:
    """A frozen dataclass of a loss's keyword parameters, with their defaults and documentation."""
    parameters: list[tuple[str, Any]] = [
        (name, parameter.default)
        for name, parameter in inspect.signature(loss).parameters.items()
        if parameter.kind is inspect.Parameter.KEYWORD_ONLY
    ]
    fields: list[tuple[str, Any, Any]] = [
        (name, type(default), field(default=default)) for name, default in parameters
    ]
    made = make_dataclass(
        f"{loss.__name__.title()}Settings",
        fields,
        frozen=True,
    )
    described = inspect.getdoc(loss) or ""
    names = "|".join(name for name, _ in parameters)
    lines = re.findall(rf"^    (?:{names}):.*(?:\n        .*)*", described, re.MULTILINE) if names else []
    made.__doc__ = "\n".join([f"Settings of {loss.__name__}.", "", "Args:", *lines])
    return made
