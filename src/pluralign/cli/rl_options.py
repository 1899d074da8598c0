"""Options that the verbs of reinforcement learning share: weights, targets, combination."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

from pluralign.cli.common import named_entries, say, say_table
from pluralign.core import InputError, SteeringWeights
from pluralign.core.level import Level

if TYPE_CHECKING:
    from pluralign.learn.combination import Combine, Tail
    from pluralign.learn.constraints import Constrained
    from pluralign.learn.weighting import Weighting

_COMBINATIONS = {
    "sum": "centred_sum", "group": "reward_combination", "each": "advantage_combination", "gdpo": "gdpo",
    "variance": "dvao", "fused": "fused_sum",
}  # fmt: skip
"""Names of combinations to functions of `losses.advantages`."""
Adapt = Literal["none", "influence", "hypervolume"]


def combination(name: str) -> Combine:
    """The combination of rewards of a name."""
    # Help needs no model.
    from pluralign.losses import advantages

    return getattr(advantages, _COMBINATIONS[name])


@dataclass(frozen=True)
class Targets:
    """Targets on mean rewards, as entries NAME=LEVEL."""

    at_least: Sequence[str] = ()
    at_most: Sequence[str] = ()
    exactly: Sequence[str] = ()

    def levels(self) -> dict[str, dict[str, Level]]:
        """Levels by kind and objective; kinds without targets are left out."""
        found: dict[str, dict[str, Level]] = {}
        for field in ("at_least", "at_most", "exactly"):
            entries = named_entries(getattr(self, field), field, "NAME=LEVEL", required=False)
            if entries:
                found[field] = {name: Level.parse(text, name, field) for name, text in entries.items()}
        return found


def make_weighting(
    weights: str, objectives: Sequence[str], adapt: Adapt, rate: float, targets: Targets
) -> Weighting:
    """The weighting that options ask for.

    Args:
        weights: Weights as NAME=NUMBER,..., auto:DIR or wish:DIR:...; empty if there are targets only.
        objectives: Objectives of the rewards.
        adapt: Whether and how weights move.
        rate: Step size of weights that move.
        targets: Targets on mean rewards.

    Raises:
        InputError: There are neither weights nor targets, two of these ways are combined that cannot be, or
            an objective is unknown.
    """
    # Help needs no model.
    from pluralign.learn.weighting import ByHypervolume, ByInfluence, Fixed, Suggested
    from pluralign.steer.suggest import Learned, Wished, open_weights

    levels = targets.levels()
    if levels and adapt != "none":
        raise InputError("targets move the weights themselves", field="adapt")
    if not weights:
        if not levels:
            raise InputError("give weights, or a target such as --at-least NAME=+0.5sd", field="weights")
        return _constrained(objectives, levels, rate)
    provider = open_weights(weights)
    inner = provider.provider if isinstance(provider, Wished) else provider
    if isinstance(inner, Learned):
        if levels or adapt != "none":
            raise InputError(
                "depend on the prompt, and neither targets nor --adapt can move them", field="weights"
            )
        return Suggested(provider.suggest, provider.objectives, weights)
    given = provider.suggest([""])[0]
    given.require_known(objectives)
    whole = SteeringWeights({name: given.get(name, 0.0) for name in objectives})
    if levels:
        return _constrained(objectives, levels, rate, whole)
    if adapt == "influence":
        return ByInfluence(whole, rate=rate)
    return ByHypervolume(whole) if adapt == "hypervolume" else Fixed(whole)


def _constrained(
    objectives: Sequence[str], levels: Mapping[str, Mapping[str, Level]], rate: float,
    weights: SteeringWeights | None = None,
) -> Constrained:  # fmt: skip
    from pluralign.learn.constraints import Constrained

    return Constrained(
        objectives, at_least=levels.get("at_least"), at_most=levels.get("at_most"),
        exactly=levels.get("exactly"), weights=weights, rate=rate,
    )  # fmt: skip


def parse_tail(text: str) -> Tail | None:
    """A tail as LOW,HIGH; None for an empty text.

    Raises:
        InputError: The text is something else.
    """
    if not text:
        return None
    from pluralign.learn.combination import Tail

    try:
        low, high = map(float, text.split(","))
    except ValueError as error:
        raise InputError(f"expected LOW,HIGH as in 0.2,0.8, found {text!r}", field="tail") from error
    return Tail(low, high)


def say_rounds(figures: Sequence[Mapping[str, Any]]) -> None:
    """Print the figures of all rounds, and what they say of targets."""
    names = list(figures[0]["rewards"])
    rows = {
        f"round {row['round']}": [
            *(f"{row['rewards'][name]:.4g}" for name in names),
            f"{row['kl']:.4f}",
            *(f"{row['weights'][name]:.3f}" if "weights" in row else "" for name in names),
            str(row["samples"]),
        ]
        for row in figures
    }
    say_table([*names, "kl", *(f"weight {name}" for name in names), "samples"], rows)
    last = figures[-1]
    if "multipliers" in last:
        prices = ", ".join(f"{name} {value:.4g}" for name, value in last["multipliers"].items())
        say(f"multipliers of standardised rewards (averages): {prices}")
        for name, distance in last["missed"].items():
            say(f"the target on {name} is missed by {distance:.2f} of its standard deviations")
