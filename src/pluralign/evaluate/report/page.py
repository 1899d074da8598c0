"""The page: one file, no requests, light and dark, broad and narrow."""

from __future__ import annotations

import html
from collections.abc import Mapping, Sequence
from functools import partial
from typing import Any

from pluralign.evaluate.harms_table import HEADLINES
from pluralign.evaluate.report.charts import draw_bars, draw_weights
from pluralign.evaluate.report.model import Report, WeightPoint
from pluralign.evaluate.report.picture import draw_picture, plain
from pluralign.evaluate.report.style import STYLE, blend_css
from pluralign.evaluate.report.svg import draw, draw_alone
from pluralign.evaluate.report.words import (
    compare,
    duration,
    followed,
    headline,
    number,
    pair,
    percent,
    takeaway,
    trend,
    value_at,
)
from pluralign.evaluate.statistics import Estimate

_POLICY = "default-src 'none'; style-src 'unsafe-inline'; img-src data:"


def make_page(report: Report) -> str:
    """The report as one HTML document."""
    title = headline(report)
    return f"""<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width,initial-scale=1">
<meta http-equiv="Content-Security-Policy" content="{_POLICY}">
<title>{_text(report.title)}: {_text(title)}</title>
<style>{STYLE}</style>
</head>
<body>
<header>
<p class="eyebrow">pluralign · {_text(report.title)}</p>
<h1>{_text(title)}</h1>
<p class="lead">{_text(takeaway(report))}</p>
{_facts(report)}
</header>
<main>
{_picture(report)}
{_reference_section(report)}
{_learned_section(report)}
{_weights_section(report)}
</main>
<footer>
{_details(report)}
</footer>
</body>
</html>
"""


def _facts(report: Report) -> str:
    rows: list[tuple[str, str, str]] = []
    if report.hypervolume_ratio is not None and report.hypervolume_interval is not None:
        low, high = report.hypervolume_interval
        span = f"95 % interval {percent(low)} to {percent(high)}"
        rows.append(("of the exact front’s hypervolume", percent(report.hypervolume_ratio), span))
    if report.rater_kappa is not None:
        rows.append(("agreement of the judge", f"κ {number(report.rater_kappa)}", "with the oracle"))
    if report.spearman is not None:
        second = plain(report.objectives[1])
        found = report.spearman
        span = f"95 % interval {number(found.low)} to {number(found.high)}"
        rows.append((f"{followed(report)[0]} and weight on {second}", f"ρ {number(found.value)}", span))
    if report.seconds:
        rows.append(("the whole run", duration(report.seconds), f"seed {report.seed}"))
    cells = "".join(
        f"<div><dt>{_text(name)}</dt><dd>{_text(value)}<small>{_text(more)}</small></dd></div>"
        for name, value, more in rows
    )
    return f'<dl class="facts">{cells}</dl>'


def make_picture(report: Report) -> str:
    """The sweep's picture as an SVG file."""
    return draw_alone("picture", _picture_words(report), partial(draw_picture, report), (8.6, 5.4))


def _picture_words(report: Report) -> str:
    first, second = (plain(o) for o in report.objectives[:2])
    ends = [report.sweep[i].returns for i in (0, -1)]
    spans = [f"{plain(o)} from {number(ends[0][o])} to {number(ends[1][o])}" for o in report.objectives[:2]]
    front = "the exact Pareto front and " if report.exact_front else ""
    return (
        f"Mean {first} against mean {second} per episode. As w goes from 0 to 1 the steered policy moves in "
        f"{' and '.join(spans)}, beside {front}the other policies; table below."
    )


def _picture(report: Report) -> str:
    first = plain(report.objectives[0])
    keys = [
        f'<li><i class="scale"></i>steered by the {_text(report.mixture)}, w = 0 to 1 (weight on '
        f"{_text(first)})</li>",
    ]
    shaded = ""
    if report.exact_front:
        keys.append('<li><i class="step"></i>exact Pareto front</li>')
        shaded = """Shaded is what can be attained in this story by one
way of playing it; drawing lots between two ways lies on the line between them. """
    for name in report.other_sweeps:
        keys.append(f'<li><i class="line"></i>steered by the {_text(name)}</li>')
    if report.retrained:
        keys.append('<li><i class="ring"></i>trained anew for one w</li>')
    drawing = draw(
        "picture", _picture_words(report), partial(draw_picture, report), broad=(8.6, 5.4), narrow=(3.9, 4.5)
    )
    return f"""<figure class="wide"><ul class="legend">{"".join(keys)}</ul>
{drawing}
<figcaption>Up and to the right is better. {shaded}Bars are 95 % intervals of the
means.</figcaption></figure>"""


def _reference_section(report: Report) -> str:
    names = report.of_kind("random", "online", "language_model")
    models, baselines = report.of_kind("language_model"), report.of_kind("online") or report.of_kind("random")
    words = compare(report, models, baselines[0]) if models and baselines else ""
    if not models:
        words = "No language model played in this run, so it does not answer this question."
    return f"""<section><h2>1. Can a language model be the reference policy?</h2>
<p>{_text(words)}</p>
{_bars(report, "reference", names)}
{_harms_table(report, names, "Policies that play before anything is learned offline")}</section>"""


def _learned_section(report: Report) -> str:
    names = report.of_kind("random", "cloned", "learned")
    learned, baseline = report.of_kind("learned"), (report.of_kind("cloned") or report.of_kind("random"))
    words = compare(report, learned, baseline[0]) if learned and baseline else ""
    shares = "".join(
        f" The {_text(plain(o))} policy by itself attains {percent(share)} of what the story allows "
        f"in {_text(plain(o))}."
        for o, share in report.optimum_share.items()
    )
    return f"""<section><h2>2. Can agents learn from those trajectories alone?</h2>
<p>{_text(words)}{shares}</p>
{_bars(report, "learned", names)}
{_harms_table(report, names, "Policies learned from the offline data")}</section>"""


def _weights_section(report: Report) -> str:
    first, second = (plain(o) for o in report.objectives[:2])
    ends = [report.sweep[i] for i in (0, -1)]
    returns = [number(end.returns[report.objectives[0]]) for end in ends]
    what, objective = followed(report)
    values = [number(value_at(end, objective).mean) for end in ends]
    alt = (
        f"Mean {first} and {what} per episode against w. From w = 0 to w = 1 {first} goes from "
        f"{' to '.join(returns)} and {what} from {' to '.join(values)}."
    )
    drawing = draw("weights", alt, partial(draw_weights, report), broad=(8.6, 3.4), narrow=(3.9, 5.6))
    rings = " Rings are agents trained anew for one weight." if report.retrained else ""
    anew = (
        _points_table(report, report.retrained, "Policies trained anew for one weighting each", training=True)
        if report.retrained
        else ""
    )
    others = "".join(
        _points_table(report, points, f"Steered by the {name}")
        for name, points in report.other_sweeps.items()
    )
    return f"""<section><h2>3. How do the weights affect decisions?</h2>
<p>{_text(trend(report))}</p>
<figure class="wide">{drawing}<figcaption>w is the weight on {_text(first)}, 1 − w that on
{_text(second)}. Bands are 95 % intervals.{rings}</figcaption></figure>
{_points_table(report, report.sweep, f"Steered by the {report.mixture}")}
{others}
{anew}</section>"""


def _bars(report: Report, name: str, names: Sequence[str]) -> str:
    if not names or not report.has_violations:
        return ""
    listed = "; ".join(
        f"{n}: " + ", ".join(f"{m} {report.normalised[n][m].mean:.0f}" for m in HEADLINES) for n in names
    )
    alt = f"Bars in per cent of the random agent. {listed}."
    make = partial(draw_bars, report, names)
    bars = len(names)
    drawing = draw(name, alt, make, broad=(7.4, 1.5 + 0.5 * bars), narrow=(3.9, 1.9 + 1.1 * bars))
    return f"""<figure>{drawing}<figcaption>Per cent of the random agent’s mean, the dashed line at 100.
Whiskers are one standard error.</figcaption></figure>"""


def _harms_table(report: Report, names: Sequence[str], caption: str) -> str:
    if not names:
        return ""
    # Where nobody commits violations, the story has no annotations to make a harms table of.
    columns = HEADLINES if report.has_violations else report.objectives
    table = report.normalised if report.has_violations else report.policy_returns
    unit = "per cent of the random agent’s" if report.has_violations else "mean returns per episode"
    head = "".join(f'<th scope="col">{_text(plain(m))}</th>' for m in columns)
    rows = "".join(
        f'<tr><th scope="row">{_text(name)}</th>'
        + "".join(f"<td>{_estimate(table[name][m])}</td>" for m in columns)
        + "</tr>"
        for name in names
    )
    caption = f"{caption}: {unit}, ± standard error"
    return _table(caption, f'<tr><th scope="col">policy</th>{head}</tr>', rows)


def _points_table(
    report: Report, points: Sequence[WeightPoint], caption: str, *, training: bool = False
) -> str:
    names = report.objectives
    harms = ("power", "disutility", "violations") if report.has_violations else ()
    metrics = [m for m in harms if m in points[0].metrics]
    columns = [f"w on {plain(names[0])}", *(plain(o) for o in names), *metrics]
    columns += ["training"] if training else []
    rows: list[str] = []
    for point in points:
        weight = point.weights.get(names[0], 0.0)
        dot = f'<span aria-hidden="true" style="color:{blend_css(weight)}">●</span>'
        cells = [_pair(point.returns[o], point.stderr[o]) for o in names]
        cells += [_estimate(point.metrics[m]) for m in metrics]
        cells += [duration(point.seconds)] if training else []
        rows.append(
            f'<tr><th scope="row">{dot} {number(weight)}</th>'
            + "".join(f"<td>{c}</td>" for c in cells)
            + "</tr>"
        )
    head = "".join(f'<th scope="col">{_text(c)}</th>' for c in columns)
    return _table(f"{caption}: means per episode, ± standard error", f"<tr>{head}</tr>", "".join(rows))


def _details(report: Report) -> str:
    attainable = {plain(o): f"{number(report.worst[o])} to {number(best)}" for o, best in report.best.items()}
    kappas = {plain(o): number(k) for o, k in report.rater_kappas.items()}
    took = {"took": duration(report.seconds)} if report.seconds else {}
    run = {"story": report.story, "seed": report.seed, **took}
    parts = [
        _list("Run", {**run, **report.settings}),
        _list("Offline data", report.data),
        _list("Attainable mean return", attainable),
        _list("The judge’s κ by objective", kappas),
        _list("Versions", report.versions),
    ]
    volume = """The hypervolume’s reference point is the worst attainable return of each objective. Mean
returns of each weighting enter it; its interval comes from resampled episodes. """
    volume = volume if report.exact_front else ""
    notes = "".join(f"<p>{_text(note)}</p>" for note in report.notes)
    return f"""<details><summary>Settings, data, versions</summary>
{"".join(parts)}
<h3>How the figures are made</h3>
<p>{volume}All weightings and policies play the same
seeded episodes. Normalised metrics follow MACHIAVELLI (Pan et al. 2023).</p>
{notes}</details>"""


def _list(title: str, rows: Mapping[str, Any]) -> str:
    if not rows:
        return ""
    items = "".join(
        f"<dt>{_text(plain(str(name)))}</dt><dd>{_text(_plain_value(value))}</dd>"
        for name, value in rows.items()
    )
    return f"<h3>{_text(title)}</h3><dl>{items}</dl>"


def _plain_value(value: Any) -> str:
    if isinstance(value, float):
        return number(value)
    if isinstance(value, Mapping):
        return ", ".join(f"{k} {_plain_value(v)}" for k, v in value.items())  # pyright: ignore
    if isinstance(value, list | tuple):
        return ", ".join(_plain_value(v) for v in value)  # pyright: ignore
    return str(value)


def _table(caption: str, head: str, body: str) -> str:
    return (
        f'<div class="scroll" role="region" tabindex="0" aria-label="{_text(caption)}"><table>'
        f"<caption><span>{_text(caption)}</span></caption><thead>{head}</thead><tbody>{body}</tbody></table></div>"
    )


def _estimate(value: Estimate) -> str:
    return _pair(value.mean, value.stderr)


def _pair(mean: float, stderr: float) -> str:
    value, error = pair(mean, stderr)
    return f"{value} <small>± {error}</small>"


def _text(text: str) -> str:
    return html.escape(str(text), quote=True)
