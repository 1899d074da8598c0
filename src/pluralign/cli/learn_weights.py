"""``pluralign learn weights``: pairs and rewards -> a model that suggests weights for a prompt."""

from __future__ import annotations

from pathlib import Path

from pluralign.cli.common import Figures, named_entries, say, say_table, wrote
from pluralign.core.digests import source_digest
from pluralign.core.messages import DIALOGUE
from pluralign.data.load import load_pairs
from pluralign.learn.texts.reward_settings import WeightsConfig
from pluralign.lm.dtypes import DTypeName
from pluralign.options.open import DEFAULT_MODEL


def learn_weights(
    data: str,
    rewards: tuple[str, ...],
    out: Path,
    config: WeightsConfig = WeightsConfig(),  # noqa: B008 - frozen
    model: str = DEFAULT_MODEL,
    template: str | None = None,
    dtype: DTypeName = "float32",
    seed: int = 0,
) -> Figures:
    """Learn which weights fit a prompt, from pairs of which nobody says what decided.

    The weights of a prompt are those under which people's choices are likeliest, given reward models of the
    objectives. auto:OUT then suggests weights wherever weights may depend on the prompt (`pluralign serve
    --suggest OUT`); a wish is a prior on them. The report says how many held-out choices equal weights, the
    best fixed weights and the suggested ones predict: if suggestions do not lead, fixed weights are better.

    Example: pluralign learn weights --data mixed.jsonl --rewards helpful=runs/rm-helpful
    harmless=runs/rm-harmless --out runs/suggest

    Args:
        data: Pairs of completions: a file, folder or hub id, as for the other learners.
        rewards: Reward of each objective, as NAME=REWARD; REWARD is anything that `pluralign score` takes.
        out: Output folder.
        config: Settings of the method.
        model: Frozen trunk that reads the prompts: smollm2-135m, a hub id or a local folder.
        template: Template of prompts that are messages, dialogue or chat; by default the data's.
        dtype: Precision of the trunk and the reward models.
        seed: Random seed of the split into training and validation.
    """
    # Help needs no model.
    from pluralign.learn.texts.suggestions import fit_weights

    named = named_entries(rewards, "rewards", "NAME=REWARD")
    pairs = load_pairs(data, "choice", template=template or DIALOGUE.name, model=model, seed=seed)
    found = fit_weights(
        pairs, dict(named), out=out, model=model, config=config, template=template, dtype=dtype,
        provenance=source_digest(data),
    )  # fmt: skip
    figures = found.card.figures
    fixed = zip(found.objectives, figures["fixed_weights"], strict=True)
    say("best fixed weights: " + ", ".join(f"{name} {weight:.3f}" for name, weight in fixed))
    ways = ("equal", "fixed", "learned")
    rows = {
        split: [f"{figures[f'{split}_{way}']:.1%}" for way in ways]
        for split in ("train", "validation")
        if f"{split}_equal" in figures
    }
    say("choices predicted")
    say_table(["equal weights", "fixed weights", "suggested weights"], rows)
    wrote(out, f"penalty {figures['penalty']:g}")
    return dict(figures)
