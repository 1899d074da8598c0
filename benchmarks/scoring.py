"""Speed and memory of several reward models on one trunk, loaded together and loaded one by one.

    python benchmarks/scoring.py --prompts hh_rlhf/harmless.jsonl.gz

Reward models are trained on a few pairs, each with its own seed, in the uppermost layers of one base model.
Both sides score the same completions, in turns of a few prompts; their rewards must be equal. Figures are
medians of the turns' ratios, and bytes of distinct weights.
"""

from __future__ import annotations

import statistics
import tempfile
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import tyro

from pluralign.core import Decision, OptionRewards
from pluralign.core.files import write_json
from pluralign.data.load import load_pairs
from pluralign.learn.texts.rewards import fit_bradley_terry
from pluralign.learn.texts.run import Run
from pluralign.learn.texts.training_options import Training
from pluralign.rewards.open import load_reward, load_rewards
from pluralign.rewards.reward import Reward
from pluralign.rewards.reward_model import RewardModel
from pluralign.rewards.together import score_together

Scored = dict[str, list[OptionRewards]]


@dataclass(frozen=True)
class Settings:
    """Settings of the benchmark.

    Args:
        prompts: Preference data, whose completions are scored.
        rewards: Number of reward models.
        layers: Number of uppermost layers that each of them trained.
        turns: Number of turns.
        group: Number of prompts per turn.
        model: Base model.
        json: Output file for the figures.
    """

    prompts: Path
    rewards: int = 4
    layers: int = 4
    turns: int = 5
    group: int = 4
    model: str = "smollm2-135m"
    json: Path | None = None


def main(settings: Settings) -> None:
    """Run the benchmark."""
    needed = 16 + settings.turns * settings.group
    pairs = load_pairs(settings.prompts, "prompts", "train")[:needed]
    if len(pairs) < needed:
        raise SystemExit(f"{settings.prompts}: expected {needed} training pairs, found {len(pairs)}")
    with tempfile.TemporaryDirectory() as place:
        options = Training(epochs=1, layers=settings.layers, max_length=384)
        folders = {f"rm{seed}": Path(place) / f"rm{seed}" for seed in range(settings.rewards)}
        for seed, folder in enumerate(folders.values()):
            fit_bradley_terry(pairs[:16], Run(settings.model, folder, options, seed))
        alone: dict[str, Reward] = {name: load_reward(folder) for name, folder in folders.items()}
        together = load_rewards(folders)
    sides: list[tuple[Mapping[str, Reward], Callable[[Sequence[Decision]], Scored]]] = [
        (alone, lambda asked: {name: own.score_decisions(asked) for name, own in alone.items()}),
        (together, lambda asked: score_together(together, dict.fromkeys(together, asked))),
    ]
    ratios: list[float] = []
    for turn in range(settings.turns):
        rows = pairs[16 + turn * settings.group :][: settings.group]
        asked = [decision for pair in rows for decision in pair.decisions()]
        order = sides if turn % 2 else sides[::-1]
        taken = [_timed(score, asked) for _, score in order]
        (first, one), (second, other) = taken if turn % 2 else taken[::-1]
        if any((a.mean != b.mean).any() for name in one for a, b in zip(one[name], other[name], strict=True)):
            raise SystemExit("the rewards differ")
        ratios.append(first / second)
        print(f"turn {turn + 1}: {ratios[-1]:.2f} times as fast together")
    sizes = [_bytes(rewards.values()) for rewards, _ in sides]
    figures = {
        "rewards": settings.rewards, "layers": settings.layers, "model": settings.model,
        "faster": statistics.median(ratios), "ratios": ratios, "bytes": sizes, "smaller": sizes[0] / sizes[1],
    }  # fmt: skip
    print(f"median {figures['faster']:.2f}; weights {sizes[0] / 2**20:.0f} and {sizes[1] / 2**20:.0f} MiB")
    if settings.json is not None:
        write_json(settings.json, figures)


def _timed(score: Callable[[Sequence[Decision]], Scored], asked: Sequence[Decision]) -> tuple[float, Scored]:
    start = time.perf_counter()
    found = score(asked)
    return time.perf_counter() - start, found


def _bytes(rewards: Iterable[Reward]) -> int:
    weights = {
        one.data_ptr(): one.nbytes
        for reward in rewards
        if isinstance(reward, RewardModel)
        for one in (*reward.backbone.model.parameters(), *reward.head.parameters())
    }
    return sum(weights.values())


if __name__ == "__main__":
    main(tyro.cli(Settings))
