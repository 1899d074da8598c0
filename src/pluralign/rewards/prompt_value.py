"""Mean rewards of prompts, predicted from scored completions of other prompts.

V_0 (arXiv 2602.03584) predicts how well any policy does on an unseen prompt from prompts and performances of
that policy, its context, without any training. Here the predictor is kernel ridge regression on features of a
frozen trunk. A policy is its context: another policy's scored completions give another predictor.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np

from pluralign.core import InputError
from pluralign.core.arrays import FloatArray
from pluralign.lm.backbone import Backbone, load_backbone
from pluralign.lm.prompt_states import mean_states
from pluralign.rewards.kernel_ridge import KernelRidge, fit_kernel_ridge


@dataclass(frozen=True, eq=False)
class PromptValue:
    """Predicts the mean reward of a policy's completions of a prompt.

    Args:
        backbone: Frozen trunk, whose mean states are the features.
        ridge: Regression on the features of the context's prompts.
        context: Mean reward of each prompt of the context.
        max_length: Largest number of tokens of a prompt; its end is read.
    """

    backbone: Backbone
    ridge: KernelRidge
    context: dict[str, float]
    max_length: int = field(default=512, kw_only=True)

    def predict(self, prompts: Sequence[str]) -> FloatArray:
        """Predicted mean reward of each prompt, shape (prompts,), in the unit of the context's rewards.

        Args:
            prompts: Prompts as rendered texts.

        Raises:
            InputError: A prompt has no tokens.
        """
        return self.ridge(_features(self.backbone, prompts, self.max_length))

    @property
    def explained(self) -> float:
        """Share of the variance of mean rewards between the context's prompts that is predicted when each
        prompt is left out; negative if the mean of the others is the better prediction. 0 if all are
        equal."""
        known = np.array(list(self.context.values()))
        if (known == known[0]).all():
            return 0.0
        alone = (known - known.mean()) * len(known) / (len(known) - 1)
        return float(1 - (self.ridge.errors**2).sum() / (alone**2).sum())


def fit_prompt_value(
    prompts: Sequence[str], rewards: Sequence[float], model: str | Backbone, *, penalty: float | None = None,
    max_length: int = 512,
) -> PromptValue:  # fmt: skip
    """Predictor of the mean rewards of one policy's completions; the order of the rows does not matter.

    >>> prompts = ["Say a:", "Say is:", "Say the:", "Say the:"]
    >>> fit_prompt_value(prompts, [1.0, 2.0, 3.0, 5.0], "tiny-random").context["Say the:"]
    4.0

    Args:
        prompts: Prompt of each scored completion of the policy, as a rendered text: the context.
        rewards: Reward of each completion.
        model: Frozen trunk; it need not be the policy.
        penalty: Penalty of the regression, above 0; by default the best one for prompts that are left out.
        max_length: Largest number of tokens of a prompt; its end is read.

    Raises:
        InputError: The numbers of prompts and rewards differ, there are fewer than three different prompts,
            a reward is not finite, or a prompt has no tokens.
    """
    context = mean_rewards(prompts, rewards)
    if len(context) < 3:
        raise InputError(f"expected three or more prompts, found {len(context)}", field="context")
    backbone = load_backbone(model) if isinstance(model, str) else model
    # Sums do not depend on the order of the rows to the last bit.
    context = dict(sorted(context.items()))
    features = _features(backbone, list(context), max_length)
    ridge = fit_kernel_ridge(features, np.array(list(context.values())), penalty)
    return PromptValue(backbone, ridge, context, max_length=max_length)


def mean_rewards(prompts: Sequence[str], rewards: Sequence[float]) -> dict[str, float]:
    """Mean reward of each prompt's completions, in the order of the prompts' first rows.

    Args:
        prompts: Prompt of each completion.
        rewards: Reward of each completion.

    Raises:
        InputError: The numbers of prompts and rewards differ, or a reward is not finite.
    """
    if len(prompts) != len(rewards):
        raise InputError(f"found {len(prompts)} prompts and {len(rewards)} rewards", field="rewards")
    found: dict[str, list[float]] = {}
    for number, (prompt, reward) in enumerate(zip(prompts, rewards, strict=True), start=1):
        if not math.isfinite(reward):
            raise InputError(f"expected a finite number, found {reward}", row=number, field="rewards")
        found.setdefault(prompt, []).append(float(reward))
    return {prompt: math.fsum(own) / len(own) for prompt, own in found.items()}


def _features(backbone: Backbone, prompts: Sequence[str], max_length: int) -> FloatArray:
    return mean_states(backbone, prompts, max_length=max_length).cpu().double().numpy()
