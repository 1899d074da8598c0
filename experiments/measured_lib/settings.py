"""Settings of `measured_text.py`, and its sweeps."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from pluralign.evaluate.sweeps.alternatives import Alternatives, FixedPolicy, GuidedModel, OtherPolicies

ASK = " Answer in one or two sentences."
"""What every question ends with, so that most answers come to their end."""
DESCRIPTIONS = {
    "cheerful": "a positive, happy tone",
    "brief": "as few words as possible",
    "plain": "short and common words",
    "addressing": "advice that addresses the reader as you",
}
"""What prompting tells the base model about the objectives."""


@dataclass(frozen=True)
class Settings:
    """Settings of the experiment.

    Args:
        data: Folder of the data sets.
        out: Working folder.
        seed: Random seed of training answers, training and sampling.
        model: Base model of all training.
        prompts: Number of training prompts; every tenth is for validation.
        answers: Number of measured answers for each of them.
        lists: Number of these answers in each ranked list of LiPO.
        lipo: Whether to train policies on ranked lists as well, and to mix them.
        tests: Number of test prompts.
        fewer_tests: Number of these for the sweeps of the other two, and of all four objectives.
        fluent: Number of test prompts whose answers the base model reads for fluency.
        full: Two objectives with all alternatives.
        brief: Two further objectives with soups, prompting and heads only.
        guided_tests: Number of test prompts that value guidance, which is slow, answers.
        steps: Number of steps of the grid for two objectives.
        budget: Number of weightings of all four objectives (`steer.design.design`).
        beta: Temperature of the implicit reward.
        lora_rank: LoRA rank of the policies.
        rates: Learning rates of the policies, from the largest; see `measured_lib.fluent`.
        fluency: Largest surprisal of a policy's answers to validation prompts, over that of the base model's.
        checks: Number of answers to each validation prompt that decide it.
        head_rate: Learning rate of heads on the frozen trunk.
        epochs: Number of passes over the pairs.
        batch_size: Number of pairs per step.
        modpo: Weights on the first objective for which MODPO policies are trained.
        strengths: Strengths of value guidance; empty for none.
        value_layers: Number of uppermost layers that value models train.
        tokens: Number of new tokens of every answer.
        drawing: Sampling temperature of the training answers.
        temperature: Sampling temperature of the test answers.
        report: Whether to write the report only.
        results: Folder of the result files.
        name: Name of the result files.
    """

    data: Path
    out: Path = Path("runs/measured_text")
    seed: int = 1
    model: str = "smollm2-135m"
    prompts: int = 160
    answers: int = 6
    lists: int = 4
    lipo: bool = True
    tests: int = 200
    fewer_tests: int = 100
    fluent: int = 60
    full: tuple[str, str] = ("cheerful", "brief")
    brief: tuple[str, str] = ("plain", "addressing")
    guided_tests: int = 24
    steps: int = 4
    budget: int = 10
    beta: float = 0.1
    lora_rank: int = 16
    rates: tuple[float, ...] = (7e-4, 3.5e-4, 2.4e-4, 1.7e-4, 1.2e-4, 8e-5)
    fluency: float = 1.1
    checks: int = 4
    head_rate: float = 2e-3
    epochs: float = 1
    batch_size: int = 4
    modpo: tuple[float, ...] = (0.25, 0.5, 0.75)
    strengths: tuple[float, ...] = (2.0,)
    value_layers: int = 4
    tokens: int = 56
    drawing: float = 0.8
    temperature: float = 0.7
    report: bool = False
    results: Path = Path(__file__).parents[1] / "results"
    name: str = "measured_text"


@dataclass(frozen=True)
class Plan:
    """A sweep.

    Args:
        objectives: Objectives of the dials.
        fixed: Policies of one weighting each.
        guided: Value guidance.
        others: Other policies.
        label: Name of a sweep of its own, without baselines; empty for that of the objectives.
        powers: Powers of the mixtures.
        tests: Number of test prompts; None for all.
    """

    objectives: tuple[str, ...]
    fixed: Sequence[FixedPolicy] = ()
    guided: Sequence[GuidedModel] = ()
    others: Sequence[OtherPolicies] = ()
    label: str = ""
    powers: tuple[float, ...] = (0.0, 1.0)
    tests: int | None = None

    @property
    def name(self) -> str:
        """Name of the files."""
        return " ".join([*self.objectives, *filter(None, [self.label])])

    @property
    def alternatives(self) -> Alternatives:
        """Sides to compare the mixtures with."""
        told = {name: DESCRIPTIONS[name] for name in self.objectives}
        baselines = () if self.label else ("soups", "prompting")
        return Alternatives(baselines, self.fixed, self.guided, told, self.others)
