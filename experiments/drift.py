"""Do stances move in supervised fine-tuning, and in preference optimisation? (After Bhatia et al. 2025.)

    python experiments/drift.py --data FOLDER

FOLDER contains value_consistency/. For each seed ten of eighteen controversial topics are planted, half of
them with support and half with opposition. The uppermost layers of SmolLM2-135M learn answers that take the
planted stance (supervised fine-tuning, in words and as one of two listed answers), and then, by DPO, from
pairs whose answers (a) take the same stance in other words, (b) take opposite stances, the chosen one against
what was planted, or (c) are about other topics. At checkpoints the stances of `evaluate values` are read: on
other questions about the planted topics, on the eight topics that were not planted, and on uncontroversial
ones. Lower layers do not change and are computed once. Results are written after every phase.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
import tyro
from console import say, wrote
from drift_lib.material import Example, Topic, load_topics, other_examples, planted_examples, taught_examples
from drift_lib.table import summary, table
from drift_lib.upper import Asked, Trunk, Upper
from torch import Tensor
from torch.nn.functional import softplus

from pluralign.core.arrays import FloatArray
from pluralign.core.files import write_json, write_text
from pluralign.evaluate.values.stances import read_stances
from pluralign.lm.backbone import load_backbone

ARMS = ("same stance", "opposite stance", "other topics")


@dataclass(frozen=True)
class Settings:
    """Settings of the experiment.

    Args:
        data: Folder of the data sets.
        out: Working folder, for the stances of each question.
        results: Folder of the result files.
        model: Language model.
        layers: Number of uppermost layers that are trained.
        topics: Number of controversial topics.
        planted: Number of them that are planted for each seed.
        seeds: Number of seeds.
        sft: Steps of supervised fine-tuning at which stances are read; the last one is its length.
        dpo: The same of DPO.
        batch_size: Number of examples per step.
        sft_rate: Learning rate of supervised fine-tuning.
        dpo_rate: Learning rate of DPO.
        beta: Temperature of DPO.
    """

    data: Path
    out: Path = Path("runs/drift")
    results: Path = Path(__file__).parent / "results"
    model: str = "smollm2-135m"
    layers: int = 4
    topics: int = 18
    planted: int = 10
    seeds: int = 3
    sft: tuple[int, ...] = (0, 4, 8, 16, 32, 64)
    dpo: tuple[int, ...] = (0, 4, 8, 16, 32)
    batch_size: int = 8
    sft_rate: float = 2e-4
    dpo_rate: float = 5e-5
    beta: float = 0.1


Loss = Callable[[Upper, Sequence[Example]], Tensor]


def run(settings: Settings) -> None:
    """Run all seeds and write drift.json and drift.md after every phase."""
    folder = settings.data / "value_consistency"
    topics = load_topics(folder / "controversial_english_us.jsonl", settings.topics)
    plain = load_topics(folder / "uncontroversial_english_us.jsonl", 8)
    other, plain = plain[:4], plain[4:]
    backbone = load_backbone(settings.model, dtype=torch.float32)
    trunk = Trunk(backbone.model, backbone.tokenizer, settings.layers)
    phases: list[dict[str, Any]] = []
    for seed in range(settings.seeds):
        for phase in one_seed(settings, trunk, topics, plain, other, seed):
            phases.append({"seed": seed, **phase, "cpu_seconds": time.process_time()})
            say(f"seed {seed}, {phase['phase']}: {time.process_time():.0f} s of CPU")
            write_json(settings.out / "phases.json", {"phases": phases})
            write_json(settings.results / "drift.json", {"drifts": summary(phases)})
            path = write_text(settings.results / "drift.md", table(phases))
    wrote(path, "table")


def one_seed(
    settings: Settings, trunk: Trunk, topics: list[Topic], plain: list[Topic], other: list[Topic], seed: int
) -> Iterator[dict[str, Any]]:
    """Both phases of one seed, each with the stances at its checkpoints."""
    random = np.random.default_rng(seed)
    drawn = [topics[place] for place in random.permutation(len(topics))[: settings.planted]]
    stances = {topic.name: place % 2 == 0 for place, topic in enumerate(drawn)}
    questions = [one for topic in (*topics, *plain) for one in topic.measured]
    groups = {topic.name: "uncontroversial" for topic in plain} | {
        topic.name: "planted" if topic.name in stances else "not planted" for topic in topics
    }

    def read(upper: Upper, steps: int) -> FloatArray:
        return read_stances(Asked(trunk, upper, f"step {steps}"), questions).prefer

    def phase(name: str, paths: list[FloatArray], steps: tuple[int, ...]) -> dict[str, Any]:
        known = [
            {"topic": one.topic, "original": one.original, "question": one.question,
             "group": groups[one.topic], "planted": stances.get(one.topic)}
            for one in questions
        ]  # fmt: skip
        return {"phase": name, "steps": list(steps), "questions": known,
                "support": [path.tolist() for path in paths]}  # fmt: skip

    upper = trunk.upper()
    examples = taught_examples(drawn, stances)
    paths = train(settings, trunk, upper, examples, _likelihood(trunk), settings.sft, settings.sft_rate,
                  seed, read)  # fmt: skip
    yield phase("sft", paths, settings.sft)
    start = {name: value.clone() for name, value in upper.state_dict().items()}
    for arm in ARMS:
        upper.load_state_dict(start)
        pairs = (
            other_examples(other, np.random.default_rng(seed))
            if arm == "other topics"
            else planted_examples(drawn, stances, arm.split()[0])
        )
        loss = _preference(trunk, upper, pairs, settings.beta)
        paths = train(settings, trunk, upper, pairs, loss, settings.dpo, settings.dpo_rate, seed, read)
        yield phase(arm, paths, settings.dpo)


def train(
    settings: Settings, trunk: Trunk, upper: Upper, examples: Sequence[Example], loss: Loss,
    steps: tuple[int, ...], rate: float, seed: int, read: Callable[[Upper, int], FloatArray],
) -> list[FloatArray]:  # fmt: skip
    """Train, and read the stances at the given steps."""
    trunk.read([(one.prompt, text) for one in examples for text in (one.chosen, one.rejected)])
    random = np.random.default_rng(seed)
    optimizer = torch.optim.AdamW(upper.parameters(), lr=rate, weight_decay=0.0)
    order: list[int] = []
    found: list[FloatArray] = []
    for step in range(steps[-1] + 1):
        if step in steps:
            found.append(read(upper, step))
        if step == steps[-1]:
            break
        if len(order) < settings.batch_size:
            order += random.permutation(len(examples)).tolist()
        batch, order = order[: settings.batch_size], order[settings.batch_size :]
        optimizer.zero_grad()
        loss(upper, [examples[place] for place in batch]).backward()
        torch.nn.utils.clip_grad_norm_(upper.parameters(), 1.0)
        optimizer.step()
    return found


def _likelihood(trunk: Trunk) -> Loss:
    def loss(upper: Upper, batch: Sequence[Example]) -> Tensor:
        return -upper.answer_log_probs(*trunk.batch([(one.prompt, one.chosen) for one in batch])).mean()

    return loss


def _preference(trunk: Trunk, upper: Upper, examples: Sequence[Example], beta: float) -> Loss:
    """DPO's loss (Rafailov et al. 2023); the reference is the model as it is now."""

    def gains(batch: Sequence[Example]) -> Tensor:
        texts = [(one.prompt, one.chosen) for one in batch] + [(one.prompt, one.rejected) for one in batch]
        chosen, rejected = upper.answer_log_probs(*trunk.batch(texts)).chunk(2)
        return chosen - rejected

    trunk.read([(one.prompt, text) for one in examples for text in (one.chosen, one.rejected)])
    with torch.no_grad():
        parts = [examples[first : first + 32] for first in range(0, len(examples), 32)]
        known = torch.cat([gains(part) for part in parts])
    reference = dict(zip(examples, known, strict=True))

    def loss(upper: Upper, batch: Sequence[Example]) -> Tensor:
        del upper  # The one whose gains these are.
        return softplus(-beta * (gains(batch) - torch.stack([reference[one] for one in batch]))).mean()

    return loss


if __name__ == "__main__":
    run(tyro.cli(Settings))
