"""``pluralign learn lipo``: several completions of each prompt and their rewards -> a policy."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from pluralign.cli.common import Figures, left_out, say
from pluralign.cli.learn import say_learned
from pluralign.cli.learn_texts import Flat
from pluralign.learn.texts.policy_settings import LiPOConfig
from pluralign.pair.ranked import rank_completions


@dataclass(frozen=True)
class ListOptions:
    """Options of lists and their loss.

    Args:
        size: Number of completions in a list, 2 or more. Prompts with fewer different completions are left
            out; of prompts with more, the first ones are used.
        loss: Loss of lists: pairs weighted by what the exchange of their ranks is worth (lambda), likelihood
            of the order (list-mle), or DPO on all pairs (pairs).
        beta: Temperature of the implicit reward (Liu et al. 2024: 0.05).
    """

    size: int = 4
    loss: Literal["lambda", "list-mle", "pairs"] = "lambda"
    beta: float = 0.05


def learn_lipo(
    run: Flat,
    config: ListOptions = ListOptions(),
) -> Figures:
    """Train a policy on ranked lists of completions: listwise preference optimisation (Liu et al. 2024).

    The data are several completions of each prompt (generate) with their rewards (score). Completions of a
    prompt are compared with one another only, by the share of the list that each one is better than, so the
    unit of the rewards does not matter. With lists of two, pairs and list-mle are DPO. If the same command is
    run again, an interrupted run continues and ends with the same weights.

    Example: pluralign learn lipo --data runs/scored.jsonl --out runs/helpful --config.size 4
    --training.lora-rank 16 --training.learning-rate 2e-4

    Args:
        run: Data (rows of pluralign score, or prompt, completion and reward), model (the policy before
            training, and the reference), training options, folder.
        config: Settings of the method.
    """
    # Help needs no model.
    from pluralign.learn.texts.lipo import fit_lipo
    from pluralign.losses.listwise import LIST_LOSSES

    settings = LiPOConfig(config.beta)
    rows, asked = run.scored_completions(adaptive=True)
    lists = rank_completions(rows, config.size)
    reasons = {
        "short": f"prompts with fewer than {config.size} different completions",
        "tied": "prompts with equal rewards only",
        "surplus": "completions beyond the size",
    }
    counts = lists.counts
    say(f"{counts['lists']} lists of {config.size} completions{left_out(counts, reasons)}")
    fit_lipo(lists, asked, settings, loss=LIST_LOSSES[config.loss])
    return say_learned(run.out)
