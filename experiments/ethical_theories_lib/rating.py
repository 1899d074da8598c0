"""One rater per theory and rule: Bradley-Terry on the uppermost layers; those below run once per text."""

from __future__ import annotations

import shutil
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from console import say

from ethical_theories_lib.baselines import BASELINES, accuracy, baseline_margins
from ethical_theories_lib.data import RaterData, Side, Sizes, pairs_of
from pluralign.core import Decision, PreferencePair, Segment, Step
from pluralign.core.arrays import FloatArray
from pluralign.core.files import read_json, write_json
from pluralign.evaluate.statistics import wilson
from pluralign.learn.texts.data import encode_completion_pairs
from pluralign.learn.texts.precision import is_mixed
from pluralign.learn.texts.rewards import fit_bradley_terry
from pluralign.learn.texts.run import Run
from pluralign.learn.texts.training import row_rewards
from pluralign.learn.texts.training_options import Training
from pluralign.learn.texts.trunk import LowerStates, TunedTrunk
from pluralign.lm.backbone import load_backbone
from pluralign.lm.completion_trees import CompletionReader
from pluralign.lm.layers import trunk_layers
from pluralign.rewards.heads import RewardHead
from pluralign.rewards.reward_model import load_reward_model

RESAMPLES = 2000


@dataclass(frozen=True)
class RaterSettings:
    """Settings of the raters' training.

    Args:
        model: Language model.
        depth: Number of its lowest layers that a rater consists of; the others are left out, to save time.
        layers: Number of the uppermost of these layers that are trained.
        learning_rate: Peak learning rate.
        steps: Number of optimizer steps at least; small data sets are read several times.
        epochs: Passes over the pairs, if these are more steps.
        batch_size: Pairs per step.
        max_length: Largest number of tokens of a text.
    """

    model: str = "smollm2-135m"
    depth: int = 15
    layers: int = 3
    learning_rate: float = 2e-4
    steps: int = 30
    epochs: float = 2.0
    batch_size: int = 32
    max_length: int = 160

    def training(self, pairs: int) -> Training:
        """Training options for this number of pairs."""
        epochs = max(self.epochs, self.steps * self.batch_size / pairs)
        return Training(
            epochs=epochs, batch_size=self.batch_size, learning_rate=self.learning_rate,
            layers=self.layers, max_length=self.max_length,
        )  # fmt: skip


def cut_model(out: Path, settings: RaterSettings) -> str:
    """The lowest layers of the language model as a model of its own, in a folder; made once."""
    folder = out / "base"
    if not (folder / "config.json").is_file():
        backbone = load_backbone(settings.model, dtype=torch.float32)
        model: Any = backbone.model
        layers = trunk_layers(model)
        del layers[settings.depth :]
        model.config.num_hidden_layers = len(layers)
        model.save_pretrained(folder)
        backbone.tokenizer.save_pretrained(folder)
    return str(folder)


def rater_folder(out: Path, name: str, seed: int) -> Path:
    """Folder of a rater, for ``--rater reward:DIR``."""
    return out / "raters" / f"{name}-{seed}"


def scores_file(out: Path, name: str, seed: int) -> Path:
    """File of a rater's rewards of the games' texts."""
    return out / "scores" / f"{name}-{seed}.json"


def train_rater(
    data: Path, out: Path, name: str, seed: int, sizes: Sizes, settings: RaterSettings, lower: LowerStates
) -> dict[str, Any]:
    """Train a rater and measure it on its test pairs; a finished one is read.

    Args:
        data: Folder of the data sets.
        out: Working folder.
        name: Name of the theory or rule.
        seed: Random seed of the training.
        sizes: Numbers of pairs.
        settings: Settings of the training.
        lower: States below the trained layers, shared by all raters.
    """
    file = out / "figures" / f"{name}-{seed}.json"
    if file.exists():
        return read_json(file)
    known = pairs_of(data, name, sizes)
    training = settings.training(len(known.of("train")))
    margins: dict[str, FloatArray] = {}

    def measure(trunk: TunedTrunk, head: RewardHead) -> dict[str, Any]:
        rewards = _rewards(trunk, head, known.pairs, _reader(lower, settings.max_length), training)
        margins["rater"] = rewards[:, 0] - rewards[:, 1]
        return {}

    folder = rater_folder(out, name, seed)
    run = Run(cut_model(out, settings), folder, training, seed, name=name, lower=lower, measure=measure)
    learned = fit_bradley_terry(known.pairs, run)
    shutil.rmtree(folder / "checkpoints", ignore_errors=True)
    for baseline in BASELINES:
        margins[baseline] = baseline_margins(baseline, known.pairs)
    figures = {
        "name": name,
        "seed": seed,
        "seconds": learned.card.figures["seconds"],
        **measured(known, margins),
    }
    write_json(file, figures)
    say(
        f"  {name}, seed {seed}: {100 * figures['test']['rater']['value']:.1f} % of "
        f"{figures['pairs']['test']} test pairs, words {100 * figures['test']['words']['value']:.1f} %"
    )
    return figures


def score_texts(
    out: Path, name: str, seed: int, settings: RaterSettings, lower: LowerStates, texts: Sequence[Side]
) -> None:
    """Score games' texts by a trained rater; known ones are kept.

    The layers below the trained ones are read from ``lower``, as the raters read the same texts, which is
    several times as fast as loading each rater as it is used by ``--rater reward:DIR``.
    """
    file, folder = scores_file(out, name, seed), rater_folder(out, name, seed)
    rows: list[list[Any]] = read_json(file)["rewards"] if file.exists() else []
    known = {Side(prompt, completion) for prompt, completion, _ in rows}
    new = [text for text in texts if text not in known]
    if not new:
        return
    compute_lower(lower, new, settings.max_length)
    trained = load_reward_model(folder)
    backbone = load_backbone(cut_model(out, settings), dtype=torch.float32)
    trunk = TunedTrunk(
        backbone,
        (),
        lora_rank=0,
        layers=settings.layers,
        vocabulary=False,
        lower=lower,
        bf16=False,
        seed=seed,
    )
    model: Any = trunk.model
    model.load_state_dict(trained.backbone.model.state_dict())
    pairs, places = _as_pairs(new)
    scored = _rewards(trunk, trained.head, pairs, _reader(lower, settings.max_length), settings.training(1))
    rows += [[s.prompt, s.completion, float(scored[place])] for s, place in zip(new, places, strict=True)]
    write_json(file, {"rewards": rows})


def measured(known: RaterData, margins: Mapping[str, FloatArray]) -> dict[str, Any]:
    """Accuracies of a rater and of the baselines, on validation and test pairs, and in stricter forms.

    ``filtered``: the test pairs that the baseline of words gets wrong, as ETHICS's hard splits are those that
    simple models get wrong. ``scenarios``: the share of test scenarios of which every pair is right.
    """
    test = known.of("test")
    hard = [i for i in test if margins["words"][i] < 0]
    scenarios: dict[str, list[int]] = {}
    for i in test:
        scenarios.setdefault(known.scenarios[i], []).append(i)
    whole = {
        name: np.array([values[own].min() for own in scenarios.values()]) for name, values in margins.items()
    }
    return {
        "pairs": {split: len(known.of(split)) for split in ("train", "validation", "test")},
        "validation": {n: share(m[known.of("validation")]) for n, m in margins.items()},
        "test": {n: share(m[test]) for n, m in margins.items()},
        "filtered": {"rater": share(margins["rater"][hard])},
        "scenarios": {n: share(m) for n, m in whole.items()},
        "test margins": np.round(margins["rater"][test], 4).tolist(),
    }


def share(margins: FloatArray) -> dict[str, float | int]:
    """Share of right answers, with Wilson's interval."""
    n = len(margins)
    if not n:
        return {"value": float("nan"), "low": float("nan"), "high": float("nan"), "n": 0}
    value = accuracy(margins)
    low, high = wilson(round(value * n), n)
    return {"value": value, "low": low, "high": high, "n": n}


def _as_pairs(texts: Sequence[Side]) -> tuple[list[PreferencePair], list[tuple[int, int]]]:
    """Texts as sides of pairs, for the encoder of pairs, and the place of each text: texts after the same
    prompt are next to each other, so that the prompt is read once for two of them."""
    after: dict[str, list[int]] = {}
    for number, text in enumerate(texts):
        after.setdefault(text.prompt, []).append(number)
    pairs: list[PreferencePair] = []
    places = [(0, 0)] * len(texts)
    for prompt, numbers in after.items():
        for start in range(0, len(numbers), 2):
            some = numbers[start : start + 2]
            options = [texts[number].completion for number in some]
            decision = Decision(prompt, (*options, "")[:2])
            for side, number in enumerate(some):
                places[number] = (len(pairs), side)
            one, other = (Segment(f"text-{len(pairs)}", i, (Step(decision, i),)) for i in (0, 1))
            pairs.append(PreferencePair(one, other, "text"))
    return pairs, places


def compute_lower(lower: LowerStates, texts: Sequence[Side], max_length: int) -> None:
    """Compute the states of texts below the trained layers, each prompt once for all completions after it."""
    reader = _reader(lower, max_length)
    after: dict[str, list[str]] = {}
    for text in texts:
        after.setdefault(text.prompt, []).append(text.completion)
    lower.compute([tree for p, options in after.items() for tree in reader.read(p, options).trees])


def _reader(lower: LowerStates, max_length: int) -> CompletionReader:
    return CompletionReader.for_model(lower.backbone.model, lower.backbone.tokenizer, max_length, quotes=True)


def _rewards(
    trunk: TunedTrunk, head: RewardHead, pairs: Sequence[PreferencePair], reader: CompletionReader,
    training: Training,
) -> FloatArray:  # fmt: skip
    encoded = encode_completion_pairs(pairs, reader, identical=True)
    found = row_rewards(trunk, head, encoded, token_budget=training.token_budget, bf16=is_mixed(training))
    return found.double().numpy()
