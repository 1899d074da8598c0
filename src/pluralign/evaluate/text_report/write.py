"""The files of a sweep of texts."""

from __future__ import annotations

from pathlib import Path

from pluralign.core.files import replace_when_whole, write_json
from pluralign.evaluate.text_report.model import TextReport


def write_text_report(report: TextReport, folder: Path) -> tuple[Path, Path]:
    """Write ``report.json`` and ``report.html`` into a folder, each whole or not at all.

    The page is one file: drawings inside, no requests.

    Returns:
        The two files' paths.

    Raises:
        InputError: the folder cannot be written.
    """
    # matplotlib is imported by the drawings alone.
    from pluralign.evaluate.text_report.page import make_page

    data, page = folder / "report.json", folder / "report.html"
    text = make_page(report)
    write_json(data, report.to_json())
    with replace_when_whole(page) as temporary:
        temporary.write_text(text, encoding="utf-8")
    return data, page


def write_text_picture(report: TextReport, path: Path) -> Path:
    """Write the picture as an SVG file, whole or not at all.

    Raises:
        InputError: it cannot be written.
    """
    from pluralign.evaluate.text_report.page import make_picture

    with replace_when_whole(path) as temporary:
        temporary.write_text(make_picture(report), encoding="utf-8")
    return path
