"""Speed of sampling and scoring many completions per prompt, compared with a plain loop over transformers.

    python benchmarks/sampling.py --prompts hh/harmless.jsonl.gz

The plain loop is the usual code: for each prompt ``model.generate(num_return_sequences=64)``, then a padded
batch of the 64 completions through a sequence classifier. Both sides have the same weights, dtype and reward
model, and alternate by groups of prompts; with ``--group 1`` the batches of completions are equal as well.
Figures are medians of the groups' ratios; rewards of the same completions are compared.
"""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
import tyro
from transformers import AutoModelForCausalLM, AutoModelForSequenceClassification, GenerationConfig

from pluralign.core import Decision
from pluralign.core.files import write_json
from pluralign.data.load import load_pairs
from pluralign.lm.backbone import Backbone, load_backbone
from pluralign.lm.completion_trees import CompletionReader
from pluralign.lm.decoding import Decoding
from pluralign.lm.generation import draw_completions
from pluralign.lm.prompts import prompt_ids
from pluralign.rewards.export import sequence_classifier
from pluralign.rewards.heads import HeadShape, RewardHead
from pluralign.rewards.reward_model import RewardModel, RewardSettings


@dataclass(frozen=True)
class Settings:
    """Settings of the benchmark.

    Args:
        prompts: Preference data; only its prompts are used.
        count: Total number of prompts.
        group: Number of prompts per turn.
        samples: Number of completions per prompt, which is also the plain loop's batch size.
        max_new_tokens: Number of tokens of each completion; none ends earlier.
        model: Policy, and trunk of the reward model.
        json: Output file for the figures.
    """

    prompts: Path
    count: int = 20
    group: int = 2
    samples: int = 64
    max_new_tokens: int = 48
    model: str = "smollm2-135m"
    json: Path | None = None


class Ours:
    """pluralign: one prefill per prompt, and one pass of the prompt in the reward model."""

    def __init__(self, backbone: Backbone, head: RewardHead, settings: Settings) -> None:
        self._backbone, self._settings = backbone, settings
        self._model = RewardModel("reward", backbone, head, RewardSettings())

    def __call__(self, prompts: list[str]) -> list[tuple[str, list[str], list[float]]]:
        settings, tokenizer = self._settings, self._backbone.tokenizer
        ids = [prompt_ids(tokenizer, prompt) for prompt in prompts]
        seeds = [list(range(settings.samples))] * len(prompts)
        drawn = draw_completions(self._backbone, ids, seeds, Decoding(settings.max_new_tokens))
        scored = self._model.score_decisions(
            [Decision(p, tuple(c)) for p, c in zip(prompts, drawn, strict=True)]
        )
        return [(p, c, r.mean.tolist()) for p, c, r in zip(prompts, drawn, scored, strict=True)]

    def score(self, prompt: str, completions: list[str]) -> list[float]:
        return self._model.score_decisions([Decision(prompt, tuple(completions))])[0].mean.tolist()


class Plain:
    """transformers alone."""

    def __init__(self, backbone: Backbone, classifier: Any, tokenizer: Any, settings: Settings) -> None:
        # A separate copy, with transformers' default attention.
        self._policy: Any = AutoModelForCausalLM.from_config(
            backbone.model.config, attn_implementation="sdpa", dtype=backbone.dtype
        )
        self._policy.load_state_dict(backbone.model.state_dict())
        self._policy.eval()
        self._classifier, self._tokenizer, self._settings = classifier, tokenizer, settings
        self._reader = CompletionReader(tokenizer, 1024)

    @torch.inference_mode()
    def __call__(self, prompts: list[str]) -> list[tuple[str, list[str], list[float]]]:
        found: list[tuple[str, list[str], list[float]]] = []
        settings = self._settings
        config = GenerationConfig(
            do_sample=True, temperature=1.0, top_k=0, max_new_tokens=settings.max_new_tokens,
            num_return_sequences=settings.samples, pad_token_id=self._tokenizer.pad_token_id,
            eos_token_id=self._tokenizer.eos_token_id,
        )  # fmt: skip
        for prompt in prompts:
            told = self._tokenizer(prompt, return_tensors="pt")
            whole = self._policy.generate(**told, generation_config=config)
            texts = self._tokenizer.batch_decode(
                whole[:, told["input_ids"].shape[1] :], skip_special_tokens=True
            )
            found.append((prompt, texts, self.score(prompt, texts)))
        return found

    @torch.inference_mode()
    def score(self, prompt: str, completions: list[str]) -> list[float]:
        rows = [
            [*tree.prompt_ids, *tree.branches[0]]
            for text in completions
            for tree in self._reader.read(prompt, [text]).trees
        ]
        width, pad = max(map(len, rows)), self._tokenizer.pad_token_id
        ids = torch.tensor([row + [pad] * (width - len(row)) for row in rows])
        mask = torch.tensor([[1] * len(row) + [0] * (width - len(row)) for row in rows])
        return self._classifier(ids, attention_mask=mask).logits[:, 0].float().tolist()


def main(settings: Settings) -> None:
    """Measure, report, and write the figures."""
    backbone = load_backbone(settings.model)
    torch.manual_seed(0)
    head = RewardHead(backbone.hidden_size, HeadShape())
    exact = load_backbone(settings.model, dtype=torch.float32)
    classifier, tokenizer = sequence_classifier(RewardModel("reward", exact, head))
    classifier = AutoModelForSequenceClassification.from_config(
        classifier.config, attn_implementation="sdpa", dtype=backbone.dtype
    ).eval()
    classifier.load_state_dict(sequence_classifier(RewardModel("reward", exact, head))[0].state_dict())
    ours, plain = Ours(backbone, head, settings), Plain(backbone, classifier, tokenizer, settings)
    pairs = load_pairs(settings.prompts, "prompts")
    prompts = list(dict.fromkeys(pair.chosen.steps[0].decision.prompt for pair in pairs))[: settings.count]
    groups = [prompts[i : i + settings.group] for i in range(0, len(prompts), settings.group)]
    turns: list[dict[str, float]] = []
    for number, group in enumerate(groups):
        sides: list[tuple[str, Callable[..., Any]]] = [("pluralign", ours), ("transformers", plain)]
        seconds: dict[str, float] = {}
        for name, run in sides if number % 2 else sides[::-1]:
            started = time.perf_counter()
            run(group)
            seconds[name] = time.perf_counter() - started
        turns.append(seconds)
        share = seconds["pluralign"] / seconds["transformers"]
        print(f"group {number + 1}/{len(groups)}: {share:.2f} of the plain loop's time", flush=True)
    _, texts, _ = ours(prompts[:1])[0]
    gaps = [
        abs(a - b) for a, b in zip(ours.score(prompts[0], texts), plain.score(prompts[0], texts), strict=True)
    ]
    shares = [turn["pluralign"] / turn["transformers"] for turn in turns]
    figures = {
        "prompts": len(prompts), "samples": settings.samples, "max_new_tokens": settings.max_new_tokens,
        "median_share": statistics.median(shares), "least": min(shares), "most": max(shares),
        "total_share": sum(t["pluralign"] for t in turns) / sum(t["transformers"] for t in turns),
        "greatest_reward_gap": max(gaps), "dtype": str(backbone.dtype), "threads": torch.get_num_threads(),
    }  # fmt: skip
    print(
        f"{settings.samples} samples of {len(prompts)} prompts, {settings.max_new_tokens} tokens each, drawn "
        f"and scored: {figures['median_share']:.2f} of the plain loop's time (median of {len(turns)} turns, "
        f"{min(shares):.2f} to {max(shares):.2f}); rewards differ by at most {max(gaps):.2g}"
    )
    if settings.json is not None:
        write_json(settings.json, {**figures, "turns": turns})


if __name__ == "__main__":
    main(tyro.cli(Settings))
