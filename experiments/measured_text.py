"""Text steered by what a program measures: cheerful, brief, plain answers that address the reader.

    python experiments/measured_text.py --data FOLDER --seed 1

FOLDER contains hh_rlhf/, whose questions are the prompts, as chats that ask for one or two sentences.
SmolLM2-135M answers each training prompt several times; a program measures the answers that came to their
end, and one LoRA policy per objective learns from the best against the worst of each prompt (DPO). Mixtures
of two and of all four policies answer unseen prompts under a grid of weights. They are compared with mixtures
by other means and of other policies (LiPO on ranked lists, heads on one model), soups of the same adapters,
value guidance, MODPO trained for three weightings, prompting, and the best of as many answers of the base
model as there are policies, which takes as many tokens.

Methods see the first instrument of each objective only; the second one, of another make, measures the same
answers. Fluency is the base model's likelihood and the share of repeated trigrams. Prompts are the same for
all seeds; answers, training and samples have the seed. Every stage is a file in ``--out``; an interrupted run
continues. ``--report`` writes the tables and pictures of all finished seeds.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict
from functools import partial
from pathlib import Path
from typing import Any, Literal

import numpy as np
import tyro
from afd_lib.stages import Recipe, Workshop
from measured_lib.best_of import best_of
from measured_lib.fluent import furthest
from measured_lib.measures import QUALITIES
from measured_lib.outcomes import outcomes
from measured_lib.prompts import parts, rendered
from measured_lib.report import write_report
from measured_lib.settings import ASK, Plan, Settings

from pluralign.core import PreferencePair, SteeringWeights
from pluralign.core.files import write_json
from pluralign.data.examples import ScoredCompletion
from pluralign.data.text_pairs import TextPair, one_step_pair
from pluralign.evaluate.sweeps.alternatives import FixedPolicy, GuidedModel, OtherPolicies
from pluralign.evaluate.sweeps.prompts import sweep
from pluralign.evaluate.sweeps.texts import TextPoint
from pluralign.folders.card import CARD
from pluralign.learn.texts.heads import MAHDPOConfig, fit_mah_dpo
from pluralign.learn.texts.lipo import LiPOConfig, fit_lipo
from pluralign.learn.texts.modpo import MODPOConfig, fit_modpo, policy_margin
from pluralign.learn.texts.policies import DPOConfig, fit_dpo
from pluralign.learn.texts.run import Run
from pluralign.learn.texts.value import ValueConfig, fit_value
from pluralign.losses.listwise import lambda_loss
from pluralign.pair.ranked import rank_completions


class Experiment:
    """All stages of one seed.

    Args:
        settings: Settings of the experiment.
    """

    def __init__(self, settings: Settings) -> None:
        self.settings = settings
        common = {"batch_size": settings.batch_size}
        policy = {
            "lora_rank": settings.lora_rank, "learning_rate": settings.rates[0],
            "epochs": settings.epochs, **common,
        }  # fmt: skip
        reward = {"layers": settings.value_layers, "learning_rate": 2e-4, "epochs": 1, "batch_size": 8}
        recipe = Recipe(settings.model, settings.tokens, policy=policy, reward=reward, control_tokens=True)
        self.shop = Workshop(settings.out / str(settings.seed), recipe, settings.seed)
        self.names = (*settings.full, *settings.brief)
        train, self.test = (
            [question + ASK for question in part]
            for part in parts(settings.data, (settings.prompts, settings.tests), 0)
        )
        chats = [rendered(self.shop.base.tokenizer, one) for one in train]
        self.draws = self.shop.drawn("draws", None, chats, settings.answers, settings.drawing)
        self.measured = {
            name: np.array([[QUALITIES[name].first[1](text) for text in own] for own in self.draws.values()])
            for name in self.names
        }
        self.whole = np.array([[self._whole(text) for text in own] for own in self.draws.values()])

    def _whole(self, text: str) -> bool:
        """Whether an answer came to its end: a cut one is short of words because its words are long."""
        ids = self.shop.base.tokenizer(text, add_special_tokens=False)["input_ids"]
        return bool(text.strip()) and len(ids) < self.settings.tokens - 1

    def run(self) -> None:
        """Run all stages; each sweep's outcomes are in a file of its own."""
        own = self.settings
        pairs = {name: self._pairs(name) for name in self.names}
        chosen = {name: self._dpo(name, rows) for name, rows in pairs.items()}
        policies = {name: folder for name, (_, folder) in chosen.items()}
        first, second = own.full
        modpo = [
            FixedPolicy(
                "MODPO", SteeringWeights({first: share, second: 1 - share}), self._modpo(share, pairs, chosen)
            )
            for share in own.modpo
        ]
        joint = OtherPolicies("joint heads", dict.fromkeys(own.full, self._heads(pairs, own.full, "joint")))
        alone = self._heads(pairs, self.names, "frozen")

        def frozen(names: Sequence[str]) -> OtherPolicies:
            return OtherPolicies("frozen heads", dict.fromkeys(names, alone))

        plans = [
            Plan(own.full, others=[joint, frozen(own.full)], fixed=modpo),
            Plan(own.brief, others=[frozen(own.brief)], powers=(0.0,), tests=own.fewer_tests),
            Plan(self.names, others=[frozen(self.names)], powers=(0.0,), tests=own.fewer_tests),
        ]
        for plan in plans:
            self._outcomes(plan, policies)
        if own.strengths:
            values = self._values(own.full)
            guided = [GuidedModel(strength, values) for strength in own.strengths]
            plan = Plan(own.full, guided=guided, label="guided", powers=(0.0,), tests=own.guided_tests)
            self._outcomes(plan, policies)
        if own.lipo:
            lists = OtherPolicies("LiPO", {name: self._lipo(name) for name in own.full})
            self._outcomes(Plan(own.full, others=[lists], label="LiPO", powers=(0.0,)), policies)

    def _dpo(self, name: str, rows: list[PreferencePair]) -> tuple[float, Path]:
        """Learning rate and folder of the policy that goes furthest and stays fluent."""

        def train(rate: float) -> Path:
            config = DPOConfig(self.settings.beta)
            return self.shop.trained(
                f"dpo-{name}-{rate:g}", fit_dpo, rows, "policy", config, learning_rate=rate
            )

        return self._furthest(name, train)

    def _furthest(self, name: str, train: Callable[[float], Path]) -> tuple[float, Path]:
        own = self.settings
        prompts = list(self.draws)[::10]
        return furthest(self.shop, name, train, prompts, own.rates, own.fluency, own.checks, own.temperature)

    def _pairs(self, name: str) -> list[PreferencePair]:
        """Pairs of the best and the worst of the whole answers to each prompt, where they differ."""
        rows: list[PreferencePair] = []
        for i, (prompt, texts) in enumerate(self.draws.items()):
            own, known = self.measured[name][i], np.flatnonzero(self.whole[i])
            if len(known) and own[known].max() > own[known].min():
                best, worst = (texts[int(known[place(own[known])])] for place in (np.argmax, np.argmin))
                split = "train" if i % 10 else "validation"
                pair = one_step_pair(TextPair(prompt, best, worst), f"{name}-{i}", name, "program", split, 0)
                rows.append(pair)
        return rows

    def _lipo(self, name: str) -> Path:
        """The policy of ranked lists that goes furthest and stays fluent."""
        size = self.settings.lists
        rows = list(rank_completions(self._scored(name, size), size))
        fit = partial(fit_lipo, loss=lambda_loss)
        config = LiPOConfig(self.settings.beta)

        def train(rate: float) -> Path:
            return self.shop.trained(f"lipo-{name}-{rate:g}", fit, rows, "policy", config, learning_rate=rate)

        return self._furthest(f"lipo-{name}", train)[1]

    def _scored(self, name: str, size: int) -> list[ScoredCompletion]:
        """The first whole answers to each prompt, with measures in standard deviations of all answers."""
        unit = float(self.measured[name].std()) or 1.0
        return [
            ScoredCompletion(
                prompt,
                texts[k],
                float(self.measured[name][i, k]) / unit,
                name,
                "train" if i % 10 else "validation",
            )
            for i, (prompt, texts) in enumerate(self.draws.items())
            for k in np.flatnonzero(self.whole[i])[:size].tolist()
        ]

    def _values(self, names: Sequence[str]) -> dict[str, Path]:
        return {
            name: self.shop.trained(
                f"value-{name}",
                fit_value,
                self._scored(name, self.settings.answers),
                "reward",
                ValueConfig(),
            )
            for name in names
        }

    def _heads(
        self,
        pairs: Mapping[str, list[PreferencePair]],
        names: Sequence[str],
        trunk: Literal["joint", "frozen"],
    ) -> Path:
        """Heads of objectives, from the policies' pairs and for as many epochs."""
        own = {name: pairs[name] for name in names}

        def fit(_: Any, run: Run, config: MAHDPOConfig) -> None:
            fit_mah_dpo(own, run, config)

        config = MAHDPOConfig(beta=self.settings.beta, trunk=trunk)
        more = {"lora_rank": 0, "learning_rate": self.settings.head_rate} if trunk == "frozen" else {}
        rows = [pair for one in own.values() for pair in one]
        return self.shop.trained(f"{trunk}-heads", fit, rows, "policy", config, **more)

    def _modpo(
        self,
        share: float,
        pairs: Mapping[str, list[PreferencePair]],
        chosen: Mapping[str, tuple[float, Path]],
    ) -> Path:
        """MODPO on the first objective's pairs, with the other policy's implicit reward as the margin."""
        own, other = self.settings.full
        folder = self.shop.folder / f"modpo-{share:g}"
        if not (folder / CARD).is_file():
            margin = policy_margin(chosen[other][1], "auto")
            weights = SteeringWeights({own: share, other: 1 - share})
            fit = partial(fit_modpo, margins={other: margin}, weights=weights)
            config = MODPOConfig(self.settings.beta)
            self.shop.trained(folder.name, fit, pairs[own], "policy", config, learning_rate=chosen[own][0])
        return folder

    def _outcomes(self, plan: Plan, policies: Mapping[str, Path]) -> None:
        """Sweep two or more objectives, unless it is done, and measure all answers by all instruments."""
        own, names = self.settings, plan.objectives
        folder = self.shop.folder / f"sweep-{plan.name.replace(' ', '-')}"
        path = folder.with_suffix(".json")
        if path.exists():
            return
        questions = self.test[: plan.tests]
        found = sweep(
            {name: policies[name] for name in names},
            [{"prompt": [{"role": "user", "content": one}]} for one in questions],
            {name: QUALITIES[name].reward for name in names}, model=own.model,
            steps=own.steps, budget=own.budget if len(names) > 2 else None, powers=plan.powers,
            alternatives=plan.alternatives, max_new_tokens=own.tokens, temperature=own.temperature,
            template="chat", seed=own.seed, folder=folder,
        )  # fmt: skip
        found.save(folder)
        points: list[TextPoint] = [point for side in found.sides for point in side.points]
        chats = [rendered(self.shop.base.tokenizer, one) for one in questions]
        drawn = self.shop.drawn(f"test-{len(names)}", None, chats, len(names), own.temperature)
        scale = {name: (self.measured[name].mean(), self.measured[name].std()) for name in names}
        weightings = [point.weights for point in found.points if point.weights]
        points += best_of(list(drawn.values()), scale, weightings)
        told = outcomes([*points, found.report.fronts.base], questions, names, self.shop.base, own.fluent)
        write_json(path, told)


def main(settings: Settings) -> None:
    """Run all stages of one seed, and report all finished runs."""
    if not settings.report:
        plain = {name: value for name, value in asdict(settings).items() if not isinstance(value, Path)}
        write_json(settings.out / str(settings.seed) / "settings.json", plain)
        Experiment(settings).run()
    write_report(settings.out, settings.results, settings.name)


if __name__ == "__main__":
    main(tyro.cli(Settings))
