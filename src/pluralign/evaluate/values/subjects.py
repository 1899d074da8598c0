"""What is audited in turn: a rater, a model, checkpoints of a training, mixtures under several weights."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache, partial
from pathlib import Path

from pluralign.annotate.open import open_rater
from pluralign.annotate.rater import Rater
from pluralign.core import InputError, SteeringWeights
from pluralign.evaluate.values.choosers import (
    OUTCOMES_PROMPT,
    Asked,
    Replies,
    ReplyChooser,
    letter_chooser,
)
from pluralign.evaluate.values.mixtures import MixtureReplies, mixtures_of
from pluralign.evaluate.values.outcomes import Outcome
from pluralign.evaluate.values.settings import AuditConfig, Reading
from pluralign.evaluate.values.sheet import both_orders
from pluralign.lm.dtypes import DTypeName
from pluralign.lm.endpoint_settings import EndpointSettings
from pluralign.lm.language_model import LanguageModel
from pluralign.options.open import Models
from pluralign.steer.policies import Policies


@dataclass(frozen=True, eq=False)
class Subject:
    """Something to audit.

    Args:
        label: Name in tables, and of its folder.
        who: Function that opens what is asked about outcomes; called when it is its turn.
        replies: Function that opens the model that is asked about stances; None if there is none.
        position: Position on the axis; None for a single audit.
        weights: Weights of the mixture, if it is one.
        axis: Meaning of the position; empty for a single audit.
    """

    label: str
    who: Callable[[], Asked]
    replies: Callable[[], Replies] | None = None
    position: float | None = None
    weights: SteeringWeights | None = None
    axis: str = ""


def rater_subject(
    rater: str,
    outcomes: Sequence[Outcome] = (),
    config: AuditConfig | None = None,
    *,
    endpoint: EndpointSettings | None = None,
    dtype: DTypeName = "float32",
) -> Subject:
    """A rater by its name; see `open_rater`.

    Args:
        rater: Name: ``judge:MODEL``, ``reward:REWARD`` or ``human:SHEET`` (see `write_outcome_sheet`).
        outcomes: Outcomes of the sheet.
        config: Settings of the audit, which decide the pairs in the sheet.
        endpoint: Requests to an endpoint.
        dtype: Precision of a local model.
    """

    def opened() -> Rater:
        prompt = OUTCOMES_PROMPT if rater.startswith("judge:") else None
        sheet = both_orders(outcomes, config or AuditConfig()) if rater.startswith("human:") else None
        return open_rater(rater, comparisons=sheet, prompt=prompt, endpoint=endpoint, dtype=dtype)

    return Subject(rater, opened)


def model_subject(model: str, *, reading: Reading = "letters", dtype: DTypeName = "float32") -> Subject:
    """A language model.

    Args:
        model: Hub id, local folder, or ``smollm2-135m``.
        reading: Answers that are read of the model.
        dtype: Precision of the model.
    """
    return _model_subject(model, _opener(dtype), reading)


def checkpoint_subjects(
    folders: Sequence[str | Path], *, reading: Reading = "letters", dtype: DTypeName = "float32"
) -> list[Subject]:
    """Checkpoints of a model in the order of training; one of them is in memory at a time.

    >>> [one.position for one in checkpoint_subjects(["runs/x/checkpoint-50", "runs/x/checkpoint-100"])]
    [50.0, 100.0]

    Args:
        folders: Folders of the checkpoints.
        reading: Answers that are read of the models.
        dtype: Precision of the models.

    Raises:
        InputError: The numbers at the ends of the folders' names do not ascend.
    """
    positions = checkpoint_positions([Path(folder) for folder in folders])
    names = [str(folder) for folder in folders]
    axis = "steps" if len(names) > 1 else ""
    labels = [Path(name).name for name in names]
    if len(set(labels)) < len(labels):
        labels = names
    opened = _opener(dtype)
    return [
        _model_subject(name, opened, reading, label, position, axis)
        for label, name, position in zip(labels, names, positions, strict=True)
    ]


def mixture_subjects(
    policies: Policies, mixes: Sequence[Mapping[str, float]], *, reading: Reading = "letters"
) -> list[Subject]:
    """Mixtures of the same policies, for all of which each text is read once. Several mixtures of two
    policies have positions: the weight on the first policy.

    >>> import pluralign as pl
    >>> policies = pl.load_policies("tiny-random", helpful="tiny-random", harmless="tiny-random")
    >>> dial = mixture_subjects(policies, pl.simplex_grid(policies.objectives, 2))
    >>> [one.position for one in dial], dial[0].axis
    ([0.0, 0.5, 1.0], 'weight on helpful')

    Args:
        policies: Policies.
        mixes: Weights of each mixture by objective, such as `simplex_grid`.
        reading: Answers that are read of the mixtures.

    Raises:
        InputError: A weight names an objective without a policy.
    """
    weights = [SteeringWeights(mix) for mix in mixes]
    first = policies.objectives[0]
    axis = f"weight on {first}" if len(weights) > 1 else ""
    placed = bool(axis) and len(policies.objectives) == 2
    return [
        _mixture_subject(replies, mix, reading, mix.get(first, 0.0) if placed else None, axis)
        for mix, replies in zip(weights, mixtures_of(policies, weights), strict=True)
    ]


def checkpoint_positions(folders: Sequence[Path]) -> list[float]:
    """Steps of checkpoints: the numbers at the end of their names if all have one, else 0, 1, 2, ...

    Raises:
        InputError: The numbers do not ascend.
    """
    found = [re.search(r"(\d+)$", folder.name) for folder in folders]
    steps = [float(one[1]) for one in found if one is not None]
    if len(steps) < len(folders):
        return [float(number) for number in range(len(folders))]
    if sorted(set(steps)) != steps:
        raise InputError(
            f"must be in the order of their steps, found {', '.join(f'{step:g}' for step in steps)}",
            field="checkpoints",
        )
    return steps


def _opener(dtype: DTypeName) -> Callable[[str], LanguageModel]:
    # The last model stays open, because it is asked about outcomes and about stances.
    @lru_cache(maxsize=1)
    def opened(name: str) -> LanguageModel:
        return Models(name, dtype=dtype).language_model

    return opened


def _model_subject(
    name: str, opened: Callable[[str], LanguageModel], reading: Reading, label: str = "",
    position: float | None = None, axis: str = "",
) -> Subject:  # fmt: skip
    return Subject(
        label or name, lambda: _read(opened(name), reading), partial(opened, name), position, axis=axis
    )


def _mixture_subject(
    replies: MixtureReplies, mix: SteeringWeights, reading: Reading, position: float | None, axis: str
) -> Subject:
    asked = partial(_read, replies, reading)
    return Subject(mix.to_text(), asked, lambda: replies, position, mix, axis)


def _read(replies: LanguageModel | MixtureReplies, reading: Reading) -> Asked:
    return letter_chooser(replies) if reading == "letters" else ReplyChooser(replies)
