"""Token ids that a sequence classifier's folder asks for, without its weights."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from transformers import AutoConfig, AutoModelForSequenceClassification, AutoTokenizer

from pluralign.core import Decision, InputError
from pluralign.core.digests import digest
from pluralign.core.files import read_json
from pluralign.core.messages import Template
from pluralign.lm.completion_trees import CompletionReader
from pluralign.lm.prompts import TEMPLATES
from pluralign.lm.trunk import context_length
from pluralign.rewards.classifier_reader import ClassifierReader
from pluralign.rewards.export import CARD_COPY, PROBES, exported_settings
from pluralign.rewards.reward_model import RewardSettings

_PROBES = (
    Decision("What is the capital of France?", (" Paris.", " I would rather not say.", " Go away!")),
    Decision("Write a poem.", (" The rain, the rain, and then the sun.", " no no no no no no no no", "")),
    Decision("2 + 2 =", (" 4", " 5, and you are stupid to ask")),
)


@dataclass(frozen=True)
class Reading:
    """How texts become token ids for a classifier.

    Args:
        place: Folder or hub id of the classifier.
        template: Template of messages and texts.
        paths: Function from a decision to the token ids of each option after its prompt.
        counts: Completions read, and what was cut.
        limit: Largest number of tokens of a text.
        labels: Number of the classifier's labels.
        probes: Token ids of a few texts.
        rewards: Rewards of the probes; None if the folder has none.
        digest: Digest of the folder's card and probes; empty without a card.
    """

    place: str
    template: Template
    paths: Callable[[Decision], Sequence[Sequence[int]]]
    counts: Mapping[str, int]
    limit: int
    labels: int
    probes: Sequence[Sequence[int]]
    rewards: Sequence[float] | None
    digest: str


def open_reading(place: str) -> Reading:
    """Read the configuration and the tokenizer of a classifier.

    A folder that `export_folder` wrote is read as the trained folder is, with the template and the length on
    its card; any other decoder-only classifier as `ClassifierReward` reads it.

    Args:
        place: Folder or hub id.

    Raises:
        InputError: It cannot be loaded, or is no decoder-only classifier with one or two labels.
    """
    configs: Any = AutoConfig
    tokenizers: Any = AutoTokenizer
    models: Any = AutoModelForSequenceClassification
    try:
        config = configs.from_pretrained(place)
        tokenizer = tokenizers.from_pretrained(place)
        with torch.device("meta"):
            model = models.from_config(config)
    except (OSError, ValueError, KeyError) as error:
        reason = next((line for line in str(error).splitlines() if line.strip()), type(error).__name__)
        raise InputError(
            f"has no tokenizer and configuration of a classifier ({reason}); give the served model's folder "
            "with tokenizer=FOLDER",
            path=place,
        ) from error
    if config.is_encoder_decoder or not hasattr(model, "score") or config.num_labels > 2:
        raise InputError("is no decoder-only sequence classifier with one or two labels", path=place)
    settings = exported_settings(place)
    if settings is not None:
        return _exported(Path(place), settings, model, tokenizer)
    probing = ClassifierReader(model, tokenizer, closes=False)
    probes = [path for probe in _PROBES for path in probing.paths(probe)]
    reader = ClassifierReader(model, tokenizer, closes=False)
    return Reading(
        place, reader.template, reader.paths, reader.counts, reader.limit, config.num_labels, probes, None, ""
    )


def _exported(folder: Path, settings: RewardSettings, model: Any, tokenizer: Any) -> Reading:
    context = context_length(model)
    limit = settings.max_length if context is None else min(settings.max_length, context)
    reader = CompletionReader(tokenizer, limit)
    template = TEMPLATES[settings.template](tokenizer, settings.control_tokens)
    files = [(folder / name).read_bytes() for name in (CARD_COPY, PROBES) if (folder / name).is_file()]
    if (folder / PROBES).is_file():
        known = read_json(folder / PROBES)
        probes, rewards = known["token_ids"], known["rewards"]
    else:
        # Folders that 0.1.0 exported have none.
        own = CompletionReader(tokenizer, limit)
        probes, rewards = [path for p in _PROBES for path in own.read(p.prompt, p.options).paths], None
    return Reading(
        str(folder), template, lambda decision: reader.read(decision.prompt, decision.options).paths,
        reader.counts, limit, model.config.num_labels, probes, rewards, digest(files),
    )  # fmt: skip
