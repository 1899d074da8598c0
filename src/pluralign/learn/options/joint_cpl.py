"""Contrastive preference learning of several objectives at once: one hidden layer, one output for each."""

from __future__ import annotations

import dataclasses
import time
from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import torch
from jaxtyping import Int
from torch import Tensor, nn

from pluralign.core import InputError, PreferencePair, Trajectory
from pluralign.core.checks import checked, require_seed
from pluralign.core.digests import source_digest
from pluralign.core.records import read_pairs
from pluralign.learn.engine import train_phase
from pluralign.learn.options.cpl import (
    CPLConfig,
    CPLData,
    accuracies,
    counts_of,
    encode_cpl,
    log_probs_of,
)
from pluralign.learn.options.modules import BehaviourCloning, ContrastivePreference
from pluralign.learn.options.policies import Learned, finish, make_card
from pluralign.learn.options.scorers import FrozenScorer
from pluralign.learn.options.tables import DecisionIndex, PairTable, table_digest
from pluralign.learn.phase import GradientsName, Phase, require_gradients
from pluralign.learn.run_folder import claim_folder
from pluralign.learn.shared_gradients import HeldOut, ObjectiveRows, SharedGradients
from pluralign.learn.steps import StepLoss
from pluralign.lm.device import default_device
from pluralign.lm.tensors import trains
from pluralign.options.checkpoint import describe_source
from pluralign.options.features import FeatureSource
from pluralign.options.option_policy import OptionPolicy


def read_joint_pairs(
    files: Sequence[str | Path],
) -> tuple[dict[str, list[PreferencePair]], dict[str, dict[str, str]]]:
    """Pairs of each objective for `fit_joint_cpl`, and where they are from, for its ``provenance``.

    Args:
        files: Files of pairs, one for each objective.

    Raises:
        InputError: A file cannot be read, or has pairs of the objective of another one.
    """
    pairs: dict[str, list[PreferencePair]] = {}
    sources: dict[str, dict[str, str]] = {}
    for file in files:
        own = read_pairs(file)
        name = own[0].objective if own else ""
        if name in pairs:
            raise InputError(f"has pairs of {name!r}, as another file has", path=file, field="joint")
        pairs[name], sources[name] = own, source_digest(file)
    return pairs, sources


@checked
@trains
def fit_joint_cpl(
    pairs: Mapping[str, Sequence[PreferencePair]], *, store: FeatureSource, out: str | Path,
    config: CPLConfig | None = None, gradients: GradientsName = "sum",
    trajectories: Sequence[Trajectory] | None = None, seed: int = 0,
    provenance: Mapping[str, Any] | None = None,
) -> dict[str, OptionPolicy]:  # fmt: skip
    """Train the policies of several objectives together: their heads share the hidden layer.

    The loss is the mean over objectives of that of `fit_cpl`, on a batch of each objective's pairs. In the
    second phase the hidden layer may follow other weights than equal ones (`SharedGradients`): those of the
    shortest vector (MGDA), along which no loss of the step rises, or those that follow the gradient of
    validation pairs (ParetoDA). Each policy has a folder of its own, with the layer as all have it. A single
    objective has the weights of `fit_cpl`.

    If interrupted and called again with the same arguments, training continues where it stopped and ends with
    the same weights.

    Args:
        pairs: Pairs of each objective, by its name; see `fit_cpl`.
        store: Features of the decisions.
        out: Folder to write; each policy is in a subfolder with its objective's name.
        config: See `CPLConfig`; steps count once, and each of them has a batch of pairs for each objective.
        gradients: Way to weigh the objectives' gradients on the hidden layer: sum, min_norm or guided.
        trajectories: Data of the warm-up of all heads; by default each head's own training pairs.
        seed: Random seed of weights and data order.
        provenance: Files and digests of the data, for the cards.

    Returns:
        The policy of each objective.

    Raises:
        InputError: There are no pairs, a name is not that of the pairs' objective, an adapter or a head
            without hidden layer is asked for, guided weights lack an objective's validation pairs, or ``out``
            holds another run.

    Examples:
        >>> import pluralign as pl
        >>> game = pl.open_story("salt_ledger")
        >>> goals = game.info.select(["score", "harm_avoidance"])
        >>> random = pl.UniformPolicy()
        >>> played = list(pl.roll_out(game.make_game, random, episodes=20, seed=0, objectives=goals))
        >>> store = pl.Models("tiny-random").store
        >>> pairs = {goal.name: pl.sibling_pairs(played, goal) for goal in goals}
        >>> config = pl.learn.CPLConfig(steps=5)
        >>> agents = pl.learn.fit_joint_cpl(pairs, store=store, out="agents", config=config)
        >>> sorted(agents)
        ['harm_avoidance', 'score']
    """
    require_seed(seed)
    started, config = time.monotonic(), config or CPLConfig()
    _check(pairs, config, gradients)
    index = DecisionIndex()
    data = {name: encode_cpl(own, trajectories, index) for name, own in pairs.items()}
    _check_data(data, gradients)
    out, settings = Path(out), dataclasses.asdict(config)
    settings |= {"gradients": gradients, "joint": list(data)}
    if gradients == "guided":
        settings["held_out"] = {name: _digest(own.validation) for name, own in data.items()}
    digests = {name: own.digest for name, own in data.items()}
    run = {"method": "cpl", "config": settings, "data": digests, "seed": seed}
    claim_folder(out, {**run, "backbone": describe_source(store)})
    scorers = _scorers(index, store, config.hidden, len(data), seed)
    figures = _train(scorers, list(data.values()), config, gradients, out, seed)
    learned = [
        Learned(
            scorer,
            make_card(
                "cpl", objective=name, seed=seed, config=settings, store=store,
                data={**(provenance or {}), **counts_of(own)},
                figures={**figures, **accuracies(scorer, own, config.gamma)}, started=started,
            ),
            name,
        )
        for scorer, (name, own) in zip(scorers, data.items(), strict=True)
    ]  # fmt: skip
    return {one.name: finish(one, store, out / one.name) for one in learned}


class OneBody(StepLoss):
    """Losses of several objectives, whose heads share a hidden layer, on rows one after the other.

    Args:
        losses: Loss of each objective's own rows.
        counts: Number of rows of each objective.
    """

    def __init__(
        self, losses: Sequence[BehaviourCloning | ContrastivePreference], counts: Sequence[int]
    ) -> None:
        super().__init__()
        # Not registered as they are: a checkpoint has the shared layer once.
        self._losses = tuple(one.to(default_device()) for one in losses)
        heads = [one.scorer.head for one in losses]
        self.body, self.outputs = heads[0].inner, nn.ModuleList([head.outer for head in heads])
        self.owners: Int[Tensor, " rows"] = torch.arange(len(counts)).repeat_interleave(torch.tensor(counts))
        self._starts = [sum(counts[:number]) for number in range(len(counts))]

    def parts(self, rows: Int[Tensor, " batch"]) -> list[Int[Tensor, " batch"]]:
        """See `StepLoss`; the rows are those of one objective."""
        return [rows]

    def forward(self, rows: Int[Tensor, " batch"]) -> dict[str, Tensor]:
        """Mean loss on these rows of one objective."""
        owner = int(self.owners[rows[0].cpu()])
        return self._losses[owner](rows - self._starts[owner])

    @property
    def rows(self) -> ObjectiveRows:
        """The rows with their objectives."""
        return ObjectiveRows(self, self.owners)


def _scorers(
    index: DecisionIndex, store: FeatureSource, hidden: int, count: int, seed: int
) -> list[FrozenScorer]:
    """Heads that share the hidden layer, and the features of all decisions."""
    found = [FrozenScorer(index.decisions, store, hidden, seed) for _ in range(count)]
    for scorer in found[1:]:
        scorer.head.inner, scorer.features = found[0].head.inner, found[0].features
    return found


def _train(
    scorers: Sequence[FrozenScorer], data: Sequence[CPLData], config: CPLConfig, gradients: GradientsName,
    out: Path, seed: int,
) -> dict[str, Any]:  # fmt: skip
    names = [own.objective for own in data]
    body = list(scorers[0].head.inner.parameters())
    numbers = (len(data) * config.batch_size, config.learning_rate, config.weight_decay, seed)
    folder = out / "checkpoints"

    def train(name: str, place: str, loss: SharedGradients, rows: ObjectiveRows, steps: int) -> Any:
        return train_phase(loss, Phase(name, folder / place, len(rows.owners), steps, *numbers))

    cloned = [BehaviourCloning(scorer, own.warm_up) for scorer, own in zip(scorers, data, strict=True)]
    rows = OneBody(cloned, [len(own.warm_up) for own in data]).rows
    warm_up = SharedGradients(rows, names, body, "sum")
    curves = {"warm_up_curve": train("warm-up", "warm_up", warm_up, rows, config.warm_up_steps)}
    anchors = [log_probs_of(scorer) if config.kl else None for scorer in scorers]
    parts = [
        partial(ContrastivePreference, scorer, contrast=config.contrast, reference=anchor)
        for scorer, anchor in zip(scorers, anchors, strict=True)
    ]
    rows = _contrast(parts, [own.pairs for own in data])
    held_out = None
    if gradients == "guided":
        held = _contrast(parts, [own.validation for own in data])
        held_out = HeldOut(held, len(data) * config.batch_size, seed)
    loss = SharedGradients(rows, names, body, gradients, held_out)
    curves["curve"] = train("contrast", "cpl", loss, rows, config.steps - config.warm_up_steps)
    return {**curves, **loss.figures()}


def _contrast(parts: Sequence[Any], tables: Sequence[Any]) -> ObjectiveRows:
    losses = [part(table=table) for part, table in zip(parts, tables, strict=True)]
    return OneBody(losses, [len(table) for table in tables]).rows


def _check(
    pairs: Mapping[str, Sequence[PreferencePair]], config: CPLConfig, gradients: GradientsName
) -> None:
    require_gradients(gradients)
    if not pairs:
        raise InputError("expected pairs of at least one objective, found none", field="data")
    if config.lora_rank:
        raise InputError("heads are trained jointly on a frozen trunk only; give 0", field="lora_rank")
    if not config.hidden:
        raise InputError(
            "without a hidden layer the objectives share nothing; give 1 or more", field="hidden"
        )
    if odd := [name for name in pairs if Path(name).name != name]:
        raise InputError(f"cannot be the name of a folder: {odd[0]!r}", field="objective")


def _digest(table: PairTable | None) -> str:
    assert table is not None, "guided weights have been checked for it"
    return table_digest((table.states, table.actions, table.mask, table.weights), [])


def _check_data(data: Mapping[str, CPLData], gradients: GradientsName) -> None:
    for name, own in data.items():
        if own.objective != name:
            raise InputError(f"has pairs of the objective {own.objective!r}", field=name)
        if gradients == "guided" and own.validation is None:
            raise InputError(
                "guided weights follow the gradient of validation pairs, and there is none", field=name
            )
