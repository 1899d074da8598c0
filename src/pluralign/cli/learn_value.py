"""``pluralign learn value``: completions and their rewards -> a value model for guided sampling."""

from __future__ import annotations

from typing import Literal

from pluralign.cli.common import Figures
from pluralign.cli.learn import say_learned
from pluralign.cli.learn_texts import Flat
from pluralign.core import InputError
from pluralign.learn.texts.reward_settings import HLGauss, ValueConfig


def learn_value(
    run: Flat,
    loss: Literal["squared", "hl-gauss"] = "squared",
    lam: float = 0.95,
    bins: int | None = None,
    gamma: float = 1.0,
    at: Literal["tokens", "sentences"] = "tokens",
) -> Figures:
    """Train a value model, which predicts a completion's final reward after each token, for guided sampling.

    The data are samples of the model to be guided (generate) with their rewards (score). Values are in
    standard deviations of these rewards. A truncated completion is treated as if it ended there. For prompts
    with messages, use the template that they were sampled with: chat, if they are samples of a plain model.
    If the same command is run again, an interrupted run continues and ends with the same weights. The folder
    is a guide for generate; guides trained as adapters share one forward pass of their trunk.

    Example: pluralign learn value --data runs/scored.jsonl --out runs/helpful-value --training.lora-rank 16
    --training.learning-rate 2e-4

    Args:
        run: Data (rows of pluralign score, or prompt, completion and reward), model, training options,
            folder.
        loss: Loss: half the squared error, or classification into bins with smoothed targets (hl-gauss).
        lam: Parameter lambda of the lambda-returns used as targets; 1 is the final reward at every token.
        bins: Number of bins of hl-gauss, 8 or more; 51 by default.
        gamma: Discount of the standardised reward for each step before the end; 1 for none.
        at: Places of the targets, which are the steps: every token, or the ends of sentences only, where
            generate --block sentences reads the values.
    """
    # Help needs no model.
    from pluralign.learn.texts.value import fit_value

    if bins is not None and loss != "hl-gauss":
        raise InputError("requires --loss hl-gauss", field="bins")
    classes = None if loss == "squared" else HLGauss() if bins is None else HLGauss(bins)
    config = ValueConfig(lam, classes, gamma, at)
    rows, asked = run.scored_completions()
    fit_value(rows, asked, config)
    return say_learned(run.out)
