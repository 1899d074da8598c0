"""Adversarial imitation of demonstrations by a language model: discriminator and policy gradient in turn."""

from __future__ import annotations

import dataclasses
import shutil
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file, save_file
from torch import Tensor

from pluralign.core import Decision, Demonstration, InputError, PreferencePair
from pluralign.core.checks import require
from pluralign.core.files import read_json, replace_when_whole, write_json
from pluralign.core.splits import seed_for
from pluralign.data import TextPair, learned_template, one_step_pair
from pluralign.folders.card import CARD
from pluralign.folders.tuned import learned_tensors
from pluralign.learn.engine import processes
from pluralign.learn.texts.adversarial.reinforce import (
    Reward,
    check_batch,
    fresh_policy,
    reinforce,
    require_trl,
)
from pluralign.learn.texts.adversarial.samples import (
    round_prompts,
    sample_log_probs,
    within_limits,
)
from pluralign.learn.texts.data import split_rows
from pluralign.learn.texts.rewards import fit_discriminator
from pluralign.learn.texts.run import Run, folder_optional
from pluralign.learn.texts.session import Session
from pluralign.learn.texts.training import Training
from pluralign.learn.trl import RewardFunction
from pluralign.lm.backbone import Backbone, load_tokenizer
from pluralign.lm.decoding import Decoding
from pluralign.lm.generation import draw_samples
from pluralign.losses.adversarial import AIRL, Divergence, divergence_bound
from pluralign.rewards.reward_model import RewardModel, load_reward_model

Samples = dict[str, list[str]]
"""Completions by their prompt."""


@dataclass(frozen=True)
class AdversarialConfig:
    """How `fit_adversarial` learns, beside the policy's own `Training`.

    Args:
        rounds: Number of rounds of discriminator and policy gradient (ours).
        prompts: Number of training prompts of a round, drawn again each time (ours).
        samples: Number of completions of each prompt, for the discriminator and in the policy gradient
            (ours).
        max_new_tokens: Largest number of tokens of a completion; longer demonstrations are truncated
            (Inverse-RLignment: 48 on harmless, 128 on helpful).
        temperature: Sampling temperature of the policy, and so the one at which it imitates.
        logit_limit: Largest absolute value of the discriminator's logits as rewards (ours: where it has seen
            no sample they are guesses).
        kl: Weight of log pi - log pi_initial, which is subtracted from the rewards; 0 only imitates.
        discriminator: Training options of each round's discriminator, which begins at the model
            (Inverse-RLignment: 2 epochs in steps of 8).
    """

    rounds: int = 4
    prompts: int = 256
    samples: int = 4
    max_new_tokens: int = 128
    temperature: float = 1.0
    logit_limit: float = 10.0
    kl: float = 0.0
    discriminator: Training = dataclasses.field(default_factory=lambda: Training(epochs=2.0))

    def __post_init__(self) -> None:
        require(self, {"rounds": 1, "prompts": 1, "samples": 2, "max_new_tokens": 1, "kl": 0})
        require(self, {"temperature": 1e-6, "logit_limit": 1e-6})


@folder_optional
def fit_adversarial(
    demonstrations: Sequence[Demonstration],
    run: Run,
    config: AdversarialConfig | None = None,
    *,
    divergence: Divergence = AIRL,
) -> Backbone:
    """Learn a policy that cannot be told from the demonstrator (Inverse-RLignment eq. 9-12, 24-25).

    Each round draws samples of the policy as it is, trains a discriminator to tell them from the
    demonstrations (`fit_discriminator`), and raises the policy's mean reward, which is the divergence's
    function of the logit (`reinforce`). ``run.training`` is the policy's: an epoch is one pass over a round's
    samples, a batch so many completions; each round has a new optimizer, the first one begins with the
    learning rate, and the others with ever less of it. A run that was interrupted goes on after its last
    finished round, and ends with the same weights (on a CPU, bit for bit).

    A round's figures: ``accuracy`` of the discriminator (both kinds weigh the same) and ``divergence``
    (`divergence_bound`, of the limited logits) on held-out demonstrations and fresh samples of the policy
    that the round began with (where no prompt is held out, on what it learned from); ``reward`` of those
    samples; ``reward_after``, of samples of the policy that it ended with; and ``kl`` of that one from the
    initial policy, nats. ``out/rounds/N`` keeps them, and the last round's discriminator and samples.

    Args:
        demonstrations: ``train`` is imitated, ``validation`` measured on. Several of one prompt all count.
        run: model (the policy before training, and what discriminators begin from), folder, the policy's
            training, seed.
        config: see `AdversarialConfig`.
        divergence: of demonstrator and policy, to be made small.

    Returns:
        The policy's language model.

    Raises:
        InputError: TRL is not installed, no training demonstration, a batch that cannot be filled with whole
            groups of ``config.samples``, several processes, or the folder holds another run.
    """
    config = config or AdversarialConfig()
    require_trl()
    if run.training.layers is not None:
        raise InputError("policy gradients learn the whole trunk, or an adapter on it", field="layers")
    if processes().num_processes > 1:
        raise InputError("adversarial imitation runs in one process")
    tokenizer = load_tokenizer(run.model)
    # The rows lose their template on the way to the session.
    run = dataclasses.replace(run, template=learned_template(demonstrations, run.template, tokenizer))
    rows = within_limits(demonstrations, tokenizer, run.training.max_length, config.max_new_tokens)
    settings = {"divergence": divergence.name, **dataclasses.asdict(config)}
    # It bounds memory and changes no result.
    settings["discriminator"].pop("token_budget")
    train, _ = split_rows(rows)
    check_batch(
        run.training.batch_size, config.samples, len(round_prompts(train, config.prompts, 1, run.seed))
    )
    session = Session("adversarial", run, settings, rows, demonstrations=True, vocabulary=True)
    loop = _Loop(session, config, divergence, rows)
    figures = [loop.round(number) for number in range(1, config.rounds + 1)]
    session.trunk.model.load_state_dict(loop.weights_after(config.rounds), strict=False)
    last = {name: value for name, value in figures[-1].items() if isinstance(value, float)}
    return session.finish_policy({**last, "rounds": figures})


def discriminator_pairs(
    demonstrations: Sequence[Demonstration], samples: Mapping[str, Sequence[str]], seed: int = 0
) -> list[PreferencePair]:
    """Every demonstration with every sample of its prompt: positives and negatives of `fit_discriminator`.

    Equal texts stay, unlike in preferences: there the discriminator ought to be undecided, and to leave them
    out would have it tell a policy that writes like the demonstrator from the demonstrator.

    Args:
        demonstrations: become the chosen halves; their splits are the pairs'.
        samples: of the policy, by prompt; become the rejected halves.
        seed: of the options' order, which carries no label.
    """
    return [
        one_step_pair(
            TextPair(row.prompt, row.completion, sample), f"adversarial-{number}-{i}", row.objective,
            "discriminator", row.split, seed,
        )
        for number, row in enumerate(demonstrations, start=1)
        for i, sample in enumerate(samples.get(row.prompt, ()))
    ]  # fmt: skip


class _Loop:
    """Rounds, each of which reads what the one before it wrote."""

    def __init__(
        self, session: Session, config: AdversarialConfig, divergence: Divergence,
        rows: Sequence[Demonstration],
    ) -> None:  # fmt: skip
        self._session, self._run = session, session.run
        self._config, self._divergence, self._rows = config, divergence, rows
        self._sampling = Decoding(config.max_new_tokens, config.temperature)
        held_out = {row.prompt for row in rows if row.split == "validation"}
        ordered = sorted(held_out, key=lambda prompt: seed_for(prompt, self._run.seed))
        self._held_out = ordered[: max(1, config.prompts // 4)]

    def weights_after(self, number: int) -> dict[str, Tensor]:
        """What the policy has learned by the end of a round; nothing before the first."""
        return load_file(self._folder(number) / "policy.safetensors") if number else {}

    def round(self, number: int) -> dict[str, Any]:
        """Make a round, if it was not finished before; its figures."""
        folder = self._folder(number)
        if (folder / "figures.json").exists():
            return read_json(folder / "figures.json")
        policy = fresh_policy(
            self._run.model, self.weights_after(number - 1), self._run.training.lora_rank, self._run.seed
        )
        prompts = round_prompts(self._rows, self._config.prompts, number, self._run.seed)
        samples = self._kept_samples(number, policy, [*prompts, *self._held_out])
        discriminator = self._discriminator(number, samples)
        figures: dict[str, Any] = {"round": number, **self._measure(discriminator, samples)}
        reinforce(
            policy, prompts, self._reward(discriminator, policy), training=self._training(number),
            samples=self._config.samples, sampling=self._sampling, folder=folder / "trl",
            # NumPy's generator, which TRL seeds too, takes 32 bits.
            seed=seed_for(f"policy gradient {number}", self._run.seed) % 2**32,
        )  # fmt: skip
        after = self._draw(policy, self._held_out or prompts, f"after round {number}")
        figures["reward_after"] = _rounded(self._divergence.reward(self._logits(discriminator, after)).mean())
        figures["kl"] = _rounded(self._log_ratios(policy, list(after.items())).mean())
        with replace_when_whole(folder / "policy.safetensors") as temporary:
            weights = {
                name: policy.model.get_parameter(name) for name in learned_tensors(self._session.trunk.model)
            }
            save_file({name: value.detach().contiguous().cpu() for name, value in weights.items()}, temporary)
        write_json(folder / "figures.json", figures)
        self._tidy(number)
        return figures

    def _folder(self, number: int) -> Path:
        return self._session.out / "rounds" / str(number)

    def _training(self, number: int) -> Training:
        """The policy's: at equal rates Adam would walk about the optimum, however small the gradients are."""
        training, rounds = self._run.training, self._config.rounds
        rate = training.learning_rate * (rounds - number + 1) / rounds
        return dataclasses.replace(training, learning_rate=rate)

    def _kept_samples(self, number: int, policy: Backbone, prompts: Sequence[str]) -> Samples:
        """The samples that a round's discriminator learns from: drawn once, for a run that goes on."""
        path = self._folder(number) / "samples.json"
        if not path.exists():
            write_json(path, self._draw(policy, prompts, f"round {number}"))
        return read_json(path)

    def _draw(self, policy: Backbone, prompts: Sequence[str], label: str) -> Samples:
        count, seed = self._config.samples, self._run.seed
        return draw_samples(policy, prompts, count, self._sampling, seed=seed, label=label)

    def _discriminator(self, number: int, samples: Samples) -> RewardModel:
        out = self._folder(number) / "discriminator"
        if (out / CARD).exists():
            return load_reward_model(out)
        pairs = discriminator_pairs(self._rows, samples, self._run.seed)
        training, name = self._config.discriminator, f"discriminator {number}"
        run = Run(self._run.model, out, training, self._run.seed, name, self._run.template)
        return fit_discriminator(pairs, run)

    def _logits(self, discriminator: RewardModel, texts: Mapping[str, Sequence[str]]) -> Tensor:
        found = discriminator.score_decisions([Decision(prompt, tuple(own)) for prompt, own in texts.items()])
        return self._limited(torch.cat([torch.from_numpy(rewards.mean) for rewards in found]))

    def _limited(self, logits: Tensor) -> Tensor:
        return logits.clamp(-self._config.logit_limit, self._config.logit_limit)

    def _measure(self, discriminator: RewardModel, samples: Samples) -> dict[str, Any]:
        """How a discriminator does on texts that it has not learned from, where there are such."""
        split = "validation" if self._held_out else "train"
        demonstrations: Samples = {}
        for row in self._rows:
            if row.split == split and row.prompt in samples:
                demonstrations.setdefault(row.prompt, []).append(row.completion)
        good = self._logits(discriminator, demonstrations)
        drawn = self._logits(discriminator, {prompt: samples[prompt] for prompt in demonstrations})
        # Of each kind the share on its side of 0, where a tie counts half; both kinds weigh the same.
        right = (2 + good.sign().mean() - drawn.sign().mean()) / 4
        return {
            "measured_on": split,
            "accuracy": _rounded(right),
            "divergence": _rounded(divergence_bound(good, drawn, self._divergence)),
            "reward": _rounded(self._divergence.reward(drawn).mean()),
        }

    def _reward(self, discriminator: RewardModel, policy: Backbone) -> Reward:
        """What the policy gradient raises."""
        score = RewardFunction(discriminator)

        def reward(prompts: Sequence[str], completions: Sequence[str]) -> list[float]:
            logits = torch.tensor(score(prompts, completions), dtype=torch.float64)
            rewards = self._divergence.reward(self._limited(logits))
            if self._config.kl:
                own = [(prompt, [text]) for prompt, text in zip(prompts, completions, strict=True)]
                rewards = rewards - self._config.kl * self._log_ratios(policy, own)
            return rewards.tolist()

        return reward

    def _log_ratios(self, policy: Backbone, samples: Sequence[tuple[str, Sequence[str]]]) -> Tensor:
        """log pi - log pi_initial of samples: the session's own model learns nothing before the end."""
        initial = dataclasses.replace(self._session.backbone, model=self._session.trunk.model)
        budget = self._run.training.token_budget
        one, other = (
            sample_log_probs(who, samples, self._sampling, token_budget=budget) for who in (policy, initial)
        )
        return one - other

    def _tidy(self, number: int) -> None:
        """Leave the last round's weights and texts, and of the others the figures."""
        folder, before = self._folder(number), self._folder(number - 1)
        for place in (folder / "trl", folder / "discriminator" / "checkpoints", before / "discriminator"):
            shutil.rmtree(place, ignore_errors=True)
        for name in ("policy.safetensors", "samples.json"):
            (before / name).unlink(missing_ok=True)


def _rounded(value: Tensor) -> float:
    return round(float(value), 4)
