"""Several rewards as one: their mean, their minimum, or a lower confidence bound."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from pluralign.core import Decision, InputError, OptionRewards
from pluralign.core.messages import Messages
from pluralign.folders.card import CARD, Card, read_folder, write_folder
from pluralign.rewards.reward import Reward

KIND = "reward_ensemble"
Array = npt.NDArray[np.float64]
Combination = Callable[[Array, Array], Array]
"""From the members' means and their total sigma, shapes (members, options) and (options,), to rewards."""


def mean_reward(means: Array, sigma: Array) -> Array:
    """The members' mean."""
    return means.mean(axis=0)


def minimum_reward(means: Array, sigma: Array) -> Array:
    """What the least convinced member says (Coste et al. 2024: worst-case optimisation)."""
    return means.min(axis=0)


def lower_bound(means: Array, sigma: Array) -> Array:
    """The mean less one standard deviation: of the members' disagreement and of their own sigmas (AVA's)."""
    return means.mean(axis=0) - sigma


COMBINATIONS: dict[str, Combination] = {
    "mean": mean_reward,
    "minimum": minimum_reward,
    "lower-bound": lower_bound,
}


@dataclass(frozen=True)
class Scale:
    """Where a member's rewards lie; Bradley-Terry's have neither origin nor unit that members share.

    Args:
        mean: over reference completions.
        deviation: the standard deviation, positive.
    """

    mean: float
    deviation: float


class RewardEnsemble(Reward):
    """Members' rewards, each brought to mean 0 and deviation 1 on reference completions, combined.

    Args:
        members: two or more.
        scales: of each member; see `measure_scales`.
        combine: one of `COMBINATIONS`, or your own.
        name: how reports call it.

    Raises:
        InputError: fewer members than two, or other numbers of scales.
    """

    def __init__(
        self, members: Sequence[Reward], scales: Sequence[Scale],
        combine: Combination = mean_reward, name: str = "ensemble",
    ) -> None:  # fmt: skip
        if len(members) < 2 or len(scales) != len(members):
            raise InputError(f"expected two members or more with a scale each, found {len(members)}")
        self.members, self.scales, self.combine, self.name = list(members), list(scales), combine, name

    @property
    def counts(self) -> Mapping[str, int]:
        """The first member's; the others read the same completions."""
        return self.members[0].counts

    def render(self, messages: Messages, opens: bool) -> str:
        """As the first member reads them.

        Raises:
            InputError: the members read messages differently.
        """
        texts = {member.render(messages, opens) for member in self.members}
        if len(texts) > 1:
            raise InputError(f"the members of {self.name!r} read messages by different templates")
        return texts.pop()

    def score_decisions(self, decisions: Iterable[Decision]) -> list[OptionRewards]:
        """See `Reward`; sigma is the root of the members' mean variance plus the variance of their
        means (the law of total variance)."""
        known = list(decisions)
        scored = [member.score_decisions(known) for member in self.members]
        found: list[OptionRewards] = []
        for own in zip(*scored, strict=True):
            pairs = list(zip(own, self.scales, strict=True))
            means = np.stack([(r.mean - s.mean) / s.deviation for r, s in pairs])
            variances = np.stack([(r.sigma / s.deviation) ** 2 for r, s in pairs])
            sigma = np.sqrt(variances.mean(axis=0) + means.var(axis=0))
            found.append(OptionRewards(self.combine(means, sigma), sigma))
        return found


def measure_scales(members: Sequence[Reward], decisions: Sequence[Decision]) -> list[Scale]:
    """Each member's mean and deviation over completions that it will be used on, or like them.

    The deviation is that of completions of one prompt around the prompt's mean, where prompts have several:
    best-of-N compares nothing else.

    Raises:
        InputError: nothing to measure on, or a member that gives all completions the same reward.
    """
    return [
        scale_of([own.mean for own in member.score_decisions(decisions)], member.name) for member in members
    ]


def scale_of(rewards: Sequence[Array], name: str) -> Scale:
    """The scale of rewards that are there already, those of each prompt's completions; see `measure_scales`.

    Raises:
        InputError: there are fewer than two, or all are the same.
    """
    values = np.concatenate([np.zeros(0), *rewards])
    if len(values) < 2:
        raise InputError("there are no completions to measure the members' scales on")
    several = any(len(own) > 1 for own in rewards)
    centred = np.concatenate([own - own.mean() for own in rewards]) if several else values - values.mean()
    deviation = float(np.sqrt((centred**2).mean()))
    if not np.isfinite(deviation) or deviation == 0:
        raise InputError(f"{name!r} gives all reference completions the same reward")
    return Scale(float(values.mean()), deviation)


def save_ensemble(
    folder: Path, members: Mapping[str, Reward], scales: Sequence[Scale], combine: str, card: Card
) -> None:
    """Write what makes an ensemble: where its members are (relative to the folder), scales, combination.

    Args:
        folder: made where it does not exist.
        members: by what `load_reward` opens each with.
        scales: of each member.
        combine: a name in `COMBINATIONS`.
        card: its provenance.
    """
    content: dict[str, Any] = {
        "name": folder.name,
        "members": [_moved(spec, Path.cwd(), folder) for spec in members],
        "scales": [[scale.mean, scale.deviation] for scale in scales],
        "combine": combine,
    }
    write_folder(folder, KIND, card, content, {})


def load_ensemble(folder: Path, opener: Callable[[str], Reward]) -> RewardEnsemble:
    """Read an ensemble and open its members.

    Args:
        folder: what `save_ensemble` wrote.
        opener: `load_reward`.

    Raises:
        InputError: no such folder, or a member is not there any more.
    """
    content = read_folder(folder, KIND, "")
    try:
        specs = [_moved(str(spec), folder, Path.cwd()) for spec in content["members"]]
        scales = [Scale(float(mean), float(deviation)) for mean, deviation in content["scales"]]
        combine = COMBINATIONS[content["combine"]]
    except (KeyError, TypeError, ValueError) as error:
        raise InputError(f"does not describe an ensemble: {error!r}", path=folder / CARD) from error
    return RewardEnsemble([opener(spec) for spec in specs], scales, combine, str(content["name"]))


def _moved(spec: str, origin: Path, target: Path) -> str:
    """What is seen from one folder, as seen from another; hub ids stay as they are."""
    kind, colon, place = spec.rpartition(":")
    if not (origin / place).exists():
        return spec
    return f"{kind}{colon}{os.path.relpath((origin / place).resolve(), target.resolve())}"
