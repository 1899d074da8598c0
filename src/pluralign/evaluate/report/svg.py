"""Embedding of matplotlib figures in a page as SVG, with the page's fonts and colours and unique ids."""

from __future__ import annotations

import html
import importlib
import io
import re
from collections.abc import Callable
from typing import Any

from markupsafe import Markup

from pluralign.evaluate.report.render import render
from pluralign.evaluate.report.style import stand_in, with_scheme_colours

Draw = Callable[[Any, bool], None]
"""Function that draws on a matplotlib figure; its flag is True for narrow screens."""


def draw(
    name: str, alt: str, make: Draw, *, broad: tuple[float, float], narrow: tuple[float, float]
) -> Markup:
    """Two drawings of one figure, for wide and for narrow screens; the style sheet shows one.

    Args:
        name: Name in letters; makes ids unique in the page.
        alt: Description of the figure, as alternative text.
        make: Function that draws the figure.
        broad: Width and height for wide screens, in inches of 72 units.
        narrow: Width and height for narrow screens.
    """
    sizes = {"broad": broad, "narrow": narrow}
    return Markup("".join(_draw(f"{name}-{s}", alt, make, size, s) for s, size in sizes.items()))


def draw_alone(name: str, alt: str, make: Draw, size: tuple[float, float]) -> str:
    """A figure as a separate file, with its own light and dark colours."""
    svg = _draw(name, alt, make, size, "broad")
    style = f"<style>\n{render('colours.css')}\nsvg{{background:var(--paper)}}</style>"
    return svg.replace("<svg ", '<svg xmlns="http://www.w3.org/2000/svg" ', 1).replace(">", f">{style}", 1)


def _draw(name: str, alt: str, make: Draw, size: tuple[float, float], style: str) -> str:
    # Importing it takes half a second, and its types are unknown to strict checking.
    matplotlib: Any = importlib.import_module("matplotlib")
    make_figure: Any = importlib.import_module("matplotlib.figure").Figure
    make_canvas: Any = importlib.import_module("matplotlib.backends.backend_agg").FigureCanvasAgg
    settings: dict[str, Any] = {
        "svg.fonttype": "none",
        "svg.hashsalt": name,
        "font.family": ["DejaVu Sans"],
        "font.size": 9.0 if style == "broad" else 8.5,
        "text.color": stand_in("ink"),
        # Names and outcomes are no formulas, even if they have dollar signs.
        "text.parse_math": False,
        "axes.labelcolor": stand_in("ink"),
        "axes.edgecolor": stand_in("muted"),
        "axes.facecolor": "none",
        "axes.linewidth": 0.7,
        "axes.spines.top": False,
        "axes.spines.right": False,
        "xtick.color": stand_in("muted"),
        "ytick.color": stand_in("muted"),
        "xtick.major.width": 0.7,
        "ytick.major.width": 0.7,
        "grid.color": stand_in("rule"),
        "grid.linewidth": 0.6,
        "axes.axisbelow": True,
    }
    with matplotlib.rc_context(settings):
        figure = make_figure(figsize=size, dpi=72, layout="constrained", facecolor="none")
        make_canvas(figure)
        make(figure, style == "narrow")
        stream = io.StringIO()
        figure.savefig(stream, format="svg", metadata={"Date": None, "Creator": None})
    return _inline(stream.getvalue(), name, alt, style)


def _inline(svg: str, name: str, alt: str, style: str) -> str:
    svg = svg[svg.index("<svg") :]
    svg = re.sub(r"<metadata>.*?</metadata>", "", svg, flags=re.DOTALL)
    # Its style sheet would apply to the whole page.
    svg = re.sub(r"<!--.*?-->|<style.*?</style>", "", svg, flags=re.DOTALL)
    view = re.search(r'viewBox="[^"]*"', svg)
    assert view is not None, "matplotlib writes a viewBox"
    head = f'<svg class="{style}" {view[0]} role="img" aria-label="{html.escape(alt, quote=True)}">'
    svg = head + svg[svg.index(">") + 1 :]
    svg = re.sub(r'\bid="', f'id="{name}-', svg)
    svg = re.sub(r'href="#', f'href="#{name}-', svg)
    svg = svg.replace("xlink:href", "href").replace("url(#", f"url(#{name}-")
    svg = re.sub(r"(font: [^;\"]*?)'DejaVu Sans'[^;\"]*", r"\1inherit-family", svg)
    svg = svg.replace("inherit-family", "system-ui, 'Segoe UI', Roboto, 'Helvetica Neue', Arial, sans-serif")
    return with_scheme_colours(svg)
