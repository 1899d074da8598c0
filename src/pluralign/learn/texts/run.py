"""Arguments shared by all trainers on texts, and training without an output folder."""

from __future__ import annotations

import dataclasses
import functools
import tempfile
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Concatenate, ParamSpec, TypeVar

from pluralign.core import InputError
from pluralign.core.checks import require
from pluralign.data.reading import holds_quoted
from pluralign.learn.texts.training_options import Training
from pluralign.learn.texts.trunk import LowerStates, TunedTrunk
from pluralign.lm.backbone import Backbone, fingerprint_of, load_backbone
from pluralign.lm.tokenizer_digest import tokenizer_digest
from pluralign.rewards.heads import RewardHead


@dataclass(frozen=True)
class Run:
    """Arguments shared by all trainers on texts.

    Args:
        model: Model before training: a hub id, a local folder, ``smollm2-135m`` or ``tiny-random``.
        out: Output folder; None keeps the result in memory only.
        training: Training options.
        seed: Random seed of weights and data order.
        name: Name of the result in reports; by default the objective's name.
        template: Name of the template for messages (`lm.prompts.TEMPLATES`); by default the one that rendered
            the data's messages, or ``dialogue``.
        provenance: File and digest of the data, for the card.
        lower: Hidden states of the frozen part of the trunk, to share them between runs.
        measure: Function from the trained trunk and reward head to further figures for the card.
        control_tokens: Whether prompts and completions that are texts may contain control tokens by name; by
            default such names are ordinary text.
        quoted: Whether such names are quoted in the rows' texts already.

    Examples:
        >>> import pluralign as pl
        >>> run = pl.learn.Run("smollm2-135m", "runs/helpful", pl.Training(lora_rank=16), seed=1)
        >>> run.training.lora_rank
        16
    """

    model: str
    out: str | Path | None = None
    training: Training = dataclasses.field(default_factory=Training)
    seed: int = 0
    name: str = ""
    template: str | None = None
    provenance: Mapping[str, Any] = dataclasses.field(default_factory=dict[str, Any])
    lower: LowerStates | None = None
    measure: Callable[[TunedTrunk, RewardHead], Mapping[str, Any]] | None = None

    control_tokens: bool = False
    quoted: bool = False

    def __post_init__(self) -> None:
        require(self, {"seed": 0}, {"seed": 2**32 - 1})

    def has_quoted(self, rows: object) -> bool:
        """Whether the rows' texts are to be read as they are, with the control tokens that they have."""
        return self.quoted or self.control_tokens or holds_quoted(rows)


def make_run(
    model: str | Path | Backbone, out: str | Path | None, training: Training | None, *, seed: int, name: str,
    template: str | None, control_tokens: bool = False,
) -> Run:  # fmt: skip
    """A `Run` from the arguments of `fit_policy` and `fit_reward`.

    Raises:
        InputError: A loaded model was given whose name does not load the same weights again, so the output
            folder could not refer to it.
    """
    if isinstance(model, Backbone):
        try:
            named = load_backbone(model.name, dtype=model.dtype)
            # Its weights may have been changed since it was loaded.
            same = named.fingerprint == fingerprint_of(model.model, model.tokenizer)
            same = same and named.tokenizer_digest == tokenizer_digest(model.tokenizer)
        except InputError:
            same = False
        if not same:
            raise InputError(
                f"a loaded model must be as its name loads it, and {model.name!r} is not; give a hub id or a "
                "folder (pluralign export writes one for a trained policy)",
                field="model",
            )
        model = model.name
    training = training or Training()
    return Run(str(model), out, training, seed, name, template, control_tokens=control_tokens)


Rows = TypeVar("Rows")
P = ParamSpec("P")
Learned = TypeVar("Learned")


def folder_optional(
    fit: Callable[Concatenate[Rows, Run, P], Learned],
) -> Callable[Concatenate[Rows, Run, P], Learned]:
    """Let a trainer run without an output folder: if ``run.out`` is None, it writes to a temporary folder,
    which is removed after the result is loaded from it."""

    @functools.wraps(fit)
    def learner(rows: Rows, run: Run, /, *args: P.args, **kwargs: P.kwargs) -> Learned:
        if run.out is not None:
            return fit(rows, run, *args, **kwargs)
        with tempfile.TemporaryDirectory(prefix="pluralign-") as folder:
            return fit(rows, dataclasses.replace(run, out=Path(folder)), *args, **kwargs)

    return learner
