"""Pairs of options of one decision, with labels that are as sure as their advantages differ."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Sequence
from itertools import combinations
from pathlib import Path
from typing import Any

import torch

from pluralign.core import Examples, InputError, Objective, PreferencePair, Step, Trajectory
from pluralign.core.checks import checked, require_positive, require_seed
from pluralign.core.option_segments import option_segment
from pluralign.core.records import write_records
from pluralign.core.returns import TIE, last_reward_known, returns_to_go
from pluralign.core.splits import SHARES, SPLITS, check_shares, split_of
from pluralign.lm.tensors import to_list
from pluralign.losses.siblings import sibling_advantages
from pluralign.pair.pairs import KIND

RATER = "siblings"
"""Name of the rater of these pairs."""

Valued = dict[int, tuple[Step, float]]
"""A step that took each option of a decision, and the option's advantage."""


@checked
def sibling_pairs(
    trajectories: Sequence[Trajectory], objective: Objective, *, temperature: float = 0.5,
    shares: Sequence[float] = SHARES, seed: int = 0,
) -> Examples[PreferencePair]:  # fmt: skip
    """Every pair of options that recorded episodes took at one decision, with a soft label.

    The option with the larger mean return to go is ``chosen``, and the pair's weight is
    sigma((A_i - A_j) / (temperature x deviation)), with A the advantages over the siblings
    (`losses.siblings.sibling_advantages`) and the deviation that of the advantages of all steps. On these
    pairs the optimum of contrastive preference learning with lambda = 1 is log pi = A / (alpha x temperature
    x deviation) + constant.

    Options are in the split of their decision. ``counts``: ``trajectories`` (read); ``truncated`` (left out:
    what followed their steps is not known); ``steps`` (of the others); ``unknown`` (last steps of imported
    episodes whose reward is not known, left out); ``decisions``; ``lone`` (decisions at which one option was
    taken, which give no pair); ``ties`` (pairs of equal advantages, of weight 0.5); ``pairs``, and the pairs
    of each split.

    Args:
        trajectories: Episodes.
        objective: Objective of the returns.
        temperature: Temperature of the labels, in standard deviations of the advantages, above 0 (ours, as
            the weights of `fit_bc`; smaller is surer).
        shares: Shares of train, validation and test.
        seed: Random seed of the splits.

    Raises:
        InputError: A step has no reward for the objective, all episodes were cut off, no decision has two
            options that were taken, or all options do equally well.

    Examples:
        >>> import pluralign as pl
        >>> game = pl.open_story("salt_ledger")
        >>> score = game.info.objective("score")
        >>> random = pl.UniformPolicy()
        >>> played = list(pl.roll_out(game.make_game, random, episodes=20, seed=0, objectives=[score]))
        >>> pairs = pl.sibling_pairs(played, score)
        >>> all(0.5 <= pair.weight <= 1 for pair in pairs)
        True
    """
    require_positive(temperature=temperature)
    require_seed(seed)
    check_shares(shares)
    counts = Counter(trajectories=len(trajectories), truncated=0, steps=0, unknown=0)
    options, deviation = _valued(trajectories, objective, counts)
    counts.update(decisions=len(options), lone=sum(len(own) == 1 for own in options.values()), ties=0)
    pairs: list[PreferencePair] = []
    for own in options.values():
        for one, other in combinations(sorted(own), 2):
            # Of equal ones the first.
            (step, best), (worse, least) = sorted((own[one], own[other]), key=lambda item: -item[1])
            tie = best - least <= TIE
            counts["ties"] += tie
            chosen = option_segment(step)
            weight = 0.5 if tie else _sigmoid((best - least) / (temperature * deviation))
            split = split_of(chosen.trajectory_id, seed=seed, shares=shares)
            rejected = option_segment(worse)
            pairs.append(PreferencePair(chosen, rejected, objective.name, RATER, weight, split))
    _check(pairs, counts)
    counts["pairs"] = len(pairs)
    for split in SPLITS:
        counts[f"pairs_{split}"] = sum(pair.split == split for pair in pairs)
    return Examples(tuple(pairs), dict(counts))


def write_sibling_pairs(
    path: str | Path, pairs: Examples[PreferencePair], *, objective: str, temperature: float,
    shares: Sequence[float], seed: int, source: str,
) -> None:  # fmt: skip
    """Write pairs of `sibling_pairs` to a file of pairs.

    Args:
        path: File to write.
        pairs: Pairs, with their counts.
        objective: Name of the objective.
        temperature, shares, seed: See `sibling_pairs`.
        source: File of the trajectories.
    """
    header: dict[str, Any] = {
        "objective": objective, "recipe": RATER, "temperature": temperature, "shares": list(shares),
        "seed": seed, "sources": [source], "counts": pairs.counts,
    }  # fmt: skip
    write_records(path, KIND, pairs, header)


def _valued(
    trajectories: Sequence[Trajectory], objective: Objective, counts: Counter[str]
) -> tuple[dict[str, Valued], float]:
    """Advantages of the options that were taken, by decision, and their deviation over steps."""
    steps: list[Step] = []
    returns: list[float] = []
    for number, trajectory in enumerate(trajectories):
        if not isinstance(trajectory, Trajectory):
            raise InputError(f"expected a Trajectory, found {trajectory!r:.60}", row=number)
        if not trajectory.terminated:
            counts["truncated"] += 1
            continue
        known = len(trajectory.steps) - (not last_reward_known(trajectory, objective))
        counts["unknown"] += len(trajectory.steps) - known
        steps += trajectory.steps[:known]
        returns += returns_to_go(trajectory, objective)[:known]
    if not steps:
        raise InputError(f"none of the {len(trajectories)} episodes ended, so that no return is known")
    counts["steps"] = len(steps)
    numbers = {key: number for number, key in enumerate(dict.fromkeys(step.decision.key for step in steps))}
    found = sibling_advantages(
        torch.tensor([numbers[step.decision.key] for step in steps]),
        torch.tensor([step.action for step in steps]),
        torch.tensor(returns, dtype=torch.float64),
    )
    options: dict[str, Valued] = {}
    for step, advantage in zip(steps, to_list(found), strict=True):
        options.setdefault(step.decision.key, {})[step.action] = (step, advantage)
    return options, float(found.std(correction=0))


def _check(pairs: Sequence[PreferencePair], counts: Counter[str]) -> None:
    if not pairs:
        raise InputError(
            f"no pairs: at each of the {counts['decisions']} decisions all episodes took the same option"
        )
    if counts["ties"] == len(pairs):
        raise InputError(f"nothing to prefer: the options of all {len(pairs)} pairs do equally well")


def _sigmoid(value: float) -> float:
    return 1.0 / (1.0 + math.exp(-value))
