"""Pairs from completions of two sources: training data for reward models without stated preferences.

Inverse-RLignment, Table 1:

=========== ======================= ========================= ===================
recipe      rejected                chosen                    heterogeneity
=========== ======================= ========================= ===================
init-sft    samples of pi_init      samples of pi_SFT         low: one model class
init-demo   samples of pi_init      demonstrations            high
sft-demo    samples of pi_SFT       demonstrations            higher
=========== ======================= ========================= ===================

(The fourth row, preferences, is `load_pairs`.) ``init-demo`` is also the training data of DPO from
demonstrations (DPO-AfD) and of the first iteration of SPIN.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from pluralign.core import Examples, InputError, PreferencePair
from pluralign.core.demonstration import Demonstration
from pluralign.core.messages import Template
from pluralign.core.records import write_records
from pluralign.core.splits import SPLITS
from pluralign.data.text_pairs import TextPair, one_step_pair
from pluralign.pair.pairs import KIND as PAIRS

RECIPES: dict[str, tuple[str, str]] = {
    "init-sft": ("init", "sft"),
    "init-demo": ("init", "demonstrations"),
    "sft-demo": ("sft", "demonstrations"),
}
"""Recipe -> sources of rejected and of chosen completions."""


def pair_completions(
    chosen: Sequence[Demonstration],
    rejected: Sequence[Demonstration],
    *,
    objective: str,
    recipe: str = "",
    per_prompt: int | None = None,
    seed: int = 0,
) -> Examples[PreferencePair]:
    """Pair the completions of each prompt, one by one in their order.

    A single demonstration against several samples (or the reverse) is paired with each of them. ``counts``:
    ``chosen`` and ``rejected`` (completions read); ``unmatched`` (completions of prompts that the other
    source lacks, left out); ``surplus`` (completions without a partner, or beyond ``per_prompt``);
    ``identical`` (pairs of equal texts, left out); ``pairs``, and the pairs of each split.

    Args:
        chosen: Completions of the better source; their splits are the pairs' splits.
        rejected: Completions of the worse source.
        objective: Name of the objective of the pairs.
        recipe: Name of the recipe, stored as the pairs' rater.
        per_prompt: Largest number of pairs per prompt.
        seed: Random seed of the order of options, which carries no label information.

    Raises:
        InputError: The sources have no prompt in common or different templates, or a prompt is in two splits.
    """
    template = _template(chosen, rejected)
    better, worse = _by_prompt(chosen), _by_prompt(rejected)
    counts: Counter[str] = Counter(
        chosen=len(chosen), rejected=len(rejected), unmatched=0, surplus=0, identical=0
    )
    pairs: list[PreferencePair] = []
    for prompt in dict.fromkeys([*better, *worse]):
        ours, theirs = better.get(prompt, []), worse.get(prompt, [])
        if not ours or not theirs:
            counts["unmatched"] += len(ours) + len(theirs)
            continue
        if len({row.split for row in ours}) > 1:
            raise InputError(f"the prompt {prompt!r:.60} is in several splits")
        matched = _matched(ours, theirs)[:per_prompt]
        counts["surplus"] += len(ours) + len(theirs) - len(_used(matched))
        for good, bad in matched:
            if good.completion == bad.completion:
                counts["identical"] += 1
                continue
            found = TextPair(prompt, good.completion, bad.completion)
            label = f"{recipe or 'pair'}-{len(pairs) + 1}"
            pairs.append(one_step_pair(found, label, objective, recipe, good.split, seed))
    if not pairs:
        raise InputError(f"the two sources give no pairs: {dict(counts)}")
    counts["pairs"] = len(pairs)
    for one in SPLITS:
        counts[f"pairs_{one}"] = sum(pair.split == one for pair in pairs)
    return Examples(tuple(pairs), dict(counts), template)


def write_recipe_pairs(
    path: str | Path, pairs: Examples[PreferencePair], *, objective: str, recipe: str, seed: int,
    sources: Sequence[str],
) -> None:  # fmt: skip
    """Write pairs of `pair_completions` to a file of pairs, with the template that rendered their messages.

    Args:
        path: File to write.
        pairs: Pairs, with their counts.
        objective: Name of the objective.
        recipe: Name of the recipe.
        seed: Random seed of the splits and of the order of options.
        sources: Files of the rejected and of the preferred completions.
    """
    header = {"objective": objective, "recipe": recipe, "seed": seed, "sources": list(sources)}
    write_text_pairs(path, pairs, header)


def write_text_pairs(path: str | Path, pairs: Examples[PreferencePair], header: Mapping[str, Any]) -> None:
    """Write pairs to a file of pairs, with their counts and the template that rendered their messages.

    Args:
        path: File to write.
        pairs: Pairs, with their counts.
        header: Further entries of the header.
    """
    entries: dict[str, Any] = {**header, "counts": pairs.counts}
    if pairs.template is not None:
        entries["template"] = {"name": pairs.template.name, "digest": pairs.template.digest}
    write_records(path, PAIRS, pairs, entries)


def _template(*sources: Sequence[Demonstration]) -> Template | None:
    """The template of both sources, if they record one."""
    known = {source.template for source in sources if isinstance(source, Examples)} - {None}
    if len(known) > 1:
        raise InputError("the messages of the two sources were rendered with different templates")
    return known.pop() if known else None


def _by_prompt(rows: Sequence[Demonstration]) -> dict[str, list[Demonstration]]:
    found: dict[str, list[Demonstration]] = {}
    for row in rows:
        found.setdefault(row.prompt, []).append(row)
    return found


def _matched(
    ours: list[Demonstration], theirs: list[Demonstration]
) -> list[tuple[Demonstration, Demonstration]]:
    if len(ours) == 1:
        ours = ours * len(theirs)
    elif len(theirs) == 1:
        theirs = theirs * len(ours)
    return list(zip(ours, theirs, strict=False))


def _used(matched: list[tuple[Demonstration, Demonstration]]) -> set[int]:
    return {id(row) for both in matched for row in both}
