"""Weights that depend on the prompt, learned from choices (Preference Orchestrator, Liu et al. 2025)."""

from __future__ import annotations

import dataclasses
import json
import shutil
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch

from pluralign.core import InputError, PreferencePair
from pluralign.core.checks import checked
from pluralign.core.digests import digest
from pluralign.core.files import require_free
from pluralign.core.jsonl import read_rows
from pluralign.core.resumable import run_batches
from pluralign.data.reading import holds_quoted, learned_template
from pluralign.folders.card import CARD, Card, current_versions, read_card
from pluralign.folders.tuned import describe_backbone
from pluralign.learn.texts.data import split_rows
from pluralign.learn.texts.encoding import require_certain
from pluralign.learn.texts.weights_head import PromptChoices, WeightsConfig, fit_head, spreads
from pluralign.lm.backbone import load_backbone
from pluralign.lm.dtypes import DTypeName
from pluralign.lm.tensors import to_list, trains
from pluralign.options.open import DEFAULT_MODEL
from pluralign.rewards.identity import Scorer, reward_identity, reward_provenance
from pluralign.rewards.open import load_rewards
from pluralign.rewards.prompt_weights import KIND, PromptWeights, WeightsHead
from pluralign.rewards.reward import Reward, template_of
from pluralign.rewards.reward_model import RewardSettings

_BATCH = 64


@checked
@trains
def fit_weights(
    pairs: Sequence[PreferencePair],
    rewards: Mapping[str, Scorer],
    *,
    out: str | Path,
    model: str = DEFAULT_MODEL,
    config: WeightsConfig | None = None,
    template: str | None = None,
    dtype: DTypeName = "float32",
    provenance: Mapping[str, Any] | None = None,
) -> PromptWeights:
    """Learn weights that depend on the prompt from pairs whose objective is not known.

    The trunk is frozen: one linear layer on the mean state of the prompt, zero at the start (equal weights).
    Rewards are divided by their standard deviation around the pairs' means, once. The card reports how many
    held-out choices are predicted with equal weights, with the best fixed weights, and with learned ones.

    Args:
        pairs: Pairs of completions of one prompt each.
        rewards: Reward of each objective, two or more: a reward, or an argument of `load_reward`.
        out: Output folder; rewards are kept there, so that an interrupted run does not compute them again.
        model: Trunk: smollm2-135m, a hub id or a local folder.
        config: See `WeightsConfig`.
        template: Template of prompts that are messages; by default that of the pairs.
        dtype: Precision of the trunk, and of rewards that are loaded here.
        provenance: File and digest of the data, for the card.

    Raises:
        InputError: There are fewer than two rewards or no training pair, a pair's completions have two
            prompts, a reward is constant or not finite, or the folder holds something else.

    Examples:
        >>> import pluralign as pl
        >>> rows = [{"prompt": f"Say {i}:", "chosen": " yes", "rejected": " no"} for i in range(8)]
        >>> pairs = pl.load_pairs(rows, objective="agreement")
        >>> rewards = {
        ...     "brief": pl.FunctionReward("brief", lambda prompts, texts: [-len(text) for text in texts]),
        ...     "early": pl.FunctionReward("early", lambda prompts, texts: [-ord(text[1]) for text in texts]),
        ... }
        >>> weights = pl.learn.fit_weights(pairs, rewards, out="weights", model="tiny-random")
        >>> weights.weights(["Say 9:"]).shape
        (1, 2)
    """
    config, out = config or WeightsConfig(), Path(out)
    if len(rewards) < 2:
        raise InputError(f"expected rewards of two or more objectives, found {len(rewards)}", field="rewards")
    opened = load_rewards(rewards, dtype=dtype)
    train, validation = split_rows(pairs, (provenance or {}).get("file"))
    require_certain([*train, *validation], "weights")
    if (out / CARD).is_file() and read_card(out)["pluralign"] == KIND:
        # Rewards of a finished run may be those of models that have changed since.
        shutil.rmtree(out / "rewards", ignore_errors=True)
    elif not (out / "rewards").is_dir():
        require_free(out)
    precision = torch.float32 if dtype == "float32" else torch.bfloat16
    backbone = load_backbone(model, dtype=None if dtype == "auto" else precision)
    found = learned_template(pairs, template, backbone.tokenizer)
    settings = RewardSettings(config.max_length, found)
    head = WeightsHead(backbone.hidden_size, len(rewards))
    suggesting = PromptWeights(backbone, head, list(rewards), settings)
    sources = {name: [dtype, reward_provenance(own) or reward_identity(own)] for name, own in rewards.items()}
    parts = {
        name: _read(suggesting, rows, opened, sources, out / "rewards", quoted=holds_quoted(pairs))
        for name, rows in (("train", train), ("validation", validation))
        if rows
    }
    spread = spreads(parts["train"].rewards, list(rewards))
    scaled = {name: PromptChoices(part.features, part.rewards / spread) for name, part in parts.items()}
    figures = fit_head(head, scaled["train"], scaled.get("validation"), config)
    suggesting.card = Card(
        "weights", config=dataclasses.asdict(config),
        data={**(provenance or {}), "train": len(train), "validation": len(validation)},
        backbone=describe_backbone(backbone),
        figures={**figures, "spreads": dict(zip(rewards, to_list(spread), strict=True)),
                 "rewards": {name: own.name for name, own in opened.items()}},
        versions=current_versions(),
    )  # fmt: skip
    suggesting.save(out)
    suggesting.head.eval()
    return suggesting


def _read(
    model: PromptWeights, pairs: Sequence[PreferencePair], rewards: Mapping[str, Reward],
    sources: Mapping[str, Sequence[Any]], folder: Path, *, quoted: bool,
) -> PromptChoices:  # fmt: skip
    texts = [pair.texts(row=number) for number, pair in enumerate(pairs, start=1)]
    for number, ((prompt, _), (other, _)) in enumerate(texts, start=1):
        if prompt != other:
            raise InputError("the completions have two prompts; weights are learned for one", row=number)
    columns = [
        _rewards(name, reward, sources[name], pairs, folder, quoted) for name, reward in rewards.items()
    ]
    prompts = [chosen[0] for chosen, _ in texts]
    distinct = list(dict.fromkeys(prompts))
    read = distinct if quoted else [model.template.quote_prompt(one) for one in distinct]
    states = [model.features(read[i : i + _BATCH]) for i in range(0, len(read), _BATCH)]
    place = {prompt: number for number, prompt in enumerate(distinct)}
    features = torch.cat(states)[[place[prompt] for prompt in prompts]].clone()
    return PromptChoices(features, torch.as_tensor(np.stack(columns, axis=2)).float())


def _rewards(
    name: str, reward: Reward, source: Sequence[Any], pairs: Sequence[PreferencePair], folder: Path,
    quoted: bool,
) -> Any:  # fmt: skip
    """Rewards of each pair's chosen and rejected completion, shape (pairs, 2); kept in a file that is named
    by what they depend on."""
    template, starts = template_of(reward), range(0, len(pairs), _BATCH)

    def score(batch: Sequence[int]) -> list[dict[str, Any]]:
        (first,) = batch
        decisions = [one for pair in pairs[first : first + _BATCH] for one in pair.decisions()]
        decisions = decisions if quoted else [template.quote(one) for one in decisions]
        found = np.concatenate([own.mean for own in reward.score_decisions(decisions)]).reshape(-1, 2)
        if not np.isfinite(found).all():
            raise InputError(f"rewards of '{name}' are not numbers", field="rewards")
        return [{"rewards": found.tolist()}]

    asked = digest(["\0".join(pair.texts()[0] + pair.texts()[1]).encode() for pair in pairs])
    run = {"reward": name, "scorer": reward.name, "source": source, "pairs": asked, "quoted": quoted}
    path = folder / f"{digest([json.dumps(run, sort_keys=True).encode()])}.jsonl"
    if not path.exists():
        run_batches(
            path, run, starts, score, batch=1, label=f"rewards by {name}", unit="pair",
            size=lambda first: min(_BATCH, len(pairs) - first),
        )  # fmt: skip
    return np.array([pair for fields in read_rows(path) for pair in fields.get("rewards", list)])
