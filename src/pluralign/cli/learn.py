"""``pluralign learn``: pairs or trajectories -> a checkpoint folder."""

from __future__ import annotations

from pathlib import Path

from pluralign.cli.common import JsonFile, give_figures, wrote
from pluralign.core.digests import source_digest
from pluralign.core.records import read_pairs, read_trajectories
from pluralign.folders.card import load_card
from pluralign.learn.options.bc import BCConfig, fit_bc
from pluralign.learn.options.cpl import CPLConfig, fit_cpl
from pluralign.lm.completion_trees import describe_cuts
from pluralign.options.open import DEFAULT_MODEL, Models, open_trained
from pluralign.options.option_policy import OptionPolicy


def learn_bc(
    data: Path,
    out: Path,
    model: str = DEFAULT_MODEL,
    config: BCConfig = BCConfig(),  # noqa: B008 - frozen
    features: Path | None = None,
    seed: int = 0,
    json: JsonFile = None,
) -> None:
    """Train a policy on trajectories by behaviour cloning.

    If the same command is run again, an interrupted run continues and ends with the same weights.

    Example: pluralign learn bc --data runs/t.jsonl --out runs/bc

    Args:
        data: File of trajectories (trajectories.jsonl).
        out: Output folder.
        model: Frozen trunk: smollm2-135m, a hub id or a local folder.
        config: Settings of the method.
        features: Folder that keeps the trunk's features between runs.
        seed: Random seed of weights and data order.
        json: File for the figures.
    """
    fit_bc(
        read_trajectories(data),
        store=Models(model, features).store,
        out=out,
        config=config,
        seed=seed,
        provenance=source_digest(data),
    )
    tell_learned(out, json)


def learn_cpl(
    data: Path,
    out: Path,
    model: str = DEFAULT_MODEL,
    config: CPLConfig = CPLConfig(),  # noqa: B008 - frozen
    warm_up: Path | None = None,
    reference: Path | None = None,
    features: Path | None = None,
    seed: int = 0,
    json: JsonFile = None,
) -> None:
    """Train one objective's policy on its preference pairs: contrastive preference learning.

    If the same command is run again, an interrupted run continues and ends with the same weights.

    Example: pluralign learn cpl --data runs/score-pairs.jsonl --out runs/score

    Args:
        data: File of preference pairs of one objective (pairs.jsonl).
        out: Output folder.
        model: Frozen trunk: smollm2-135m, a hub id or a local folder.
        config: Settings of the method.
        warm_up: File of trajectories for the warm-up by behaviour cloning; by default the pairs' steps.
        reference: Folder of the reference policy of CPL-KL; by default the policy after the warm-up.
        features: Folder that keeps the trunk's features between runs.
        seed: Random seed of weights and data order.
        json: File for the figures.
    """
    models = Models(model, features)
    anchor = None if reference is None else open_trained(reference, models)
    fit_cpl(
        read_pairs(data),
        store=models.store,
        out=out,
        config=config,
        trajectories=None if warm_up is None else read_trajectories(warm_up),
        reference=anchor if isinstance(anchor, OptionPolicy) else None,
        seed=seed,
        provenance=source_digest(data),
    )
    tell_learned(out, json)


def tell_learned(out: Path, json: Path | None) -> None:
    """Report the output and the measurements."""
    card = load_card(out)
    plain = {name: value for name, value in card.figures.items() if isinstance(value, int | float)}
    said = ", ".join(f"{name.replace('_', ' ')} {value:.4g}" for name, value in plain.items())
    cuts = describe_cuts(card.data)
    wrote(out, f"{said}; {cuts}" if cuts else said)
    give_figures({"data": dict(card.data), "figures": dict(card.figures)}, json)
