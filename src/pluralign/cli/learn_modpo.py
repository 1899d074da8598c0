"""``pluralign learn modpo``: one objective's pairs and the others' rewards -> a policy for one weighting."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch

from pluralign.cli.common import named_entries, say
from pluralign.cli.learn import tell_learned
from pluralign.cli.learn_texts import Flat
from pluralign.core import SteeringWeights
from pluralign.core.digests import source_digest
from pluralign.folders.card import CARD, load_card
from pluralign.learn.methods import METHODS
from pluralign.learn.texts.modpo import Margin, MODPOConfig, fit_modpo, require_weights
from pluralign.lm.backbone import DTypeName, resolve_dtype
from pluralign.rewards.likelihood_ratio import LikelihoodRatio
from pluralign.rewards.open import load_reward


def learn_modpo(
    run: Flat,
    margins: tuple[str, ...],
    weights: str,
    config: MODPOConfig = MODPOConfig(),  # noqa: B008
    dtype: DTypeName = "float32",
) -> None:
    """Train a policy for one weighting of several objectives: multi-objective DPO.

    The data's preferences are about one objective; the other objectives have rewards, which read the same
    texts (see template). Every weighting is a separate training run. If the same command is run again, an
    interrupted run continues and ends with the same weights.

    Example: pluralign learn modpo --data hh/helpful.jsonl.gz --margins harmless=runs/harmless
    --weights helpful=0.5,harmless=0.5 --out runs/half --training.lora-rank 16

    Args:
        run: Data, model (the policy before training, and the reference), training options, folder.
        margins: Reward of each other objective, as NAME=REWARD: a reward model's or an ensemble's folder,
            classifier:NAME, or closed-form:DIR, the likelihood ratio between a trained policy and its base
            model (for policies of dpo, modpo or spin multiplied by beta: their implicit reward).
        weights: Weights of the data's objective and of all others, NAME=NUMBER,NAME=NUMBER,..., summing to 1.
        config: Settings of the method.
        dtype: Precision of the reward models; auto is bfloat16 if the hardware supports it well.
    """
    specs = named_entries(margins, "margins", "NAME=REWARD")
    weighting = SteeringWeights.parse(weights)
    pairs, asked = run.prepare()
    for pair in pairs[:1]:
        require_weights(weighting, pair.objective, specs)
    opened = {name: _open(spec, resolve_dtype(dtype)) for name, spec in specs.items()}
    fit_modpo(pairs, asked, config, margins=opened, weights=weighting)
    found: Mapping[str, Mapping[str, float]] = load_card(run.out).figures["margins"]
    for name, figures in found.items():
        say(f"{name} agrees with {figures['agreement']:.1%} of the pairs; spread {figures['spread']:.3g}")
    tell_learned(run.out, run.json)


def _open(spec: str, dtype: torch.dtype) -> Margin:
    scorer = load_reward(spec, dtype=dtype)
    folder = Path(spec.rpartition(":")[2])
    # The card has the training figures, so two states of a folder have different digests.
    card_digest = source_digest(folder / CARD).get("file_digest", "")
    provenance: dict[str, Any] = {"source": spec, "card": card_digest, "dtype": str(dtype)}
    if not isinstance(scorer, LikelihoodRatio):
        return Margin(scorer, provenance=provenance)
    card = load_card(folder)
    if not (card.method in METHODS and METHODS[card.method].implicit_reward):
        return Margin(scorer, provenance=provenance)
    # These methods count the end-of-text token as well.
    whole = LikelihoodRatio(scorer.policy, scorer.reference, scorer.settings, scorer.name, ends=True)
    return Margin(whole, float(card.config["beta"]), provenance)
