"""Files of pairs of texts from files: by labels, and a selection of pairs."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from pluralign.core import Examples, PreferencePair
from pluralign.core.digests import source_digest
from pluralign.core.messages import DIALOGUE
from pluralign.data.labelled import LabelColumns, load_labelled_pairs
from pluralign.data.load import load_pairs
from pluralign.options.open import DEFAULT_MODEL
from pluralign.pair.criteria import Criterion
from pluralign.pair.recipes import write_text_pairs
from pluralign.pair.select import select_pairs
from pluralign.rewards.identity import Scorer
from pluralign.rewards.open import load_reward


def pair_labelled_file(
    data: str, columns: LabelColumns, out: str | Path, *, objective: str = "",
    shares: tuple[float, float, float] = (0.8, 0.1, 0.1), seed: int = 0,
) -> Examples[PreferencePair]:  # fmt: skip
    """Write pairs of texts that fit a value with texts that do not.

    Args:
        data: File of texts with labels; see `load_labelled_pairs`.
        columns: Meaning of the columns.
        out: File of pairs to write.
        objective: Value whose rows are paired.
        shares: Shares of train, validation and test.
        seed: Random seed of the splits and of the order of options.

    Raises:
        InputError: See `load_labelled_pairs`; or the file cannot be written.
    """
    found = load_labelled_pairs(data, columns, objective, seed=seed, shares=shares)
    header = {"objective": found[0].objective, "seed": seed, "shares": list(shares), "sources": [data]}
    write_text_pairs(out, found, header)
    return found


def select_file(
    data: str, budget: int, out: str | Path, *, by: Sequence[Criterion] = ("difficulty", "diversity"),
    dependability: Scorer | None = None, objective: str = "preference", model: str = DEFAULT_MODEL,
    template: str | None = None, traits: Path | None = None, seed: int = 0,
) -> Examples[PreferencePair]:  # fmt: skip
    """Write the pairs of a file that are worth a label or a place in training.

    Args:
        data: Pairs; see `load_pairs`.
        budget: Largest number of pairs.
        out: File of pairs to write.
        by: Criteria; see `select_pairs`.
        dependability: Reward that gives the probability of each label; see `load_reward`.
        objective: Name of the pairs' objective.
        model: Frozen language model that reads the pairs.
        template: Template of prompts that are messages; by default the data's.
        traits: Folder in which what the model reads is kept.
        seed: Random seed of the choice among equals, and of the splits of data without any.

    Returns:
        The selected pairs, with counts; see `select_pairs`.

    Raises:
        InputError: See `load_pairs`, `load_reward` and `select_pairs`; or the file cannot be written.
    """
    pairs = load_pairs(data, objective, template=template or DIALOGUE.name, model=model, seed=seed)
    judge = load_reward(dependability) if isinstance(dependability, str | Path) else dependability
    found = select_pairs(pairs, budget, by=by, model=model, folder=traits, seed=seed, dependability=judge)
    header = {"objective": found[0].objective, "by": list(by), "seed": seed, "sources": [source_digest(data)]}
    write_text_pairs(out, found, header)
    return found
