"""Whether more than two of a prompt's scored samples help: four losses on the same ranked lists.

    python experiments/ranked_samples.py --data FOLDER
    python experiments/ranked_samples.py --data FOLDER --measures cheerful

FOLDER contains hh_rlhf/. For each objective and seed, a reward ranks four samples of SmolLM2-135M for each
prompt. The best against the worst of them (DPO), all their pairs (DPO), list-MLE and LiPO-lambda train one
LoRA policy each, from the same lists. A policy that moves farther from the base model usually has more
reward, so policies are compared at equal KL: each adapter is also scaled down, and the mean reward is
interpolated at the largest KL that all four methods reach, and at half of it.

Without ``--measures`` the rewards are models of HH-RLHF's objectives, divided as in helpful_harmless.py.
With it they are programs (measured_lib), which cost nothing and have no errors of their own; the prompts are
then HH-RLHF's questions as chats. Either way the reward is the one that ranked the samples, so nothing is
said about over-optimisation. Every stage is a file in ``--out``; an interrupted run continues. ``--report``
writes the tables of all finished seeds.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import Any

import tyro
from afd_lib.stages import Recipe, Workshop
from helpful_harmless_lib import data
from measured_lib.measures import QUALITIES
from measured_lib.prompts import divided
from ranked_samples_lib.divergence import divergences
from ranked_samples_lib.report import write_report

from pluralign.core import Decision, SteeringWeights
from pluralign.core.files import read_json, write_json
from pluralign.core.splits import seed_for
from pluralign.data.examples import RankedCompletions, ScoredCompletion
from pluralign.folders.card import load_card
from pluralign.folders.soups import soup_backbone
from pluralign.folders.tuned import load_language_policy
from pluralign.learn.texts.lipo import LiPOConfig, fit_lipo
from pluralign.learn.texts.rewards import fit_bradley_terry
from pluralign.lm.backbone import Backbone, merged_backbone
from pluralign.lm.decoding import Decoding
from pluralign.lm.generation import draw_samples
from pluralign.losses.listwise import ListwiseLoss, all_pairs_loss, lambda_loss, list_likelihood_loss
from pluralign.pair.ranked import rank_completions
from pluralign.rewards.reward_model import load_reward_model


def best_against_worst(rows: Sequence[RankedCompletions]) -> list[RankedCompletions]:
    """The first and the last completion of each list."""
    return [
        replace(row, completions=(row.completions[0], row.completions[-1]), levels=(1.0, 0.0)) for row in rows
    ]


METHODS: dict[str, ListwiseLoss] = {
    "best against worst": all_pairs_loss,
    "all pairs": all_pairs_loss,
    "list-MLE": list_likelihood_loss,
    "lambda": lambda_loss,
}
"""Loss of each method; the first one has lists of two and is what the others are compared with."""
Rewards = Callable[[str, Mapping[str, Sequence[str]]], Sequence[Sequence[float]]]
"""Function from a name and samples by prompt to their rewards."""


@dataclass(frozen=True)
class Settings:
    """Settings of the experiment.

    Args:
        data: Folder of the data sets.
        out: Working folder.
        seeds: Random seeds of the parts, of training and of sampling.
        model: Base model of all training.
        objectives: Objectives of HH-RLHF.
        measures: Qualities that a program measures, in place of ``objectives``.
        sizes: Numbers of rows; ``value_prompts`` and ``value_samples`` are those of the ranked samples.
        beta: Temperature of the implicit reward.
        lora_rank: LoRA rank of the policies.
        learning_rate: Learning rate of the policies.
        epochs: Number of passes over the lists.
        batch_size: Number of lists per step.
        bf16: Whether training uses bfloat16, which only some processors are fast at.
        reward_layers: Number of uppermost layers that reward models train.
        strengths: Factors of the adapters, above 0 and at most 1, in increasing order.
        samples: Number of answers per test prompt and point.
        tokens: Number of new tokens of every answer.
        temperature: Sampling temperature of all answers.
        report: Whether to write the report only.
        results: Folder of the result files.
    """

    data: Path
    out: Path = Path("runs/ranked_samples")
    seeds: tuple[int, ...] = (1, 2, 3)
    model: str = "smollm2-135m"
    objectives: tuple[str, ...] = data.OBJECTIVES
    measures: tuple[str, ...] = ()
    sizes: data.Sizes = field(default_factory=data.Sizes)
    beta: float = 0.1
    lora_rank: int = 16
    learning_rate: float = 2e-4
    epochs: float = 2
    batch_size: int = 8
    bf16: bool = True
    reward_layers: int = 4
    strengths: tuple[float, ...] = (0.25, 0.5, 0.75, 1.0)
    samples: int = 4
    tokens: int = 48
    temperature: float = 1.0
    report: bool = False
    results: Path = Path(__file__).parent / "results"


class Experiment:
    """All stages of one seed.

    Args:
        settings: Settings of the experiment.
        seed: Random seed.
    """

    def __init__(self, settings: Settings, seed: int) -> None:
        self.settings = settings
        common = {"batch_size": settings.batch_size, "bf16": settings.bf16}
        policy = {
            "lora_rank": settings.lora_rank, "learning_rate": settings.learning_rate,
            "epochs": settings.epochs, **common,
        }  # fmt: skip
        reward = {"layers": settings.reward_layers, "learning_rate": 2e-4, "epochs": 1, **common}
        chats = bool(settings.measures)
        recipe = Recipe(settings.model, settings.tokens, policy=policy, reward=reward, control_tokens=chats)
        self.shop = Workshop(settings.out / str(seed), recipe, seed)
        sizes = settings.sizes
        if settings.measures:
            parts = (sizes.value_prompts, sizes.tests)
            self.prompts, self.test = divided(settings.data, self.shop.base.tokenizer, parts, seed)
        else:
            self.parts = data.read(settings.data, seed, sizes)
            pairs = [pair for rows in self.parts.policies.values() for pair in rows]
            known = {pair.chosen.steps[0].decision.prompt for pair in pairs}
            self.prompts, self.test = sorted(known, key=seed_for)[: sizes.value_prompts], self.parts.test

    def run(self) -> dict[str, Any]:
        """Run all stages, and return the figures by objective."""
        return {name: self._objective(name) for name in self.settings.measures or self.settings.objectives}

    def _objective(self, name: str) -> dict[str, Any]:
        rewards = self._measured(name) if self.settings.measures else self._learned(name)
        lists = self._lists(name, rewards)
        base = self._point(f"{name}-base", None, 0.0, rewards)
        found: dict[str, Any] = {}
        for number, (method, loss) in enumerate(METHODS.items()):
            rows = lists if number else best_against_worst(lists)
            label = f"{name}-{method.replace(' ', '-')}"
            config = LiPOConfig(self.settings.beta)
            folder = self.shop.trained(label, partial(fit_lipo, loss=loss), rows, "policy", config)
            points = [self._point(label, folder, strength, rewards) for strength in self.settings.strengths]
            figures = load_card(folder).figures
            accuracy = figures.get("validation_accuracy")
            found[method] = {"accuracy": accuracy, "seconds": figures["seconds"], "points": [base, *points]}
        return {"lists": len(lists), "methods": found}

    def _measured(self, name: str) -> Rewards:
        _, measure = QUALITIES[name].first
        return lambda label, draws: [[measure(text) for text in texts] for texts in draws.values()]

    def _learned(self, name: str) -> Rewards:
        """Rewards of a model, which is trained if it is not there."""
        judge = self.shop.trained(f"rm-{name}", fit_bradley_terry, self.parts.rewards[name], "reward")
        model = load_reward_model(judge, dtype=self.shop.base.dtype)

        def rewards(label: str, draws: Mapping[str, Sequence[str]]) -> list[list[float]]:
            decisions = [Decision(prompt, tuple(texts)) for prompt, texts in draws.items()]
            return [one.mean.tolist() for one in model.score_decisions(decisions)]

        return rewards

    def _lists(self, name: str, rewards: Rewards) -> list[RankedCompletions]:
        """Ranked samples of the base model; the draws are the same for all objectives."""
        own = self.settings
        size = own.sizes.value_samples
        draws = self.shop.drawn("draws", None, self.prompts, size, own.temperature)
        rows = [
            ScoredCompletion(prompt, text, float(reward), name, "train" if i % 10 else "validation")
            for i, ((prompt, texts), found) in enumerate(
                zip(draws.items(), rewards("draws", draws), strict=True)
            )
            for text, reward in zip(texts, found, strict=True)
        ]
        return list(rank_completions(rows, size))

    def _point(self, label: str, folder: Path | None, strength: float, rewards: Rewards) -> dict[str, Any]:
        """Mean reward and KL of each test prompt's answers, of a policy whose adapter is scaled."""
        path = self.shop.folder / "points" / f"{label}-{strength:g}.json"
        if path.exists():
            return read_json(path)
        policy = self.shop.base if folder is None else self._scaled(folder, strength)
        own = self.settings
        decoding = Decoding(own.tokens, own.temperature)
        draws = draw_samples(
            policy, self.test, own.samples, decoding, seed=self.shop.seed, label=f"{label}-{strength:g}"
        )
        found = {
            "strength": strength,
            "rewards": [sum(one) / len(one) for one in rewards(label, draws)],
            "kl": divergences(
                policy, self.shop.base, draws, own.tokens, own.temperature, quotes=not own.measures
            ),
        }
        write_json(path, found)
        return found

    def _scaled(self, folder: Path, strength: float) -> Backbone:
        """The base model plus ``strength`` times what the policy has learned."""
        policy = merged_backbone(load_language_policy(folder, dtype=self.shop.base.dtype))
        models = {"policy": policy, "base": self.shop.base}
        weights = SteeringWeights({"policy": strength, "base": 1 - strength})
        return soup_backbone(models, weights)


def main(settings: Settings) -> None:
    """Run all stages of each seed, and report all finished runs."""
    if not settings.report:
        for seed in settings.seeds:
            figures = Experiment(settings, seed).run()
            plain = {name: value for name, value in asdict(settings).items() if not isinstance(value, Path)}
            write_json(settings.out / f"{seed}.json", {"settings": plain, "objectives": figures})
    write_report(settings.out, settings.results, "measured_" * bool(settings.measures) + "ranked_samples")


if __name__ == "__main__":
    main(tyro.cli(Settings))
