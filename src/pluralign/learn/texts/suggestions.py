"""Weights that depend on the prompt, learned from choices (Preference Orchestrator, Liu et al. 2025)."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor, nn

from pluralign.core import InputError, PreferencePair
from pluralign.core.checks import checked, require
from pluralign.core.digests import digest
from pluralign.core.files import require_free
from pluralign.core.jsonl import read_rows
from pluralign.core.resumable import run_batches
from pluralign.data.reading import learned_template
from pluralign.folders.card import CARD, Card, current_versions, read_card
from pluralign.folders.tuned import describe_backbone
from pluralign.learn.texts.data import split_rows
from pluralign.lm.backbone import load_backbone
from pluralign.lm.dtypes import DTypeName
from pluralign.lm.tensors import to_list
from pluralign.losses.suggestion import choice_weights_loss, label_weights_loss
from pluralign.options.open import DEFAULT_MODEL
from pluralign.rewards.prompt_weights import KIND, PromptWeights, WeightsHead
from pluralign.rewards.reward import Reward, template_of
from pluralign.rewards.reward_model import RewardSettings

Label = Literal["choice", "margin", "softmax"]
_BATCH = 64
_STEPS = 200


@dataclass(frozen=True)
class WeightsConfig:
    """Settings of `fit_weights`.

    Args:
        label: What the weights are learned from: choice, the weights under which the choices are likeliest;
            margin, softmax of the differences between the rewards of chosen and rejected completions;
            softmax, softmax of the rewards of chosen completions (the paper's, which follows their level).
        temperature: Temperature of the labels margin and softmax.
        penalties: Strengths of the L2 penalty on the layer; the one with the lowest loss on the validation
            split is used, or without one the strongest.
        max_length: Largest number of tokens of a prompt; its end is read.
    """

    label: Label = "choice"
    temperature: float = 1.0
    penalties: tuple[float, ...] = (1e-3, 1e-2, 1e-1, 1.0, 10.0)
    max_length: int = 512

    def __post_init__(self) -> None:
        require(self, {"temperature": 1e-9, "max_length": 1})
        if not self.penalties or min(self.penalties) <= 0:
            raise InputError("expected one or more numbers above 0", field="penalties")


@dataclass(frozen=True, eq=False)
class _Part:
    """A split: features of prompts, and scaled rewards of both completions, shape (pairs, 2, objectives)."""

    features: Float[Tensor, "pairs d"]
    rewards: Float[Tensor, "pairs two objectives"]

    @property
    def differences(self) -> Float[Tensor, "pairs objectives"]:
        return self.rewards[:, 0] - self.rewards[:, 1]


@checked
def fit_weights(
    pairs: Sequence[PreferencePair],
    rewards: Mapping[str, Reward],
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
        rewards: Reward model of each objective; two or more.
        out: Output folder; rewards and features are kept there, so an interrupted run continues.
        model: Trunk: smollm2-135m, a hub id or a local folder.
        config: See `WeightsConfig`.
        template: Template of prompts that are messages; by default that of the pairs.
        dtype: Precision of the trunk.
        provenance: File and digest of the data, for the card.

    Raises:
        InputError: There are fewer than two rewards or no training pair, a pair's completions have two
            prompts, a reward is constant or not finite, or the folder holds something else.
    """
    config, out = config or WeightsConfig(), Path(out)
    if len(rewards) < 2:
        raise InputError(f"expected rewards of two or more objectives, found {len(rewards)}", field="rewards")
    train, validation = split_rows(pairs, (provenance or {}).get("file"))
    if (
        not ((out / CARD).is_file() and read_card(out)["pluralign"] == KIND)
        and not (out / "rewards").is_dir()
    ):
        require_free(out)
    precision = torch.float32 if dtype == "float32" else torch.bfloat16
    backbone = load_backbone(model, dtype=None if dtype == "auto" else precision)
    found = learned_template(pairs, template, backbone.tokenizer)
    settings = RewardSettings(config.max_length, found)
    head = WeightsHead(backbone.hidden_size, len(rewards))
    suggesting = PromptWeights(backbone, head, list(rewards), settings)
    parts = {
        name: _read(suggesting, rows, rewards, out / "rewards", name)
        for name, rows in (("train", train), ("validation", validation))
        if rows
    }
    spread = _spread(parts["train"].rewards, list(rewards))
    scaled = {name: _Part(part.features, part.rewards / spread) for name, part in parts.items()}
    figures = _fit(head, scaled["train"], scaled.get("validation"), config)
    suggesting.card = Card(
        "weights", config=dataclasses.asdict(config),
        data={**(provenance or {}), "train": len(train), "validation": len(validation)},
        backbone=describe_backbone(backbone),
        figures={**figures, "spreads": dict(zip(rewards, to_list(spread), strict=True)),
                 "rewards": {name: own.name for name, own in rewards.items()}},
        versions=current_versions(),
    )  # fmt: skip
    suggesting.save(out)
    suggesting.head.eval()
    return suggesting


def _read(
    model: PromptWeights,
    pairs: Sequence[PreferencePair],
    rewards: Mapping[str, Reward],
    folder: Path,
    split: str,
) -> _Part:
    texts = [pair.texts(row=number) for number, pair in enumerate(pairs, start=1)]
    for number, ((prompt, _), (other, _)) in enumerate(texts, start=1):
        if prompt != other:
            raise InputError("the completions have two prompts; weights are learned for one", row=number)
    columns = [
        _rewards(name, reward, pairs, folder / f"{split}-{place}.jsonl")
        for place, (name, reward) in enumerate(rewards.items())
    ]
    prompts = [chosen[0] for chosen, _ in texts]
    distinct = list(dict.fromkeys(prompts))
    states = [
        model.features([model.template.quote_prompt(one) for one in distinct[i : i + _BATCH]])
        for i in range(0, len(distinct), _BATCH)
    ]
    place = {prompt: number for number, prompt in enumerate(distinct)}
    features = torch.cat(states)[[place[prompt] for prompt in prompts]].clone()
    return _Part(features, torch.as_tensor(np.stack(columns, axis=2)).float())


def _rewards(name: str, reward: Reward, pairs: Sequence[PreferencePair], path: Path) -> Any:
    """Rewards of each pair's chosen and rejected completion, shape (pairs, 2); kept in a file."""
    template, starts = template_of(reward), range(0, len(pairs), _BATCH)

    def score(batch: Sequence[int]) -> list[dict[str, Any]]:
        (first,) = batch
        decisions = [
            template.quote(decision)
            for pair in pairs[first : first + _BATCH]
            for decision in pair.decisions()
        ]
        found = np.concatenate([own.mean for own in reward.score_decisions(decisions)]).reshape(-1, 2)
        if not np.isfinite(found).all():
            raise InputError(f"rewards of '{name}' are not numbers", field="rewards")
        return [{"rewards": found.tolist()}]

    asked = digest(["\0".join(pair.texts()[0] + pair.texts()[1]).encode() for pair in pairs])
    run_batches(
        path, {"reward": name, "scorer": reward.name, "pairs": asked}, starts, score, batch=1,
        label=f"rewards by {name}", unit="pair", size=lambda first: min(_BATCH, len(pairs) - first),
    )  # fmt: skip
    return np.array([pair for fields in read_rows(path) for pair in fields.get("rewards", list)])


def _spread(
    rewards: Float[Tensor, "pairs two objectives"], names: Sequence[str]
) -> Float[Tensor, " objectives"]:
    """Standard deviation of each reward around the pairs' means."""
    spread = (rewards - rewards.mean(dim=1, keepdim=True)).square().mean(dim=(0, 1)).sqrt()
    if constant := [name for name, value in zip(names, to_list(spread), strict=True) if value == 0]:
        raise InputError(
            f"'{constant[0]}' gives both completions of every pair the same reward", field="rewards"
        )
    return spread


def _fit(head: WeightsHead, train: _Part, held_out: _Part | None, config: WeightsConfig) -> dict[str, Any]:
    """Fit the layer with the best penalty; return what is reported."""
    head.standardise_by(train.features)
    objectives = train.rewards.shape[2]
    alone = WeightsHead(1, objectives)
    constant = _Part(torch.zeros(len(train.features), 1), train.rewards)
    _descend(alone, constant, config, 0.0)
    fixed = torch.softmax(alone.linear.bias.detach(), dim=0)
    tried: list[tuple[float, float, dict[str, Tensor]]] = []
    for penalty in sorted(config.penalties, reverse=True):
        with torch.no_grad():
            # Every penalty starts from the best fixed weights.
            head.linear.weight.zero_()
            head.linear.bias.copy_(alone.linear.bias)
        kappa = _descend(head, train, config, penalty)
        judged = train if held_out is None else held_out
        with torch.no_grad():
            loss = float(_losses(head, judged, kappa, config).mean())
        state = {name: value.clone() for name, value in head.state_dict().items()}
        tried.append((loss if held_out is not None else -penalty, penalty, state))
    _, penalty, state = min(tried, key=lambda one: one[0])
    head.load_state_dict(state)
    found: dict[str, Any] = {"penalty": penalty, "fixed_weights": to_list(fixed)}
    for name, part in (("train", train), ("validation", held_out)):
        if part is not None:
            with torch.no_grad():
                own = torch.softmax(head(part.features), dim=1)
            found[f"{name}_equal"] = _right(part, torch.full((objectives,), 1 / objectives))
            found[f"{name}_fixed"] = _right(part, fixed)
            found[f"{name}_learned"] = _right(part, own)
    return found


def _right(part: _Part, weights: Tensor) -> float:
    """Share of choices that the weights predict; ties count half."""
    utility = (part.differences * weights).sum(dim=1)
    return float((utility > 0).double().mean() + 0.5 * (utility == 0).double().mean())


def _losses(
    head: WeightsHead, part: _Part, log_kappa: Tensor, config: WeightsConfig
) -> Float[Tensor, " pairs"]:
    logits = head(part.features)
    if config.label == "choice":
        return choice_weights_loss(logits, part.differences, log_kappa)
    values = part.differences if config.label == "margin" else part.rewards[:, 0]
    return label_weights_loss(logits, values, temperature=config.temperature)


def _descend(head: WeightsHead, part: _Part, config: WeightsConfig, penalty: float) -> Tensor:
    """Minimise the mean loss with an L2 penalty on the layer; return the logarithm of the decisiveness."""
    log_kappa = nn.Parameter(torch.zeros(()))
    # Its methods are not typed.
    optimizer: Any = torch.optim.LBFGS(
        [*head.parameters(), log_kappa], max_iter=_STEPS, line_search_fn="strong_wolfe",
        tolerance_grad=1e-7, tolerance_change=1e-10,
    )  # fmt: skip

    def closure() -> Tensor:
        optimizer.zero_grad()
        loss = _losses(head, part, log_kappa, config).mean()
        # Log kappa is held near 0, where choices without any noise would send it to infinity.
        loss = loss + penalty * head.linear.weight.square().sum() + 1e-3 * log_kappa.square()
        found: Any = loss
        found.backward()
        return loss

    optimizer.step(partial(torch.enable_grad()(closure)))
    return log_kappa.detach()
