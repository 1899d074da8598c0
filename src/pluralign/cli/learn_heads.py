"""``pluralign learn mah-dpo``: pairs of several objectives -> a folder of heads on one model."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Annotated, Literal

import tyro

from pluralign.cli.common import Figures, named_entries
from pluralign.cli.learn import say_learned
from pluralign.cli.learn_texts import TextRun
from pluralign.learn.texts.policy_settings import MAHDPOConfig
from pluralign.learn.texts.training_options import Training
from pluralign.options.open import DEFAULT_MODEL


@dataclass(frozen=True)
class HeadsRun:
    """Options of `learn_mah_dpo`.

    Args:
        data: Pairs of each objective, as NAME=FILE: pairs.jsonl, or a file, folder or hub id with TRL's
            columns (chosen, rejected, prompt).
        out: Output folder.
        model: Model before training and reference: smollm2-135m, a hub id or a local folder.
        training: Optimizer, batch and adapter options; a frozen trunk takes neither lora-rank nor layers.
        template: Template for messages: HH-RLHF's plain dialogue, or the model's chat template.
        control_tokens: Whether prompts and completions that are texts may contain control tokens by name; by
            default such names are ordinary text.
        seed: Random seed of new weights, data order and splits.
    """

    data: tuple[str, ...]
    out: Path
    model: str = DEFAULT_MODEL
    training: Training = field(default_factory=Training)
    template: Literal["dialogue", "chat"] = "dialogue"
    seed: int = 0
    control_tokens: bool = False


Flat = Annotated[HeadsRun, tyro.conf.arg(name="")]
"""Its fields are options of their own, without a prefix."""


def learn_mah_dpo(
    run: Flat,
    config: MAHDPOConfig = MAHDPOConfig(),  # noqa: B008 - frozen
) -> Figures:
    """Train a head for each of several objectives on one model: multi-action-head DPO.

    Each head is a low-rank change of the vocabulary head, so that a mixture of all objectives takes one row
    and one pass of the model per token. If the same command is run again, an interrupted run continues and
    ends with the same weights.

    Example: pluralign learn mah-dpo --data helpful=hh/helpful.jsonl.gz harmless=hh/harmless.jsonl.gz
    --out runs/heads --training.learning-rate 1e-3

    Args:
        run: Data, model, training options, folder.
        config: Settings of the method.
    """
    # Help needs no model.
    from pluralign.learn.texts.heads import fit_mah_dpo

    more = (run.training, run.template, run.seed, run.control_tokens)
    read = {
        name: TextRun(file, run.out, run.model, name, *more).prepare()
        for name, file in named_entries(run.data, "data", "NAME=FILE").items()
    }
    provenance = {name: dict(asked.provenance) for name, (_, asked) in read.items()}
    (_, asked), *_ = read.values()
    pairs = {name: own for name, (own, _) in read.items()}
    fit_mah_dpo(pairs, replace(asked, provenance={"objectives": provenance}), config)
    return say_learned(run.out)
