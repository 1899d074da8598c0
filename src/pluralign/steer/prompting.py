"""Prompting for a trade-off: steering weights as an instruction, for a single model without training."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from pluralign.core import SteeringWeights
from pluralign.core.messages import Conversation, Messages, arguments_of


def trade_off_instruction(
    weights: SteeringWeights, objectives: Sequence[str], descriptions: Mapping[str, str]
) -> str:
    """The weights as an instruction: "These values count in your answer: helpful 70 %, harmless 30 %. ...".

    Args:
        weights: Weights of the objectives.
        objectives: Names of the objectives, in the order of the instruction.
        descriptions: Descriptions of objectives; objectives without one appear by name only.
    """
    shares = [
        f"{name.replace('_', ' ')}{f' ({descriptions[name]})' if name in descriptions else ''} "
        f"{100 * weights.get(name, 0.0):.0f} %"
        for name in objectives
    ]
    return (
        f"These values count in your answer: {', '.join(shares)}. "
        "Of all possible answers give the one that serves them best in these shares."
    )


def with_instruction(prompt: str | Messages, instruction: str) -> str | Messages:
    """The prompt with an instruction before it: as a system message, or as the first paragraph of a text."""
    if isinstance(prompt, str):
        return f"{instruction}\n\n{prompt.lstrip()}"
    return Conversation([{"role": "system", "content": instruction}, *prompt], arguments_of(prompt))
