"""The report's two files."""

from __future__ import annotations

from pathlib import Path

from pluralign.core import InputError
from pluralign.core.files import replace_when_whole, write_json
from pluralign.evaluate.report.model import Report


def write_report(report: Report, folder: str | Path) -> tuple[Path, Path]:
    """Write ``report.json`` and ``report.html`` into a folder, each whole or not at all.

    The page is one file: drawings inside, no requests.

    Returns:
        The two files' paths.

    Raises:
        InputError: the folder cannot be written.
    """
    # matplotlib is imported by the drawings alone.
    from pluralign.evaluate.report.page import make_page

    data, page = Path(folder) / "report.json", Path(folder) / "report.html"
    try:
        Path(folder).mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise InputError(f"cannot be written: {error.strerror}", path=folder) from error
    text = make_page(report)
    write_json(data, report.to_json())
    with replace_when_whole(page) as temporary:
        temporary.write_text(text, encoding="utf-8")
    return data, page


def write_picture(report: Report, path: str | Path) -> Path:
    """Write the sweep's picture as an SVG file, whole or not at all.

    Raises:
        InputError: it cannot be written.
    """
    from pluralign.evaluate.report.page import make_picture

    with replace_when_whole(path) as temporary:
        temporary.write_text(make_picture(report), encoding="utf-8")
    return Path(path)
