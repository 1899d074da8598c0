"""Options that the verbs of reinforcement learning share: weights, targets, combination."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, Literal

from pluralign.cli.common import named_entries, say, say_table
from pluralign.core import InputError, SteeringWeights
from pluralign.core.digests import file_digest
from pluralign.steer.suggest import CARD, depends_on_prompts, open_weights, weights_folder

if TYPE_CHECKING:
    from pluralign.learn.combination import Tail
    from pluralign.learn.suggested import Suggested

Adapt = Literal["none", "influence", "hypervolume"]


def read_weights(text: str) -> SteeringWeights | Suggested | None:
    """Weights as NAME=NUMBER,..., auto:DIR or wish:DIR:...; None for an empty text.

    Raises:
        InputError: See `open_weights`.
    """
    if not text:
        return None
    provider, folder = open_weights(text), weights_folder(text)
    if folder is None or not depends_on_prompts(provider):
        return provider.suggest([""])[0]
    from pluralign.learn.suggested import Suggested

    # A folder of this name may be trained anew.
    return Suggested(provider.suggest, provider.objectives, f"{text} {file_digest(folder / CARD)}")


def read_targets(**options: Sequence[str]) -> dict[str, Any]:
    """Targets as entries NAME=LEVEL, by option.

    Raises:
        InputError: See `named_entries`.
    """
    return {field: named_entries(own, field, "NAME=LEVEL", required=False) for field, own in options.items()}


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
