"""Public names that are imported when they are first used (PEP 562)."""

from __future__ import annotations

import ast
import importlib
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any


def lazy_names(package: str) -> tuple[Callable[[str], Any], Callable[[], list[str]], list[str]]:
    """``__getattr__``, ``__dir__`` and ``__all__`` of a package whose stub lists its public names.

    Type checkers read ``__init__.pyi``, so it is the only list: ``from HOME import NAME as NAME`` for each
    name. Lines that import from the package itself name its submodules.

    Args:
        package: Name of the package, ``__name__`` in its ``__init__.py``.
    """
    stub = Path(str(sys.modules[package].__file__)).with_suffix(".pyi")
    homes = {
        alias.name: line.module
        for line in ast.parse(stub.read_text(encoding="utf-8")).body
        if isinstance(line, ast.ImportFrom) and line.module
        for alias in line.names
    }
    names = sorted(homes)

    def attribute(name: str) -> Any:
        if name not in homes:
            raise AttributeError(f"module {package!r} has no attribute {name!r}")
        if homes[name] == package:
            value: Any = importlib.import_module(f"{package}.{name}")
        else:
            value = getattr(importlib.import_module(homes[name]), name)
        setattr(sys.modules[package], name, value)
        return value

    return attribute, lambda: names, names
