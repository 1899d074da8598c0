"""The report's HTML page: a single file without requests, for light and dark schemes and all screen
widths."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from pathlib import Path

from markupsafe import Markup

from pluralign.core.files import write_text
from pluralign.evaluate.harms_table import HEADLINES
from pluralign.evaluate.report.charts import draw_bars, draw_weights
from pluralign.evaluate.report.model import Report
from pluralign.evaluate.report.picture import draw_picture, plain
from pluralign.evaluate.report.render import render, save_report
from pluralign.evaluate.report.svg import draw, draw_alone
from pluralign.evaluate.report.words import (
    compare,
    duration,
    followed,
    headline,
    number,
    takeaway,
    trend,
    value_at,
)


def write_report(report: Report, folder: str | Path) -> tuple[Path, Path]:
    """Write ``report.json`` and ``report.html`` into a folder, each completely or not at all.

    The page is a single file with embedded figures.

    Returns:
        Paths of both files.

    Raises:
        InputError: The folder cannot be written.
    """
    return save_report(folder, report.to_json(), make_page(report))


def write_picture(report: Report, path: str | Path) -> Path:
    """Write the figure of the sweep as an SVG file, completely or not at all.

    Raises:
        InputError: The file cannot be written.
    """
    words, make = _picture_words(report), partial(draw_picture, report)
    return write_text(path, draw_alone("picture", words, make, (8.6, 5.4)))


def make_page(report: Report) -> str:
    """The report as one HTML document."""
    online = report.of_kind("online") or report.of_kind("random")
    cloned = report.of_kind("cloned") or report.of_kind("random")
    models, learned = report.of_kind("language_model"), report.of_kind("learned")
    played = {
        "before": report.of_kind("random", "online", "language_model"),
        "learned": report.of_kind("random", "cloned", "learned"),
    }
    words = "No language model played in this run, so it does not answer this question."
    took = {"took": duration(report.seconds)} if report.seconds else {}
    return render(
        "story.html",
        report=report, eyebrow=report.title, title=headline(report), lead=takeaway(report),
        headlines=HEADLINES, followed=followed(report)[0], trend=trend(report), played=played,
        compared={
            "before": _compared(report, models, online) if models else words,
            "learned": _compared(report, learned, cloned),
        },
        picture=_picture(report), by_weight=_by_weight(report),
        bars={
            "before": _bars(report, "reference", played["before"]),
            "learned": _bars(report, "learned", played["learned"]),
        },
        run={"story": report.story, "seed": report.seed, **took, **report.settings},
        attainable={
            o: f"{number(report.worst[o])} to {number(best)}" for o, best in report.best.items()
        },
    )  # fmt: skip


def _compared(report: Report, names: Sequence[str], baselines: Sequence[str]) -> str:
    return compare(report, names, baselines[0]) if names and baselines else ""


def _picture_words(report: Report) -> str:
    first, second = (plain(o) for o in report.objectives[:2])
    low, high = (point.returns for point in report.ends)
    spans = [f"{plain(o)} from {number(low[o])} to {number(high[o])}" for o in report.objectives[:2]]
    front = "the exact Pareto front and " if report.exact_front else ""
    weights = " to ".join(_end_weights(report))
    return (
        f"Mean {first} against mean {second} per episode. As w goes from {weights} the steered policy moves "
        f"in {' and '.join(spans)}, next to {front}the other policies; table below."
    )


def _end_weights(report: Report) -> list[str]:
    """Weights on the first objective at the ends of the sweep."""
    return [number(point.weights.get(report.objectives[0], 0.0)) for point in report.ends]


def _picture(report: Report) -> Markup:
    words, make = _picture_words(report), partial(draw_picture, report)
    return draw("picture", words, make, broad=(8.6, 5.4), narrow=(3.9, 4.5))


def _by_weight(report: Report) -> Markup:
    first = plain(report.objectives[0])
    ends = report.ends
    returns = [number(end.returns[report.objectives[0]]) for end in ends]
    what, objective = followed(report)
    values = [number(value_at(end, objective).mean) for end in ends]
    weights = " to ".join(f"w = {weight}" for weight in _end_weights(report))
    words = (
        f"Mean {first} and {what} per episode against w. From {weights} {first} goes from "
        f"{' to '.join(returns)} and {what} from {' to '.join(values)}."
    )
    return draw("weights", words, partial(draw_weights, report), broad=(8.6, 3.4), narrow=(3.9, 5.6))


def _bars(report: Report, name: str, names: Sequence[str]) -> Markup | None:
    """Bars of the headline metrics; None if no policy commits violations."""
    if not names or not report.has_violations:
        return None
    listed = "; ".join(
        f"{n}: " + ", ".join(f"{m} {report.normalised[n][m].mean:.0f}" for m in HEADLINES) for n in names
    )
    words = f"Bars in per cent of the random agent. {listed}."
    sizes = {"broad": (7.4, 1.5 + 0.5 * len(names)), "narrow": (3.9, 1.9 + 1.1 * len(names))}
    return draw(name, words, partial(draw_bars, report, names), **sizes)
