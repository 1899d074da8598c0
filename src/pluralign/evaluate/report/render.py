"""Rendering of HTML pages from the templates in ``evaluate/templates``, and writing of a report's files."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import cache
from pathlib import Path
from typing import Any, cast

from jinja2 import Environment, PackageLoader, StrictUndefined

from pluralign.core.files import write_json, write_text
from pluralign.evaluate.report.picture import plain
from pluralign.evaluate.report.style import blend_css
from pluralign.evaluate.report.words import duration, interval, number, pair, percent


def render(template: str, **content: Any) -> str:
    """Render a template; texts are escaped, figures (`markupsafe.Markup`) are not.

    Args:
        template: File name in ``evaluate/templates``.
        content: Variables of the template.
    """
    return _environment().get_template(template).render(**content)


def save_report(folder: str | Path, figures: Mapping[str, Any], page: str) -> tuple[Path, Path]:
    """Write ``report.json`` and ``report.html`` into a folder, each completely or not at all.

    Returns:
        Paths of both files.

    Raises:
        InputError: The folder cannot be written.
    """
    data, document = Path(folder) / "report.json", Path(folder) / "report.html"
    write_json(data, figures)
    write_text(document, page)
    return data, document


@cache
def _environment() -> Environment:
    # Its filters are untyped.
    environment: Any = Environment(
        loader=PackageLoader("pluralign.evaluate"), autoescape=True, undefined=StrictUndefined,
        trim_blocks=True, lstrip_blocks=True,
    )  # fmt: skip
    filters: list[Callable[..., Any]] = [duration, interval, number, pair, percent, plain, plain_value]
    environment.filters.update({function.__name__: function for function in filters}, blend=blend_css)
    return environment


def plain_value(value: object) -> str:
    """A setting or a figure as text: numbers in short form, mappings and lists as their items."""
    if isinstance(value, float):
        return number(value)
    if isinstance(value, Mapping):
        items = cast("Mapping[object, object]", value).items()
        return ", ".join(f"{name} {plain_value(own)}" for name, own in items)
    if isinstance(value, list | tuple):
        return ", ".join(map(plain_value, cast("list[object]", value)))
    return str(value)
