"""``pluralign learn rl``: prompts and rewards -> a policy for one weighting, by a policy gradient."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from pluralign.cli.common import Figures, named_entries, say
from pluralign.cli.learn import say_learned
from pluralign.cli.rl_options import Adapt, parse_tail, read_targets, read_weights, say_rounds
from pluralign.core.digests import source_digest
from pluralign.data.load import load_prompts
from pluralign.learn.texts.adversarial.vllm_sampling import VLLMSampling
from pluralign.learn.texts.training_options import Training
from pluralign.lm.dtypes import DTypeName
from pluralign.options.open import DEFAULT_MODEL


@dataclass(frozen=True)
class RLOptions:
    """Options of reinforcement learning on prompts.

    Args:
        rounds: Number of rounds; figures are measured after each, and an interrupted run continues after the
            last finished one.
        prompts: Number of training prompts per round, drawn again for each round.
        samples: Number of completions per prompt; the batch size is a multiple of it.
        max_new_tokens: Largest number of tokens per completion.
        temperature: Sampling temperature.
        kl: Weight of the divergence from the model before training, in units of a standardised reward for a
            nat.
        combine: Combination of the rewards of a prompt's completions: the weighted sum; the sum divided by
            its deviation (group, as GRPO); the sum of standardised rewards (each); that, standardised over
            the batch (gdpo); or the sum divided by the weighted deviations (variance, DVAO).
        tail: Utility that weighs the worst completions more (RiskPO), as LOW,HIGH: shares of the completions
            that count one and a half times, and beyond which more reward counts nothing. 0.2,0.8 is the
            paper's.
        adapt: Rule by which weights move in training: none, by influence, or by hypervolume.
        rate: Step size of weights that move by influence, and of the multipliers of targets.
    """

    rounds: int = 4
    prompts: int = 256
    samples: int = 8
    max_new_tokens: int = 128
    temperature: float = 1.0
    kl: float = 0.1
    combine: Literal["sum", "group", "each", "gdpo", "variance"] = "sum"
    tail: str = ""
    adapt: Adapt = "none"
    rate: float = 0.1


def learn_rl(
    prompts: str,
    rewards: tuple[str, ...],
    out: Path,
    weights: str = "",
    at_least: tuple[str, ...] = (),
    at_most: tuple[str, ...] = (),
    exactly: tuple[str, ...] = (),
    model: str = DEFAULT_MODEL,
    config: RLOptions = RLOptions(),
    training: Training = Training(),  # noqa: B008 - frozen
    template: Literal["dialogue", "chat"] = "dialogue",
    control_tokens: bool = False,
    dtype: DTypeName = "float32",
    seed: int = 0,
    vllm: VLLMSampling = VLLMSampling(),  # noqa: B008 - frozen
) -> Figures:
    """Train a policy for one weighting of several rewards, or for targets, on its own completions.

    This is a policy gradient, TRL's RLOO. Each weighting is a training run of its own; policies that are
    trained once and mixed when they are used serve all weightings (docs/rl.md). Rewards are standardised
    once, on completions of the model before training. With targets, the policy stays as near to that model as
    they allow; with weights too, it also maximises the weighted rewards. If the same command is run again, an
    interrupted run continues after its last finished round and ends with the same weights.

    Example: pluralign learn rl --prompts prompts.jsonl --rewards helpful=runs/rm-helpful
    harmless=runs/rm-harmless --weights helpful=0.5,harmless=0.5 --out runs/rl --training.lora-rank 16

    Args:
        prompts: Prompts: a file, folder or hub id, as for generate.
        rewards: Reward of each objective, as NAME=REWARD; REWARD is anything that `pluralign score` takes.
        out: Output folder.
        weights: Weights as NAME=NUMBER,NAME=NUMBER: non-negative, summing to one; auto:DIR for weights that
            depend on the prompt (learn weights).
        at_least: Smallest acceptable mean reward, as NAME=LEVEL. A level is a number in the reward's own
            unit; +0.5sd or -0.5sd is that number of standard deviations from the mean before training.
        at_most: Largest acceptable mean reward, as NAME=LEVEL.
        exactly: Required mean reward, as NAME=LEVEL.
        model: Model before training: smollm2-135m, a hub id or a local folder.
        config: Options of the method.
        training: Training options of the policy: an epoch is one pass over a round's completions, and the
            batch size counts completions.
        template: Template for messages: HH-RLHF's plain dialogue, or the model's chat template.
        control_tokens: Whether prompts that are texts may contain control tokens by name; by default such
            names are ordinary text.
        dtype: Precision of the reward models.
        seed: Random seed of samples, new weights and the split into training and validation.
        vllm: vLLM as the sampler of the policy gradient.
    """
    # Help needs no model.
    from transformers.utils import logging as transformers_logging

    from pluralign.folders.card import load_card
    from pluralign.learn.combination import COMBINATIONS, Combination
    from pluralign.learn.texts.rl import fit_rl
    from pluralign.learn.texts.rl_rounds import RLConfig
    from pluralign.learn.texts.run import Run
    from pluralign.learn.weightings import make_weighting

    named = named_entries(rewards, "rewards", "NAME=REWARD")
    settings = RLConfig(
        config.rounds, config.prompts, config.samples, config.max_new_tokens, config.temperature, config.kl,
        parse_tail(config.tail),
    )  # fmt: skip
    weighting = make_weighting(
        list(named), read_weights(weights), adapt=config.adapt, rate=config.rate,
        **read_targets(at_least=at_least, at_most=at_most, exactly=exactly),
    )  # fmt: skip
    combine = COMBINATIONS[config.combine]
    # What would cancel is refused before models are loaded.
    Combination(combine, settings.kl, settings.tail).require(weighting)
    # It warns of every checkpoint's clock, which is of no use here.
    transformers_logging.set_verbosity_error()
    read = load_prompts(prompts, template=template, model=model, control_tokens=control_tokens)
    say(f"{len(read)} prompts of {prompts}")
    run = Run(
        model, out, training, seed, template=template, control_tokens=control_tokens,
        provenance=source_digest(prompts),
    )  # fmt: skip
    fit_rl(read, run, settings, rewards=named, weighting=weighting, combine=combine, dtype=dtype, vllm=vllm)
    say_rounds(load_card(out).figures["rounds"])
    return say_learned(out)
