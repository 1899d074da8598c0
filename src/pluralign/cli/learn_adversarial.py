"""``pluralign learn adversarial``: demonstrations -> a policy, trained against a discriminator."""

from __future__ import annotations

from typing import Literal

from pluralign.cli.common import Figures, say
from pluralign.cli.learn import say_learned
from pluralign.cli.learn_texts import Flat
from pluralign.learn.texts.adversarial.vllm_sampling import VLLMSampling
from pluralign.learn.texts.policy_settings import AdversarialConfig


def learn_adversarial(
    run: Flat,
    config: AdversarialConfig = AdversarialConfig(),  # noqa: B008
    divergence: Literal["airl", "gail", "fairl", "alpha"] = "airl",
    alpha: float | None = None,
    vllm: VLLMSampling = VLLMSampling(),  # noqa: B008 - frozen
) -> Figures:
    """Train a policy on demonstrations with a discriminator and a policy gradient (TRL's RLOO), in
    alternation.

    The training options apply to the policy: an epoch is one pass over a round's samples. To start from a
    policy of learn sft, export it first and give its folder as the model. If the same command is run again,
    an interrupted run continues after its last finished round and ends with the same weights.

    Example: pluralign learn adversarial --data hh/harmless.jsonl.gz --model runs/sft-exported --out runs/afd

    Args:
        run: Data, model (the policy before training), the policy's training options, folder.
        config: Rounds, samples, and the discriminator's training options.
        divergence: Divergence between demonstrator and policy to minimise: airl is KL(policy ||
            demonstrator), mode-seeking; fairl is KL(demonstrator || policy), mass-covering; gail is the
            Jensen-Shannon divergence; alpha is the alpha-divergence.
        alpha: Parameter of the alpha-divergence: 0 is fairl, 1 is airl; 0.5 by default.
        vllm: vLLM as the sampler of the policy gradient.
    """
    # Help needs no model.
    from pluralign.folders.card import load_card
    from pluralign.learn.texts.adversarial.loop import fit_adversarial
    from pluralign.losses.adversarial import named_divergence

    minimised = named_divergence(divergence, alpha)
    demonstrations, asked = run.demonstrations()
    fit_adversarial(demonstrations, asked, config, divergence=minimised, vllm=vllm)
    for figures in load_card(run.out).figures["rounds"]:
        say(", ".join(f"{name.replace('_', ' ')} {value}" for name, value in figures.items()))
    return say_learned(run.out)
