"""``pluralign learn story-rl``: a story and its objectives -> an option policy, by a policy gradient."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from pluralign.cli.common import Figures
from pluralign.cli.learn import say_learned
from pluralign.cli.rl_options import Adapt, parse_tail, read_targets, read_weights, say_rounds
from pluralign.games.open import open_story
from pluralign.options.open import DEFAULT_MODEL, Models, open_trained


@dataclass(frozen=True)
class StoryRLOptions:
    """Options of reinforcement learning on a story.

    Args:
        rounds: Number of rounds, each with one step of the optimizer.
        block: Number of rounds between measurements; an interrupted run continues after the last one.
        episodes: Number of episodes played in a round, from which its decisions are drawn; four times as many
            are played for a measurement.
        decisions: Number of decisions in a round.
        samples: Number of continuations of a decision.
        learning_rate: Learning rate of AdamW, decaying linearly to 0.
        hidden: Width of the head's hidden layer, without a policy to start from; 0 for a linear head.
        kl: Weight of the divergence of an episode from the policy before training, in units of a standardised
            return for a nat.
        combine: Combination of the returns of a decision's continuations: the weighted sum; the sum divided
            by its deviation (group, as GRPO); the sum of standardised returns (each); that, standardised over
            the round (gdpo); the sum divided by the weighted deviations (variance, DVAO); or the sum with
            baselines that are fused with the other decisions' mean (fused), for few samples.
        tail: Utility that weighs the worst episodes more (RiskPO), as LOW,HIGH: shares of the episodes that
            count one and a half times, and beyond which a higher return counts nothing.
        adapt: Rule by which weights move in training: none, by influence, or by hypervolume.
        rate: Step size of weights that move by influence, and of the multipliers of targets.
    """

    rounds: int = 200
    block: int = 10
    episodes: int = 16
    decisions: int = 32
    samples: int = 8
    learning_rate: float = 3e-3
    hidden: int = 64
    kl: float = 0.1
    combine: Literal["sum", "group", "each", "gdpo", "variance", "fused"] = "sum"
    tail: str = ""
    adapt: Adapt = "none"
    rate: float = 0.1


def learn_story_rl(
    story: str,
    out: Path,
    objectives: tuple[str, ...] = ("score", "harm_avoidance"),
    weights: str = "",
    at_least: tuple[str, ...] = (),
    at_most: tuple[str, ...] = (),
    exactly: tuple[str, ...] = (),
    initial: Path | None = None,
    model: str = DEFAULT_MODEL,
    config: StoryRLOptions = StoryRLOptions(),
    features: Path | None = None,
    seed: int = 0,
) -> Figures:
    """Train a policy on a story for one weighting of its objectives, or for targets on their mean returns.

    The policy chooses among the options that the story lists, and goes wherever such policies do: sweep,
    games play, serve --story. Each weighting is a training run of its own; policies that are trained once and
    mixed serve all weightings (docs/rl.md). Returns are standardised once, by episodes of the policy before
    training. With targets, the policy stays as near to that policy as they allow; with weights too, it also
    maximises the weighted returns. If the same command is run again, an interrupted run continues and ends
    with the same weights.

    Example: pluralign learn story-rl --story salt_ledger --at-least harm_avoidance=-10 --weights score=1
    --out runs/careful

    Args:
        story: Name of a built-in story, or path of any game (docs/other_games.md).
        out: Output folder.
        objectives: Objectives of the story.
        weights: Weights as NAME=NUMBER,NAME=NUMBER: non-negative, summing to one; auto:DIR for weights that
            depend on the decision.
        at_least: Smallest acceptable mean return, as NAME=LEVEL. A level is a number in the return's own
            unit; +0.5sd or -0.5sd is that number of standard deviations from the mean before training.
        at_most: Largest acceptable mean return, as NAME=LEVEL.
        exactly: Required mean return, as NAME=LEVEL.
        initial: Folder of the policy before training (bc, cpl, story-rl); by default random play.
        model: Frozen trunk: smollm2-135m, a hub id or a local folder.
        config: Options of the method.
        features: Folder that keeps the trunk's features between runs.
        seed: Random seed of weights and play.
    """
    # Help needs no model.
    from pluralign.folders.card import load_card
    from pluralign.learn.combination import COMBINATIONS
    from pluralign.learn.options.story_rl import fit_story_rl
    from pluralign.learn.options.story_rounds import StoryRLConfig
    from pluralign.learn.weightings import make_weighting
    from pluralign.options.option_policy import OptionPolicy

    game = open_story(story)
    weighting = make_weighting(
        objectives, read_weights(weights), adapt=config.adapt, rate=config.rate,
        **read_targets(at_least=at_least, at_most=at_most, exactly=exactly),
    )  # fmt: skip
    settings = StoryRLConfig(
        rounds=config.rounds, block=config.block, episodes=config.episodes, decisions=config.decisions,
        samples=config.samples, learning_rate=config.learning_rate, hidden=config.hidden, kl=config.kl,
        tail=parse_tail(config.tail),
    )  # fmt: skip
    known, models = game.info.select(objectives), Models(model, features)
    before = (
        None
        if initial is None
        else open_trained(
            initial, models, OptionPolicy, refusal="is no policy of bc, cpl or story-rl", field="initial"
        )
    )
    fit_story_rl(
        game.make_game, objectives=known, store=models.store, out=out, weighting=weighting, config=settings,
        combine=COMBINATIONS[config.combine], initial=before, seed=seed, name=out.name,
    )  # fmt: skip
    say_rounds(load_card(out).figures["curve"])
    return say_learned(out)
