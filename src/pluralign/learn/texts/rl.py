"""A policy for one weighting of several rewards, by a policy gradient on its own completions."""

from __future__ import annotations

import dataclasses
import time
from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import torch

from pluralign.core import InputError
from pluralign.core.checks import checked
from pluralign.core.digests import digest
from pluralign.core.locks import only_one_in
from pluralign.core.messages import QUOTE
from pluralign.core.splits import seed_for, split_of
from pluralign.data.columns import Content
from pluralign.data.examples import Prompt
from pluralign.data.reading import holds_quoted, learned_template
from pluralign.folders.card import TRUNK, Card, current_versions, write_folder
from pluralign.folders.tuned import describe_backbone, learned_tensors
from pluralign.learn.combination import Combination, Combine
from pluralign.learn.run_folder import claim_folder, own_source, release_folder
from pluralign.learn.suggested import Suggested
from pluralign.learn.texts.adversarial.reinforce import check_batch, check_training, fresh_policy
from pluralign.learn.texts.adversarial.samples import cut_prompt, prompt_room
from pluralign.learn.texts.adversarial.vllm_sampling import VLLMSampling
from pluralign.learn.texts.combined_reward import (
    GivenRewards,
    open_rewards,
    reward_of_samples,
    reward_of_texts,
)
from pluralign.learn.texts.rl_rounds import RLConfig, Rounds
from pluralign.learn.texts.run import Run, folder_optional
from pluralign.learn.weighting import Weighting, require_objectives
from pluralign.lm.adapters import is_adapted
from pluralign.lm.backbone import Backbone, load_backbone, make_backbone
from pluralign.lm.completion_trees import CompletionReader
from pluralign.lm.dtypes import DTypeName
from pluralign.lm.prompts import quoted_prompt
from pluralign.lm.tensors import trains
from pluralign.losses.advantages import centred_sum


@checked
@trains
@folder_optional
def fit_rl(
    prompts: Sequence[str] | Sequence[Prompt],
    run: Run,
    config: RLConfig | None = None,
    *,
    rewards: GivenRewards,
    weighting: Weighting,
    combine: Combine = centred_sum,
    dtype: DTypeName = "float32",
    vllm: VLLMSampling | None = None,
) -> Backbone:
    """Train a policy for one weighting of several rewards (`reinforce`, TRL's RLOO, on `CombinedReward`).

    Rewards are standardised once, by their mean and deviation over the first draw. Staying near the model
    before training is an objective with the weight ``config.kl``. ``run.training`` applies as in
    `fit_adversarial`: an epoch is one pass over a round's completions, the batch size counts completions,
    each round has a new optimizer, and its initial learning rate decreases from round to round. An
    interrupted run continues after its last finished round and ends with the same weights (bit for bit on a
    CPU).

    Prompts are split by `split_of`; figures are of completions of validation prompts (of training prompts if
    there are none). Figures of a round: ``rewards`` (mean of each), ``kl`` (divergence from the model before
    training, nats), ``weights`` (mean of those used), ``samples`` (completions drawn so far, those of the
    figures included). Round 0 is the model before training, and holds the scales. With targets, the card also
    has ``multipliers`` of standardised rewards and ``missed`` targets.

    Args:
        prompts: Prompts, as texts or as `load_prompts` reads them.
        run: Model, folder, training options, seed.
        config: See `RLConfig`.
        rewards: Reward of each objective: a function of prompts and completions, one per prompt; a reward; or
            an argument of `load_reward`, such as a folder.
        weighting: Weights of the rewards: `learn.weighting.Fixed`, `Suggested`, `ByInfluence`,
            `ByHypervolume`, or `learn.constraints.Constrained`.
        combine: Combination of rewards (`losses.advantages`).
        dtype: Floating-point type of rewards that are loaded here.
        vllm: vLLM as the sampler of the policy gradient; None samples here.

    Returns:
        The policy's language model.

    Raises:
        InputError: TRL is not installed, the combination would cancel what the weighting or a setting says,
            or is `fused_sum`, an objective has no reward or a constant one, there is no training prompt, the
            batch size is no multiple of ``config.samples``, several processes are running, an option of
            training has no effect here, or the folder holds another run.

    Examples:
        >>> import pluralign as pl
        >>> rewards = {
        ...     "brief": lambda prompts, texts: [-len(text) for text in texts],
        ...     "calm": lambda prompts, texts: [-sum(map(str.isupper, text)) for text in texts],
        ... }
        >>> config = pl.learn.RLConfig(rounds=1, prompts=4, samples=4, max_new_tokens=4)
        >>> run = pl.learn.Run("tiny-random", training=pl.Training(batch_size=8, lora_rank=2, bf16=False))
        >>> weighting = pl.learn.Fixed(pl.SteeringWeights(brief=0.5, calm=0.5))
        >>> prompts = ["Say a:", "Say b:", "Say c:"]
        >>> policy = pl.fit_rl(prompts, run, config, rewards=rewards, weighting=weighting)
        >>> policy.name
        'rl'
    """
    started, config = time.monotonic(), config or RLConfig()
    combination = Combination(combine, config.kl, config.tail)
    require_objectives(weighting, list(rewards))
    combination.require(weighting)
    combination.require_centred()
    check_training(run.training, vllm)
    turns = holds_quoted(prompts)
    functions, sources = open_rewards(
        rewards,
        dtype,
        partial(reward_of_samples, turns=turns) if run.has_quoted(prompts) else reward_of_texts,
    )
    run = dataclasses.replace(run, provenance={**run.provenance, "rewards": sources})
    backbone = load_backbone(run.model, dtype=torch.float32)
    template = learned_template(prompts, run.template, backbone.tokenizer)
    given = _texts(prompts, run, config, backbone)
    train, held_out = _splits(list(given), run.seed)
    if isinstance(weighting, Suggested):
        weighting = weighting.on(given)
    check_batch(run.training.batch_size, config.samples, min(len(train), config.prompts))
    record = _record(run, config, combination, weighting, [*train, *held_out], backbone)
    if vllm is not None and vllm.mode != "off":
        record["config"]["vllm"] = vllm.mode
    if run.out is None:
        raise InputError("a run needs a folder; see folder_optional", field="out")
    claim_folder(Path(run.out), record)
    rounds = Rounds(
        run, config, functions, weighting, combination, train, held_out, backbone, vllm, turns=turns
    )
    with only_one_in(Path(run.out) / "checkpoints"):
        try:
            figures = [rounds.round(0)]
        except BaseException:
            # A reward that fails at once is corrected, and is another run's then.
            release_folder(Path(run.out))
            raise
        figures += [rounds.round(number) for number in range(1, config.rounds + 1)]
    weights = rounds.weights_after(config.rounds)
    del rounds
    policy = fresh_policy(run.model, weights, run.training, run.seed)
    adapter = policy.model if is_adapted(policy.model) else None
    name = run.name or "rl"
    counts = {"digest": record["data"], "prompts": len(train), "validation_prompts": len(held_out)}
    card = Card(
        "rl", "", run.seed, {"training": dataclasses.asdict(run.training), **record["config"]},
        {**run.provenance, **counts}, record["backbone"],
        {**_last(figures[-1]), "rounds": figures, "seconds": round(time.monotonic() - started, 2)},
        current_versions(),
    )  # fmt: skip
    content = {"name": name, "policy": True, "template": template}
    content |= {"control_tokens": True} if run.control_tokens else {}
    tensors = {} if adapter else {TRUNK: dict(learned_tensors(policy.model))}
    write_folder(Path(run.out), "language_policy", card, content, tensors, adapter)
    return make_backbone(policy.model.requires_grad_(False), policy.tokenizer, name)


def _texts(
    prompts: Sequence[str] | Sequence[Prompt], run: Run, config: RLConfig, backbone: Backbone
) -> dict[str, Content]:
    """Distinct prompts as the model reads them, cut so that completions have room, and their sources."""
    tokenizer = backbone.tokenizer
    limit = CompletionReader.for_model(backbone.model, tokenizer, run.training.max_length).max_length
    room = prompt_room(tokenizer, limit, config.max_new_tokens)
    quoted = run.has_quoted(prompts)
    found: dict[str, Content] = {}
    for number, one in enumerate(prompts, start=1):
        text: Any = one.text if isinstance(one, Prompt) else one
        if not isinstance(text, str) or not text.strip():
            raise InputError(f"expected a text, found {one!r:.60}", row=number, field="prompts")
        text = text if quoted else quoted_prompt(tokenizer, text)
        if QUOTE in text:
            raise InputError(
                "has the name of a control token, which TRL's trainer cannot read as ordinary text",
                row=number, field="prompts",
            )  # fmt: skip
        found.setdefault(cut_prompt(tokenizer, text, room), one.given if isinstance(one, Prompt) else one)
    return found


def _splits(prompts: Sequence[str], seed: int) -> tuple[list[str], list[str]]:
    """Training prompts, and prompts for measurement in the order of their hashes."""
    parts: dict[str, list[str]] = {"train": [], "validation": [], "test": []}
    for prompt in prompts:
        parts[split_of(prompt, seed=seed)].append(prompt)
    if not parts["train"]:
        raise InputError("there is no training prompt to learn from", field="prompts")
    return parts["train"], sorted(parts["validation"], key=lambda prompt: seed_for(prompt, seed))


def _record(
    run: Run, config: RLConfig, combination: Combination, weighting: Weighting, prompts: Sequence[str],
    backbone: Backbone,
) -> dict[str, Any]:  # fmt: skip
    """What distinguishes this run from others."""
    # What bounds memory changes no result; earlier versions recorded that there was no checkpointing.
    training = dataclasses.asdict(run.training) | {"gradient_checkpointing": False}
    training.pop("token_budget")
    settings = {
        **dataclasses.asdict(config), "combine": getattr(combination.combine, "__name__", "custom"),
        **own_source("combine", combination.combine),
        "weighting": weighting.describe(), "objectives": list(weighting.objectives),
        "rewards": run.provenance.get("rewards", {}),
    }  # fmt: skip
    return {
        "method": "rl", "training": training, "config": settings, "seed": run.seed,
        "data": digest(prompt.encode() for prompt in prompts), "backbone": describe_backbone(backbone),
    }  # fmt: skip


def _last(figures: Mapping[str, Any]) -> dict[str, float]:
    """Headline figures of the last round."""
    own = {f"reward_{name}": value for name, value in figures["rewards"].items()}
    return {**own, "kl": figures["kl"]} | {
        name: figures[name] for name in ("multipliers", "missed") if name in figures
    }
