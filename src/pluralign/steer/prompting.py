"""Asking for a trade-off in words: what can be done with a single model and no training."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from pluralign.core import SteeringWeights
from pluralign.core.messages import Messages


def trade_off_instruction(
    weights: SteeringWeights, objectives: Sequence[str], descriptions: Mapping[str, str]
) -> str:
    """The weights in words: "These values count in your answer: helpful 70 %, harmless 30 %. ...".

    Args:
        weights: of the objectives.
        objectives: their names, in the order that they are told.
        descriptions: what more of an objective means; those that are missing are told by their name alone.
    """
    told = [
        f"{name.replace('_', ' ')}{f' ({descriptions[name]})' if name in descriptions else ''} "
        f"{100 * weights.get(name, 0.0):.0f} %"
        for name in objectives
    ]
    return (
        f"These values count in your answer: {', '.join(told)}. "
        "Of all possible answers give the one that serves them best in these shares."
    )


def with_instruction(prompt: str | Messages, instruction: str) -> str | Messages:
    """The prompt with an instruction before it: a system message, or the first paragraph of a text."""
    if isinstance(prompt, str):
        return f"{instruction}\n\n{prompt.lstrip()}"
    return [{"role": "system", "content": instruction}, *prompt]
