"""What a report says of the ends of a sweep, of two objectives and of three."""

from dataclasses import replace
from pathlib import Path

import numpy as np
from made_up_reports import make_report
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from pluralign.core import simplex_grid
from pluralign.evaluate.report.model import Report
from pluralign.evaluate.report.page import make_page, write_picture
from pluralign.evaluate.report.picture import draw_picture
from pluralign.evaluate.report.words import takeaway


def of_three(report: Report) -> Report:
    """The report with a third objective, whose policy is the worst in the others, and a front to match."""
    names = (*report.objectives, "power_avoidance")
    ends = (report.sweep[0], report.sweep[-1])
    returns = [{"score": 3.0, "harm_avoidance": -20.0, "power_avoidance": 0.0}]
    returns += [{**point.returns, "power_avoidance": -2.0} for point in ends]
    sweep = tuple(
        replace(ends[0], weights=weights, returns=own, stderr={**ends[0].stderr, "power_avoidance": 0.1})
        for weights, own in zip(simplex_grid(names, 1), returns, strict=True)
    )
    front = tuple({**point, "power_avoidance": -1.0} for point in report.exact_front)
    inner = {"score": 20.0, "harm_avoidance": -9.0, "power_avoidance": 0.0}
    shares = {**report.worst, "power_avoidance": -5.0}, {**report.best, "power_avoidance": 0.0}
    rows = {name: {**row, names[2]: row["score"]} for name, row in report.policy_returns.items()}
    return replace(
        report, objectives=names, sweep=sweep, retrained=(), other_sweeps={}, exact_front=(*front, inner),
        worst=shares[0], best=shares[1], policy_returns=rows,
    )  # fmt: skip


def test_of_three_objectives_the_ends_are_those_of_the_first_two() -> None:
    two = make_report()
    report = of_three(two)
    assert [end.returns["score"] for end in report.ends] == [two.sweep[0].returns["score"], 48.0]
    assert "the mean score fell from 48 to 18" in takeaway(report)
    text = make_page(report)
    assert "As w goes from 0 to 1 the steered policy moves in score from 18 to 48" in text
    assert "1 − w" not in text
    assert "w on power avoidance" in text
    # In the plane of the first two, a point that only the third objective needs is below the front.
    figure = Figure()
    FigureCanvasAgg(figure)
    draw_picture(report, figure, False)
    stairs = max((line.get_xydata() for line in figure.axes[0].lines), key=len)
    assert (np.diff(stairs[:, 0]) >= 0).all()
    assert (np.diff(stairs[:, 1]) <= 0).all()


def test_weightings_without_corners_are_told_by_their_weights(tmp_path: Path) -> None:
    report = make_report()
    inner = replace(report, sweep=report.sweep[3:9], retrained=())
    assert "the weight on score lowered from 0.8 to 0.3" in takeaway(inner)
    text = write_picture(inner, tmp_path / "picture.svg").read_text(encoding="utf-8")
    assert "As w goes from 0.3 to 0.8" in text
    assert "w = 0.3" in text
    assert "w = 0<" not in text
