"""Training, sampling and scoring stages; a finished stage is a file or a folder and is not repeated."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import torch
from console import say

from pluralign.core import Decision, Demonstration, PreferencePair
from pluralign.core.files import read_json, write_json
from pluralign.core.splits import seed_for
from pluralign.folders.card import CARD
from pluralign.folders.tuned import load_language_policy
from pluralign.learn.texts.run import Run
from pluralign.learn.texts.training_options import Training
from pluralign.learn.texts.trunk import LowerStates
from pluralign.lm.backbone import Backbone, load_backbone
from pluralign.lm.decoding import Decoding
from pluralign.lm.generation import draw_samples
from pluralign.rewards.open import load_rewards
from pluralign.rewards.together import score_together

Draws = dict[str, list[str]]
"""Completions by prompt."""


@dataclass(frozen=True)
class Recipe:
    """Sizes and training options of the experiment.

    Args:
        model: Base model pi_init.
        tokens: Number of new tokens of every completion.
        longest: Largest number of tokens of prompt + completion.
        policy: Training options of policies.
        reward: Training options of reward models: only the uppermost layers, so that all share the layers
            below.
        control_tokens: Whether prompts contain control tokens by name, as rendered chats do; by default such
            names are ordinary text to trainers.
    """

    model: str
    tokens: int
    longest: int = 384
    policy: Mapping[str, Any] | None = None
    reward: Mapping[str, Any] | None = None
    control_tokens: bool = False


class Workshop:
    """Folder of the stages of one task and seed.

    Args:
        folder: Output folder.
        recipe: Sizes and training options.
        seed: Random seed of training and sampling.
    """

    def __init__(self, folder: Path, recipe: Recipe, seed: int) -> None:
        self.folder, self.recipe, self.seed = folder, recipe, seed
        folder.mkdir(parents=True, exist_ok=True)

    @cached_property
    def base(self) -> Backbone:
        """pi_init, for sampling and scoring."""
        return load_backbone(self.recipe.model)

    @cached_property
    def lower(self) -> LowerStates:
        """Hidden states below the layers that reward models train."""
        layers = int((self.recipe.reward or {})["layers"])
        return LowerStates(load_backbone(self.recipe.model, dtype=torch.float32), layers, bf16=True)

    def trained(
        self, name: str, fit: Callable[..., Any], rows: Sequence[Any], kind: str, *config: Any, **more: Any
    ) -> Path:
        """Train a model under a name, unless it is finished, and return its folder."""
        out = self.folder / name
        if not (out / CARD).is_file():
            say(f"{self.folder.name}: {name}, {len(rows)} rows")
            settings = {**(getattr(self.recipe, kind) or {}), "max_length": self.recipe.longest, **more}
            model = settings.pop("model", self.recipe.model)
            run = Run(
                model,
                out,
                Training(**settings),
                self.seed,
                name=name,
                lower=self.lower if kind == "reward" else None,
                control_tokens=self.recipe.control_tokens,
            )
            fit(rows, run, *config)
        return out

    def drawn(
        self, name: str, policy: Path | None, prompts: Sequence[str], samples: int, temperature: float = 1.0
    ) -> Draws:
        """Completions of a policy (None: pi_init), sampled once."""
        path = self.folder / f"{name}.jsonl"
        known: Draws = {}
        if path.exists():
            for line in path.read_text("utf-8").splitlines():
                row = json.loads(line)
                known[row["prompt"]] = row["completions"]
        missing = [prompt for prompt in prompts if prompt not in known]
        if missing:
            say(f"{self.folder.name}: drawing {name}, {len(missing)} x {samples}")
            backbone = self.base if policy is None else load_language_policy(policy, dtype=self.base.dtype)
            decoding = Decoding(self.recipe.tokens, temperature)
            for start in range(0, len(missing), chunk := max(1, 256 // samples)):
                own = missing[start : start + chunk]
                known |= draw_samples(backbone, own, samples, decoding, seed=self.seed, label=name)
                lines = [
                    json.dumps({"prompt": p, "completions": c}, ensure_ascii=False) for p, c in known.items()
                ]
                temporary = path.with_suffix(".tmp")
                temporary.write_text("\n".join(lines) + "\n", "utf-8")
                temporary.replace(path)
        return {prompt: known[prompt] for prompt in prompts}

    def scored(self, name: str, draws: Draws, folders: Mapping[str, Path]) -> dict[str, np.ndarray]:
        """Rewards of samples, shape (prompts, samples), and their sigmas as ``NAME sigma``, by reward models
        that share their lower layers, which run once."""
        path = self.folder / "scores" / f"{name}.json"
        known: dict[str, Any] = read_json(path) if path.exists() else {}
        new = {key: folder for key, folder in folders.items() if key not in known}
        if new:
            say(f"{self.folder.name}: scoring {name} by {', '.join(new)}")
            models = load_rewards(new, dtype=self.base.dtype)
            decisions = [Decision(prompt, tuple(texts)) for prompt, texts in draws.items()]
            for key, rows in score_together(models, dict.fromkeys(models, decisions)).items():
                known[key] = [own.mean.tolist() for own in rows]
                known[f"{key} sigma"] = [own.sigma.tolist() for own in rows]
            write_json(path, known)
        return {key: np.array(known[key]) for key in known if key.removesuffix(" sigma") in folders}

    def scored_by(self, name: str, draws: Draws, key: str, scorer: Callable[[], Any]) -> np.ndarray:
        """Rewards of samples by any scorer, shape (prompts, samples)."""
        path = self.folder / "scores" / f"{name}.{key}.json"
        if not path.exists():
            say(f"{self.folder.name}: scoring {name} by {key}")
            opened = scorer()
            rows = [
                opened.score_decisions([Decision(p, tuple(c))])[0].mean.tolist() for p, c in draws.items()
            ]
            write_json(path, rows)
        return np.array(read_json(path))


def as_rows(draws: Draws, like: Sequence[Demonstration]) -> list[Demonstration]:
    """Samples as rows for pairing, without empty ones."""
    known = {row.prompt: row for row in like}
    return [
        replace(known[prompt], completion=text)
        for prompt, texts in draws.items()
        for text in texts
        if text.strip()
    ]


def all_train(pairs: Sequence[PreferencePair]) -> list[PreferencePair]:
    """The pairs with a fifth of the prompts for validation and the rest for training."""
    return [
        replace(
            pair,
            split="validation" if seed_for(pair.chosen.steps[0].decision.prompt, 3) % 5 == 0 else "train",
        )
        for pair in pairs
    ]
