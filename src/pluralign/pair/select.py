"""Selection of pairs worth a label or a place in training: difficulty, diversity, dependability."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import get_args

import numpy as np

from pluralign.core import Examples, InputError, PreferencePair
from pluralign.core.arrays import FloatArray
from pluralign.core.checks import checked, require_at_least, require_seed
from pluralign.data.reading import quoted_decisions
from pluralign.lm.backbone import load_backbone
from pluralign.lm.pretrained import SMOLLM2
from pluralign.pair.criteria import Criterion
from pluralign.pair.traits import PairTraits, read_traits
from pluralign.rewards.reward import Reward, template_of

# Share of the squared lengths of two rows below which their squared distance counts as 0.
_ROUNDING = 1e-12


def difficulty(
    losses: FloatArray, entropies: FloatArray, vocabulary: int, *, beta: float = 1.0
) -> FloatArray:
    """Uncertainty-based prediction difficulty: what a model finds unlikely although it is sure of itself.

    sigmoid(loss) * max(0, 1 - entropy / (log V)^beta), D3 (Zhang et al. 2025, arXiv 2503.11441). The formula
    is taken from a survey's note, where the place of the exponent is uncertain. A loss of 0 or more has a
    sigmoid from 0.5 to 1, so that the entropy decides more than the loss does.

    >>> difficulty(np.zeros(1), np.zeros(1), 10).tolist()
    [0.5]

    Args:
        losses: Mean negative log-probability of the tokens, nats.
        entropies: Mean entropy of the predictions of the tokens, nats, of the same shape.
        vocabulary: Number V of tokens that are predicted, two or more.
        beta: Exponent of log V.

    Raises:
        InputError: The shapes differ, a number is negative or not finite, or V is below 2.
    """
    require_at_least(2, vocabulary=vocabulary)
    if losses.shape != entropies.shape:
        raise InputError(f"must have the shape of the losses, found {entropies.shape}", field="entropies")
    for field, values in (("losses", losses), ("entropies", entropies)):
        if not (np.isfinite(values) & (values >= 0)).all():
            raise InputError("must be finite and not negative", field=field)
    sure = 1 - entropies / np.log(vocabulary) ** beta
    return np.maximum(0.0, sure) / (1 + np.exp(-losses))


def farthest_first(
    features: FloatArray, budget: int, *, worth: FloatArray | None = None, seed: int = 0
) -> list[int]:
    """Greedy weighted k-centre: the next row has the largest worth times distance to the nearest chosen row.

    The first row is the worthiest. Among equals the seed decides. Ends before the budget where all rows that
    are left repeat a chosen one or are worth nothing. With equal worths this is farthest-first traversal
    (Gonzalez 1985), whose covering radius is at most twice the best one.

    Args:
        features: Features, shape (rows, d).
        budget: Largest number of rows to choose.
        worth: Worth of each row, not negative; equal by default.
        seed: Random seed of the choice among equals.

    Returns:
        Indices of the chosen rows, in the order of their choice.

    Raises:
        InputError: There is no row, the budget is below 1, or a worth is negative or not finite.
    """
    require_at_least(1, budget=budget, rows=len(features))
    require_seed(seed)
    worths = np.ones(len(features)) if worth is None else np.asarray(worth, dtype=np.float64)
    if worths.shape != (len(features),) or not (np.isfinite(worths) & (worths >= 0)).all():
        raise InputError("must have a finite number for each row, not negative", field="worth")
    # A random order makes the first maximum a random one of equals.
    order = np.random.default_rng(seed).permutation(len(features))
    rows, worths = np.asarray(features, dtype=np.float64)[order], worths[order]
    squares = np.square(rows).sum(axis=1)
    chosen: list[int] = []
    nearest = np.full(len(rows), np.inf)
    scores = worths
    while len(chosen) < budget and scores.max() > 0:
        chosen.append(int(scores.argmax()))
        both = squares + squares[chosen[-1]]
        apart = both - 2 * (rows @ rows[chosen[-1]])
        # What rounding leaves of the distance between equal rows is none.
        nearest = np.minimum(nearest, np.sqrt(np.where(apart > _ROUNDING * both, apart, 0.0)))
        scores = worths * nearest
    return order[chosen].tolist()


def worthiest(worth: FloatArray, budget: int, *, seed: int = 0) -> list[int]:
    """Indices of the rows of the largest worth above 0, best first; among equals the seed decides."""
    require_at_least(1, budget=budget, rows=len(worth))
    order = np.random.default_rng(seed).permutation(len(worth))
    best = order[np.argsort(-worth[order], kind="stable")][:budget]
    return best[worth[best] > 0].tolist()


def centres(traits: PairTraits) -> FloatArray:
    """One row of features per pair, the same for both orders: the mean of both completions' features, each
    column in units of its deviation over the pairs; shape (pairs, d)."""
    rows = traits.features.mean(axis=1, dtype=np.float64)
    spread = rows.std(axis=0)
    return rows / np.where(spread > 0, spread, 1.0)


@checked
def select_pairs(
    pairs: Sequence[PreferencePair],
    budget: int,
    *,
    by: Sequence[Criterion] = ("difficulty", "diversity"),
    model: str = SMOLLM2,
    dependability: Reward | None = None,
    folder: str | Path | None = None,
    seed: int = 0,
) -> Examples[PreferencePair]:
    """Select pairs of texts by difficulty, diversity and dependability (D3, Zhang et al. 2025).

    Difficulty and diversity do not depend on which completion was chosen, so they can select the pairs that
    people are asked about. Worths are multiplied. With diversity, the choice is greedy (`farthest_first`)
    over features of a frozen language model; without, the worthiest pairs are taken. Compare with a random
    choice, which is hard to beat (docs/papers.md).

    ``counts``: ``pairs`` (given) and ``selected``, which is below the budget where the other pairs repeat a
    selected one or are worth nothing.

    Args:
        pairs: One-step pairs of texts.
        budget: Largest number of pairs.
        by: Criteria: difficulty (`difficulty`, mean of both completions), diversity, dependability.
        model: Frozen language model that reads the pairs, for difficulty and diversity.
        dependability: Reward whose probability (Bradley-Terry) of each pair's label is its dependability; by
            default the pairs' weights, which are the shares of raters who agree.
        folder: Folder in which traits of pairs are kept between runs; None keeps none.
        seed: Random seed of the choice among equals.

    Returns:
        The selected pairs, in the order of their choice.

    Raises:
        InputError: There is no pair or no criterion, the budget is below 1, a criterion is unknown, all pairs
            are equally dependable, or a pair has several steps.

    Examples:
        >>> import pluralign as pl
        >>> rows = [{"prompt": "Say:", "chosen": f" {i % 3}", "rejected": " no"} for i in range(6)]
        >>> chosen = pl.select_pairs(pl.load_pairs(rows, "numbers"), 5, by=["diversity"], model="tiny-random")
        >>> len(chosen)
        3
    """
    require_at_least(1, budget=budget, pairs=len(pairs))
    unknown = [name for name in by if name not in get_args(Criterion)]
    if unknown or not by:
        known = ", ".join(get_args(Criterion))
        raise InputError(f"expected some of {known}, found {', '.join(unknown) or 'none'}", field="by")
    worth = np.ones(len(pairs))
    if "dependability" in by:
        worth = worth * _dependability(pairs, dependability)
    elif dependability is not None:
        raise InputError("is given without the criterion", field="dependability")
    chosen: list[int] | None = None
    if set(by) != {"dependability"}:
        traits = read_traits(pairs, load_backbone(model), folder=folder)
        if "difficulty" in by:
            worth = worth * difficulty(
                traits.losses.mean(axis=1), traits.entropies.mean(axis=1), traits.vocabulary
            )
        if "diversity" in by:
            chosen = farthest_first(centres(traits), budget, worth=worth, seed=seed)
    if chosen is None:
        chosen = worthiest(worth, budget, seed=seed)
    counts, rows = {"pairs": len(pairs), "selected": len(chosen)}, tuple(pairs[place] for place in chosen)
    return replace(pairs, rows=rows, counts=counts) if isinstance(pairs, Examples) else Examples(rows, counts)


def _dependability(pairs: Sequence[PreferencePair], reward: Reward | None) -> FloatArray:
    if reward is None:
        weights = np.array([pair.weight for pair in pairs])
        if np.ptp(weights) == 0:
            raise InputError(
                f"all pairs have weight {weights[0]:g}, so no annotators tell them apart: give a reward",
                field="dependability",
            )
        return weights
    own = quoted_decisions(pairs, template_of(reward))
    scored = iter(reward.score_decisions([decision for decisions in own for decision in decisions]))
    means = [np.concatenate([next(scored).mean for _ in decisions]) for decisions in own]
    apart = np.array([float(first - second) for first, second in means])
    if not np.isfinite(apart).all():
        raise InputError("the reward's values are not numbers", field="dependability")
    return np.exp(-np.logaddexp(0.0, -apart))
