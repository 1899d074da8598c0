"""Alignment from demonstrations on HH-RLHF: which reward, trained without preferences, finds better answers?

    python experiments/afd.py --data FOLDER --task harmless --seed 1

FOLDER contains hh_rlhf/ (harmless, helpful, helpful_online and helpful_rejection_sampled .jsonl.gz). Prompts
are divided into those of the golden reward (which no method sees), of demonstrations (chosen answers), of
preferences and of the test. SmolLM2-135M is pi_init. Every stage is a file in ``--out``; an interrupted run
continues. ``--report`` writes the tables and figures of all finished tasks and seeds.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np
import tyro
from afd_lib import data
from afd_lib.report import write_report
from afd_lib.stages import Draws, Recipe, Workshop, all_train, as_rows

from pluralign.annotate.judge import Judge
from pluralign.core import Objective
from pluralign.core.files import write_json
from pluralign.data.answers import load_answers
from pluralign.evaluate.rewards.source_separation import separate_sources
from pluralign.evaluate.rewards.style_edits import STYLE_EDITS
from pluralign.evaluate.rewards.win_rate import COMPLETIONS_PROMPT, completion_comparisons, win_rate
from pluralign.learn.texts.ava import AVAConfig, fit_ava_d, fit_ava_p
from pluralign.learn.texts.policies import DPOConfig, fit_dpo
from pluralign.learn.texts.rewards import fit_bradley_terry, fit_discriminator, fit_preference_transformer
from pluralign.learn.texts.sft import fit_sft
from pluralign.learn.texts.spin import SPINConfig, fit_spin
from pluralign.lm.language_model import LanguageModel
from pluralign.pair.recipes import pair_completions
from pluralign.rewards.export import export_folder
from pluralign.rewards.open import load_closed_form
from pluralign.rewards.reward_model import load_reward_model
from pluralign.rewards.tqr import TQRShape

RECIPE = {
    "policy": {"layers": 10, "learning_rate": 2e-4, "epochs": 2, "batch_size": 8, "bf16": True},
    "reward": {"layers": 4, "learning_rate": 2e-4, "epochs": 1, "batch_size": 8, "bf16": True},
}
DPO = {"learning_rate": 5e-5, "epochs": 1}
PAIRS = 500
"""Largest number of pairs of each reward model; a fifth of them is for validation."""
SPIN_DEMONSTRATIONS = 240
"""Number of demonstrations of SPIN, which samples and trains in each iteration: as many as two cores can
process."""
AVA = AVAConfig(tqr=TQRShape(reduction="mean"), beta=0.1, td_weight=0.001, kl_weight=0.001)


@dataclass(frozen=True)
class Settings:
    """Settings of the experiment.

    Args:
        data: Folder of the data sets.
        out: Working folder.
        task: Objective whose data are used.
        seed: Random seed of the parts, of training and of sampling.
        model: Base model pi_init.
        samples: Number of samples from SFT per test prompt, for best-of-N.
        tests: Number of test prompts.
        tokens: Number of new tokens of every completion.
        report: Whether to write the report only.
        results: Folder of the result files.
    """

    data: Path
    out: Path = Path("runs/afd")
    task: Literal["harmless", "helpful"] = "harmless"
    seed: int = 1
    model: str = "smollm2-135m"
    samples: int = 64
    tests: int = 60
    tokens: int = 48
    report: bool = False
    results: Path = Path(__file__).parent / "results"


def main(settings: Settings) -> None:
    """Run all stages of one task and seed, and report all finished runs."""
    if not settings.report:
        figures = run(settings)
        write_json(settings.out / f"{settings.task}-{settings.seed}.json", figures)
    write_report(settings.out, settings.results)


def run(settings: Settings) -> dict[str, object]:
    """Run one task and seed, and return its figures."""
    shop = Workshop(
        settings.out / f"{settings.task}-{settings.seed}",
        Recipe(settings.model, settings.tokens, **RECIPE),
        settings.seed,
    )
    parts = data.read(
        settings.data, settings.task, settings.seed, test=settings.tests, tokenizer=shop.base.tokenizer,
        tokens=settings.tokens,
    )  # fmt: skip
    policies = _policies(shop, parts)
    rewards = _rewards(shop, parts, policies["SFT"])
    golden = shop.trained("golden", fit_bradley_terry, parts.golden, "reward")
    return _measure(settings, shop, parts, golden, policies, rewards)


def _policies(shop: Workshop, parts: data.Parts) -> dict[str, Path | None]:
    prompts = [row.prompt for row in parts.demonstrations]
    init = as_rows(shop.drawn("train-init", None, prompts, _per_prompt(prompts)), parts.demonstrations)
    first = list({row.prompt: row for row in init}.values())
    against_init = pair_completions(parts.demonstrations, first, objective="", recipe="init-demo")
    sft = shop.trained("sft", fit_sft, parts.demonstrations, "policy")
    plain = shop.folder / "sft-plain"
    if not plain.exists():
        export_folder(sft, plain)
    spin = SPINConfig(iterations=2, max_new_tokens=shop.recipe.tokens)
    fewer = parts.demonstrations[:SPIN_DEMONSTRATIONS]
    return {
        "base": None,
        "SFT": sft,
        "SFT-Preferred": shop.trained("sft-preferred", fit_sft, parts.preferences, "policy"),
        "DPO on preferences": shop.trained(
            "dpo", fit_dpo, parts.preferences, "policy", DPOConfig(), **DPO
        ),
        "DPO-AfD": shop.trained("dpo-afd", fit_dpo, against_init, "policy", DPOConfig(), **DPO),
        "SPIN": shop.trained(
            "spin", fit_spin, fewer, "policy", spin,
            **DPO, model=str(plain),
        ),
    }  # fmt: skip


def _rewards(shop: Workshop, parts: data.Parts, sft: Path | None) -> dict[str, Path]:
    demonstrations = parts.demonstrations
    prompts = [row.prompt for row in demonstrations]
    init = as_rows(shop.drawn("train-init", None, prompts, _per_prompt(prompts)), demonstrations)
    tuned = as_rows(shop.drawn("train-sft", sft, prompts, _per_prompt(prompts)), demonstrations)
    # Demonstrations are truncated like samples; otherwise their length alone would separate them.
    tokenizer = shop.base.tokenizer
    cut = [
        data.replace(row, completion=data.cut(row.completion, tokenizer, shop.recipe.tokens))
        for row in demonstrations
    ]
    init_sft = all_train(pair_completions(tuned, init, objective="", recipe="init-sft")[:PAIRS])
    init_demo = all_train(pair_completions(cut, init, objective="", recipe="init-demo")[:PAIRS])
    sft_demo = all_train(pair_completions(cut, tuned, objective="", recipe="sft-demo")[:PAIRS])
    short = [data.cut_pair(pair, tokenizer, shop.recipe.tokens) for pair in parts.preferences]
    preferences = all_train([pair for pair in short if pair is not None])
    return {
        "Init-SFT": shop.trained("rm-init-sft", fit_discriminator, init_sft, "reward"),
        "Init-Demo": shop.trained("rm-init-demo", fit_discriminator, init_demo, "reward"),
        "SFT-Demo": shop.trained("rm-sft-demo", fit_discriminator, sft_demo, "reward"),
        "preferences": shop.trained("rm-preferences", fit_bradley_terry, preferences, "reward", epochs=2),
        "Init-SFT, BT": shop.trained("rm-init-sft-bt", fit_bradley_terry, init_sft, "reward"),
        "Init-SFT, PT": shop.trained("rm-init-sft-pt", fit_preference_transformer, init_sft, "reward"),
        "Init-SFT, AVA-p": shop.trained("rm-init-sft-ava", fit_ava_p, init_sft, "reward", AVA),
        "AVA-d": shop.trained("rm-ava-d", fit_ava_d, cut[:PAIRS], "reward", AVA),
    }


def _per_prompt(prompts: list[str]) -> int:
    """Samples per training prompt: about 800 pairs, which two cores can train on in a few minutes."""
    return max(1, round(800 / len(prompts)))


def _measure(
    settings: Settings, shop: Workshop, parts: data.Parts, golden: Path, policies: dict[str, Path | None],
    rewards: dict[str, Path],
) -> dict[str, object]:  # fmt: skip
    prompts = [row.prompt for row in parts.test]
    opened: list[object] = []

    def scorer() -> object:
        if not opened:
            opened.append(load_reward_model(golden, dtype=shop.base.dtype))
        return opened[0]

    figures: dict[str, object] = {
        "golden": dict(load_reward_model(golden).card.figures), "prompts": len(prompts), "policies": {},
    }  # fmt: skip
    demonstrated = {row.prompt: [row.completion] for row in parts.test}
    figures["demonstrations"] = shop.scored_by("demonstrations", demonstrated, "golden", scorer).tolist()
    for name, policy in policies.items():
        key = name.replace(" ", "_").replace("/", "")
        greedy = shop.drawn(f"greedy-{key}", policy, prompts, 1, 0.0)
        own = shop.drawn(f"test-{key}", policy, prompts, 2)
        figures["policies"][name] = {  # pyright: ignore
            "greedy": shop.scored_by(f"greedy-{key}", greedy, "golden", scorer).tolist(),
            "sampled": shop.scored_by(f"test-{key}", own, "golden", scorer).tolist(),
        }
    draws = shop.drawn("best-of", policies["SFT"], prompts, settings.samples)
    found = shop.scored("best-of", draws, rewards)
    found["closed form"] = shop.scored_by(
        "best-of", draws, "closed-form",
        lambda: load_closed_form(policies["SFT"], dtype=shop.base.dtype),
    )  # fmt: skip
    figures["best_of_golden"] = shop.scored_by("best-of", draws, "golden", scorer).tolist()
    figures["rewards"] = {name: np.asarray(values).tolist() for name, values in found.items()}
    sources = {
        "base": shop.drawn("test-base", None, prompts, 2),
        "SFT": shop.drawn("test-SFT", policies["SFT"], prompts, 2),
        "demonstrations": demonstrated,
    }
    figures["judged"] = _judged(shop, prompts, draws, found, policies["SFT"])
    figures["sources"] = {
        name: {key: v.tolist() for key, v in shop.scored(f"source-{name}", own, rewards).items()}
        for name, own in sources.items()
    }
    figures["styles"] = _styles(shop, sources, rewards)
    figures["style_edits"] = {
        edit: {
            name: float(np.mean([change(text) != text for texts in own.values() for text in texts]))
            for name, own in sources.items()
        }
        for edit, change in STYLE_EDITS.items()
    }
    return figures


def _styles(shop: Workshop, sources: dict[str, Draws], rewards: dict[str, Path]) -> dict[str, object]:
    """Separation of answers and the same answers in another style, by each reward."""
    rows = {
        name: [{"prompt": p, "completion": text} for p, texts in answers.items() for text in texts]
        for name, answers in sources.items()
    }
    read = {name: load_answers(own) for name, own in rows.items()}
    folder = shop.folder / "styles" / "separation"
    found = separate_sources(rewards, read, folder, styles=True, dtype="auto")
    found.save(folder, {"rewards": {name: str(own) for name, own in rewards.items()}})
    edited = set(STYLE_EDITS)
    return {
        name: {row["second"]: row["auc"] for row in own if row["second"] in edited}
        for name, own in found.to_json().items()
    }


def _judged(
    shop: Workshop, prompts: list[str], draws: Draws, rewards: dict[str, np.ndarray], sft: Path | None
) -> dict[str, object]:
    """Wins, ties and losses of the best of all samples, with pi_init as the judge in both orders."""
    best = {
        name: [draws[p][int(np.argmax(row))] for p, row in zip(prompts, rewards[name], strict=True)]
        for name in ("Init-SFT", "preferences")
    }
    greedy = [texts[0] for texts in shop.drawn("greedy-SFT", sft, prompts, 1, 0.0).values()]
    judge = Judge(LanguageModel(shop.base), prompt=COMPLETIONS_PROMPT)
    objective = {"harmless": "harmlessness", "helpful": "helpfulness"}[shop.folder.name.rpartition("-")[0]]
    asked = Objective(objective, f"The answer serves the person who asks with {objective}.")
    found: dict[str, object] = {}
    for name, others in (("SFT, greedy", greedy), ("best of N by preferences", best["preferences"])):
        told = win_rate(completion_comparisons(prompts, best["Init-SFT"], others), judge, asked)
        found[f"best of N by Init-SFT against {name}"] = {
            "win": told.win.mean, "tie": told.tie.mean, "lose": told.lose.mean,
            "contradictions": None if told.contradictions is None else told.contradictions.mean,
        }  # fmt: skip
    return found


if __name__ == "__main__":
    main(tyro.cli(Settings))
