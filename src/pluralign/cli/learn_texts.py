"""``pluralign learn`` on texts: pairs or demonstrations -> a reward model's or a policy's folder."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Literal

import tyro
from transformers.utils import logging as transformers_logging

from pluralign.cli.common import JsonFile
from pluralign.cli.learn import tell_learned
from pluralign.cli.texts import holds_preferences, objective_of, read_demonstrations, read_texts
from pluralign.core import Demonstration, PreferencePair
from pluralign.core.digests import source_digest
from pluralign.core.messages import Render
from pluralign.data import ScoredRead, load_scored_completions
from pluralign.learn.texts import (
    AVAConfig,
    BradleyTerryConfig,
    DPOConfig,
    PreferenceTransformerConfig,
    Run,
    SFTConfig,
    SPINConfig,
    Training,
    fit_ava_d,
    fit_ava_p,
    fit_bradley_terry,
    fit_bt_variance,
    fit_discriminator,
    fit_dpo,
    fit_preference_transformer,
    fit_sft,
    fit_spin,
)
from pluralign.lm.backbone import load_tokenizer
from pluralign.lm.prompts import TEMPLATES
from pluralign.losses.bayesian_irl import expected_return_loss, literal_expected_return_loss
from pluralign.losses.likelihood import clamped_negative, literal_negative, unlikelihood
from pluralign.options.open import DEFAULT_MODEL

NEGATIVES = {"unlikelihood": unlikelihood, "clamped": clamped_negative, "literal": literal_negative}
EXPECTED_RETURNS = {"log": expected_return_loss, "literal": literal_expected_return_loss}


@dataclass(frozen=True)
class TextRun:
    """What every learner on texts is told.

    Args:
        data: pairs.jsonl, or a file, folder or hub id with TRL's columns (chosen, rejected, prompt);
            demonstrations may also be prompt and completion, or messages; for value, with rewards as score
            adds them, or a column "reward".
        out: the folder to write.
        model: the trunk: smollm2-135m, a hub id or a local folder.
        objective: what the data is about; by default its name.
        training: how it trains.
        template: how messages become text: HH-RLHF's plain dialogue, or the model's chat template.
        seed: of weights, data order and splits.
        json: a file for the figures.
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

    def scored_completions(self) -> tuple[ScoredRead, Run]:
        """The completions with their rewards, and what is asked for."""
        about, render = self.objective or objective_of(self.data), self._render()
        return load_scored_completions(self.data, about, seed=self.seed, render=render), self._run()

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


def learn_bradley_terry(run: Flat, config: BradleyTerryConfig = BradleyTerryConfig()) -> None:  # noqa: B008
    """Learn a reward model from preference pairs: Bradley-Terry on the last token.

    An interrupted run continues when the same command is given again, and ends with the same weights.

    Example: pluralign learn bradley-terry --data hh/harmless.jsonl.gz --out runs/harmless

    Args:
        run: data, model, training, folder.
        config: what is special to the method.
    """
    fit_bradley_terry(*run.prepare(), config)
    tell_learned(run.out, run.json)


def learn_bt_variance(run: Flat, config: BradleyTerryConfig = BradleyTerryConfig()) -> None:  # noqa: B008
    """Learn a reward model that says how sure it is: Bradley-Terry with learned variance.

    An interrupted run continues when the same command is given again, and ends with the same weights.

    Example: pluralign learn bt-variance --data hh/harmless.jsonl.gz --out runs/harmless

    Args:
        run: data, model, training, folder.
        config: what is special to the method.
    """
    fit_bt_variance(*run.prepare(), config)
    tell_learned(run.out, run.json)


def learn_preference_transformer(
    run: Flat,
    config: PreferenceTransformerConfig = PreferenceTransformerConfig(),  # noqa: B008
) -> None:
    """Learn rewards of tokens whose weighted sum explains preferences: Preference Transformer.

    An interrupted run continues when the same command is given again, and ends with the same weights.

    Example: pluralign learn preference-transformer --data hh/harmless.jsonl.gz --out runs/harmless

    Args:
        run: data, model, training, folder.
        config: what is special to the method.
    """
    fit_preference_transformer(*run.prepare(), config)
    tell_learned(run.out, run.json)


def learn_ava_p(
    run: Flat,
    config: AVAConfig = AVAConfig(),  # noqa: B008
    negative: Literal["unlikelihood", "clamped", "literal"] = "unlikelihood",
    expected_return: Literal["log", "literal"] = "log",
) -> None:
    """Learn rewards of tokens with their uncertainty, and a policy, from preferences: AVA-p.

    An interrupted run continues when the same command is given again, and ends with the same weights.
    The folder is a reward model's and, for generate, a policy's.

    Example: pluralign learn ava-p --data hh/harmless.jsonl.gz --out runs/harmless

    Args:
        run: data, model, training, folder.
        config: weights of the terms, and the switches of the ablations.
        negative: what rejected tokens cost: -log(1 - p); log p, clamped; or log p to the letter.
        expected_return: the contrastive expected return as log sigma, or as sigma to the letter.
    """
    penalty, contrast = NEGATIVES[negative], EXPECTED_RETURNS[expected_return]
    fit_ava_p(*run.prepare(), config, negative=penalty, expected_return=contrast)
    tell_learned(run.out, run.json)


def learn_ava_d(run: Flat, config: AVAConfig = AVAConfig()) -> None:  # noqa: B008
    """Learn rewards of tokens, and a policy, from demonstrations: AVA-d.

    An interrupted run continues when the same command is given again, and ends with the same weights.

    Example: pluralign learn ava-d --data hh/harmless.jsonl.gz --out runs/harmless

    Args:
        run: data, model, training, folder.
        config: weights of the terms, and the switches of the ablations.
    """
    fit_ava_d(*run.either(), config)
    tell_learned(run.out, run.json)


def learn_discriminator(run: Flat) -> None:
    """Learn a reward from two sources of completions: the logit of what tells chosen from rejected.

    With pairs of the recipe init-sft it is the reward model of alignment from demonstrations. An interrupted
    run continues when the same command is given again, and ends with the same weights.

    Example: pluralign learn discriminator --data runs/init-sft.jsonl --out runs/reward

    Args:
        run: data (see pluralign pair recipe), model, training, folder.
    """
    fit_discriminator(*run.prepare())
    tell_learned(run.out, run.json)


def learn_dpo(run: Flat, config: DPOConfig = DPOConfig()) -> None:  # noqa: B008
    """Learn a policy from preference pairs with no reward model: direct preference optimisation.

    An interrupted run continues when the same command is given again, and ends with the same weights.

    Example: pluralign learn dpo --data hh/helpful.jsonl.gz --out runs/helpful --training.lora-rank 16

    Args:
        run: data, model (the policy before training, and the reference), training, folder.
        config: what is special to the method.
    """
    fit_dpo(*run.prepare(), config)
    tell_learned(run.out, run.json)


def learn_sft(run: Flat, config: SFTConfig = SFTConfig()) -> None:  # noqa: B008
    """Learn a policy that writes like demonstrations: supervised fine-tuning.

    Of preference data, the chosen completions are the demonstrations. An interrupted run continues when the
    same command is given again, and ends with the same weights.

    Example: pluralign learn sft --data answers.jsonl --out runs/sft --training.lora-rank 16

    Args:
        run: data, model (the policy before training), training, folder.
        config: what is special to the method.
    """
    fit_sft(*run.either(), config)
    tell_learned(run.out, run.json)


def learn_spin(run: Flat, config: SPINConfig = SPINConfig()) -> None:  # noqa: B008
    """Learn a policy from demonstrations by playing against its own past: self-play fine-tuning (SPIN).

    Each iteration draws completions and prefers the demonstrations to them. What was drawn is in OUT/rounds.
    An interrupted run continues when the same command is given again, and ends with the same weights.

    Example: pluralign learn spin --data answers.jsonl --out runs/spin --training.lora-rank 16

    Args:
        run: data, model (the policy that begins: a plain model, see pluralign export), training, folder.
        config: what is special to the method.
    """
    fit_spin(*run.demonstrations(), config)
    tell_learned(run.out, run.json)
