"""``pluralign learn``: pairs or trajectories -> a checkpoint folder."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

import tyro

from pluralign.annotate.annotator import recorded_objective
from pluralign.cli.common import Figures, wrote
from pluralign.core import InputError
from pluralign.core.digests import source_digest
from pluralign.learn.options.settings import AVRILConfig, BCConfig, CPLConfig
from pluralign.learn.phase import GradientsName
from pluralign.options.open import DEFAULT_MODEL, Models, open_trained


@dataclass(frozen=True)
class OptionRun:
    """Options of every learner over listed options.

    Args:
        data: File of trajectories (trajectories.jsonl); for cpl, of preference pairs of one objective
            (pairs.jsonl).
        out: Output folder.
        model: Frozen trunk: smollm2-135m, a hub id or a local folder.
        features: Folder that keeps the trunk's features between runs.
        seed: Random seed of weights and data order.
    """

    data: Path
    out: Path
    model: str = DEFAULT_MODEL
    features: Path | None = None
    seed: int = 0

    @property
    def models(self) -> Models:
        """The trunk, with its features."""
        return Models(self.model, self.features)

    def shared(self, models: Models) -> dict[str, Any]:
        """Arguments that all these learners take."""
        provenance = source_digest(self.data)
        return {"store": models.store, "out": self.out, "seed": self.seed, "provenance": provenance}


Flat = Annotated[OptionRun, tyro.conf.arg(name="")]
"""`OptionRun` whose options have no prefix."""


def learn_bc(
    run: Flat,
    config: BCConfig = BCConfig(),  # noqa: B008 - frozen
    objective: str = "",
) -> Figures:
    """Train a policy on trajectories by behaviour cloning.

    With --objective, options that did better than the others that episodes took at the same decision are
    imitated more (advantage-weighted cloning).

    If the same command is run again, an interrupted run continues and ends with the same weights.

    Example: pluralign learn bc --data runs/t.jsonl --out runs/bc

    Args:
        run: Data, model, folder.
        config: Settings of the method.
        objective: Name of the objective whose advantages weigh the steps.
    """
    # Help needs no model.
    from pluralign.core.records import read_trajectories
    from pluralign.learn.options.bc import fit_bc

    aim = recorded_objective(run.data, objective) if objective else None
    fit_bc(read_trajectories(run.data), objective=aim, config=config, **run.shared(run.models))
    return say_learned(run.out)


def learn_cpl(
    run: Flat,
    config: CPLConfig = CPLConfig(),  # noqa: B008 - frozen
    warm_up: Path | None = None,
    reference: Path | None = None,
    joint: tuple[Path, ...] = (),
    gradients: GradientsName = "sum",
) -> Figures:
    """Train one objective's policy on its preference pairs: contrastive preference learning.

    With --joint, the policies of several objectives are trained together, on one hidden layer; each is in a
    folder of its own in the output folder.

    If the same command is run again, an interrupted run continues and ends with the same weights.

    Example: pluralign learn cpl --data runs/score-pairs.jsonl --out runs/score

    Args:
        run: Data, model, folder.
        config: Settings of the method.
        warm_up: File of trajectories for the warm-up by behaviour cloning; by default the pairs' steps.
        reference: Folder of the reference policy of CPL-KL; by default the policy after the warm-up.
        joint: Files of pairs of further objectives, whose policies share the hidden layer.
        gradients: Weights of the objectives' gradients on the shared layer, with --joint: equal ones (sum),
            those of the shortest vector (min_norm), or those that follow validation pairs (guided).
    """
    # Help needs no model.
    from pluralign.core.records import read_pairs, read_trajectories
    from pluralign.learn.options.cpl import fit_cpl
    from pluralign.options.option_policy import OptionPolicy

    if joint:
        return _learn_jointly(run, (run.data, *joint), config, warm_up, reference, gradients)
    if gradients != "sum":
        raise InputError("a single objective shares nothing; give --joint", field="gradients")
    models = run.models
    anchor = (
        None
        if reference is None
        else open_trained(
            reference, models, OptionPolicy, refusal="is no policy of bc or cpl", field="reference"
        )
    )
    fit_cpl(
        read_pairs(run.data),
        config=config,
        trajectories=None if warm_up is None else read_trajectories(warm_up),
        reference=anchor,
        **run.shared(models),
    )
    return say_learned(run.out)


def _learn_jointly(
    run: OptionRun, files: Sequence[Path], config: CPLConfig, warm_up: Path | None, reference: Path | None,
    gradients: GradientsName,
) -> Figures:  # fmt: skip
    from pluralign.core.records import read_trajectories
    from pluralign.learn.options.joint_cpl import fit_joint_cpl, read_joint_pairs

    if reference is not None:
        raise InputError(
            "is that of one objective; without it, --config.kl takes the warm-up", field="reference"
        )
    pairs, sources = read_joint_pairs(files)
    made = fit_joint_cpl(
        pairs, store=run.models.store, out=run.out, config=config, gradients=gradients,
        trajectories=None if warm_up is None else read_trajectories(warm_up), seed=run.seed,
        provenance={"objectives": sources},
    )  # fmt: skip
    return {name: say_learned(run.out / name) for name in made}


def learn_avril(
    run: Flat,
    config: AVRILConfig = AVRILConfig(),  # noqa: B008 - frozen
) -> Figures:
    """Train AVRIL: a posterior over rewards from behaviour. Rewards in the file are not used.

    If the same command is run again, an interrupted run continues and ends with the same weights.

    Example: pluralign learn avril --data runs/t.jsonl --out runs/wants

    Args:
        run: Data, model, folder.
        config: Settings of the method.
    """
    # Help needs no model.
    from pluralign.core.records import read_trajectories
    from pluralign.learn.options.avril import fit_avril

    fit_avril(read_trajectories(run.data), config=config, **run.shared(run.models))
    return say_learned(run.out)


def say_learned(out: Path) -> Figures:
    """Report the output and the measurements."""
    # Help needs no model.
    from pluralign.folders.card import load_card
    from pluralign.lm.completion_trees import describe_cuts

    card = load_card(out)
    plain = {name: value for name, value in card.figures.items() if isinstance(value, int | float)}
    said = ", ".join(f"{name.replace('_', ' ')} {value:.4g}" for name, value in plain.items())
    cuts = describe_cuts(card.data)
    wrote(out, f"{said}; {cuts}" if cuts else said)
    return {"data": dict(card.data), "figures": dict(card.figures)}
