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
from pluralign.cli.policies import DEFAULT_MODEL
from pluralign.cli.texts import digest_of, read_texts
from pluralign.core import PreferencePair
from pluralign.learn.completions import (
    AVAConfig,
    BradleyTerryConfig,
    DPOConfig,
    PreferenceTransformerConfig,
    Run,
    SFTConfig,
    Training,
    fit_ava_d,
    fit_ava_p,
    fit_bradley_terry,
    fit_bt_variance,
    fit_dpo,
    fit_preference_transformer,
    fit_sft,
)
from pluralign.losses.bayesian_irl import expected_return_loss, literal_expected_return_loss
from pluralign.losses.likelihood import clamped_negative, literal_negative, unlikelihood
from pluralign.models.backbone import load_tokenizer
from pluralign.models.rendering import TEMPLATES

NEGATIVES = {"unlikelihood": unlikelihood, "clamped": clamped_negative, "literal": literal_negative}
EXPECTED_RETURNS = {"log": expected_return_loss, "literal": literal_expected_return_loss}


@dataclass(frozen=True)
class TextRun:
    """What every learner on texts is told.

    Args:
        data: pairs.jsonl, or a file, folder or hub id with TRL's columns (chosen, rejected, prompt).
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
        # It warns of every checkpoint's clock, which is of no use here.
        transformers_logging.set_verbosity_error()
        pairs = read_texts(
            self.data, self.objective, TEMPLATES[self.template](load_tokenizer(self.model)), self.seed
        )
        run = Run(
            self.model, self.out, self.training, self.seed, template=self.template,
            provenance=digest_of(self.data),
        )  # fmt: skip
        return pairs, run


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
    """Learn rewards of tokens, and a policy, from the chosen completions alone: AVA-d.

    An interrupted run continues when the same command is given again, and ends with the same weights.

    Example: pluralign learn ava-d --data hh/harmless.jsonl.gz --out runs/harmless

    Args:
        run: data, model, training, folder.
        config: weights of the terms, and the switches of the ablations.
    """
    fit_ava_d(*run.prepare(), config)
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
    """Learn a policy that writes like the chosen completions: supervised fine-tuning.

    An interrupted run continues when the same command is given again, and ends with the same weights.

    Example: pluralign learn sft --data hh/helpful.jsonl.gz --out runs/sft --training.lora-rank 16

    Args:
        run: data, model (the policy before training), training, folder.
        config: what is special to the method.
    """
    fit_sft(*run.prepare(), config)
    tell_learned(run.out, run.json)
