"""``pluralign learn q``: recorded episodes with rewards -> values of every objective."""

from __future__ import annotations

from pathlib import Path

from pluralign.cli.common import Figures, say
from pluralign.cli.learn import Flat, say_learned
from pluralign.learn.options.settings import QConfig


def learn_q(
    run: Flat,
    objectives: tuple[str, ...] = (),
    objective: str = "",
    config: QConfig = QConfig(),  # noqa: B008 - frozen
    reference: Path | None = None,
) -> Figures:
    """Learn the values of every objective from recorded episodes and their rewards: offline Q-learning.

    With --objective, the agent of that objective is learned; several of them are steered by their values.
    Without it, one model serves all weights: give its folder for every objective. If the same command is run
    again, an interrupted run continues and ends with the same weights.

    Example: pluralign learn q --data runs/t.jsonl --out runs/q

    Example: pluralign sweep --story salt_ledger --policies score=runs/q harm_avoidance=runs/q --out runs/s

    Args:
        run: Data, model, folder.
        objectives: Names of the objectives; by default all that the trajectories were collected with.
        objective: Name of the objective that the agent pursues.
        config: Settings of the method.
        reference: Folder of the policy whose greedy option the backup "reference" continues with.
    """
    # Help needs no model.
    from pluralign.annotate.annotator import recorded_objectives
    from pluralign.core.records import read_trajectories
    from pluralign.evaluate.value_check import check_values
    from pluralign.learn.options.q import fit_q
    from pluralign.options.open import open_trained

    models = run.models
    known = recorded_objectives(run.data, objectives)
    trajectories = read_trajectories(run.data)
    policy = fit_q(
        trajectories,
        objectives=known,
        objective=objective,
        config=config,
        reference=None if reference is None else open_trained(reference, models),
        **run.shared(models),
    )
    figures = say_learned(run.out)
    checked = check_values(policy, trajectories)
    for name, value in checked.items():
        say(f"  {name:24}expects {value.belief:9.2f}   gets {value.exact:9.2f}   (exact, by its own choices)")
    return {**figures, "values": {name: vars(value) for name, value in checked.items()}}
