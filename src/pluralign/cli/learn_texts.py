"""``pluralign learn`` on texts: pairs or demonstrations -> the folder of a reward model or a policy."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import tyro

from pluralign.cli.common import Figures
from pluralign.cli.learn import say_learned
from pluralign.cli.texts import read_demonstrations, read_scored, read_texts
from pluralign.core import Demonstration, Examples, PreferencePair
from pluralign.core.digests import source_digest
from pluralign.core.messages import Render
from pluralign.data.examples import ScoredCompletion
from pluralign.data.load import holds_preferences
from pluralign.learn.methods import METHODS, Data, Method
from pluralign.learn.texts.loss_settings import loss_settings
from pluralign.learn.texts.reward_settings import AVAConfig
from pluralign.learn.texts.training_options import Training
from pluralign.options.open import DEFAULT_MODEL

if TYPE_CHECKING:
    from pluralign.learn.texts.run import Run


@dataclass(frozen=True)
class TextRun:
    """Options of all trainers on texts.

    Args:
        data: Training data: pairs.jsonl, or a file, folder or hub id with TRL's columns (chosen, rejected,
            prompt); demonstrations may also be prompt and completion, or messages; for value, lipo and awr,
            with rewards added by score, or a column "reward".
        out: Output folder.
        model: Model before training: smollm2-135m, a hub id or a local folder. Methods with a reference, such
            as dpo, use it as the reference too.
        objective: Name of the objective; by default the name of the data.
        training: Optimizer, batch and adapter options.
        template: Template for messages: HH-RLHF's plain dialogue, or the model's chat template.
        control_tokens: Whether prompts and completions that are texts may contain control tokens by name; by
            default such names are ordinary text.
        seed: Random seed of new weights, data order and splits.
    """

    data: str
    out: Path
    model: str = DEFAULT_MODEL
    objective: str = ""
    training: Training = field(default_factory=Training)
    template: Literal["dialogue", "chat"] = "dialogue"
    seed: int = 0
    control_tokens: bool = False

    def prepare(self) -> tuple[Sequence[PreferencePair], Run]:
        """The pairs, and the run."""
        return read_texts(self.data, self.objective, self._render(), self.seed), self._run()

    def demonstrations(self) -> tuple[Sequence[Demonstration], Run]:
        """The demonstrations (for preferences, the chosen completions), and the run."""
        return read_demonstrations(self.data, self.objective, self._render(), self.seed), self._run()

    def either(self) -> tuple[Sequence[PreferencePair] | Sequence[Demonstration], Run]:
        """Preferences if the data has them (rejected completions are used for measurement), else
        demonstrations."""
        return self.prepare() if holds_preferences(self.data) else self.demonstrations()

    def scored_completions(self, *, adaptive: bool = False) -> tuple[Examples[ScoredCompletion], Run]:
        """The completions with their rewards, and the run; ``adaptive`` as in `load_scored`."""
        return read_scored(self.data, self.objective, self._render(), self.seed, adaptive), self._run()

    def _render(self) -> Render:
        # Help needs no model.
        from transformers.utils import logging as transformers_logging

        from pluralign.lm.backbone import load_tokenizer
        from pluralign.lm.prompts import TEMPLATES

        # It warns of every checkpoint's clock, which is of no use here.
        transformers_logging.set_verbosity_error()
        return TEMPLATES[self.template](load_tokenizer(self.model), self.control_tokens)

    def _run(self) -> Run:
        from pluralign.learn.texts.run import Run

        return Run(
            self.model, self.out, self.training, self.seed, template=self.template,
            provenance=source_digest(self.data), control_tokens=self.control_tokens,
        )  # fmt: skip


Flat = Annotated[TextRun, tyro.conf.arg(name="")]
"""Its fields are options of their own, without a prefix."""


_READERS: Mapping[Data, Callable[[TextRun], tuple[Any, Run]]] = {
    "pairs": TextRun.prepare,
    "demonstrations": TextRun.demonstrations,
    "pairs or demonstrations": TextRun.either,
    "scored completions": TextRun.scored_completions,
}
"""What a method learns from, to how it is read."""

_NOTES = {
    "ava-d": "The folder is that of a reward model and, for generate, of a policy.",
    "awr": "The data are several samples of each prompt (generate) with their rewards (score). Tokens are "
    "compared with those of other samples after the same beginning; the verb says how many there are.",
    "discriminator": "On pairs of the recipe init-sft, this is the reward of alignment from demonstrations.",
    "sft": "For preference data, the chosen completions are the demonstrations.",
    "spin": "Each iteration samples completions (in OUT/rounds) and prefers the demonstrations to them.",
}
"""Further information for users, in addition to a method's row."""


def make_verb(name: str) -> Callable[..., Figures]:
    """The verb of a row of the table, with the options of every run and the method's own settings."""
    method = METHODS[name]
    settings = loss_settings(method.load()) if method.is_loss else method.load_settings()

    def learn(run: TextRun, *config: Any) -> Figures:
        rows, asked = _READERS[method.data](run)
        if method.is_loss:
            _learn_by_loss(method, rows, asked, *config)
        else:
            method.load()(rows, asked, *config)
        return say_learned(run.out)

    def without_settings(run: Flat) -> Figures:
        return learn(run)

    def with_settings(run: Flat, config: Any) -> Figures:
        return learn(run, config)

    verb: Any = without_settings if settings is None else with_settings
    verb.__doc__ = _help(method, settings is not None)
    if settings is not None:
        verb.__annotations__ = {"run": Flat, "config": settings, "return": Figures}
        verb.__defaults__ = (settings(),)
    return verb


def _learn_by_loss(method: Method, pairs: Sequence[PreferencePair], run: Run, config: Any) -> None:
    from pluralign.learn.texts.policies import learn_policy

    loss = partial(method.load(), **asdict(config))
    learn_policy(pairs, run, loss, per_token=method.per_token, reference=method.reference)


def _help(method: Method, settings: bool) -> str:
    note = f" {_NOTES[method.name]}" if method.name in _NOTES else ""
    lines = [
        f"Train a {method.result}: {method.help} ({method.source}).",
        "",
        f"It is trained on {method.data}.{note} If the same command is run again, an interrupted run "
        "continues and ends with the same weights.",
        "",
        f"Example: pluralign learn {method.name} {method.example}",
        "",
        "Args:",
        "    run: Data, model, training options, folder.",
        *(["    config: Settings of the method."] if settings else []),
    ]
    return "\n".join(lines)


def learn_ava_p(
    run: Flat,
    config: AVAConfig = AVAConfig(),  # noqa: B008
    negative: Literal["unlikelihood", "clamped", "literal"] = "unlikelihood",
    expected_return: Literal["log", "literal"] = "log",
) -> Figures:
    """Train rewards of tokens with their uncertainty, and a policy, on preferences: AVA-p.

    The folder is that of a reward model and, for generate, of a policy. If the same command is run again, an
    interrupted run continues and ends with the same weights.

    Example: pluralign learn ava-p --data hh/harmless.jsonl.gz --out runs/harmless

    Args:
        run: Data, model, training options, folder.
        config: Weights of the terms, and switches of the ablations.
        negative: Penalty of rejected tokens: -log(1 - p); log p, clamped; or log p as published.
        expected_return: Contrastive expected return with log sigma, or with sigma as published.
    """
    # Help needs no model.
    from pluralign.learn.texts.ava import fit_ava_p
    from pluralign.losses.bayesian_irl import EXPECTED_RETURNS
    from pluralign.losses.likelihood import NEGATIVES

    penalty, contrast = NEGATIVES[negative], EXPECTED_RETURNS[expected_return]
    fit_ava_p(*run.prepare(), config, negative=penalty, expected_return=contrast)
    return say_learned(run.out)
