"""Ensembles of rewards: their mean, their minimum, or a lower confidence bound."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from pluralign.core import Decision, InputError, OptionRewards
from pluralign.core.arrays import FloatArray
from pluralign.core.messages import DIALOGUE, Messages, Template, unquoted
from pluralign.folders.card import CARD, Card, read_folder, write_folder
from pluralign.rewards.reward import Reward, template_of
from pluralign.rewards.together import score_together

KIND = "reward_ensemble"
_ROUNDING = 1e-14
Combination = Callable[[FloatArray, FloatArray], FloatArray]
"""Function from the members' means and total sigma, shapes (members, options) and (options,), to rewards."""


def mean_reward(means: FloatArray, sigma: FloatArray) -> FloatArray:
    """Mean over members."""
    return means.mean(axis=0)


def minimum_reward(means: FloatArray, sigma: FloatArray) -> FloatArray:
    """Minimum over members (Coste et al. 2024: worst-case optimisation)."""
    return means.min(axis=0)


def lower_bound(means: FloatArray, sigma: FloatArray) -> FloatArray:
    """Mean minus one standard deviation, from the members' disagreement and their own sigmas (as in AVA)."""
    return means.mean(axis=0) - sigma


COMBINATIONS: dict[str, Combination] = {
    "mean": mean_reward,
    "minimum": minimum_reward,
    "lower-bound": lower_bound,
}


@dataclass(frozen=True)
class Scale:
    """Location and scale of a member's rewards; Bradley-Terry rewards have no common origin or unit.

    Args:
        mean: Mean over reference completions.
        deviation: Standard deviation over reference completions, positive.
    """

    mean: float
    deviation: float


class RewardEnsemble(Reward):
    """Combined rewards of several members, each standardised on reference completions.

    Args:
        members: Rewards, two or more.
        scales: Scale of each member; see `measure_scales`.
        combine: One of `COMBINATIONS`, or a function of your own.
        name: Name in reports.

    Raises:
        InputError: There are fewer than two members, or the number of scales differs.
    """

    def __init__(
        self, members: Sequence[Reward], scales: Sequence[Scale],
        combine: Combination = mean_reward, name: str = "ensemble",
    ) -> None:  # fmt: skip
        if len(members) < 2 or len(scales) != len(members):
            raise InputError(f"expected at least two members with one scale each, found {len(members)}")
        self.members, self.scales, self.combine, self.name = list(members), list(scales), combine, name

    @property
    def counts(self) -> Mapping[str, int]:
        """Counts of the first member; the others read the same completions."""
        return self.members[0].counts

    def render(self, messages: Messages, opens: bool) -> str:
        """Messages as the first member renders them.

        Raises:
            InputError: The members use different templates.
        """
        return self.template(messages, opens)

    @property
    def template(self) -> Template:
        """See `Reward`; the common template of all members."""
        return members_template(self.members, self.name)

    def score_decisions(self, decisions: Iterable[Decision]) -> list[OptionRewards]:
        """See `Reward`; sigma^2 is the members' mean variance plus the variance of their means (law of total
        variance)."""
        found: list[OptionRewards] = []
        for own in zip(*_scored(self.members, list(decisions)), strict=True):
            pairs = list(zip(own, self.scales, strict=True))
            means = np.stack([(r.mean - s.mean) / s.deviation for r, s in pairs])
            variances = np.stack([(r.sigma / s.deviation) ** 2 for r, s in pairs])
            sigma = np.sqrt(variances.mean(axis=0) + means.var(axis=0))
            found.append(OptionRewards(self.combine(means, sigma), sigma))
        return found


def members_template(members: Iterable[Reward], name: str) -> Template:
    """The common template of an ensemble's members; see `shared_template`."""
    message = f"the members of {name!r} use different templates for messages"
    return shared_template([template_of(member) for member in members], message)


def shared_template(templates: Sequence[Template], message: str) -> Template:
    """The common template of models that render messages in the same way.

    Args:
        templates: Templates of the models, one or more.
        message: Error message if they render messages differently.
    """
    first = templates[0]

    def render(messages: Messages, opens: bool) -> str:
        texts = [template(messages, opens) for template in templates]
        if len({unquoted(text) for text in texts}) > 1:
            raise InputError(message)
        # Each tokenizer has its own control tokens; in the plain dialogue all of them are quoted.
        return quote(texts[0], [t.quote_prompt for t in templates if t.name == DIALOGUE.name])

    def quote(text: str, quotes: Sequence[Callable[[str], str]]) -> str:
        for one in quotes:
            text = one(text)
        return text

    return replace(
        first,
        render=render,
        quote_prompt=partial(quote, quotes=[template.quote_prompt for template in templates]),
        quote_completion=partial(quote, quotes=[template.quote_completion for template in templates]),
    )


def measure_scales(members: Sequence[Reward], decisions: Sequence[Decision]) -> list[Scale]:
    """Mean and deviation of each member's rewards over completions like those that it will score.

    If prompts have several completions, the deviation is measured around each prompt's mean, since best-of-N
    only compares completions of one prompt.

    Raises:
        InputError: There are no completions, or a member gives all of them the same reward.
    """
    scored = _scored(members, decisions)
    return [
        scale_of([own.mean for own in found], member.name)
        for member, found in zip(members, scored, strict=True)
    ]


def _scored(members: Sequence[Reward], decisions: Sequence[Decision]) -> list[list[OptionRewards]]:
    named = {str(number): member for number, member in enumerate(members)}
    return list(score_together(named, dict.fromkeys(named, decisions)).values())


def scale_of(rewards: Sequence[FloatArray], name: str) -> Scale:
    """Scale of given rewards, grouped by prompt; see `measure_scales`.

    Raises:
        InputError: There are fewer than two rewards, or all are equal.
    """
    values = np.concatenate([np.zeros(0), *rewards])
    if len(values) < 2:
        raise InputError("there are no completions on which to measure the members' scales")
    several = any(len(own) > 1 for own in rewards)
    centred = np.concatenate([own - own.mean() for own in rewards]) if several else values - values.mean()
    deviation = float(np.sqrt((centred**2).mean()))
    # The mean of equal numbers may be off by a rounding.
    if not np.isfinite(deviation) or deviation <= _ROUNDING * np.abs(values).max():
        raise InputError(f"{name!r} gives all reference completions the same reward")
    return Scale(float(values.mean()), deviation)


def save_ensemble(
    folder: Path, members: Mapping[str, Reward], scales: Sequence[Scale], combine: str, card: Card
) -> None:
    """Write an ensemble's folder: paths of members, scales, combination.

    Args:
        folder: Output folder; created if necessary.
        members: Members by the argument with which `load_reward` opens them.
        scales: Scale of each member.
        combine: A name in `COMBINATIONS`.
        card: Card of the ensemble.
    """
    content: dict[str, Any] = {
        "name": folder.name,
        "members": [_moved(spec, Path.cwd(), folder) for spec in members],
        "places": [_absolute(spec) for spec in members],
        "scales": [[scale.mean, scale.deviation] for scale in scales],
        "combine": combine,
    }
    write_folder(folder, KIND, card, content, {})


def load_ensemble(folder: Path, opener: Callable[[str], Reward]) -> RewardEnsemble:
    """Load an ensemble and its members.

    Args:
        folder: Folder written by `save_ensemble`.
        opener: Function that loads a member (`load_reward`).

    Raises:
        InputError: The folder or a member does not exist.
    """
    content = read_folder(folder, KIND, "")
    specs = ensemble_members(folder)
    try:
        scales = [Scale(float(mean), float(deviation)) for mean, deviation in content["scales"]]
        combine = COMBINATIONS[content["combine"]]
    except (KeyError, TypeError, ValueError) as error:
        raise InputError(f"does not describe an ensemble: {error!r}", path=folder / CARD) from error
    return RewardEnsemble([opener(spec) for spec in specs], scales, combine, str(content["name"]))


def ensemble_members(folder: Path) -> list[str]:
    """Arguments with which `load_reward` opens an ensemble's members: relative to its folder if they are
    there, else the absolute paths of the time when it was made.

    Raises:
        InputError: The folder does not describe an ensemble.
    """
    content = read_folder(folder, KIND, "")
    try:
        relative = [_moved(str(spec), folder, Path.cwd()) for spec in content["members"]]
        # 0.1.0 wrote no absolute paths.
        places = [str(spec) for spec in content.get("places", relative)]
        return [
            place if spec == member else spec
            for member, spec, place in zip(map(str, content["members"]), relative, places, strict=True)
        ]
    except (KeyError, TypeError, ValueError) as error:
        raise InputError(f"does not describe an ensemble: {error!r}", path=folder / CARD) from error


def _absolute(spec: str) -> str:
    kind, colon, place = spec.rpartition(":")
    return f"{kind}{colon}{Path(place).resolve()}" if Path(place).exists() else spec


def _moved(spec: str, origin: Path, target: Path) -> str:
    """A path relative to one folder, made relative to another; hub ids stay unchanged."""
    kind, colon, place = spec.rpartition(":")
    if not (origin / place).exists():
        return spec
    return f"{kind}{colon}{os.path.relpath((origin / place).resolve(), target.resolve())}"
