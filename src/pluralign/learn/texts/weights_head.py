"""Fit of the layer that suggests weights, from features of prompts and rewards of completions."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor, nn

from pluralign.core import InputError
from pluralign.learn.texts.reward_settings import WeightsConfig
from pluralign.lm.tensors import to_list
from pluralign.losses.suggestion import choice_weights_loss, label_weights_loss
from pluralign.rewards.prompt_weights import WeightsHead

_STEPS = 200


@dataclass(frozen=True, eq=False)
class PromptChoices:
    """Choices between two completions of a prompt.

    Args:
        features: Features of each pair's prompt.
        rewards: Rewards of the chosen and the rejected completion, divided by their spreads.
    """

    features: Float[Tensor, "pairs d"]
    rewards: Float[Tensor, "pairs two objectives"]

    @property
    def differences(self) -> Float[Tensor, "pairs objectives"]:
        """Reward of the chosen minus that of the rejected completion."""
        return self.rewards[:, 0] - self.rewards[:, 1]


def spreads(
    rewards: Float[Tensor, "pairs two objectives"], names: Sequence[str]
) -> Float[Tensor, " objectives"]:
    """Standard deviation of each reward around the pairs' means.

    Raises:
        InputError: A reward is constant within every pair.
    """
    spread = (rewards - rewards.mean(dim=1, keepdim=True)).square().mean(dim=(0, 1)).sqrt()
    if constant := [name for name, value in zip(names, to_list(spread), strict=True) if value == 0]:
        raise InputError(
            f"'{constant[0]}' gives both completions of every pair the same reward", field="rewards"
        )
    return spread


def fit_head(
    head: WeightsHead, train: PromptChoices, held_out: PromptChoices | None, config: WeightsConfig
) -> dict[str, Any]:
    """Fit the layer with the best penalty.

    Args:
        head: Layer, which is changed.
        train: Choices to learn from.
        held_out: Choices by which the penalty is chosen.
        config: Settings of the method.

    Returns:
        The penalty, the fixed weights under which the training choices are likeliest, and the shares of
        choices that equal weights, fixed weights and the layer's predict.
    """
    head.standardise_by(train.features)
    objectives = train.rewards.shape[2]
    start = _constant_logits(train, config)
    # Fixed weights are those under which the choices are likeliest, whatever label the layer learns from.
    choice = replace(config, label="choice")
    fixed = torch.softmax(start if config == choice else _constant_logits(train, choice), dim=0)
    tried: list[tuple[float, float, dict[str, Tensor]]] = []
    for penalty in sorted(config.penalties, reverse=True):
        with torch.no_grad():
            # Every penalty starts from the same weights for all prompts.
            head.linear.weight.zero_()
            head.linear.bias.copy_(start)
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
            found[f"{name}_equal"] = share_predicted(part, torch.full((objectives,), 1 / objectives))
            found[f"{name}_fixed"] = share_predicted(part, fixed)
            found[f"{name}_learned"] = share_predicted(part, own)
    return found


def _constant_logits(part: PromptChoices, config: WeightsConfig) -> Float[Tensor, " objectives"]:
    """Logits of the weights of the least loss that do not depend on the prompt."""
    alone = WeightsHead(1, part.rewards.shape[2])
    _descend(alone, PromptChoices(torch.zeros(len(part.features), 1), part.rewards), config, 0.0)
    return alone.linear.bias.detach()


def share_predicted(part: PromptChoices, weights: Tensor) -> float:
    """Share of choices that the weights predict; ties count half."""
    utility = (part.differences * weights).sum(dim=1)
    return float((utility > 0).double().mean() + 0.5 * (utility == 0).double().mean())


def _losses(
    head: WeightsHead, part: PromptChoices, log_kappa: Tensor, config: WeightsConfig
) -> Float[Tensor, " pairs"]:
    logits = head(part.features)
    if config.label == "choice":
        return choice_weights_loss(logits, part.differences, log_kappa)
    values = part.differences if config.label == "margin" else part.rewards[:, 0]
    return label_weights_loss(logits, values, temperature=config.temperature)


def _descend(head: WeightsHead, part: PromptChoices, config: WeightsConfig, penalty: float) -> Tensor:
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
