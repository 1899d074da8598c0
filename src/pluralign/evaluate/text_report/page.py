"""The page: one file, no requests, light and dark, broad and narrow."""

from __future__ import annotations

import html
from collections.abc import Sequence
from functools import partial

from pluralign.core import SteeringWeights
from pluralign.evaluate.report.picture import plain
from pluralign.evaluate.report.style import STYLE
from pluralign.evaluate.report.svg import draw, draw_alone
from pluralign.evaluate.report.words import number, pair
from pluralign.evaluate.sweeps.fronts import SideFront
from pluralign.evaluate.sweeps.texts import TextPoint
from pluralign.evaluate.text_report.model import TextReport, told_weights
from pluralign.evaluate.text_report.picture import draw_sides, look
from pluralign.evaluate.text_report.words import headline, interval, scale_words, takeaway

_POLICY = "default-src 'none'; style-src 'unsafe-inline'; img-src data:"
_READ = 4
"""Prompts whose answers are shown."""
_ACROSS = 5
"""Weightings under which they are."""
_LONGEST = 700
"""Characters of a prompt that are shown: its end, which is what was answered."""
_MORE_STYLE = """
.answers td,.answers tbody th{white-space:normal;text-align:left;vertical-align:top;line-height:1.45}
.answers td{min-width:13rem;padding-right:1.1rem}
.answers th{text-align:left}
.answers tbody th{white-space:nowrap}
.answers td[colspan] p{max-width:44rem}
.answers p{margin:0 0 .3rem;white-space:pre-wrap;overflow-wrap:anywhere}
.prompt{white-space:pre-wrap;overflow-wrap:anywhere;border-left:3px solid var(--rule);padding-left:.9rem;
font-size:.95rem}
.legend i.mark{width:auto;height:auto;font-style:normal;line-height:1}
@media(min-width:56rem){section.wide{margin-inline:-8rem}}
"""
_SHAPES = {"o": "●", "s": "■", "D": "◆", "^": "▲", "v": "▼", "P": "✚"}


def make_page(report: TextReport) -> str:
    """The report as one HTML document."""
    fronts = report.fronts
    title = headline(fronts)
    return f"""<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width,initial-scale=1">
<meta http-equiv="Content-Security-Policy" content="{_POLICY}">
<title>{_text(title)}</title>
<style>{STYLE}{_MORE_STYLE}</style>
</head>
<body>
<header>
<p class="eyebrow">pluralign · {len(report.prompts)} prompts</p>
<h1>{_text(title)}</h1>
<p class="lead">{_text(takeaway(fronts))}</p>
</header>
<main>
{_picture(report)}
<section><h2>Sides</h2>
{_sides_table(report)}
<p>{_text(scale_words(fronts))}</p></section>
<section class="wide"><h2>Answers under each weighting</h2>
{_answers(report)}</section>
<section><h2>Points</h2>
{"".join(_points_table(report, side) for side in fronts.sides)}</section>
</main>
<footer>
{_details(report)}
</footer>
</body>
</html>
"""


def make_picture(report: TextReport) -> str:
    """The picture as an SVG file."""
    return draw_alone("sides", _alt(report), partial(draw_sides, report.fronts, legend=True), (8.6, 5.9))


def _alt(report: TextReport) -> str:
    first, second = (plain(name) for name in report.fronts.objectives[:2])
    told = "; ".join(f"{s.label}: hypervolume {interval(s.hypervolume)}" for s in report.fronts.sides)
    return f"Mean {first} reward against mean {second} reward under each weighting. {told}. Tables below."


def _picture(report: TextReport) -> str:
    keys: list[str] = []
    for i, side in enumerate(report.fronts.sides):
        colour, marker = look(i)
        mark = f'<i class="mark" style="color:var(--{colour})">{_SHAPES[marker]}</i>'
        keys.append(f"<li>{mark}{_text(side.label)}</li>")
    keys.append('<li><i class="mark" style="color:var(--muted)">✖</i>base model</li>')
    drawing = draw(
        "sides", _alt(report), partial(draw_sides, report.fronts), broad=(8.6, 5.4), narrow=(3.9, 4.5)
    )
    two = len(report.fronts.objectives) == 2
    told = f"w is the weight on {plain(report.fronts.objectives[0])}. " if two else ""
    return f"""<figure class="wide"><ul class="legend">{"".join(keys)}</ul>
{drawing}
<figcaption>Up and to the right is better. {_text(told)}Whiskers, at the ends of the first line, are
95 % intervals of a point’s own means, and others are about as long; the prompts are the same throughout, so
differences are known better than that.</figcaption></figure>"""


def _sides_table(report: TextReport) -> str:
    rows = "".join(
        f'<tr><th scope="row">{_text(side.label)}</th><td>{len(side.points)}</td><td>{len(side.front)}</td>'
        f"<td>{interval(side.hypervolume)}</td>"
        f"<td>{'' if side.lead is None else interval(side.lead)}</td></tr>"
        for side in report.fronts.sides
    )
    head = _head("side", "points", "on its front", "hypervolume", "lead of the first side")
    return _table("Hypervolumes with 95 % intervals", head, rows)


def _points_table(report: TextReport, side: SideFront) -> str:
    names = report.fronts.objectives
    weight = f"weight on {plain(names[0])}" if len(names) == 2 else "weights"
    rows: list[str] = []
    for i, point in enumerate(side.points):
        cells = "".join(
            f"<td>{_pair(float(m), float(e))}</td>"
            for m, e in zip(side.means[i], side.stderr[i], strict=True)
        )
        on_front = "<td>●</td>" if i in side.front else "<td></td>"
        rows.append(
            f'<tr><th scope="row">{_text(told_weights(point.weights, names))}</th>{cells}{on_front}</tr>'
        )
    caption = f"{side.label}: mean normalised rewards, ± standard error"
    return _table(caption, _head(weight, *map(plain, names), "on the front"), "".join(rows))


def _answers(report: TextReport) -> str:
    sides = [side for side in report.fronts.sides if len(side.points) >= _ACROSS]
    main = report.fronts.sides[0]
    chosen = _spaced([point.weights for point in main.points if point.weights is not None])
    parts = [
        f'<h3>Prompt {i + 1}</h3><p class="prompt">{_text(_end(prompt.strip()))}</p>'
        f"{_answers_table(report, sides or [main], chosen, i)}"
        for i, prompt in enumerate(report.prompts[:_READ])
    ]
    return "".join(parts)


def _answers_table(
    report: TextReport, sides: Sequence[SideFront], chosen: Sequence[SteeringWeights], prompt: int
) -> str:
    names = report.fronts.objectives
    rows = [
        f'<tr><th scope="row">base</th><td colspan="{len(sides)}">'
        f"{_answer(report, report.fronts.base, prompt)}</td></tr>"
    ]
    for weights in chosen:
        known = [next((p for p in side.points if p.weights == weights), None) for side in sides]
        cells = "".join(
            f"<td>{'' if point is None else _answer(report, point, prompt)}</td>" for point in known
        )
        rows.append(f'<tr><th scope="row">{_text(told_weights(weights, names))}</th>{cells}</tr>')
    head = _head(
        f"weight on {plain(names[0])}" if len(names) == 2 else "weights", *(side.label for side in sides)
    )
    caption = f"Answers to prompt {prompt + 1}, with their normalised rewards"
    return _table(caption, head, "".join(rows), "answers")


def _answer(report: TextReport, point: TextPoint, prompt: int) -> str:
    scaled = report.fronts.normalised(point)[prompt]
    told = ", ".join(
        f"{plain(name)} {number(round(float(value), 2))}"
        for name, value in zip(report.fronts.objectives, scaled, strict=True)
    )
    return f"<p>{_text(point.texts[prompt][0].strip())}</p><small>{_text(told)}</small>"


def _spaced(weightings: Sequence[SteeringWeights]) -> list[SteeringWeights]:
    """A few of them, from the first to the last."""
    last = len(weightings) - 1
    steps = min(_ACROSS, len(weightings)) - 1
    return [weightings[round(i * last / max(1, steps))] for i in range(steps + 1)]


def _end(text: str) -> str:
    return text if len(text) <= _LONGEST else f"… {text[-_LONGEST:]}"


def _details(report: TextReport) -> str:
    rows = {**report.settings, **report.versions}
    items = "".join(f"<dt>{_text(plain(str(k)))}</dt><dd>{_text(str(v))}</dd>" for k, v in rows.items())
    notes = "".join(f"<p>{_text(note)}</p>" for note in report.notes)
    return f"<details><summary>Settings and versions</summary><dl>{items}</dl>{notes}</details>"


def _head(*columns: str) -> str:
    cells = "".join(f'<th scope="col">{_text(column)}</th>' for column in columns)
    return f"<tr>{cells}</tr>"


def _table(caption: str, head: str, body: str, kind: str = "") -> str:
    return (
        f'<div class="scroll {kind}" role="region" tabindex="0" aria-label="{_text(caption)}"><table>'
        f"<caption><span>{_text(caption)}</span></caption><thead>{head}</thead><tbody>{body}</tbody></table></div>"
    )


def _pair(mean: float, stderr: float) -> str:
    value, error = pair(mean, stderr)
    return f"{value} <small>± {error}</small>"


def _text(text: str) -> str:
    return html.escape(text, quote=True)
