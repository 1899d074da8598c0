"""Accuracy of reward models on preference pairs."""

from __future__ import annotations

import json
import time
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any, Literal

import numpy as np

from pluralign.core import Decision, Examples, InputError, PreferencePair
from pluralign.core.arrays import IntArray
from pluralign.core.digests import source_digest
from pluralign.core.messages import Template
from pluralign.core.shares import share_of_groups
from pluralign.data.load import load_pairs
from pluralign.data.reading import holds_quoted
from pluralign.lm.dtypes import DTypeName
from pluralign.rewards.identity import reward_provenance
from pluralign.rewards.open import load_reward
from pluralign.rewards.reward import Reward, template_of

Part = Literal["train", "validation", "test", "all"]
"""Split of pairs, or all pairs."""
Asked = Literal[Part, "unseen"]
"""A part, or the pairs that a reward was not trained on."""
_BATCH = 64


@dataclass(frozen=True)
class RewardAccuracy:
    """Share of pairs whose chosen completion has the higher reward.

    Args:
        accuracy: Accuracy, between 0 and 1; a pair with equal rewards counts half.
        low: Lower end of the 95 % interval (Wilson's, which is valid near 0 and 1). Pairs that share a
            completion of one prompt, such as those of a ranked list, depend on each other and count for less
            (`core.shares.share_of_groups`); if all pairs are connected like this, as if independent.
        high: Upper end of the interval.
        pairs: Number of pairs with a label.
        ties: Number of these with equal rewards.
        unlabelled: Number of further pairs, which have no label (weight 0.5) and are not scored.
        seconds: Duration of the scoring.
        margins: Reward difference between chosen and rejected, for each pair with a label.
    """

    accuracy: float
    low: float
    high: float
    pairs: int
    ties: int
    seconds: float
    margins: tuple[float, ...]
    unlabelled: int = 0


@dataclass(frozen=True)
class RewardEvaluation:
    """Accuracy of a reward on a source of pairs.

    Args:
        reward: The reward.
        method: Method by which it was trained; ``reward`` if it has no card.
        part: Part of the source that was measured on.
        pairs: The pairs of this part.
        accuracy: Accuracy on them.
    """

    reward: Reward
    method: str
    part: Part
    pairs: Examples[PreferencePair]
    accuracy: RewardAccuracy

    def to_json(self) -> dict[str, Any]:
        """Figures, without those of each pair."""
        found = {name: value for name, value in asdict(self.accuracy).items() if name != "margins"}
        return {**found, "split": self.part, **self.reward.counts}


def evaluate_reward(
    model: str | Path, data: str | Path, split: Asked = "unseen", *, dtype: DTypeName = "float32",
    base: str | None = None,
) -> RewardEvaluation:  # fmt: skip
    """Load a reward, and measure how often it gives the chosen completion the higher reward.

    Args:
        model: Folder of a reward model or an ensemble, or another argument of `load_reward`.
        data: Preference pairs: a file, folder or hub id; see `load_pairs`.
        split: Split of the pairs; ``unseen`` is the test split of the data that the model, or members of an
            ensemble, were trained on, and all pairs of other data.
        dtype: Precision of the reward model.
        base: Base model of the folder, if it was moved.

    Raises:
        InputError: The reward or the data cannot be read, or there are no pairs of this split; or see
            `reward_accuracy`.

    Examples:
        >>> from pathlib import Path
        >>> import pluralign as pl
        >>> row = '{"prompt": "Say %d:", "chosen": " yes", "rejected": " no"}\\n'
        >>> _ = Path("pairs.jsonl").write_text("".join(row % i for i in range(40)))
        >>> pairs = pl.load_pairs("pairs.jsonl", "agreement")
        >>> _ = pl.learn.fit_bradley_terry(pairs, pl.learn.Run("tiny-random", "agrees"))
        >>> found = pl.evaluate.evaluate_reward("agrees", "pairs.jsonl")
        >>> found.part, found.accuracy.pairs == sum(pair.split == "test" for pair in pairs)
        ('test', True)
    """
    path, reward = str(data), load_reward(model, dtype=dtype, model=base)
    trained, template = reward_provenance(model), template_of(reward)
    known = trained_splits(trained, path)
    pairs, *others = (
        _split_pairs(path, template, one) for one in known or [{"seed": int(trained.get("seed", 0))}]
    )
    part: Part = split if split != "unseen" else "test" if known else "all"
    chosen = of_part(pairs, part, path, others)
    return RewardEvaluation(
        reward, trained.get("method", "reward"), part, chosen, reward_accuracy(reward, chosen)
    )


def reward_accuracy(model: Reward, pairs: Sequence[PreferencePair]) -> RewardAccuracy:
    """Score both completions of every pair.

    Args:
        model: A reward model or any other `Reward`.
        pairs: One-step pairs.

    Raises:
        InputError: There are no pairs with a label, a pair has several steps, or a reward is not finite.

    Examples:
        >>> import pluralign as pl
        >>> rows = [{"prompt": "Say it:", "chosen": " yes", "rejected": " no, no"} for _ in range(20)]
        >>> brief = pl.FunctionReward("brief", lambda prompts, texts: [-len(text) for text in texts])
        >>> found = pl.evaluate.reward_accuracy(brief, pl.load_pairs(rows, "brevity"))
        >>> found.accuracy, round(found.low, 2)
        (1.0, 0.84)
    """
    if not pairs:
        raise InputError("there are no pairs to measure on")
    given, quoted = len(pairs), holds_quoted(pairs)
    pairs = [pair for pair in pairs if pair.weight > 0.5]
    if not pairs:
        raise InputError(f"there is nothing to measure: all {given} pairs are ties (weight 0.5)")
    started = time.monotonic()
    margins: list[float] = []
    for start in range(0, len(pairs), _BATCH):
        margins += _margins(model, pairs[start : start + _BATCH], start, quoted)
    seconds = time.monotonic() - started
    values = np.array(margins)
    ties = int((values == 0).sum())
    accuracy, low, high = share_of_groups((np.sign(values) + 1) / 2, _families(pairs))
    unlabelled = given - len(pairs)
    return RewardAccuracy(accuracy, low, high, len(values), ties, seconds, tuple(margins), unlabelled)


def _families(pairs: Sequence[PreferencePair]) -> IntArray:
    """Number of each pair's family: pairs that share a completion of one prompt, directly or by others; each
    pair's own if that makes one family of all."""
    root: dict[tuple[str, str], tuple[str, str]] = {}

    def find(text: tuple[str, str]) -> tuple[str, str]:
        while (above := root.setdefault(text, text)) != text:
            # Shorter ways for those that come after.
            root[text] = root[above]
            text = above
        return text

    for pair in pairs:
        one, other = pair.texts()
        root[find(other)] = find(one)
    numbers: dict[tuple[str, str], int] = {}
    family = [numbers.setdefault(find(pair.texts()[0]), len(numbers)) for pair in pairs]
    return np.array(family) if len(numbers) > 1 else np.arange(len(pairs))


def _margins(model: Reward, pairs: Sequence[PreferencePair], first: int, quoted: bool) -> list[float]:
    decisions: list[Decision] = []
    for number, pair in enumerate(pairs, start=first + 1):
        decisions += pair.decisions(row=number)
    if not quoted:
        template = template_of(model)
        decisions = [template.quote(decision) for decision in decisions]
    scores = iter(model.score_decisions(decisions))
    margins: list[float] = []
    for number in range(first + 1, first + 1 + len(pairs)):
        rewards = next(scores).mean
        if len(rewards) == 1:
            rewards = np.concatenate([rewards, next(scores).mean])
        margin = float(rewards[0] - rewards[1])
        if not np.isfinite(margin):
            raise InputError(f"the model's rewards are not numbers ({rewards[0]}, {rewards[1]})", row=number)
        margins.append(margin)
    return margins


def trained_splits(trained: Mapping[str, Any], data: str) -> list[dict[str, Any]]:
    """Arguments of `load_pairs` by which a source was split for the training of a reward, or of an ensemble's
    members.

    Args:
        trained: What the reward was trained on (`rewards.identity.reward_provenance`).
        data: File, folder or hub id of the pairs.

    Returns:
        The different arguments; none for other data.
    """
    own, left = source_digest(data), [trained]
    found: dict[str, dict[str, Any]] = {}
    while left:
        one = left.pop()
        if members := one.get("members"):
            # What an ensemble was measured on itself has no labels.
            left += members
            continue
        given: Mapping[str, Any] = one.get("data", {})
        # A file may have been renamed.
        name = "file_digest" if "file_digest" in own else "file"
        if given.get(name) == own[name]:
            # Cards of earlier versions have the run's seed, which was that of the splits.
            splits = given.get("splits") or {"seed": int(one.get("seed", 0))}
            found[json.dumps(splits, sort_keys=True)] = splits
    return [found[key] for key in sorted(found)]


def _split_pairs(path: str, template: Template, splits: Mapping[str, Any]) -> Examples[PreferencePair]:
    pairs = load_pairs(path, template=template, two_prompts=True)
    mine = pairs.source.get("splits")
    # A source with splits keeps them.
    if mine is None or splits.items() <= mine.items():
        return pairs
    return load_pairs(path, template=template, two_prompts=True, **splits)


def of_part(
    pairs: Examples[PreferencePair], part: Part, data: str, others: Sequence[Examples[PreferencePair]] = ()
) -> Examples[PreferencePair]:
    """The pairs of one split, or all.

    Args:
        pairs: All pairs.
        part: The split.
        data: File, folder or hub id of the pairs, for error messages.
        others: The same pairs with splits by other seeds; a pair has to be in the split by each of them.

    Raises:
        InputError: There are no pairs of this split.
    """
    splits = [{one.split for one in same} for same in zip(pairs, *others, strict=True)]
    chosen = tuple(pair for pair, own in zip(pairs, splits, strict=True) if part == "all" or own == {part})
    if not chosen:
        raise InputError(f"has no pair of the split {part}", path=data)
    # A list would lose the template.
    return replace(pairs, rows=chosen)
