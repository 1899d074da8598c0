"""How far a policy may go: as far as its answers stay as fluent as the base model's."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
from afd_lib.stages import Draws, Workshop
from console import say

from measured_lib.fluency import surprisals
from pluralign.core.files import read_json, write_json


def furthest(
    shop: Workshop, name: str, train: Callable[[float], Path], prompts: Sequence[str],
    rates: Sequence[float], most: float, answers: int, temperature: float,
) -> tuple[float, Path]:  # fmt: skip
    """The policy of the largest learning rate whose answers to validation prompts stay fluent.

    Fluency is the mean surprisal of the answers under the base model, over that of its own answers. Where no
    policy is fluent enough it is that of the smallest rate. The choice and what it rests on are in a file.

    Args:
        shop: Folder of the stages.
        name: Name of the objective.
        train: Trains a policy at a learning rate.
        prompts: Prompts, as rendered chats.
        rates: Learning rates, from the largest.
        most: Largest surprisal that is fluent enough, over the base model's.
        answers: Number of answers to each prompt.
        temperature: Sampling temperature of the answers.

    Returns:
        The learning rate, and the policy's folder.
    """
    path = shop.folder / f"chosen-{name}.json"
    if path.exists():
        rate = float(read_json(path)["rate"])
        return rate, train(rate)
    base = _surprisal(shop, shop.drawn("validation", None, prompts, answers, temperature))
    found: dict[str, float] = {}
    rate, folder = rates[0], Path()
    for rate in rates:
        folder = train(rate)
        drawn = shop.drawn(f"validation-{name}-{rate:g}", folder, prompts, answers, temperature)
        found[f"{rate:g}"] = ratio = _surprisal(shop, drawn) / base
        say(f"{shop.folder.name}: {name}, learning rate {rate:g}: {ratio:.2f} of the base model's surprisal")
        if ratio <= most:
            break
    write_json(path, {"rate": rate, "surprisal": found})
    return rate, folder


def _surprisal(shop: Workshop, draws: Draws) -> float:
    return float(np.mean([value for own in surprisals(shop.base, draws) for value in own]))
