"""The table of methods: data, result and source of every training method.

The command line builds its ``learn`` verbs from this table, the documentation its overview. To add a loss for
policies or reward models, write a pure function in `pluralign.losses` and add a row here.
"""

from __future__ import annotations

import importlib
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, Literal

Data = Literal[
    "pairs",
    "pairs and rewards",
    "demonstrations",
    "pairs or demonstrations",
    "scored completions",
    "trajectories",
    "rewards",
    "prompts and rewards",
    "a story",
]
"""Kind of data that a method is trained on."""

Result = Literal[
    "policy", "heads", "reward model", "value model", "option policy", "option reward", "weights"
]
"""Kind of model that a method writes."""


@dataclass(frozen=True)
class Method:
    """A row of the table.

    Args:
        name: Name on the command line and in cards.
        home: Location of the training function, ``MODULE:NAME``, or of the loss if the method is a single
            loss function. It is imported when the method is used, so that the table does not import torch.
        data: Kind of data that it is trained on.
        result: Kind of model that it writes.
        help: One-line description for users.
        source: Paper and equation.
        settings: Location of the class of its settings, ``MODULE:NAME``, which needs no torch; empty where it
            has none, or is a loss, whose keyword parameters are its settings.
        is_loss: Whether ``home`` is a loss of log-probabilities (`learn.texts.policies.PolicyLoss`).
        loss: Name of the loss in `pluralign.losses` that makes `fit_policy` or `fit_reward` this method.
        per_token: Whether the loss takes means per token instead of sums.
        reference: Whether the loss uses the model before training as reference.
        implicit_reward: Whether beta (log pi - log pi_ref) of its policies is a reward.
        example: Further arguments of the command-line example.
    """

    name: str
    home: str
    data: Data
    result: Result
    help: str
    source: str
    settings: str = field(default="", kw_only=True)
    is_loss: bool = field(default=False, kw_only=True)
    loss: str = field(default="", kw_only=True)
    per_token: bool = field(default=False, kw_only=True)
    reference: bool = field(default=True, kw_only=True)
    implicit_reward: bool = field(default=False, kw_only=True)
    example: str = field(default="", kw_only=True)

    def load(self) -> Callable[..., Any]:
        """The function at ``home``."""
        return _at(self.home)

    def load_settings(self) -> type[Any] | None:
        """The class at ``settings``; None where there is none."""
        return _at(self.settings) if self.settings else None


def _at(place: str) -> Any:
    module, _, name = place.partition(":")
    return getattr(importlib.import_module(module), name)


_TEXTS = "pluralign.learn.texts"
_OPTIONS = "pluralign.learn.options.settings"
_POLICIES = f"{_TEXTS}.policy_settings"
_REWARDS = f"{_TEXTS}.reward_settings"
_LORA = "--training.lora-rank 16 --training.learning-rate 2e-4"

METHODS: dict[str, Method] = {
    row.name: row
    for row in (
        Method("dpo", f"{_TEXTS}.policies:fit_dpo", "pairs", "policy",
               "direct preference optimisation", "Rafailov et al. 2023, eq. 7",
               loss="dpo", implicit_reward=True,
               example=f"--data hh/helpful.jsonl.gz --out runs/helpful {_LORA}",
               settings=f"{_POLICIES}:DPOConfig"),
        Method("ipo", "pluralign.losses:ipo", "pairs", "policy",
               "identity preference optimisation: regresses the log-ratio margin to a fixed target",
               "Azar et al. 2024, eq. 17",
               is_loss=True, loss="ipo",
               example="--data hh/helpful.jsonl.gz --out runs/helpful --config.tau 0.05"),
        Method("simpo", "pluralign.losses:simpo", "pairs", "policy",
               "simple preference optimisation: per token, no reference", "Meng et al. 2024, eq. 6",
               is_loss=True, loss="simpo", per_token=True, reference=False,
               example=f"--data hh/helpful.jsonl.gz --out runs/helpful {_LORA}"),
        Method("modpo", f"{_TEXTS}.modpo:fit_modpo", "pairs and rewards", "policy",
               "multi-objective DPO: a policy for one weighting", "Zhou et al. 2024", implicit_reward=True,
               settings=f"{_POLICIES}:MODPOConfig"),
        Method("lipo", f"{_TEXTS}.lipo:fit_lipo", "scored completions", "policy",
               "listwise preference optimisation: ranked lists of a prompt's completions",
               "Liu et al. 2024, eq. 7 and 8", implicit_reward=True,
               settings=f"{_POLICIES}:LiPOConfig"),
        Method("mah-dpo", f"{_TEXTS}.heads:fit_mah_dpo", "pairs", "heads",
               "DPO with an output head for each objective on a shared model", "Shen et al. 2025",
               settings=f"{_POLICIES}:MAHDPOConfig"),
        Method("sft", f"{_TEXTS}.sft:fit_sft", "pairs or demonstrations", "policy",
               "supervised fine-tuning", "Ouyang et al. 2022",
               example=f"--data answers.jsonl --out runs/sft {_LORA}",
               settings=f"{_POLICIES}:SFTConfig"),
        Method("awr", f"{_TEXTS}.awr:fit_awr", "scored completions", "policy",
               "advantage-weighted cloning: each token by its advantage over a prompt's other samples",
               "Peng et al. 2019; V-STAR, arXiv 2602.10699, eq. 17",
               example=f"--data runs/scored.jsonl --out runs/helpful {_LORA}",
               settings=f"{_POLICIES}:AWRConfig"),
        Method("adversarial", f"{_TEXTS}.adversarial.loop:fit_adversarial", "demonstrations", "policy",
               "imitation with a discriminator and a policy gradient", "Inverse-RLignment, eq. 23-25",
               settings=f"{_POLICIES}:AdversarialConfig"),
        Method("rl", f"{_TEXTS}.rl:fit_rl", "prompts and rewards", "policy",
               "policy gradient (RLOO) on several rewards, for one weighting, optionally with targets",
               "Ahmadian et al. 2024 (RLOO); Moskovitz et al. 2024"),
        Method("spin", f"{_TEXTS}.spin:fit_spin", "demonstrations", "policy",
               "self-play fine-tuning", "Chen et al. 2024, eq. 4.7", implicit_reward=True,
               example=f"--data answers.jsonl --out runs/spin {_LORA}",
               settings=f"{_POLICIES}:SPINConfig"),
        Method("bradley-terry", f"{_TEXTS}.rewards:fit_bradley_terry", "pairs", "reward model",
               "a reward at the last token", "Bradley and Terry 1952; Ouyang et al. 2022, eq. 1",
               loss="bradley_terry",
               example="--data hh/harmless.jsonl.gz --out runs/harmless",
               settings=f"{_REWARDS}:BradleyTerryConfig"),
        Method("bt-variance", f"{_TEXTS}.rewards:fit_bt_variance", "pairs", "reward model",
               "Bradley-Terry with a learned uncertainty", "Inverse-RLignment, eq. 14-15",
               loss="learned_variance",
               example="--data hh/harmless.jsonl.gz --out runs/harmless",
               settings=f"{_REWARDS}:BradleyTerryConfig"),
        Method("preference-transformer", f"{_TEXTS}.rewards:fit_preference_transformer", "pairs",
               "reward model", "a weighted sum of token rewards", "Kim et al. 2023, eq. 5-7",
               example="--data hh/harmless.jsonl.gz --out runs/harmless",
               settings=f"{_REWARDS}:PreferenceTransformerConfig"),
        Method("ava-p", f"{_TEXTS}.ava:fit_ava_p", "pairs", "reward model",
               "a Gaussian reward for every token, from preferences; its backbone is a policy, too",
               "AVA, eq. 17 and 18",
               example="--data hh/harmless.jsonl.gz --out runs/harmless",
               settings=f"{_REWARDS}:AVAConfig"),
        Method("ava-d", f"{_TEXTS}.ava:fit_ava_d", "pairs or demonstrations", "reward model",
               "a Gaussian reward for every token, from demonstrations; its backbone is a policy, too",
               "AVA, eq. 13",
               example="--data hh/harmless.jsonl.gz --out runs/harmless",
               settings=f"{_REWARDS}:AVAConfig"),
        Method("discriminator", f"{_TEXTS}.rewards:fit_discriminator", "pairs", "reward model",
               "a classifier that tells two sources of completions apart; its logit is the reward",
               "Inverse-RLignment, eq. 11",
               example="--data runs/init-sft.jsonl --out runs/reward"),
        Method("ensemble", f"{_TEXTS}.ensemble:fit_ensemble", "rewards", "reward model",
               "several reward models combined: mean, minimum or lower bound", "Coste et al. 2024"),
        Method("value", f"{_TEXTS}.value:fit_value", "scored completions", "value model",
               "the expected reward after every prefix, for value-guided decoding", "Han et al. 2024 (VAS)",
               settings=f"{_REWARDS}:ValueConfig"),
        Method("weights", f"{_TEXTS}.suggestions:fit_weights", "pairs and rewards", "weights",
               "weights that depend on the prompt, from choices and rewards",
               "Liu et al. 2025 (PRO), labels from choices",
               settings=f"{_REWARDS}:WeightsConfig"),
        Method("bc", "pluralign.learn.options.bc:fit_bc", "trajectories", "option policy",
               "behaviour cloning over listed options", "Pomerleau 1991",
               settings=f"{_OPTIONS}:BCConfig"),
        Method("cpl", "pluralign.learn.options.cpl:fit_cpl", "pairs", "option policy",
               "contrastive preference learning over listed options", "Hejna et al. 2024, eq. 9",
               settings=f"{_OPTIONS}:CPLConfig"),
        Method("avril", "pluralign.learn.options.avril:fit_avril", "trajectories", "option reward",
               "a posterior over rewards of listed options", "Chan & van der Schaar 2021, eq. 4",
               settings=f"{_OPTIONS}:AVRILConfig"),
        Method("story-rl", "pluralign.learn.options.story_rl:fit_story_rl", "a story", "option policy",
               "policy gradient (RLOO) on a story's objectives for one weighting, optionally with targets",
               "Ahmadian et al. 2024 (RLOO); Moskovitz et al. 2024"),
        Method("q", "pluralign.learn.options.q:fit_q", "trajectories", "option policy",
               "offline Q-learning: a Q-function for each objective, from recorded episodes",
               "Kostrikov et al. 2022; Sims et al. 2024; Yu et al. 2024, eq. 14",
               settings=f"{_OPTIONS}:QConfig"),
    )
}  # fmt: skip
"""Every method by name, in the order of results: policies, reward models, weights, then stories."""


def method_of(loss: str) -> str:
    """Name of the method that uses a loss of `pluralign.losses`.

    Args:
        loss: Name of the loss.
    """
    return next((row.name for row in METHODS.values() if row.loss == loss), loss)


def method_table() -> str:
    """The table of methods as Markdown: ``python -m pluralign.learn.methods``.

    Examples:
        >>> import pluralign as pl
        >>> print(pl.method_table().splitlines()[0])
        | `pluralign learn` | what it is | learns from | writes | source | Python |
    """
    lines = [
        "| `pluralign learn` | what it is | learns from | writes | source | Python |",
        "| --- | --- | --- | --- | --- | --- |",
    ]
    for row in METHODS.values():
        name = row.home.rpartition(":")[2]
        reading = (", per_token=True" if row.per_token else "") + (
            "" if row.reference else ", reference=False"
        )
        python = f"pl.fit_policy(loss=pl.losses.{row.loss}{reading})" if row.is_loss else f"pl.learn.{name}"
        lines.append(f"| `{row.name}` | {row.help} | {row.data} | {row.result} | {row.source} | `{python}` |")
    return "\n".join(lines)


if __name__ == "__main__":
    print(method_table())
