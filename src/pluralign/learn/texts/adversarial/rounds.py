"""Rounds of adversarial imitation: samples, a discriminator, a policy gradient; a killed run continues."""

from __future__ import annotations

import dataclasses
import shutil
from collections.abc import Mapping, Sequence
from itertools import groupby
from operator import itemgetter
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from pluralign.core import Decision, Demonstration, PreferencePair
from pluralign.core.files import read_json, write_json
from pluralign.core.splits import seed_for
from pluralign.data.text_pairs import TextPair, one_step_pair
from pluralign.folders.card import CARD
from pluralign.folders.tensors import read_tensors, write_tensors
from pluralign.folders.tuned import learned_tensors
from pluralign.learn.texts.adversarial.reinforce import (
    Reward,
    fresh_policy,
    reinforce,
)
from pluralign.learn.texts.adversarial.samples import (
    round_prompts,
    sample_log_probs,
)
from pluralign.learn.texts.adversarial.vllm_sampling import VLLMSampling
from pluralign.learn.texts.combined_reward import reward_of_samples
from pluralign.learn.texts.policy_settings import AdversarialConfig
from pluralign.learn.texts.rewards import fit_discriminator
from pluralign.learn.texts.run import Run
from pluralign.learn.texts.session import Session
from pluralign.learn.texts.training_options import Training
from pluralign.lm.backbone import Backbone
from pluralign.lm.decoding import Decoding
from pluralign.lm.generation import draw_samples
from pluralign.lm.prompts import sample_texts
from pluralign.lm.tensors import to_list
from pluralign.losses.adversarial import Divergence, divergence_bound
from pluralign.rewards.reward_model import RewardModel, load_reward_model

Samples = dict[str, list[str]]
"""Completions by prompt."""


def discriminator_pairs(
    demonstrations: Sequence[Demonstration], samples: Mapping[str, Sequence[str]], seed: int = 0
) -> list[PreferencePair]:
    """Every demonstration paired with every sample of its prompt: positives and negatives of
    `fit_discriminator`.

    Unlike in preference pairs, equal texts are kept. The discriminator should be undecided about them;
    without them, it would learn to separate a policy that writes like the demonstrator from the demonstrator.

    Args:
        demonstrations: Demonstrations, which become the chosen completions; the pairs have their splits.
        samples: Samples of the policy by prompt, which become the rejected completions.
        seed: Random seed of the order of options, which carries no label information.
    """
    return [
        one_step_pair(
            TextPair(row.prompt, row.completion, sample), f"adversarial-{number}-{i}", row.objective,
            "discriminator", row.split, seed,
        )
        for number, row in enumerate(demonstrations, start=1)
        for i, sample in enumerate(samples.get(row.prompt, ()))
    ]  # fmt: skip


class Rounds:
    """The rounds; each reads the results of the previous one."""

    def __init__(
        self, session: Session, config: AdversarialConfig, divergence: Divergence,
        rows: Sequence[Demonstration], vllm: VLLMSampling | None = None, *, turns: bool = False,
    ) -> None:  # fmt: skip
        self._session, self._run, self._vllm = session, session.run, vllm
        self._config, self._divergence, self._rows = config, divergence, rows
        self._text, self._turns = sample_texts(session.backbone.tokenizer, turns=turns), turns
        self._sampling = Decoding(config.max_new_tokens, config.temperature)
        held_out = {row.prompt for row in rows if row.split == "validation"}
        ordered = sorted(held_out, key=lambda prompt: seed_for(prompt, self._run.seed))
        self._held_out = ordered[: max(1, config.prompts // 4)]

    def weights_after(self, number: int) -> dict[str, Tensor]:
        """Trained weights of the policy at the end of a round; empty before the first."""
        return read_tensors(self._folder(number) / "policy.safetensors") if number else {}

    def round(self, number: int) -> dict[str, Any]:
        """Run a round unless it is finished, and return its figures."""
        folder = self._folder(number)
        if (folder / "figures.json").exists():
            return read_json(folder / "figures.json")
        policy = fresh_policy(
            self._run.model, self.weights_after(number - 1), self._run.training, self._run.seed
        )
        prompts = round_prompts(self._rows, self._config.prompts, number, self._run.seed)
        samples = self._kept_samples(number, policy, [*prompts, *self._held_out])
        discriminator = self._discriminator(number, samples)
        figures: dict[str, Any] = {"round": number, **self._measure(discriminator, samples)}
        reinforce(
            policy, prompts, self._reward(discriminator, policy), training=self._training(number),
            samples=self._config.samples, sampling=self._sampling, folder=folder / "trl",
            # NumPy's generator, which TRL seeds as well, takes 32 bits.
            seed=seed_for(f"policy gradient {number}", self._run.seed) % 2**32, vllm=self._vllm,
        )  # fmt: skip
        after = self._draw(policy, self._held_out or prompts, f"after round {number}")
        figures["reward_after"] = _rounded(self._divergence.reward(self._logits(discriminator, after)).mean())
        figures["kl"] = _rounded(self._log_ratios(policy, list(after.items())).mean())
        names = learned_tensors(self._session.trunk.model)
        weights = {name: policy.model.get_parameter(name) for name in names}
        write_tensors(folder / "policy.safetensors", weights)
        write_json(folder / "figures.json", figures)
        self._tidy(number)
        return figures

    def _folder(self, number: int) -> Path:
        return self._session.out / "rounds" / str(number)

    def _training(self, number: int) -> Training:
        """The policy's training options; at a constant learning rate Adam would oscillate around the
        optimum."""
        training, rounds = self._run.training, self._config.rounds
        rate = training.learning_rate * (rounds - number + 1) / rounds
        return dataclasses.replace(training, learning_rate=rate)

    def _kept_samples(self, number: int, policy: Backbone, prompts: Sequence[str]) -> Samples:
        """Samples that a round's discriminator is trained on; drawn once and reused when a run resumes, which
        may have other validation prompts."""
        path = self._folder(number) / "samples.json"
        known: Samples = read_json(path) if path.exists() else {}
        if missing := [prompt for prompt in prompts if prompt not in known]:
            known |= self._draw(policy, missing, f"round {number}")
            write_json(path, known)
        return known

    def _draw(self, policy: Backbone, prompts: Sequence[str], label: str) -> Samples:
        count, seed = self._config.samples, self._run.seed
        drawn = draw_samples(policy, prompts, count, self._sampling, seed=seed, label=label)
        return {prompt: [self._text(text) for text in texts] for prompt, texts in drawn.items()}

    def _discriminator(self, number: int, samples: Samples) -> RewardModel:
        out = self._folder(number) / "discriminator"
        if (out / CARD).exists():
            return load_reward_model(out)
        pairs = discriminator_pairs(self._rows, samples, self._run.seed)
        training, name = self._config.discriminator, f"discriminator {number}"
        run = Run(self._run.model, out, training, self._run.seed, name, self._run.template, quoted=True)
        return fit_discriminator(pairs, run)

    def _logits(self, discriminator: RewardModel, texts: Mapping[str, Sequence[str]]) -> Tensor:
        found = discriminator.score_decisions([Decision(prompt, tuple(own)) for prompt, own in texts.items()])
        return self._limited(torch.cat([torch.as_tensor(rewards.mean) for rewards in found]))

    def _limited(self, logits: Tensor) -> Tensor:
        return logits.clamp(-self._config.logit_limit, self._config.logit_limit)

    def _measure(self, discriminator: RewardModel, samples: Samples) -> dict[str, Any]:
        """Figures of a discriminator on held-out texts if there are any."""
        split = "validation" if self._held_out else "train"
        demonstrations: Samples = {}
        for row in self._rows:
            if row.split == split and row.prompt in samples:
                demonstrations.setdefault(row.prompt, []).append(row.completion)
        good = self._logits(discriminator, demonstrations)
        drawn = self._logits(discriminator, {prompt: samples[prompt] for prompt in demonstrations})
        # Accuracy per class, where a tie counts half; both classes have equal weight.
        right = (2 + good.sign().mean() - drawn.sign().mean()) / 4
        return {
            "measured_on": split,
            "accuracy": _rounded(right),
            "divergence": _rounded(divergence_bound(good, drawn, self._divergence)),
            "reward": _rounded(self._divergence.reward(drawn).mean()),
        }

    def _reward(self, discriminator: RewardModel, policy: Backbone) -> Reward:
        """The reward that the policy gradient maximises."""
        score = reward_of_samples(discriminator, turns=self._turns)

        def reward(prompts: Sequence[str], completions: Sequence[str]) -> list[float]:
            logits = torch.tensor(score(prompts, completions), dtype=torch.float64)
            rewards = self._divergence.reward(self._limited(logits))
            if self._config.kl:
                # Completions of a prompt follow one another; it is read once for them.
                groups = groupby(zip(prompts, completions, strict=True), key=itemgetter(0))
                own = [(prompt, [self._text(text) for _, text in group]) for prompt, group in groups]
                rewards = rewards - self._config.kl * self._log_ratios(policy, own)
            return to_list(rewards)

        return reward

    def _log_ratios(self, policy: Backbone, samples: Sequence[tuple[str, Sequence[str]]]) -> Tensor:
        """log pi - log pi_initial of samples; the session's own model stays at its initial weights until the
        end."""
        initial = dataclasses.replace(self._session.backbone, model=self._session.trunk.model)
        budget = self._run.training.token_budget
        one, other = (
            sample_log_probs(who, samples, self._sampling, token_budget=budget) for who in (policy, initial)
        )
        return one - other

    def _tidy(self, number: int) -> None:
        """Keep weights and texts of the last round only; figures of all rounds stay."""
        folder, before = self._folder(number), self._folder(number - 1)
        for place in (folder / "trl", folder / "discriminator" / "checkpoints", before / "discriminator"):
            shutil.rmtree(place, ignore_errors=True)
        for name in ("policy.safetensors", "samples.json"):
            (before / name).unlink(missing_ok=True)


def _rounded(value: Tensor) -> float:
    return round(float(value), 4)
