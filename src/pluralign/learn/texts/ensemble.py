"""Ensembles of rewards: members standardised on completions like those that they will score."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from pluralign.core import Decision, Demonstration, InputError
from pluralign.core.checks import checked, require_at_least
from pluralign.core.files import require_free
from pluralign.data.reading import holds_quoted
from pluralign.folders.card import CARD, Card, current_versions, read_card
from pluralign.learn.texts.data import require_demonstrations
from pluralign.lm.dtypes import DTypeName
from pluralign.rewards.ensemble import (
    COMBINATIONS,
    KIND,
    RewardEnsemble,
    measure_scales,
    members_template,
    save_ensemble,
)
from pluralign.rewards.function import require_no_function
from pluralign.rewards.open import load_rewards
from pluralign.rewards.reward import Reward


def open_members(specs: Sequence[str], dtype: DTypeName = "float32") -> dict[str, Reward]:
    """Open the members of an ensemble, by the arguments with which `load_reward` opens them.

    Raises:
        InputError: There are fewer than two different members, or one does not exist.
    """
    # A slash at the end does not make another folder.
    names = list(dict.fromkeys(spec.rstrip("/") for spec in specs))
    if len(names) < 2:
        raise InputError(f"expected at least two different members, found {len(names)}", field="members")
    for name in names:
        require_no_function(name)
    return load_rewards({name: name for name in names}, dtype=dtype)


@checked
def fit_ensemble(
    rows: Sequence[Demonstration],
    members: Mapping[str, Reward],
    *,
    out: str | Path,
    combine: str = "mean",
    limit: int = 1000,
    provenance: Mapping[str, Any] | None = None,
) -> RewardEnsemble:
    """Combine several rewards into one, each standardised on completions (`measure_scales`).

    Args:
        rows: Completions like those that the ensemble will score.
        members: Members by the argument with which `load_reward` opens them (`open_members`), two or more.
        out: Output folder; the members stay where they are.
        combine: Combination of the members: a name in `COMBINATIONS`.
        limit: Largest number of completions; the first ones are used.
        provenance: File and digest of the data, for the card.

    Raises:
        InputError: There are fewer than two members or no completions, a member gives all of them the same
            reward, or the folder holds something else.

    Examples:
        >>> import pluralign as pl
        >>> rows = [{"prompt": f"Say {i}:", "chosen": " yes", "rejected": " no"} for i in range(8)]
        >>> pairs = pl.load_pairs(rows, objective="agreement")
        >>> for seed in (1, 2):
        ...     run = pl.learn.Run("tiny-random", f"r{seed}", seed=seed)
        ...     trained = pl.learn.fit_bradley_terry(pairs, run)
        >>> members = pl.learn.open_members(["r1", "r2"])
        >>> rows = [{"prompt": f"Say {i}:", "completion": text} for i in range(4) for text in (" yes", " no")]
        >>> samples = pl.load_demonstrations(rows)
        >>> ensemble = pl.learn.fit_ensemble(samples, members, out="ensemble", combine="minimum")
        >>> ensemble.score(["Say 9:"], [" yes"]).shape
        (1,)
    """
    require_at_least(1, limit=limit)
    if combine not in COMBINATIONS:
        raise InputError(f"must be one of {', '.join(COMBINATIONS)}, found {combine!r}", field="combine")
    require_demonstrations(rows)
    if len(members) < 2:
        raise InputError(f"expected at least two members, found {len(members)}", field="members")
    out = Path(out)
    if not ((out / CARD).is_file() and read_card(out)["pluralign"] == KIND):
        require_free(out)
    used, by_prompt = rows[:limit], dict[str, list[str]]()
    for row in used:
        by_prompt.setdefault(row.prompt, []).append(row.completion)
    decisions = [Decision(prompt, tuple(texts)) for prompt, texts in by_prompt.items()]
    if not holds_quoted(rows):
        quote = members_template(members.values(), out.name).quote
        decisions = [quote(decision) for decision in decisions]
    scales = measure_scales(list(members.values()), decisions)
    ensemble = RewardEnsemble(list(members.values()), scales, COMBINATIONS[combine], out.name)
    data = {**(provenance or {}), "completions": len(used)}
    card = Card("ensemble", config={"combine": combine}, data=data, versions=current_versions())
    save_ensemble(out, members, scales, combine, card)
    return ensemble
