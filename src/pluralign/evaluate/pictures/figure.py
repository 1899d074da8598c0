"""A matplotlib figure that becomes a file."""

from __future__ import annotations

import importlib
from collections.abc import Generator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from pluralign.core import InputError
from pluralign.core.files import replace_when_whole

# Names are no formulas, even if they have dollar signs.
_STYLE = {
    "svg.hashsalt": "pluralign", "axes.spines.top": False, "axes.spines.right": False,
    "text.parse_math": False,
}  # fmt: skip


@contextmanager
def figure_file(path: Path, size: tuple[float, float], style: Mapping[str, Any]) -> Generator[Any]:
    """A figure to draw in, which is saved if the block succeeds."""
    if path.suffix not in (".svg", ".png"):
        raise InputError("expected a file name that ends in .svg or .png", path=path)
    # Imported here because it is slow and not needed for computations.
    mpl: Any = importlib.import_module("matplotlib")
    drawing: Any = importlib.import_module("matplotlib.figure")
    with mpl.rc_context({**_STYLE, **style}):
        figure = drawing.Figure(figsize=size, layout="constrained")
        yield figure
        metadata = {"Date": None} if path.suffix == ".svg" else None
        with replace_when_whole(path) as temporary:
            figure.savefig(temporary, format=path.suffix[1:], metadata=metadata, dpi=150)
