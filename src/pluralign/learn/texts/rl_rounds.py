"""Rounds of a policy gradient on several rewards, with figures after each; a killed run continues."""

from __future__ import annotations

import copy
import dataclasses
import shutil
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from jaxtyping import Float
from torch import Tensor

from pluralign.core.checks import require
from pluralign.core.files import read_json, write_json
from pluralign.core.splits import seed_for
from pluralign.folders.tensors import read_tensors, write_tensors
from pluralign.folders.tuned import learned_tensors
from pluralign.learn.combination import Combination, Tail, measured_scales
from pluralign.learn.constraints import Constrained
from pluralign.learn.texts.adversarial.reinforce import fresh_policy, reinforce
from pluralign.learn.texts.adversarial.samples import sample_log_probs
from pluralign.learn.texts.adversarial.vllm_sampling import VLLMSampling
from pluralign.learn.texts.combined_reward import CombinedReward, RewardFunctions, reward_table
from pluralign.learn.texts.run import Run
from pluralign.learn.texts.training_options import Training
from pluralign.learn.weighting import Observed, Weighting
from pluralign.lm.backbone import Backbone
from pluralign.lm.decoding import Decoding
from pluralign.lm.generation import draw_samples
from pluralign.lm.prompts import sample_texts
from pluralign.lm.tensors import to_list
from pluralign.losses.advantages import Rewards
from pluralign.rewards.value_model import RewardScale

Samples = dict[str, list[str]]
"""Completions by prompt."""


@dataclass(frozen=True)
class RLConfig:
    """Settings of `fit_rl`, in addition to the policy's `Training`.

    Args:
        rounds: Number of rounds; figures are measured after each, and an interrupted run continues after the
            last finished one (ours).
        prompts: Number of training prompts per round, drawn again for each round (ours).
        samples: Number of completions per prompt, G (ours; published runs have 8 to 16).
        max_new_tokens: Largest number of tokens per completion.
        temperature: Sampling temperature of the policy.
        kl: Weight of the divergence from the model before training: of -log(pi / pi_0), in units of a
            standardised reward for a nat (ours).
        tail: Utility that weighs the worst completions of a batch more; None for the mean.
    """

    rounds: int = 4
    prompts: int = 256
    samples: int = 8
    max_new_tokens: int = 128
    temperature: float = 1.0
    kl: float = 0.1
    tail: Tail | None = None

    def __post_init__(self) -> None:
        require(self, {"rounds": 1, "prompts": 1, "samples": 2, "max_new_tokens": 1, "kl": 0})
        require(self, {"temperature": 1e-6})


class Rounds:
    """The rounds; each reads the results of the previous one. Round 0 measures the model before training.

    Args:
        run: Model, folder, training options, seed.
        config: See `RLConfig`.
        rewards: Reward functions by objective.
        weighting: Weights; the given object stays as it is.
        combination: How rewards become advantages.
        train: Training prompts.
        held_out: Prompts for measurement; training prompts if there are none.
        initial: Model before training, which stays as it is.
        vllm: vLLM as the sampler of the policy gradient.
        turns: Whether the prompts are messages in the model's chat template.
    """

    def __init__(
        self, run: Run, config: RLConfig, rewards: RewardFunctions, weighting: Weighting,
        combination: Combination, train: Sequence[str], held_out: Sequence[str], initial: Backbone,
        vllm: VLLMSampling | None = None, *, turns: bool = False,
    ) -> None:  # fmt: skip
        self._run, self._config, self._rewards, self._vllm = run, config, rewards, vllm
        self._weighting = copy.copy(weighting)
        self._weighting.restore(weighting.state())
        self._combination, self._train, self._initial = combination, train, initial
        self._text = sample_texts(initial.tokenizer, turns=turns)
        self._sampling = Decoding(config.max_new_tokens, config.temperature)
        ordered = held_out or sorted(train, key=lambda prompt: seed_for(prompt, run.seed))
        self._measured = ordered[: max(1, config.prompts // 4)]

    def weights_after(self, number: int) -> dict[str, Tensor]:
        """Trained weights of the policy at the end of a round; empty before the first."""
        return read_tensors(self._folder(number) / "policy.safetensors") if number else {}

    def round(self, number: int) -> dict[str, Any]:
        """Run a round unless it is finished, and return its figures."""
        path = self._folder(number) / "figures.json"
        if not path.exists():
            figures = self._improve(number) if number else self._begin()
            write_json(path, {**figures, "state": self._weighting.state()})
            self._tidy(number)
        figures = read_json(path)
        self._weighting.restore(figures.pop("state"))
        return figures

    def _begin(self) -> dict[str, Any]:
        """Scales and figures of the model before training."""
        objectives = self._weighting.objectives
        drawn = self._draw(self._initial, [*dict.fromkeys([*self._measured, *self._prompts(1)])], "before")
        table = self._table(drawn)
        scales = measured_scales(table, objectives)
        own = self._table({prompt: drawn[prompt] for prompt in self._measured})
        self._weighting.observe(Observed(own, scales, held_out=True))
        return {
            "round": 0, "rewards": self._means(own), "kl": 0.0, "samples": table[..., 0].numel(),
            "scales": {n: dataclasses.asdict(s) for n, s in zip(objectives, scales, strict=True)},
        }  # fmt: skip

    def _improve(self, number: int) -> dict[str, Any]:
        """One round of the policy gradient."""
        run, config, folder = self._run, self._config, self._folder(number)
        before = read_json(self._folder(number - 1) / "figures.json")
        scales = self._scales()
        policy = fresh_policy(run.model, self.weights_after(number - 1), run.training, run.seed)
        names = list(learned_tensors(policy.model))
        reward = CombinedReward(
            self._rewards, self._weighting, self._combination, scales, config.samples,
            partial(self._log_ratios, policy),
        )  # fmt: skip
        reinforce(
            policy, self._prompts(number), reward, training=self._training(number), samples=config.samples,
            sampling=self._sampling, folder=folder / "trl",
            # NumPy's generator, which TRL seeds as well, takes 32 bits.
            seed=seed_for(f"policy gradient {number}", run.seed) % 2**32, vllm=self._vllm,
        )  # fmt: skip
        after = self._draw(policy, self._measured, f"after round {number}")
        table = self._table(after)
        self._weighting.observe(Observed(table, scales, held_out=True))
        write_tensors(
            folder / "policy.safetensors", {name: policy.model.get_parameter(name) for name in names}
        )
        found: dict[str, Any] = {
            "round": number, "rewards": self._means(table),
            "kl": _rounded(self._log_ratios(policy, list(after), list(after.values())).mean()),
            "weights": {name: round(value, 4) for name, value in reward.mean_weights.items()},
            "samples": before["samples"] + reward.count + table[..., 0].numel(),
        }  # fmt: skip
        if isinstance(self._weighting, Constrained):
            found |= {"multipliers": self._weighting.multipliers, "missed": self._weighting.missed}
        return found

    def _folder(self, number: int) -> Path:
        assert self._run.out is not None, "fit_rl requires a folder"
        return Path(self._run.out) / "rounds" / str(number)

    def _scales(self) -> list[RewardScale]:
        found = read_json(self._folder(0) / "figures.json")["scales"]
        return [RewardScale(**found[name]) for name in self._weighting.objectives]

    def _prompts(self, number: int) -> list[str]:
        """Training prompts of a round; others in each round."""
        ordered = sorted(self._train, key=lambda prompt: seed_for(f"round {number} {prompt}", self._run.seed))
        return ordered[: self._config.prompts]

    def _training(self, number: int) -> Training:
        """Training options of a round; at a constant rate Adam would oscillate around the optimum."""
        training, rounds = self._run.training, self._config.rounds
        rate = training.learning_rate * (rounds - number + 1) / rounds
        return dataclasses.replace(training, learning_rate=rate)

    def _draw(self, policy: Backbone, prompts: Sequence[str], label: str) -> Samples:
        count, seed = self._config.samples, self._run.seed
        return draw_samples(policy, prompts, count, self._sampling, seed=seed, label=label)

    def _table(self, samples: Mapping[str, Sequence[str]]) -> Rewards:
        return reward_table(self._rewards, self._weighting.objectives, list(samples), list(samples.values()))

    def _means(self, table: Rewards) -> dict[str, float]:
        means: list[float] = to_list(table.mean(dim=(0, 1)))
        return {n: round(mean, 6) for n, mean in zip(self._weighting.objectives, means, strict=True)}

    def _log_ratios(
        self, policy: Backbone, prompts: Sequence[str], completions: Sequence[Sequence[str]]
    ) -> Float[Tensor, " completions"]:
        """log pi - log pi_0 of completions, nats."""
        rows = [(p, [self._text(text) for text in own]) for p, own in zip(prompts, completions, strict=True)]
        budget = self._run.training.token_budget
        one, other = (
            sample_log_probs(who, rows, self._sampling, token_budget=budget)
            for who in (policy, self._initial)
        )
        return one - other

    def _tidy(self, number: int) -> None:
        """Keep the weights of the last round only; figures of all rounds stay."""
        shutil.rmtree(self._folder(number) / "trl", ignore_errors=True)
        (self._folder(number - 1) / "policy.safetensors").unlink(missing_ok=True)


def _rounded(value: Tensor) -> float:
    return round(float(value), 4)
