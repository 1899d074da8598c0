"""Learn each value once, offline. Choose the mix at inference time.

>>> import pluralign as pl
>>> mix = pl.load_policies("tiny-random", helpful="tiny-random", harmless="tiny-random")
>>> answer = mix.generate("Hello", weights={"helpful": 0.7, "harmless": 0.3}, max_new_tokens=8)
"""

from __future__ import annotations

import logging
from typing import Any

from pluralign.lazy import lazy_names

# On some processors bitsandbytes, which PEFT imports where it is installed, advises to install a kernel that
# `lm.quantized` would not use. Any room may be the first that imports PEFT.
logging.getLogger("bitsandbytes.backends.cpu.ops").addFilter(
    lambda record: "gemm_4bit_forward" not in record.getMessage()
)

_attribute, _, _names = lazy_names(__name__)
# The import of pluralign takes a fraction of a second and needs no torch.
__all__ = sorted([*_names, "__version__"])  # pyright: ignore[reportUnsupportedDunderAll]


def __getattr__(name: str) -> Any:
    if name == "__version__":
        from importlib.metadata import version

        return version("pluralign")
    return _attribute(name)


def __dir__() -> list[str]:
    return __all__
