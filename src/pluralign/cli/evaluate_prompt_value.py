"""``pluralign evaluate prompt-value``: rank accuracy of predicted mean rewards of prompts."""

from __future__ import annotations

from pluralign.cli.common import Figures, say, say_table
from pluralign.core.messages import DIALOGUE
from pluralign.options.open import DEFAULT_MODEL


def evaluate_prompt_value(
    context: str, data: str, model: str = DEFAULT_MODEL, template: str = DIALOGUE.name, seed: int = 0
) -> Figures:
    """Measure how well a policy's mean reward on a prompt is predicted from its other prompts.

    The prediction is that of generate --context: kernel ridge regression on features of a frozen model.
    Rank accuracy is the share of pairs of held-out prompts that are ranked like their mean rewards; the
    length of prompts and a constant (0.5) are what it has to beat. Intervals are over prompts.

    Example: pluralign evaluate prompt-value --context scored.jsonl --data held_out.jsonl

    Args:
        context: Scored completions of the policy (generate, score).
        data: Scored completions of other prompts, by the same policy and reward.
        model: Frozen model whose features describe prompts; it need not be the policy.
        template: Template of prompts that are messages, dialogue or chat.
        seed: Random seed of the intervals.
    """
    # Help needs no model.
    from pluralign.evaluate.rewards.prompt_value import evaluate_prompt_value as evaluate

    found = evaluate(context, data, model=model, template=template, seed=seed)
    say(f"{found.prompts} held-out prompts, {found.context} in the context: share of pairs ranked alike")
    say_table(
        ["rank accuracy, 95 % interval"],
        {name: [own.with_interval()] for name, own in found.accuracies.items()},
    )
    for name, own in found.gains.items():
        say(f"predicted value minus {name}: {own.with_interval()}")
    said = f"penalty {found.penalty:.3g}; {found.explained:.0%} of the variance between prompts"
    say(f"correlation (Spearman) {found.correlation}; {said} that are left out of the context")
    return {"context_file": context, "data": data, "model": model, **found.to_json()}
