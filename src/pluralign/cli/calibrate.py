"""``pluralign calibrate``: a finished sweep -> a dial by outcomes."""

from __future__ import annotations

from pathlib import Path

from pluralign.cli.common import Figures, say, say_table, wrote
from pluralign.steer.kriging import Link
from pluralign.steer.surrogate import Surrogate

_SHOWN = 7


def calibrate_sweep(sweep: Path, out: Path, side: str | None = None, link: Link = "identity") -> Figures:
    """Calibrate a dial: predict the outcomes of all weights from the weights of a finished sweep.

    For each objective, a quadratic function and a Gaussian process for its residuals are fitted to the
    sweep's mean returns or rewards. After that, weights can be asked for by what they should achieve:
    wish:OUT:NAME=NUMBER,... stands wherever weights are taken, and means "outcomes of this importance", in
    units of each outcome's range in the sweep. A wish of 0 keeps weight 0.

    The table shows the predicted front. Predictions are marked as such; evaluate what you take from them.

    Example: pluralign sweep --policies score=runs/score harm_avoidance=runs/harm power_avoidance=runs/power
    --story salt_ledger --budget 10 --out runs/sweep

    Example: pluralign calibrate --sweep runs/sweep --out runs/dial

    Args:
        sweep: Folder of the sweep.
        out: Folder for dial.json and dial.svg.
        side: Side of a sweep over prompts, for instance "rewarded soups"; by default the mixture.
        link: Range of the outcomes: identity for any, logistic for 0 to 1, softplus for positive ones.
    """
    # Help needs no numbers.
    from pluralign.evaluate.sweeps.outcomes import make_dial
    from pluralign.steer.suggest import DIAL

    found = make_dial(sweep, out, side=side, link=link)
    front = _say_front(found)
    wrote(out / DIAL, "dial.svg is next to it")
    return {
        "objectives": list(found.objectives),
        "points": len(found.weightings),
        "r2": found.r2(),
        "front": front,
    }


def _say_front(found: Surrogate) -> list[dict[str, dict[str, float]]]:
    shares = found.r2()
    if shares is None:
        say(f"{len(found.weightings)} weightings determine the dial and leave none to test it")
    else:
        listed = ", ".join(f"{name} {value:.2f}" for name, value in shares.items())
        say(f"share of the variance predicted, each weighting left out in turn: {listed}")
    front = [(weights, found.at(weights)) for weights in found.front()]
    say("predicted front")
    places = sorted({round(k * (len(front) - 1) / max(1, _SHOWN - 1)) for k in range(_SHOWN)})
    say_table(
        list(found.objectives),
        {front[k][0].to_text(): [f"{value:.4g}" for value in front[k][1].values()] for k in places},
    )
    return [{"weights": dict(weights), "predicted": outcome} for weights, outcome in front]
