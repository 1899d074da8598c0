"""``pluralign learn`` on texts: pairs or demonstrations -> a reward model's or a policy's folder."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from functools import partial
from pathlib import Path
from typing import Annotated, Any, Literal, get_args

import tyro
from transformers.utils import logging as transformers_logging

from pluralign.cli.common import JsonFile
from pluralign.cli.learn import tell_learned
from pluralign.cli.texts import read_demonstrations, read_texts
from pluralign.core import Demonstration, Examples, PreferencePair
from pluralign.core.digests import source_digest
from pluralign.core.messages import Render
from pluralign.data.load import ScoredCompletion, holds_preferences, load_scored
from pluralign.learn.methods import METHODS, Data, Method
from pluralign.learn.texts.ava import AVAConfig, fit_ava_p
from pluralign.learn.texts.own_losses import loss_settings
from pluralign.learn.texts.policies import learn_policy
from pluralign.learn.texts.run import Run
from pluralign.learn.texts.training import Training
from pluralign.lm.backbone import load_tokenizer
from pluralign.lm.prompts import TEMPLATES
from pluralign.losses.bayesian_irl import expected_return_loss, literal_expected_return_loss
from pluralign.losses.likelihood import clamped_negative, literal_negative, unlikelihood
from pluralign.options.open import DEFAULT_MODEL

NEGATIVES = {"unlikelihood": unlikelihood, "clamped": clamped_negative, "literal": literal_negative}
EXPECTED_RETURNS = {"log": expected_return_loss, "literal": literal_expected_return_loss}


@dataclass(frozen=True)
class TextRun:
    """Options of every learner on texts.

    Args:
        data: Data to learn from: pairs.jsonl, or a file, folder or hub id with TRL's columns (chosen,
            rejected, prompt); demonstrations may also be prompt and completion, or messages; for value, with
            rewards as score adds them, or a column "reward".
        out: Folder to write.
        model: Model before training: smollm2-135m, a hub id or a local folder. For preferences without a
            reward model it is the reference, too.
        objective: Name of the objective; by default the name of the data.
        training: Optimiser, batch, adapter.
        template: Form of messages as text: HH-RLHF's plain dialogue, or the model's chat template.
        seed: Random seed of new weights, data order and splits.
        json: File for the figures.
    """

    data: str
    out: Path
    model: str = DEFAULT_MODEL
    objective: str = ""
    training: Training = field(default_factory=Training)
    template: Literal["dialogue", "chat"] = "dialogue"
    seed: int = 0
    json: JsonFile = None

    def prepare(self) -> tuple[Sequence[PreferencePair], Run]:
        """The pairs, and what is asked for."""
        return read_texts(self.data, self.objective, self._render(), self.seed), self._run()

    def demonstrations(self) -> tuple[Sequence[Demonstration], Run]:
        """The demonstrations (of preferences, the chosen completions), and what is asked for."""
        return read_demonstrations(self.data, self.objective, self._render(), self.seed), self._run()

    def either(self) -> tuple[Sequence[PreferencePair] | Sequence[Demonstration], Run]:
        """Preferences where the data has them (their rejected halves measure), else demonstrations."""
        return self.prepare() if holds_preferences(self.data) else self.demonstrations()

    def scored_completions(self) -> tuple[Examples[ScoredCompletion], Run]:
        """The completions with their rewards, and what is asked for."""
        return load_scored(self.data, self.objective, seed=self.seed, template=self._render()), self._run()

    def _render(self) -> Render:
        # It warns of every checkpoint's clock, which is of no use here.
        transformers_logging.set_verbosity_error()
        return TEMPLATES[self.template](load_tokenizer(self.model))

    def _run(self) -> Run:
        return Run(
            self.model, self.out, self.training, self.seed, template=self.template,
            provenance=source_digest(self.data),
        )  # fmt: skip


Flat = Annotated[TextRun, tyro.conf.arg(name="")]
"""Its fields are options of their own, without a prefix."""


_READERS: Mapping[Data, Callable[[TextRun], tuple[Any, Run]]] = {
    "pairs": TextRun.prepare,
    "demonstrations": TextRun.demonstrations,
    "pairs or demonstrations": TextRun.either,
}
"""What a method learns from, to how it is read."""

_NOTES = {
    "ava-d": "The folder is a reward model's and, for generate, a policy's.",
    "discriminator": "With pairs of the recipe init-sft: the reward model of alignment from demonstrations.",
    "sft": "Of preference data, the chosen completions are the demonstrations.",
    "spin": "Each iteration draws completions and prefers the demonstrations to them; OUT/rounds has them.",
}
"""What users should know beyond a method's row."""


def make_verb(name: str) -> Callable[..., None]:
    """The verb of a row of the table: the options of every run, and the method's own settings."""
    method = METHODS[name]
    fit, settings = _learner(method)

    def learn(run: TextRun, *config: Any) -> None:
        rows, asked = _READERS[method.data](run)
        fit(rows, asked, *config)
        tell_learned(run.out, run.json)

    def without_settings(run: Flat) -> None:
        learn(run)

    def with_settings(run: Flat, config: Any) -> None:
        learn(run, config)

    verb: Any = without_settings if settings is None else with_settings
    verb.__doc__ = _help(method, settings is not None)
    if settings is not None:
        verb.__annotations__ = {"run": Flat, "config": settings, "return": None}
        verb.__defaults__ = (settings(),)
    return verb


def _learner(method: Method) -> tuple[Callable[..., Any], Any]:
    """The function that learns, and the type of its settings; None where it has none."""
    function = method.load()
    if not method.is_loss:
        parameters = inspect.signature(function, eval_str=True).parameters
        if "config" not in parameters:
            return function, None
        return function, get_args(parameters["config"].annotation)[0]

    def fit(pairs: Sequence[PreferencePair], run: Run, config: Any) -> Any:
        loss = partial(function, **asdict(config))
        return learn_policy(pairs, run, loss, per_token=method.per_token, reference=method.reference)

    return fit, loss_settings(function)


def _help(method: Method, settings: bool) -> str:
    note = f" {_NOTES[method.name]}" if method.name in _NOTES else ""
    lines = [
        f"Learn a {method.result}: {method.help} ({method.source}).",
        "",
        f"It learns from {method.data}.{note} An interrupted run continues when the same command is given "
        "again, and ends with the same weights.",
        "",
        f"Example: pluralign learn {method.name} {method.example}",
        "",
        "Args:",
        "    run: Data, model, training, folder.",
        *(["    config: Settings of the method."] if settings else []),
    ]
    return "\n".join(lines)


def learn_ava_p(
    run: Flat,
    config: AVAConfig = AVAConfig(),  # noqa: B008
    negative: Literal["unlikelihood", "clamped", "literal"] = "unlikelihood",
    expected_return: Literal["log", "literal"] = "log",
) -> None:
    """Learn rewards of tokens with their uncertainty, and a policy, from preferences: AVA-p.

    The folder is a reward model's and, for generate, a policy's. An interrupted run continues when the same
    command is given again, and ends with the same weights.

    Example: pluralign learn ava-p --data hh/harmless.jsonl.gz --out runs/harmless

    Args:
        run: Data, model, training, folder.
        config: Weights of the terms, and the switches of the ablations.
        negative: Cost of rejected tokens: -log(1 - p); log p, clamped; or log p as the paper has it.
        expected_return: Contrastive expected return as log sigma, or as sigma, as the paper has it.
    """
    penalty, contrast = NEGATIVES[negative], EXPECTED_RETURNS[expected_return]
    fit_ava_p(*run.prepare(), config, negative=penalty, expected_return=contrast)
    tell_learned(run.out, run.json)
