"""Lists of one prompt's completions, ranked by their rewards: training data of `fit_lipo`."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable, Sequence

from pluralign.core import Examples, InputError
from pluralign.core.checks import checked, require_at_least
from pluralign.core.splits import SPLITS
from pluralign.data.examples import RankedCompletions, ScoredCompletion

Levels = Callable[[Sequence[float]], Sequence[float]]
"""Function from the rewards of a prompt's completions to their levels in [0, 1]."""


def win_shares(rewards: Sequence[float]) -> list[float]:
    """Share of the other completions that each one is better than; a tie counts half.

    For different rewards these are the ranks, scaled to [0, 1]. They do not depend on the rewards' unit, so
    they mean the same in all prompts.

    >>> win_shares([0.3, -7.0, 0.1, 0.3])
    [0.8333333333333334, 0.0, 0.3333333333333333, 0.8333333333333334]

    Args:
        rewards: Two or more rewards.
    """
    wins = [sum((one > other) + 0.5 * (one == other) for other in rewards) - 0.5 for one in rewards]
    return [won / (len(rewards) - 1) for won in wins]


@checked
def rank_completions(
    rows: Sequence[ScoredCompletion], size: int, *, levels: Levels = win_shares
) -> Examples[RankedCompletions]:
    """One list for each prompt: its first ``size`` different completions, best first.

    ``counts``: ``completions`` (read); ``repeated`` (completions that occurred before with the same prompt;
    their rewards are averaged); ``short`` (prompts with fewer completions, left out); ``surplus``
    (completions beyond ``size``, left out); ``tied`` (prompts whose completions all have the same level, left
    out); ``lists``, and those of each split.

    Args:
        rows: Completions of one objective with their rewards, as `load_scored` reads them.
        size: Number K of completions in a list, 2 or more.
        levels: Function from a list's rewards to levels that mean the same in all prompts.

    Raises:
        InputError: There is no list, a row is of another kind, the rewards are of several objectives, a
            reward is not finite, or a prompt is in several splits.

    Examples:
        >>> import pluralign as pl
        >>> rows = [
        ...     {"prompt": "Say hello:", "completion": text, "reward": reward}
        ...     for text, reward in ((" hello", 1.0), (" hello!", 3.0), (" no", 0.0))
        ... ]
        >>> lists = pl.rank_completions(pl.load_scored(rows, objective="lively"), 3)
        >>> lists[0].completions
        (' hello!', ' hello', ' no')
    """
    require_at_least(2, size=size)
    counts: Counter[str] = Counter(completions=len(rows), repeated=0, short=0, surplus=0, tied=0)
    found: list[RankedCompletions] = []
    for prompt, own in _by_prompt(rows).items():
        rewards = _rewards(own)
        counts["repeated"] += len(own) - len(rewards)
        if len(rewards) < size:
            counts["short"] += 1
            continue
        counts["surplus"] += len(rewards) - size
        texts = list(rewards)[:size]
        worth = levels([rewards[text] for text in texts])
        if len(set(worth)) == 1:
            counts["tied"] += 1
            continue
        order = sorted(range(size), key=lambda i: -worth[i])
        best_first = tuple(texts[i] for i in order), tuple(worth[i] for i in order)
        found.append(RankedCompletions(prompt, *best_first, own[0].objective, own[0].split))
    if not found:
        raise InputError(f"no prompt has {size} different completions with different rewards: {dict(counts)}")
    counts["lists"] = len(found)
    for one in SPLITS:
        counts[f"lists_{one}"] = sum(row.split == one for row in found)
    template = rows.template if isinstance(rows, Examples) else None
    return Examples(tuple(found), dict(counts), template)


def _by_prompt(rows: Sequence[ScoredCompletion]) -> dict[str, list[ScoredCompletion]]:
    found: dict[str, list[ScoredCompletion]] = {}
    for number, row in enumerate(rows, start=1):
        if not isinstance(row, ScoredCompletion):
            raise InputError(
                f"expected a completion with its reward, as load_scored reads it, found {row!r:.60}",
                row=number,
            )
        if not math.isfinite(row.reward):
            raise InputError(f"must be finite, found {row.reward}", row=number, field="reward")
        if row.objective != rows[0].objective:
            raise InputError("expected completions with rewards of one objective, found several")
        own = found.setdefault(row.prompt, [])
        if own and own[0].split != row.split:
            raise InputError(f"the prompt {row.prompt!r:.60} is in several splits", row=number)
        own.append(row)
    return found


def _rewards(rows: Sequence[ScoredCompletion]) -> dict[str, float]:
    """Mean reward of each different completion, in the order of the first occurrences."""
    found: dict[str, list[float]] = {}
    for row in rows:
        found.setdefault(row.completion, []).append(row.reward)
    return {text: sum(rewards) / len(rewards) for text, rewards in found.items()}
