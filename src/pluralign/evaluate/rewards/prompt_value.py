"""How well mean rewards of prompts are predicted: rank accuracy on held-out prompts."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from pluralign.core import InputError
from pluralign.core.arrays import FloatArray
from pluralign.core.checks import checked
from pluralign.core.messages import DIALOGUE, Render
from pluralign.data.load import load_scored
from pluralign.data.source import Data
from pluralign.evaluate.rank_correlation import Correlation, spearman
from pluralign.evaluate.statistics import CONFIDENCE, RESAMPLES, Estimate, of_resamples, resampling_weights
from pluralign.options.open import DEFAULT_MODEL
from pluralign.rewards.prompt_value import mean_rewards
from pluralign.steer.prompt_prior import load_prompt_value

PREDICTED, LENGTH, CONSTANT = "predicted value", "prompt length", "constant"


@dataclass(frozen=True)
class PromptValueCheck:
    """Predicted mean rewards of held-out prompts, compared with simpler predictions.

    Args:
        accuracies: Rank accuracy of each prediction: the share of pairs of prompts with different mean
            rewards that it ranks alike, ties counting half; intervals are over prompts.
        gains: Rank accuracy of the predicted value minus that of each other prediction, paired.
        correlation: Spearman's correlation of predicted and mean rewards.
        explained: Share of the variance in the context that is predicted for prompts that are left out.
        penalty: Penalty of the regression.
        prompts: Number of held-out prompts.
        context: Number of prompts of the context.
    """

    accuracies: Mapping[str, Estimate]
    gains: Mapping[str, Estimate]
    correlation: Correlation
    explained: float
    penalty: float
    prompts: int
    context: int

    def to_json(self) -> dict[str, Any]:
        """As a JSON object."""
        return asdict(self)


@checked
def evaluate_prompt_value(
    context: Data, data: Data, *, model: str = DEFAULT_MODEL, template: str | Render = DIALOGUE,
    max_length: int = 512, seed: int = 0,
) -> PromptValueCheck:  # fmt: skip
    """Predict the mean rewards of held-out prompts from a policy's scored completions of other prompts.

    Compared are the predictor (`load_prompt_value`), the number of the prompt's characters, with the sign of
    its correlation in the context, and a constant.

    Args:
        context: Scored completions of the policy (`load_scored`).
        data: Scored completions of other prompts, by the same policy and reward.
        model: Frozen trunk whose features describe prompts.
        template: How messages become text.
        max_length: Largest number of tokens of a prompt; its end is read.
        seed: Random seed of the intervals.

    Raises:
        InputError: A prompt is in both, there are fewer than three in one of them, or all held-out prompts
            have the same mean reward; or see `load_prompt_value`.

    Examples:
        >>> import pluralign as pl
        >>> rows = [{"prompt": f"Count to {i}:", "completion": " ok", "reward": i} for i in range(24)]
        >>> found = pl.evaluate.evaluate_prompt_value(rows[::2], rows[1::2], model="tiny-random")
        >>> found.prompts, found.context
        (12, 12)
    """
    rows = load_scored(data, template=template, model=model)
    held_out = mean_rewards([row.prompt for row in rows], [row.reward for row in rows])
    prompts, truth = list(held_out), np.array(list(held_out.values()))
    if len(prompts) < 3:
        raise InputError(f"expected three or more prompts, found {len(prompts)}", field="data")
    if not np.ptp(truth):
        raise InputError(f"all {len(prompts)} prompts have the mean reward {truth[0]:g}", field="data")
    value = load_prompt_value(context, model, template=template, max_length=max_length)
    if seen := [prompt for prompt in prompts if prompt in value.context]:
        raise InputError(f"{len(seen)} prompts are in the context too, such as {seen[0]!r:.60}", field="data")
    predicted = value.predict(prompts)
    known = spearman([len(prompt) for prompt in value.context], list(value.context.values()), resamples=1)
    lengths = np.array([len(prompt) for prompt in prompts]) * (-1.0 if known.value < 0 else 1.0)
    drawn = resampling_weights(len(truth), RESAMPLES, np.random.default_rng(seed))
    weights = np.vstack([np.ones(len(truth)), drawn * len(truth)])
    predictions = {PREDICTED: predicted, LENGTH: lengths, CONSTANT: np.zeros(len(prompts))}
    found = {name: rank_accuracy(own, truth, weights) for name, own in predictions.items()}
    return PromptValueCheck(
        {name: _estimate(own) for name, own in found.items()},
        {name: _estimate(found[PREDICTED] - own) for name, own in found.items() if name != PREDICTED},
        spearman(predicted, truth, seed=seed), value.explained, value.ridge.penalty, len(prompts),
        len(value.context),
    )  # fmt: skip


def rank_accuracy(predicted: FloatArray, truth: FloatArray, weights: FloatArray) -> FloatArray:
    """Share of pairs of rows that a prediction ranks like the truth, ties in the prediction counting half.

    Args:
        predicted: Predicted numbers, shape (rows,).
        truth: Numbers to rank, shape (rows,); pairs of equal ones do not count.
        weights: How often each row counts, shape (samples, rows), for resamples of the rows.

    Returns:
        Accuracy in each sample, shape (samples,); 0.5 if all its rows are equal.
    """
    order = _signs(truth)
    pairs = ((weights @ np.abs(order)) * weights).sum(axis=1)
    agreed = ((weights @ (order * _signs(predicted))) * weights).sum(axis=1)
    return 0.5 + 0.5 * agreed / np.where(pairs > 0, pairs, 1.0)


def _signs(values: FloatArray) -> FloatArray:
    return np.sign(values[:, None] - values[None, :])


def _estimate(found: Sequence[float] | FloatArray) -> Estimate:
    return of_resamples(float(found[0]), np.asarray(found[1:]), CONFIDENCE)
