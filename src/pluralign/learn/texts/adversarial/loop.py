"""Adversarial imitation of demonstrations: rounds of discriminator and policy-gradient training."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from typing import Any

import torch

from pluralign.core import Demonstration, InputError
from pluralign.core.checks import checked
from pluralign.core.locks import only_one_in
from pluralign.core.messages import QUOTE
from pluralign.data.reading import holds_quoted, learned_template
from pluralign.learn.texts.adversarial.reinforce import check_batch, check_training
from pluralign.learn.texts.adversarial.rounds import AdversarialConfig, Rounds
from pluralign.learn.texts.adversarial.samples import (
    round_prompts,
    within_limits,
)
from pluralign.learn.texts.adversarial.vllm_sampling import VLLMSampling
from pluralign.learn.texts.data import quoted_demonstrations, require_demonstrations, split_rows
from pluralign.learn.texts.run import Run, folder_optional
from pluralign.learn.texts.session import Session
from pluralign.lm.backbone import Backbone, load_backbone
from pluralign.lm.completion_trees import CompletionReader
from pluralign.lm.tensors import trains
from pluralign.losses.adversarial import AIRL, Divergence


@checked
@trains
@folder_optional
def fit_adversarial(
    demonstrations: Sequence[Demonstration],
    run: Run,
    config: AdversarialConfig | None = None,
    *,
    divergence: Divergence = AIRL,
    vllm: VLLMSampling | None = None,
) -> Backbone:
    """Train a policy that a discriminator cannot distinguish from demonstrations (Inverse-RLignment eq. 9-12,
    24-25).

    Each round draws samples from the current policy, trains a discriminator between samples and
    demonstrations (`fit_discriminator`), and increases the policy's mean reward, which is the divergence's
    function of the logit (`reinforce`). ``run.training`` applies to the policy: an epoch is one pass over a
    round's samples, and the batch size counts completions. Each round has a new optimizer; its initial
    learning rate decreases from round to round. An interrupted run continues after its last finished round
    and ends with the same weights (bit for bit on a CPU).

    Figures of a round: ``accuracy`` of the discriminator (both classes have equal weight) and ``divergence``
    (`divergence_bound` of the limited logits), on held-out demonstrations and fresh samples of the policy at
    the start of the round (on the training texts if no prompt is held out); ``reward``, mean reward of these
    samples; ``reward_after``, mean reward of samples after the round; ``kl``, divergence of the policy after
    the round from the initial policy, nats. ``out/rounds/N`` contains them, and for the last round also the
    discriminator and the samples.

    Args:
        demonstrations: Demonstrations; ``train`` is imitated, ``validation`` is used for measurement. All
            demonstrations of a prompt are used.
        run: Model (initial policy and starting point of the discriminators), folder, training options of the
            policy, seed.
        config: See `AdversarialConfig`.
        divergence: Divergence between demonstrator and policy that is minimised.
        vllm: vLLM as the sampler of the policy gradient; the samples of the discriminator and of the figures
            are drawn here. None draws all of them here.

    Returns:
        The policy's language model.

    Raises:
        InputError: TRL is not installed, vLLM cannot run, there is no training demonstration, the batch size
            is no multiple of ``config.samples``, several processes are running, an option of training has no
            effect here, or the folder holds another run.

    Examples:
        >>> import pluralign as pl
        >>> rows = [{"prompt": f"Say {i}:", "completion": " yes"} for i in range(8)]
        >>> demonstrations = pl.load_demonstrations(rows)
        >>> run = pl.learn.Run("tiny-random", training=pl.Training(bf16=False))
        >>> config = pl.learn.AdversarialConfig(rounds=1, max_new_tokens=4)
        >>> policy = pl.learn.fit_adversarial(demonstrations, run, config)
        >>> policy.name
        'adversarial'
    """
    config = config or AdversarialConfig()
    require_demonstrations(demonstrations)
    check_training(run.training, vllm)
    backbone = load_backbone(run.model, dtype=torch.float32)
    tokenizer = backbone.tokenizer
    limit = CompletionReader.for_model(backbone.model, tokenizer, run.training.max_length).max_length
    # The session and each round load models of their own.
    del backbone
    # The rows lose their template before the session reads them.
    template, quoted = (
        learned_template(demonstrations, run.template, tokenizer),
        run.has_quoted(demonstrations),
    )
    rows = demonstrations if quoted else quoted_demonstrations(demonstrations, tokenizer)
    if any(QUOTE in row.prompt for row in rows):
        raise InputError(
            "a prompt has the name of a control token, which TRL's trainer cannot read as ordinary text",
            field="prompt",
        )
    run = dataclasses.replace(run, template=template, quoted=True)
    rows = within_limits(rows, tokenizer, limit, config.max_new_tokens)
    settings: dict[str, Any] = {"divergence": divergence.name, **dataclasses.asdict(config)}
    # The token budget bounds memory and does not change results.
    settings["discriminator"].pop("token_budget")
    if vllm is not None and vllm.mode != "off":
        settings["vllm"] = vllm.mode
    train, _ = split_rows(rows, run.provenance.get("file"))
    check_batch(
        run.training.batch_size, config.samples, len(round_prompts(train, config.prompts, 1, run.seed))
    )
    session = Session("adversarial", run, settings, rows, demonstrations=True, vocabulary=True)
    loop = Rounds(session, config, divergence, rows, vllm, turns=holds_quoted(demonstrations))
    with only_one_in(session.out / "checkpoints"):
        figures = [loop.round(number) for number in range(1, config.rounds + 1)]
    session.trunk.model.load_state_dict(loop.weights_after(config.rounds), strict=False)
    last = {name: value for name, value in figures[-1].items() if isinstance(value, float)}
    return session.finish_policy({**last, "rounds": figures})
