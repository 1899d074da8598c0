"""``pluralign pair``: annotations, completions of two sources, or trajectories -> pairs.jsonl."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

import tyro

from pluralign.annotate.annotator import recorded_objective
from pluralign.cli.common import Figures, left_out, wrote
from pluralign.cli.texts import read_demonstrations
from pluralign.core import InputError
from pluralign.core.records import read_trajectories
from pluralign.core.splits import SPLITS
from pluralign.data.labelled import LabelColumns
from pluralign.data.source import objective_of
from pluralign.options.open import DEFAULT_MODEL
from pluralign.pair.pairs import pair
from pluralign.pair.recipes import RECIPES, pair_completions, write_recipe_pairs


def pair_annotations(
    files: Annotated[tuple[Path, ...], tyro.conf.Positional],
    objective: str,
    out: Path,
    ties: Literal["drop", "soft"] = "drop",
    shares: tuple[float, float, float] = (0.8, 0.1, 0.1),
    seed: int = 0,
) -> Figures:
    """Turn annotations into chosen and rejected segments, in splits that share no trajectory.

    Ties are counted, and dropped or kept as pairs of weight 0.5.

    Example: pluralign pair runs/score.jsonl --objective score --out runs/score-pairs.jsonl

    Args:
        files: Annotation files of one or several raters; each rater has one vote per comparison.
        objective: Name of the objective to pair.
        out: Output file.
        ties: Rule for ties: drop them, or keep them with weight 0.5 (soft).
        shares: Shares of train, validation and test.
        seed: Random seed of the splits.
    """
    counts = pair(files, out, objective=objective, ties=ties, shares=shares, seed=seed).counts
    wrote(out, ", ".join(f"{count} {name.replace('_', ' ')}" for name, count in counts.items()))
    return counts


def pair_by_recipe(
    recipe: Literal["init-sft", "init-demo", "sft-demo"],
    out: Path,
    init: str = "",
    sft: str = "",
    demonstrations: str = "",
    objective: str = "",
    per_prompt: int | None = None,
    model: str = DEFAULT_MODEL,
    template: Literal["dialogue", "chat"] = "dialogue",
    control_tokens: bool = False,
    seed: int = 0,
) -> Figures:
    """Pair completions of two sources, prompt by prompt: reward-model data without stated preferences.

    init-sft prefers the fine-tuned policy's samples to those of the model before fine-tuning (training data
    of the reward in alignment from demonstrations); init-demo and sft-demo prefer demonstrations to samples
    of either model.

    Example: pluralign pair recipe --recipe init-sft --init init.jsonl --sft sft.jsonl --out pairs.jsonl

    Args:
        recipe: Names of the two sources: the rejected one, then the preferred one.
        out: Output file.
        init: Completions of the model before fine-tuning, in the format of generate.
        sft: Completions of the policy fine-tuned on demonstrations.
        demonstrations: Prompts with completions, messages, or preferences (their chosen completions).
        objective: Name of the objective; by default that of the preferred source.
        per_prompt: Largest number of pairs per prompt.
        model: Model with the chat template.
        template: Template for messages: HH-RLHF's plain dialogue, or the model's chat template.
        control_tokens: Whether prompts and completions that are texts may contain control tokens by name; by
            default such names are ordinary text.
        seed: Random seed of the splits and of the order of options.
    """
    from pluralign.lm.backbone import load_tokenizer
    from pluralign.lm.prompts import TEMPLATES

    given = {"init": init, "sft": sft, "demonstrations": demonstrations}
    worse, better = RECIPES[recipe]
    for name in (worse, better):
        if not given[name]:
            raise InputError(f"required for the recipe {recipe}", field=name)
    render = TEMPLATES[template](load_tokenizer(model), control_tokens)
    name = objective or objective_of(given[better])
    rejected, chosen = (read_demonstrations(given[source], name, render, seed) for source in (worse, better))
    found = pair_completions(
        chosen, rejected, objective=name, recipe=recipe, per_prompt=per_prompt, seed=seed
    )
    sources = [given[worse], given[better]]
    write_recipe_pairs(out, found, objective=name, recipe=recipe, seed=seed, sources=sources)
    wrote(out, ", ".join(f"{count} {name.replace('_', ' ')}" for name, count in found.counts.items()))
    return found.counts


def pair_by_label(
    data: str,
    columns: Annotated[LabelColumns, tyro.conf.arg(name="")],
    out: Path,
    objective: str = "",
    shares: tuple[float, float, float] = (0.8, 0.1, 0.1),
    seed: int = 0,
) -> Figures:
    """Pair texts that fit a value with texts that do not: a file of texts with labels, one value at a time.

    Example: pluralign pair labels --data nurses.csv --text behaviour --label fits --value value
    --objective justice --group case --out runs/justice.jsonl

    Args:
        data: Texts with labels (.csv, .tsv, .jsonl, .json, .parquet; .gz too).
        columns: Meaning of the columns.
        out: Output file.
        objective: Value whose rows are paired, by its name in the column --value; without that column, a name
            of your own (by default the file's).
        shares: Shares of train, validation and test.
        seed: Random seed of the splits and of the order of options.
    """
    # Help needs no torch.
    from pluralign.pair.text_files import pair_labelled_file

    found = pair_labelled_file(data, columns, out, objective=objective, shares=shares, seed=seed)
    wrote(out, ", ".join(f"{count} {name.replace('_', ' ')}" for name, count in found.counts.items()))
    return found.counts


def pair_siblings(
    data: Path,
    objective: str,
    out: Path,
    temperature: float = 0.5,
    shares: tuple[float, float, float] = (0.8, 0.1, 0.1),
    seed: int = 0,
) -> Figures:
    """Pair the options that episodes took at one decision, by what each got from there on.

    The option with the larger mean return to go is preferred. The pair's weight is the probability of that
    label, by how far their advantages are apart; learn cpl applies it. Nothing is rated: rewards are read.

    Example: pluralign pair siblings --data runs/t.jsonl --objective score --out runs/score-pairs.jsonl

    Args:
        data: File of trajectories, with the objective. Episodes that were cut off are left out.
        objective: Name of the objective of the returns.
        out: Output file.
        temperature: Temperature of the labels, in standard deviations of the advantages; smaller is surer.
        shares: Shares of train, validation and test; all options of a decision are in one of them.
        seed: Random seed of the splits.
    """
    # Help needs no torch.
    from pluralign.pair.siblings import sibling_pairs, write_sibling_pairs

    played, aim = read_trajectories(data), recorded_objective(data, objective)
    found = sibling_pairs(played, aim, temperature=temperature, shares=shares, seed=seed)
    write_sibling_pairs(
        out, found, objective=objective, temperature=temperature, shares=shares, seed=seed, source=str(data)
    )
    counts = found.counts
    reasons = {
        "truncated": "episodes that were cut off",
        "unknown": "steps whose reward is not known",
        "lone": "decisions at which one option was taken",
    }
    splits = ", ".join(f"{counts[f'pairs_{name}']} {name}" for name in SPLITS)
    wrote(
        out,
        f"{counts['pairs']} pairs at {counts['decisions'] - counts['lone']} decisions ({splits}), "
        f"{counts['ties']} ties{left_out(counts, reasons, '{count} {text}')}",
    )
    return counts
