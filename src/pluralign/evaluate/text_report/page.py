"""The report's HTML page: a single file without requests, for light and dark schemes and all screen
widths."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from pathlib import Path

from pluralign.core import SteeringWeights
from pluralign.core.files import write_text
from pluralign.evaluate.report.picture import plain
from pluralign.evaluate.report.render import render, save_report
from pluralign.evaluate.report.svg import draw, draw_alone
from pluralign.evaluate.report.words import interval, number
from pluralign.evaluate.sweeps.texts import TextPoint
from pluralign.evaluate.text_report.model import TextReport, describe_weights
from pluralign.evaluate.text_report.picture import draw_sides, look
from pluralign.evaluate.text_report.words import headline, scale_words, takeaway

_READ = 4
"""Number of prompts whose answers are shown."""
_ACROSS = 5
"""Number of weightings under which they are shown."""
_LONGEST = 700
"""Number of characters of a prompt that are shown, from its end."""
_SHAPES = {"o": "●", "s": "■", "D": "◆", "^": "▲", "v": "▼", "P": "✚"}


def write_text_report(report: TextReport, folder: Path) -> tuple[Path, Path]:
    """Write ``report.json`` and ``report.html`` into a folder, each completely or not at all.

    The page is a single file with embedded figures.

    Returns:
        Paths of both files.

    Raises:
        InputError: The folder cannot be written.
    """
    return save_report(folder, report.to_json(), make_page(report))


def write_text_picture(report: TextReport, path: Path) -> Path:
    """Write the figure as an SVG file, completely or not at all.

    Raises:
        InputError: The file cannot be written.
    """
    make = partial(draw_sides, report.fronts, legend=True)
    return write_text(path, draw_alone("sides", _alt(report), make, (8.6, 5.9)))


def make_page(report: TextReport) -> str:
    """The report as one HTML document."""
    fronts = report.fronts
    main = fronts.sides[0]
    return render(
        "texts.html",
        report=report, fronts=fronts, eyebrow=f"{len(report.prompts)} prompts", title=headline(fronts),
        lead=takeaway(fronts), scale=scale_words(fronts),
        picture=draw(
            "sides", _alt(report), partial(draw_sides, fronts), broad=(8.6, 5.4), narrow=(3.9, 4.5)
        ),
        keys=[
            *((side.label, look(i)[0], _SHAPES[look(i)[1]]) for i, side in enumerate(fronts.sides)),
            ("base model", "muted", "✖"),
        ],
        prompts=[_end(prompt.strip()) for prompt in report.prompts[:_READ]],
        across=[side for side in fronts.sides if len(side.points) >= _ACROSS] or [main],
        weightings=_spaced([point.weights for point in main.points if point.weights is not None]),
        describe_weights=partial(describe_weights, objectives=fronts.objectives),
        describe_rewards=partial(_describe_rewards, report),
        settings={**report.settings, **report.versions},
    )  # fmt: skip


def _alt(report: TextReport) -> str:
    first, second = (plain(name) for name in report.fronts.objectives[:2])
    volumes = "; ".join(f"{s.label}: hypervolume {interval(s.hypervolume)}" for s in report.fronts.sides)
    return f"Mean {first} reward against mean {second} reward under each weighting. {volumes}. Tables below."


def _describe_rewards(report: TextReport, point: TextPoint, prompt: int) -> str:
    """Rewards of a prompt's answers, of which the first is shown."""
    scaled, samples = report.fronts.normalised(point)[prompt], len(point.texts[prompt])
    rewards = ", ".join(
        f"{plain(name)} {number(round(float(value), 2))}"
        for name, value in zip(report.fronts.objectives, scaled, strict=True)
    )
    return rewards if samples == 1 else f"mean of {samples} samples: {rewards}"


def _spaced(weightings: Sequence[SteeringWeights]) -> list[SteeringWeights]:
    """A few of them, from the first to the last."""
    last = len(weightings) - 1
    steps = min(_ACROSS, len(weightings)) - 1
    return [weightings[round(i * last / max(1, steps))] for i in range(steps + 1)]


def _end(text: str) -> str:
    return text if len(text) <= _LONGEST else f"… {text[-_LONGEST:]}"
