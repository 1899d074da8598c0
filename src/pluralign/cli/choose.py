"""``pluralign choose``: the best completion of each prompt by a weighted sum of rewards."""

from __future__ import annotations

from pathlib import Path

from pluralign.cli.common import Figures, named_entries, say, say_table, wrote
from pluralign.data.answers import load_answers
from pluralign.lm.dtypes import DTypeName
from pluralign.steer.suggest import constant_weights


def choose_completions(
    completions: str,
    rewards: tuple[str, ...],
    weights: str,
    out: Path,
    lower_bound: float = 0.0,
    raw: bool = False,
    dtype: DTypeName = "float32",
) -> Figures:
    """Choose the best completion of each prompt by a weighted sum of rewards: weighted best-of-N.

    Rewards of different models have different units, so each is divided by its standard deviation between
    completions of one prompt, unless --raw True. An interrupted run continues. Other weights with the same
    objectives and the same --out do not run the models again.

    Example: pluralign choose --completions draws.jsonl --rewards helpful=runs/rm-helpful
    harmless=runs/rm-harmless --weights helpful=0.7,harmless=0.3 --out chosen.jsonl

    Args:
        completions: Samples, several per prompt (`pluralign generate --samples N`).
        rewards: Reward of each objective, as NAME=REWARD; REWARD is anything that `pluralign score` takes.
        weights: Weights of the objectives, as NAME=NUMBER,NAME=NUMBER, or wish:DIAL:NAME=NUMBER,... by a
            calibrated dial, or a file weights.json that `ask` or `weights` wrote; then each row says whether
            the weights decide, and which samples they leave. A reward of weight 0 is not loaded.
        out: JSON-lines file to write: prompt, completion, sample, rewards, weighted_reward and weights. The
            rewards of all completions are kept next to it.
        lower_bound: Number of standard deviations to subtract from each reward, if its model estimates them.
        raw: Whether to use the rewards in their own units.
        dtype: Precision of the reward models; auto is bfloat16 if the hardware supports it well.
    """
    # Help needs no model.
    from pluralign.elicit.posterior import WeightPosterior
    from pluralign.elicit.saved import load_posterior
    from pluralign.evaluate.rewards.choose import choose_best

    named = named_entries(rewards, "rewards", "NAME=REWARD")
    mix = load_posterior(weights) if Path(weights).is_file() else constant_weights(weights)
    if isinstance(mix, WeightPosterior):
        mix.mean.require_known(tuple(named))
    kept = out.with_name(f"{out.stem}.rewards.jsonl")
    found = choose_best(
        load_answers(completions), dict(named), mix, kept, lower_bound=lower_bound, raw=raw, dtype=dtype
    )
    found.save(out)
    summary = f"the best of {found.completions} completions of {len(found.answers)} prompts"
    wrote(out, f"{summary}; prompts with one completion: {found.alone}" if found.alone else summary)
    if found.verdicts:
        say(
            f"the weights do not decide between the completions of {found.undecided} prompts (decided: false)"
        )
    means = found.means()
    say("mean rewards")
    say_table(
        ["of all", "of the chosen", "of its own best"],
        {name: [f"{value:.4f}" for value in own.values()] for name, own in means.items()},
    )
    return {
        "prompts": len(found.answers), "completions": found.completions,
        "prompts_with_one_completion": found.alone, "rewards": {name: named[name] for name in found.rewards},
        "weights": dict(found.weights), "lower_bound": lower_bound, "scales": dict(found.scales) or None,
        "means": means, **({"undecided": found.undecided} if found.verdicts else {}),
    }  # fmt: skip
