"""Speed of mixture decoding compared with the alternatives, measured in alternation in one run.

    python benchmarks/decoding.py

Random LoRA adapters of rank 16 on SmolLM2-135M, float32, greedy. For N objectives: pluralign's single batched
pass per token; one policy merged into its weights (the fastest alternative, with transformers' own cache);
and N passes with ``set_adapter``, as in published multi-objective decoders. Figures are medians of the time
per token and of the time to the first token, relative to the merged policy; and the largest difference
between the arithmetic mixture's probabilities and those of plain passes.

    python benchmarks/decoding.py --heads

Random heads of rank 16 on one trunk instead of adapters, relative to one policy without heads in the same
decoder, token by token in alternation, by CPU seconds.
"""

from __future__ import annotations

import statistics
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
import tyro
from devices import seconds

from pluralign.core import SteeringWeights
from pluralign.core.files import write_json
from pluralign.lm.adapters import add_lora, read_adapter, save_adapter
from pluralign.lm.backbone import Backbone, load_backbone
from pluralign.lm.decoding import Decoding
from pluralign.lm.head_change import HeadChange, make_change
from pluralign.steer.adapter_rows import AdapterRows
from pluralign.steer.decoder import MixtureDecoder
from pluralign.steer.head_rows import HeadRows
from pluralign.steer.mixing import ARITHMETIC, mix_rows
from pluralign.steer.policy_rows import PolicyRows
from pluralign.steer.requests import Request


@dataclass(frozen=True)
class Settings:
    """Settings of the benchmark.

    Args:
        objectives: Numbers of objectives to measure.
        batches: Numbers of concurrent requests to measure.
        prompt_tokens: Number of tokens of each prompt.
        new_tokens: Number of tokens of each answer.
        turns: Number of measurements of each side, in alternating order.
        model: Base model.
        json: Output file for the figures.
        heads: Whether the policies are heads on one trunk (1, 3, 5 and 8 of them by default).
    """

    objectives: tuple[int, ...] = ()
    batches: tuple[int, ...] = (1, 8)
    prompt_tokens: int = 64
    new_tokens: int = 24
    turns: int = 3
    model: str = "smollm2-135m"
    json: Path | None = None
    heads: bool = False


Times = tuple[float, float]
"""Seconds to the first token, and per token after it."""


def ours(rows: PolicyRows, prompts: torch.Tensor, objectives: int, new_tokens: int) -> Times:
    """One batched pass per token."""
    weights = SteeringWeights(dict.fromkeys(rows.names[:objectives], 1 / objectives))
    decoder = MixtureDecoder(rows)
    asked = [Request(row, weights, Decoding(new_tokens, 0.0)) for row in prompts.tolist()]
    started = seconds()
    decoder.admit(asked)
    first = seconds()
    for _ in range(new_tokens - 1):
        if len(decoder.step()) < len(asked):
            sys.exit("an answer ended before its last token: the backbone is not `endless`")
    ended = seconds()
    decoder.release(set(decoder.running))
    return first - started, (ended - first) / (new_tokens - 1)


@torch.inference_mode()
def passes(models: list[Callable[[], Any]], prompts: torch.Tensor, new_tokens: int) -> Times:
    """One pass per policy and token, each with its own cache; a single policy is plain greedy decoding."""
    caches: list[Any] = [None] * len(models)
    owners = torch.arange(len(prompts), device=prompts.device).repeat(len(models))
    weights = torch.full((len(owners),), 1 / len(models), device=prompts.device)
    ids, started, first = prompts, seconds(), 0.0
    for step in range(new_tokens):
        logs: list[torch.Tensor] = []
        for i, choose in enumerate(models):
            output = choose()(input_ids=ids, past_key_values=caches[i], use_cache=True, logits_to_keep=1)
            caches[i] = output.past_key_values
            logs.append(output.logits[:, -1])
        mixed = logs[0]
        if len(logs) > 1:
            mixed = mix_rows(torch.cat(logs).log_softmax(-1), owners, weights, len(prompts))
        ids = mixed.argmax(-1, keepdim=True)
        if step == 0:
            first = seconds()
    return first - started, (seconds() - first) / (new_tokens - 1)


@torch.inference_mode()
def largest_difference(rows: AdapterRows, models: list[Callable[[], Any]], prompts: torch.Tensor) -> float:
    """Largest difference between the arithmetic mixture's probabilities and those of one plain pass per
    policy."""
    count, found = len(models), 0.0
    ids = prompts
    entries = [(b, i, row) for b, row in enumerate(prompts.tolist()) for i in range(count)]
    owners = torch.tensor([b for b, _, _ in entries])
    ours = rows.admit(entries)
    for _ in range(8):
        plain = torch.stack([choose()(input_ids=ids, logits_to_keep=1).logits[:, -1] for choose in models])
        expected = plain.softmax(-1).mean(0)
        mixed = ours.mixed(owners, torch.full((len(entries),), 1 / count), len(prompts), ARITHMETIC).exp()
        found = max(found, float((mixed - expected).abs().max()))
        chosen = expected.argmax(-1)
        ids = torch.cat([ids, chosen[:, None]], dim=1)
        ours = rows.step(dict(enumerate(chosen.tolist())))
        owners = torch.tensor([b for b, _ in rows.order])
    rows.release(set(range(len(prompts))))
    return found


def measure_heads(settings: Settings) -> None:
    """Measure heads against one policy, and print a table."""
    figures: list[dict[str, Any]] = []
    print(f"{torch.get_num_threads()} threads, float32, {settings.prompt_tokens} prompt tokens, CPU seconds")
    print("objectives  batch   time a token / one policy   first token / one policy")
    for n in settings.objectives or (1, 3, 5, 8):
        rows = random_heads(settings.model, n)
        # On the same weights in memory, the place of which matters.
        plain = AdapterRows(rows.backbone, {"policy": None})
        for batch in settings.batches:
            generator = torch.Generator().manual_seed(batch)
            shape, tokens = (batch, settings.prompt_tokens), len(plain.backbone.tokenizer)
            prompts = torch.randint(9, tokens, shape, generator=generator)
            # The first turn compiles products for these shapes.
            found = [token_by_token([rows, plain], prompts, settings.new_tokens, turn)
                     for turn in range(settings.turns + 1)][1:]  # fmt: skip
            first, token = (
                [statistics.median(value for turn in found for value in turn[i][side]) for side in (0, 1)]
                for i in (0, 1)
            )
            row = {
                "objectives": n, "batch": batch, "over_policy": token[0] / token[1],
                "first_over_policy": first[0] / first[1], "seconds": found,
            }  # fmt: skip
            figures.append(row)
            print(
                f"{n:10}  {batch:5}   {row['over_policy']:25.3f}   {row['first_over_policy']:24.3f}",
                flush=True,
            )
        del rows, plain
    if settings.json is not None:
        write_json(settings.json, {"threads": torch.get_num_threads(), "rows": figures})


def token_by_token(
    sides: list[PolicyRows], prompts: torch.Tensor, new_tokens: int, turn: int
) -> tuple[list[list[float]], list[list[float]]]:
    """CPU seconds of each side's first token and of each further one, the sides in turn at every token."""
    decoders = [MixtureDecoder(rows) for rows in sides]
    first, further = [list[float]() for _ in sides], [list[float]() for _ in sides]
    for token in range(new_tokens):
        for i in (0, 1) if (turn + token) % 2 else (1, 0):
            weights = SteeringWeights.uniform(list(sides[i].names))
            asked = [Request(row, weights, Decoding(new_tokens + 1, 0.0)) for row in prompts.tolist()]
            started = time.process_time()
            if token:
                decoders[i].step()
            else:
                decoders[i].admit(asked)
            (further if token else first)[i].append(time.process_time() - started)
    for decoder in decoders:
        decoder.release(set(decoder.running))
    return first, further


def random_heads(model: str, count: int) -> HeadRows:
    """Rows of random rank-16 heads on a model of their own."""
    backbone = endless(load_backbone(model, dtype=torch.float32))
    heads: dict[str, HeadChange] = {}
    for seed in range(count):
        torch.manual_seed(seed)
        heads[str(seed)] = make_change(backbone.model, 16)
        torch.nn.init.normal_(heads[str(seed)].up, std=0.02)
    return HeadRows(backbone, heads)


def main(settings: Settings) -> None:
    """Measure, and print a table."""
    if settings.heads:
        measure_heads(settings)
        return
    objectives = settings.objectives or (3, 5, 8)
    most = max(objectives)
    with tempfile.TemporaryDirectory() as place:
        folders = random_adapters(settings.model, most, Path(place))
        rows = AdapterRows(endless(load_backbone(settings.model, dtype=torch.float32)), folders)
        merged: Any = read_adapter(
            load_backbone(settings.model, dtype=torch.float32).model, folders["0"]
        ).merge_and_unload()
        switched: Any = read_adapter(load_backbone(settings.model, dtype=torch.float32).model, folders["0"])
        for name in list(folders)[1:]:
            switched.load_adapter(str(folders[name]), adapter_name=name)
    names = ["default", *list(folders)[1:]]

    def chosen(name: str) -> Callable[[], Any]:
        def choose() -> Any:
            switched.set_adapter(name)
            return switched

        return choose

    figures: list[dict[str, Any]] = []
    tokens = len(rows.backbone.tokenizer)
    print(f"{torch.get_num_threads()} threads, float32, {settings.prompt_tokens} prompt tokens")
    print(
        "objectives  batch   time a token / merged policy   N passes / ours   first token / merged policy"
        "   largest difference in a probability"
    )
    for batch in settings.batches:
        generator = torch.Generator().manual_seed(batch)
        prompts = torch.randint(9, tokens, (batch, settings.prompt_tokens), generator=generator)
        for n in objectives:
            sides: dict[str, Callable[[], Times]] = {
                "ours": lambda n=n, p=prompts: ours(rows, p, n, settings.new_tokens),
                "merged": lambda p=prompts: passes([lambda: merged], p, settings.new_tokens),
                "passes": lambda n=n, p=prompts: passes(
                    [chosen(name) for name in names[:n]], p, settings.new_tokens
                ),
            }
            found: dict[str, list[Times]] = {name: [] for name in sides}
            for turn in range(settings.turns):
                for name in list(sides)[:: 1 if turn % 2 else -1]:
                    found[name].append(sides[name]())
            token = {name: statistics.median(t for _, t in times) for name, times in found.items()}
            first = {name: statistics.median(t for t, _ in times) for name, times in found.items()}
            row = {
                "largest_difference": largest_difference(rows, [chosen(name) for name in names[:n]], prompts),
                "objectives": n, "batch": batch, "over_merged": token["ours"] / token["merged"],
                "passes_over_ours": token["passes"] / token["ours"],
                "first_over_merged": first["ours"] / first["merged"],
            }  # fmt: skip
            figures.append({**row, "seconds": found})
            print(
                f"{n:10}  {batch:5}   {row['over_merged']:28.2f}   {row['passes_over_ours']:15.2f}   "
                f"{row['first_over_merged']:27.2f}   {row['largest_difference']:.1e}",
                flush=True,
            )
    if settings.json is not None:
        write_json(settings.json, {"threads": torch.get_num_threads(), "rows": figures})


def endless(backbone: Backbone) -> Backbone:
    """The backbone, from which every answer takes all its tokens: none of them ends a text."""
    backbone.tokenizer.eos_token = None
    backbone.tokenizer.chat_template = None  # it names the end of a turn
    if backbone.model.generation_config is not None:
        backbone.model.generation_config.eos_token_id = None
    return backbone


def random_adapters(model: str, count: int, place: Path) -> dict[str, Path]:
    """Folders of random rank-16 adapters, by number; each changes the model's output."""
    found: dict[str, Path] = {}
    adapted = add_lora(load_backbone(model, dtype=torch.float32).model, 16)
    for seed in range(count):
        torch.manual_seed(seed)
        for name, value in adapted.named_parameters():
            if "lora_A" in name:
                torch.nn.init.kaiming_uniform_(value, a=5**0.5)
            elif "lora_B" in name:
                torch.nn.init.normal_(value, std=0.02)
        save_adapter(adapted, place / str(seed))
        found[str(seed)] = place / str(seed)
    return found


if __name__ == "__main__":
    main(tyro.cli(Settings))
