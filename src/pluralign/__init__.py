"""Learn each value once, offline. Choose the mix at inference time.

>>> import pluralign as pl
>>> mix = pl.load_policies("tiny-random", helpful="tiny-random", harmless="tiny-random")
>>> answer = mix.generate("Hello", weights={"helpful": 0.7, "harmless": 0.3}, max_new_tokens=8)
"""

from __future__ import annotations

import ast
import importlib
import logging
from pathlib import Path
from typing import Any

# On some processors bitsandbytes, which PEFT imports where it is installed, advises to install a kernel that
# `lm.quantized` would not use. Any room may be the first that imports PEFT.
logging.getLogger("bitsandbytes.backends.cpu.ops").addFilter(
    lambda record: "gemm_4bit_forward" not in record.getMessage()
)

_STUB = ast.parse(Path(__file__).with_suffix(".pyi").read_text(encoding="utf-8"))
_HOMES = {
    alias.name: line.module
    for line in _STUB.body
    if isinstance(line, ast.ImportFrom) and line.module
    for alias in line.names
}
"""Home of each public name, as the stub lists them. A module is imported when a name of it is first used (PEP
562): the import of pluralign takes a fraction of a second and needs no torch."""
__all__ = sorted([*_HOMES, "__version__"])  # pyright: ignore[reportUnsupportedDunderAll]


def __getattr__(name: str) -> Any:
    if name == "__version__":
        from importlib.metadata import version

        return version("pluralign")
    if name not in _HOMES:
        raise AttributeError(f"module 'pluralign' has no attribute {name!r}")
    # What the package itself is the home of are modules.
    is_module = _HOMES[name] == __name__
    home = importlib.import_module(f"{__name__}.{name}" if is_module else _HOMES[name])
    value = home if is_module else getattr(home, name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return __all__
