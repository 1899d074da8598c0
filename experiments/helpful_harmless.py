"""Helpful and harmless, two objectives of HH-RLHF: one policy per objective, steered, and the alternatives.

    python experiments/helpful_harmless.py --data FOLDER --seed 1

FOLDER contains hh_rlhf/ (harmless, helpful, helpful_online and helpful_rejection_sampled .jsonl.gz). Each
objective gets a LoRA policy by DPO and one by AVA-p on SmolLM2-135M, and a reward model from other
conversations, which scores the completions. The steered sweeps are compared with rewarded soups of the same
adapters, prompting the base model for the trade-off, MODPO trained for three weightings, and DPO on both
objectives' preferences mixed. A further sweep has policies trained on the base model's samples, the best of
four against the worst by the rewards that score them in the end (as in Rame et al. 2023), compared with value
models and with heads on one model (MAH-DPO, joint and frozen) that were trained on the same samples; what
joint training costs an objective is reported, too. Every stage is a file in ``--out``; an interrupted run
continues. Tables and figures of all seeds are written after each sweep, or by ``--report`` alone; sweeps and
seeds that the results have from other working folders stay in them.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from functools import cached_property, partial
from pathlib import Path
from typing import Any, Literal, get_args

import numpy as np
import tyro
from afd_lib.stages import Draws, Recipe, Workshop
from helpful_harmless_lib import data
from helpful_harmless_lib.remembered import Remembered
from helpful_harmless_lib.report import FROZEN, JOINT, write_report

from pluralign.core import PreferencePair, SteeringWeights
from pluralign.core.files import write_json
from pluralign.core.splits import seed_for
from pluralign.data.examples import ScoredCompletion
from pluralign.data.text_pairs import TextPair, one_step_pair
from pluralign.evaluate.sweeps.alternatives import (
    Alternatives,
    Baseline,
    FixedPolicy,
    GuidedModel,
    OtherPolicies,
)
from pluralign.evaluate.sweeps.prompts import sweep
from pluralign.folders.card import load_card
from pluralign.learn.texts.ava import AVAConfig, fit_ava_p
from pluralign.learn.texts.heads import MAHDPOConfig, fit_mah_dpo
from pluralign.learn.texts.modpo import Margin, MODPOConfig, fit_modpo
from pluralign.learn.texts.policies import DPOConfig, fit_dpo
from pluralign.learn.texts.rewards import fit_bradley_terry
from pluralign.learn.texts.run import Run
from pluralign.learn.texts.value import ValueConfig, fit_value
from pluralign.rewards.open import load_closed_form
from pluralign.rewards.tqr import TQRShape

BETA = 0.1
AVA = AVAConfig(tqr=TQRShape(reduction="mean"), beta=0.1, td_weight=0.001, kl_weight=0.001)
"""As in afd.py."""
MODPO_AT = (0.25, 0.5, 0.75)
"""Weights on the first objective for which MODPO policies are trained."""


Sweep = Literal["DPO", "DPO, ranked", "AVA-p"]
"""A sweep between policies that were learned in one way."""


@dataclass(frozen=True)
class Settings:
    """Settings of the experiment.

    Args:
        data: Folder of the data sets.
        out: Working folder.
        seed: Random seed of the parts, of training and of sampling.
        model: Base model of all training.
        sizes: Numbers of rows.
        lora_rank: LoRA rank of the policies.
        learning_rate: Learning rate of the policies.
        reward_layers: Number of uppermost layers that reward models train.
        steps: Number of steps of the grid: weights are multiples of 1/steps.
        samples: Number of answers per test prompt and weighting.
        tokens: Number of new tokens of every answer.
        strengths: Strengths of value guidance; empty for none.
        heads: Whether to train heads on the ranked samples, on a frozen trunk and jointly with an adapter.
        head_rate: Learning rate of heads on the frozen trunk.
        sweeps: Sweeps to run, each with its own policies; each is reported when it is finished.
        report: Whether to write the report only.
        results: Folder of the result files.
    """

    data: Path
    out: Path = Path("runs/helpful_harmless")
    seed: int = 1
    model: str = "smollm2-135m"
    sizes: data.Sizes = field(default_factory=data.Sizes)
    lora_rank: int = 16
    learning_rate: float = 2e-4
    reward_layers: int = 4
    steps: int = 10
    samples: int = 1
    tokens: int = 48
    strengths: tuple[float, ...] = (2.0,)
    heads: bool = True
    head_rate: float = 1e-3
    sweeps: tuple[Sweep, ...] = get_args(Sweep)
    report: bool = False
    results: Path = Path(__file__).parent / "results"


class Experiment:
    """All stages of one seed."""

    def __init__(self, settings: Settings) -> None:
        self.settings = settings
        policy = {
            "lora_rank": settings.lora_rank, "learning_rate": settings.learning_rate, "epochs": 1,
            "batch_size": 8, "bf16": True,
        }  # fmt: skip
        reward = {
            "layers": settings.reward_layers, "learning_rate": 2e-4, "epochs": 1, "batch_size": 8,
            "bf16": True,
        }  # fmt: skip
        recipe = Recipe(settings.model, settings.tokens, policy=policy, reward=reward)
        self.shop = Workshop(settings.out / str(settings.seed), recipe, settings.seed)
        self.parts = data.read(settings.data, settings.seed, settings.sizes)

    def run(self) -> Iterator[dict[str, Any]]:
        """Run all stages of the sweeps, and yield the figures after each sweep."""
        asked = self.settings.sweeps
        rewards = {
            name: self.shop.trained(f"rm-{name}", fit_bradley_terry, rows, "reward")
            for name, rows in self.parts.rewards.items()
        }
        trained = {f"reward, {name}": folder for name, folder in rewards.items()}
        sweeps: dict[str, Any] = {}
        runs = {"DPO": self._of_pairs, "DPO, ranked": self._of_samples, "AVA-p": self._of_ava}
        for name, run in runs.items():
            if name in asked:
                more, sweeps[name] = run(rewards)
                trained |= more
                yield {
                    "trained": {label: _figures(folder) for label, folder in trained.items()},
                    "sweeps": dict(sweeps),
                }

    def _of_pairs(self, rewards: Mapping[str, Path]) -> tuple[dict[str, Path], dict[str, Any]]:
        """Policies by DPO on people's pairs, and everything that they are compared with."""
        policies = {name: self._dpo(name, rows) for name, rows in self.parts.policies.items()}
        blended = self._dpo("blended", self.parts.blended)
        mixed = FixedPolicy("DPO on mixed preferences", _weights(0.5), blended)
        modpo = [FixedPolicy("MODPO", _weights(share), self._modpo(share, policies)) for share in MODPO_AT]
        fixed = [mixed, *modpo]
        found = self._sweep("dpo", policies, rewards, fixed, (0.0, 1.0), ("soups", "prompting"), {})
        trained = {f"DPO, {name}": folder for name, folder in policies.items()}
        return trained | {f"{one.label}@{_named(one.weights)}": one.folder for one in fixed}, found

    def _of_samples(self, rewards: Mapping[str, Path]) -> tuple[dict[str, Path], dict[str, Any]]:
        """Policies by DPO on the base model's samples, value models and heads on the same samples."""
        values = self._values(rewards) if self.settings.strengths else {}
        pairs = {name: self._ranked(name, rewards) for name in rewards}
        ranked = {name: self._dpo(f"ranked-{name}", own, 2) for name, own in pairs.items()}
        heads = self._heads(pairs) if self.settings.heads else {}
        others = [OtherPolicies(label, dict.fromkeys(rewards, folder)) for label, folder in heads.items()]
        found = self._sweep("ranked", ranked, rewards, [], (0.0,), ("soups",), values, others)
        trained = {f"DPO, ranked, {name}": folder for name, folder in ranked.items()}
        trained |= {f"value, {name}": folder for name, folder in values.items()}
        return trained | {f"MAH-DPO, {label}": folder for label, folder in heads.items()}, found

    def _of_ava(self, rewards: Mapping[str, Path]) -> tuple[dict[str, Path], dict[str, Any]]:
        """Policies by AVA-p on people's pairs."""
        ava = {
            name: self.shop.trained(f"ava-{name}", fit_ava_p, rows, "policy", AVA)
            for name, rows in self.parts.policies.items()
        }
        found = self._sweep("ava-p", ava, rewards, [], (0.0,), ("soups",), {})
        return {f"AVA-p, {name}": folder for name, folder in ava.items()}, found

    def _dpo(self, name: str, rows: list[Any], epochs: int = 1) -> Path:
        config = DPOConfig(beta=BETA)
        return self.shop.trained(f"dpo-{name}", fit_dpo, rows, "policy", config, epochs=epochs)

    def _heads(self, pairs: Mapping[str, list[PreferencePair]]) -> dict[str, Path]:
        """Heads of both objectives, from the pairs and for as many epochs as the ranked policies."""
        found: dict[str, Path] = {}
        rows = [pair for own in pairs.values() for pair in own]

        def fit(_: Any, run: Run, config: MAHDPOConfig) -> None:
            fit_mah_dpo(pairs, run, config)

        for trunk in JOINT, FROZEN:
            config = MAHDPOConfig(beta=BETA, trunk="joint" if trunk == JOINT else "frozen")
            more = {} if trunk == JOINT else {"lora_rank": 0, "learning_rate": self.settings.head_rate}
            name = trunk.replace(" ", "-")
            found[trunk] = self.shop.trained(name, fit, rows, "policy", config, epochs=2, **more)
        return found

    def _modpo(self, share: float, policies: Mapping[str, Path]) -> Path:
        """Train MODPO on the first objective's pairs, with the other's implicit reward as the margin."""
        own, other = data.OBJECTIVES
        name = f"modpo-{share:g}"
        if (self.shop.folder / name / "card.json").is_file():
            return self.shop.folder / name
        margin = Margin(self._implicit(policies[other]), BETA, {"source": policies[other].name})
        weights = SteeringWeights({own: share, other: 1 - share})
        fit = partial(fit_modpo, margins={other: margin}, weights=weights)
        return self.shop.trained(name, fit, self.parts.policies[own], "policy", MODPOConfig(beta=BETA))

    def _draws(self, rewards: Mapping[str, Path]) -> tuple[Draws, dict[str, np.ndarray]]:
        """Samples of the base model, and their rewards, shape (prompts, samples)."""
        pairs = [pair for rows in self.parts.policies.values() for pair in rows]
        prompts = sorted({pair.chosen.steps[0].decision.prompt for pair in pairs}, key=seed_for)
        sizes = self.settings.sizes
        draws = self.shop.drawn("value-draws", None, prompts[: sizes.value_prompts], sizes.value_samples)
        return draws, self.shop.scored("value-draws", draws, rewards)

    def _values(self, rewards: Mapping[str, Path]) -> dict[str, Path]:
        """Train a value model per objective on these samples."""
        draws, scores = self._draws(rewards)
        found: dict[str, Path] = {}
        for name in rewards:
            rows = [
                ScoredCompletion(prompt, text, float(reward), name, "train" if i % 10 else "validation")
                for i, ((prompt, texts), own) in enumerate(zip(draws.items(), scores[name], strict=True))
                for text, reward in zip(texts, own, strict=True)
            ]
            found[name] = self.shop.trained(f"value-{name}", fit_value, rows, "reward", ValueConfig())
        return found

    def _ranked(self, name: str, rewards: Mapping[str, Path]) -> list[PreferencePair]:
        """Pairs of the best and the worst of each prompt's samples by a reward, if they differ."""
        draws, scores = self._draws(rewards)
        rows = [
            TextPair(prompt, texts[int(own.argmax())], texts[int(own.argmin())])
            for (prompt, texts), own in zip(draws.items(), scores[name], strict=True)
        ]
        return [
            one_step_pair(row, f"{name}-{i}", name, "reward", "train" if i % 10 else "validation", 0)
            for i, row in enumerate(rows)
            if row.chosen.strip() and row.rejected.strip() and row.chosen != row.rejected
        ]

    def _implicit(self, folder: Path) -> Remembered:
        if folder not in self._opened:
            # DPO's implicit reward includes the end-of-text token.
            self._opened[folder] = Remembered(load_closed_form(folder, ends=True, dtype=self.shop.base.dtype))
        return self._opened[folder]

    @cached_property
    def _opened(self) -> dict[Path, Remembered]:
        return {}

    def _sweep(
        self, name: str, policies: Mapping[str, Path], rewards: Mapping[str, Path],
        fixed: Sequence[FixedPolicy], powers: tuple[float, ...], baselines: tuple[Baseline, ...],
        values: Mapping[str, Path], others: Sequence[OtherPolicies] = (),
    ) -> dict[str, Any]:  # fmt: skip
        strengths = self.settings.strengths if values else ()
        guided = [GuidedModel(strength, values) for strength in strengths]
        folder = self.shop.folder / f"sweep-{name}"
        found = sweep(
            policies, self.parts.test, rewards, model=self.settings.model, steps=self.settings.steps,
            powers=powers, alternatives=Alternatives(baselines, fixed, guided, others=others),
            samples=self.settings.samples, max_new_tokens=self.settings.tokens, seed=self.settings.seed,
            folder=folder,
        )  # fmt: skip
        found.save(folder)
        return found.report.to_json()


def _weights(share: float) -> SteeringWeights:
    own, other = data.OBJECTIVES
    return SteeringWeights({own: share, other: 1 - share})


def _named(weights: SteeringWeights) -> str:
    return ",".join(f"{name}={weight:g}" for name, weight in weights.items())


def _figures(folder: Path) -> dict[str, Any]:
    figures = load_card(folder).figures
    # Heads have an accuracy for each objective.
    heads = [
        figures[key] for key in (f"validation_accuracy_{name}" for name in data.OBJECTIVES) if key in figures
    ]
    accuracy = float(np.mean(heads)) if heads else figures.get("validation_accuracy")
    return {"seconds": figures.get("seconds"), "accuracy": accuracy}


def main(settings: Settings) -> None:
    """Run all stages of one seed, and report what is finished after each sweep."""
    if not settings.report:
        told = {name: value for name, value in asdict(settings).items() if not isinstance(value, Path)}
        for figures in Experiment(settings).run():
            write_json(settings.out / f"{settings.seed}.json", {"settings": told, **figures})
            write_report(settings.out, settings.results)
    else:
        write_report(settings.out, settings.results)


if __name__ == "__main__":
    main(tyro.cli(Settings))
