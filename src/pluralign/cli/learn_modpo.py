"""``pluralign learn modpo``: one objective's pairs and the others' rewards -> a policy for one weighting."""

from __future__ import annotations

from collections.abc import Mapping

from pluralign.cli.common import Figures, named_entries, say
from pluralign.cli.learn import say_learned
from pluralign.cli.learn_texts import Flat
from pluralign.core import SteeringWeights
from pluralign.learn.texts.policy_settings import MODPOConfig
from pluralign.lm.dtypes import DTypeName


def learn_modpo(
    run: Flat,
    margins: tuple[str, ...],
    weights: str,
    config: MODPOConfig = MODPOConfig(),  # noqa: B008
    dtype: DTypeName = "float32",
) -> Figures:
    """Train a policy for one weighting of several objectives: multi-objective DPO.

    The data's preferences are about one objective; the other objectives have rewards, which read the same
    texts (see template). Every weighting is a separate training run. If the same command is run again, an
    interrupted run continues and ends with the same weights.

    Example: pluralign learn modpo --data hh/helpful.jsonl.gz --margins harmless=runs/harmless
    --weights helpful=0.5,harmless=0.5 --out runs/half --training.lora-rank 16
    --training.learning-rate 2e-4

    Args:
        run: Data, model (the policy before training, and the reference), training options, folder.
        margins: Reward of each other objective, as NAME=REWARD: a reward model's or an ensemble's folder,
            classifier:NAME, function:FILE.py:NAME, or closed-form:DIR, the likelihood ratio between a trained
            policy and its base model (for policies of dpo, modpo or spin multiplied by beta: their implicit
            reward).
        weights: Weights of the data's objective and of all others, NAME=NUMBER,NAME=NUMBER,..., summing to 1.
        config: Settings of the method.
        dtype: Precision of the reward models; auto is bfloat16 if the hardware supports it well.
    """
    # Help needs no model.
    from pluralign.folders.card import load_card
    from pluralign.learn.texts.modpo import fit_modpo, open_margin, require_weights

    specs = named_entries(margins, "margins", "NAME=REWARD")
    weighting = SteeringWeights.parse(weights)
    pairs, asked = run.prepare()
    for pair in pairs[:1]:
        require_weights(weighting, pair.objective, specs)
    opened = {name: open_margin(spec, dtype) for name, spec in specs.items()}
    fit_modpo(pairs, asked, config, margins=opened, weights=weighting)
    found: Mapping[str, Mapping[str, float]] = load_card(run.out).figures["margins"]
    for name, figures in found.items():
        # Ties have no label to agree with.
        agrees = f" agrees with {figures['agreement']:.1%} of the pairs;" if "agreement" in figures else ":"
        say(f"{name}{agrees} spread {figures['spread']:.3g}")
    return say_learned(run.out)
