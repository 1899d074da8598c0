"""``pluralign learn adversarial``: demonstrations -> a policy that a discriminator cannot tell from them."""

from __future__ import annotations

from collections.abc import Callable
from typing import Literal

from pluralign.cli.common import say
from pluralign.cli.learn import tell_learned
from pluralign.cli.learn_texts import Flat
from pluralign.folders.card import load_card
from pluralign.learn.texts.adversarial.loop import AdversarialConfig, fit_adversarial
from pluralign.losses.adversarial import AIRL, FAIRL, GAIL, Divergence, alpha_divergence

DIVERGENCES: dict[str, Callable[[float], Divergence]] = {
    "airl": lambda alpha: AIRL,
    "gail": lambda alpha: GAIL,
    "fairl": lambda alpha: FAIRL,
    "alpha": alpha_divergence,
}


def learn_adversarial(
    run: Flat,
    config: AdversarialConfig = AdversarialConfig(),  # noqa: B008
    divergence: Literal["airl", "gail", "fairl", "alpha"] = "airl",
    alpha: float = 0.5,
) -> None:
    """Learn to write like demonstrations: a discriminator and a policy gradient (TRL's RLOO) in turn.

    The training options are the policy's: an epoch is one pass over a round's samples. To begin from a
    policy of learn sft, export it first and give its folder as the model. An interrupted run continues after
    its last finished round when the same command is given again, and ends with the same weights.

    Example: pluralign learn adversarial --data hh/harmless.jsonl.gz --model runs/sft-exported --out runs/afd

    Args:
        run: Data, model (the policy before training), the policy's training, folder.
        config: Rounds, samples, and the discriminator's training.
        divergence: Divergence between demonstrator and policy that is minimised: airl is KL(policy ||
            demonstrator) and seeks modes, fairl is KL(demonstrator || policy) and covers all, gail is
            Jensen-Shannon's, and alpha lies between and beyond.
        alpha: Parameter of the divergence alpha: 0 is fairl, 1 is airl.
    """
    demonstrations, asked = run.demonstrations()
    fit_adversarial(demonstrations, asked, config, divergence=DIVERGENCES[divergence](alpha))
    for figures in load_card(run.out).figures["rounds"]:
        say(", ".join(f"{name.replace('_', ' ')} {value}" for name, value in figures.items()))
    tell_learned(run.out, run.json)
