"""Mixtures in vLLM against the own engine: equal texts, and what a mixture costs.

    python benchmarks/vllm_mixtures.py reference OUT [--model MODEL] [--power 0]
        the own engine's texts of 20 prompts under mixtures of 3 random adapters, half of them sampled
    python benchmarks/vllm_mixtures.py compare OUT [--engine-args NAME=VALUE ...]
        the same requests in vLLM, all at once: how many texts are equal (float32); with chunks of 64 tokens
        and a cache that preempts: --engine-args max-num-batched-tokens=64 max-model-len=160 block-size=32
        num-gpu-blocks-override=17
    python benchmarks/vllm_mixtures.py cost OUT [--rounds 5]
        n mixtures of 3 against 3 n plain rows in vLLM, in turn: ratio of the medians of seconds

The last two need vLLM (docs/vllm.md).
"""

from __future__ import annotations

import argparse
import asyncio
import json
import statistics
import time
from pathlib import Path
from typing import Any

import torch

from pluralign.core import SteeringWeights
from pluralign.lm.adapters import add_lora, save_adapter
from pluralign.lm.backbone import load_backbone
from pluralign.lm.decoding import Decoding
from pluralign.serve.settings import Limits
from pluralign.steer.decoder import MixtureDecoder
from pluralign.steer.policies import load_policies
from pluralign.steer.requests import Request

NAMES = ("a", "b", "c")
MIXES = ((0.5, 0.3, 0.2), (1 / 3, 1 / 3, 1 / 3), (0.8, 0.1, 0.1), (0.2, 0.2, 0.6))
WORDS = (
    "old", "young", "kind", "angry", "busy", "tall", "short", "rich", "poor", "happy",
    "sad", "clever", "lazy", "brave", "quiet", "loud", "wise", "funny", "odd", "calm",
)  # fmt: skip
# Greedy, sampled with top-p, greedy, sampled, greedy, sampled, greedy, sampled with top-k.
SETTINGS = ((0.0, 1.0, 0), (1.0, 0.9, 0), (0.0, 1.0, 0), (1.0, 1.0, 0)) * 2


def make_adapters(model: str, out: Path, std: float) -> None:
    """LoRA adapters of random weights, in the folders OUT/a, OUT/b and OUT/c."""
    for seed, name in enumerate(NAMES):
        torch.manual_seed(seed)
        adapted = add_lora(load_backbone(model, dtype=torch.float32).model, 8)
        for parameter, value in adapted.named_parameters():
            if "lora_" in parameter:
                torch.nn.init.normal_(value, std=std)
        save_adapter(adapted, out / name)


def reference(out: Path, model: str, power: float, tokens: int, std: float) -> None:
    """Write the own engine's texts to OUT/reference.json."""
    out.mkdir(parents=True, exist_ok=True)
    make_adapters(model, out, std)
    mix = load_policies(model, {name: out / name for name in NAMES}, power=power, dtype="float32")
    requests: list[Request] = []
    for i, word in enumerate(WORDS):
        temperature, top_p, top_k = SETTINGS[i % 8]
        decoding = Decoding(tokens, temperature, top_p, 40 if i % 8 == 7 else top_k)
        prompt = [{"role": "user", "content": f"Say something about the number {i} to a {word} person."}]
        requests.append(mix.request(prompt, dict(zip(NAMES, MIXES[i % 4], strict=True)), decoding, seed=i))
    texts = MixtureDecoder(mix.rows, power).generate(requests)
    rows = [
        {
            "ids": list(request.prompt_ids), "weights": dict(request.weights), "seed": request.seed,
            "decoding": vars(request.decoding), "lead": request.lead, "text": text,
        }
        for request, text in zip(requests, texts, strict=True)
    ]  # fmt: skip
    (out / "reference.json").write_text(json.dumps({"model": model, "power": power, "rows": rows}, indent=1))


def start(out: Path, engine_args: list[str], running: int) -> tuple[Any, list[dict[str, Any]]]:
    from pluralign.vllm.launch import read_engine_args
    from pluralign.vllm.policies import start_vllm

    known = json.loads((out / "reference.json").read_text())
    folders = {name: out / name for name in NAMES}
    args = {"dtype": "float32", "enforce_eager": True, "max_model_len": 512, **read_engine_args(engine_args)}
    limits = Limits(running=running)
    _, make = start_vllm(known["model"], folders, args, limits, power=known["power"])
    return make(limits), known["rows"]


def request_of(row: dict[str, Any]) -> Request:
    decoding = Decoding(**{**row["decoding"], "stop": tuple(row["decoding"]["stop"])})
    return Request(row["ids"], SteeringWeights(row["weights"]), decoding, row["seed"], row["lead"])


async def answer(engine: Any, request: Request) -> str:
    submission = engine.submit([request])
    return "".join([event.text async for _, event in submission.events(1000)])


async def texts_of(engine: Any, requests: list[Request]) -> list[str]:
    return await asyncio.gather(*[answer(engine, request) for request in requests])


def compare(out: Path, engine_args: list[str], running: int) -> None:
    """Print how many texts are equal."""

    async def run() -> None:
        engine, rows = start(out, engine_args, running)
        found = await texts_of(engine, [request_of(row) for row in rows])
        same = [text == row["text"] for text, row in zip(found, rows, strict=True)]
        sampled = [row["decoding"]["temperature"] > 0 for row in rows]
        drawn = sum(a and b for a, b in zip(same, sampled, strict=True))
        print(
            f"{sum(same)} of {len(rows)} texts equal: {sum(same) - drawn} of {len(rows) - sum(sampled)} "
            f"greedy, {drawn} of {sum(sampled)} sampled"
        )
        for i, row in enumerate(rows):
            if not same[i]:
                print(i, repr(row["text"][:100]), "|", repr(found[i][:100]))
        engine.stop()

    asyncio.run(run())


def cost(out: Path, engine_args: list[str], rounds: int, mixtures: int) -> None:
    """Print the ratio of the seconds of mixtures of 3 to those of as many plain rows."""

    async def run() -> None:
        engine, rows = start(out, engine_args, 32)
        seconds: dict[str, list[float]] = {"mixed": [], "plain": []}
        for turn in range(rounds + 1):
            for kind in ("mixed", "plain") if turn % 2 else ("plain", "mixed"):
                requests = [
                    Request(
                        # Another first token in every round, so that no prompt is cached.
                        [100 + turn * 2 + (kind == "plain"), *row["ids"]], SteeringWeights(weights),
                        Decoding(32, 0.0), 0,
                    )
                    for row in rows[:mixtures]
                    for weights in (
                        [row["weights"]] if kind == "mixed" else [{name: 1.0} for name in NAMES]
                    )
                ]  # fmt: skip
                begun = time.perf_counter()
                await texts_of(engine, requests)
                if turn:  # the first round warms up
                    seconds[kind].append(time.perf_counter() - begun)
        medians = {kind: statistics.median(found) for kind, found in seconds.items()}
        print(
            f"{mixtures} mixtures of 3 against {3 * mixtures} plain rows, {rounds} rounds: "
            f"{medians['mixed']:.2f} s and {medians['plain']:.2f} s, "
            f"ratio {medians['mixed'] / medians['plain']:.3f}"
        )
        engine.stop()

    asyncio.run(run())


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("what", choices=("reference", "compare", "cost"))
    parser.add_argument("out", type=Path)
    parser.add_argument("--model", default="smollm2-135m")
    parser.add_argument("--power", type=float, default=0.0)
    parser.add_argument("--tokens", type=int, default=48)
    parser.add_argument("--std", type=float, default=0.03)
    parser.add_argument("--engine-args", nargs="*", default=[])
    parser.add_argument("--running", type=int, default=20, help="requests at once; each has 3 rows")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--mixtures", type=int, default=4)
    own = parser.parse_args()
    if own.what == "reference":
        reference(own.out, own.model, own.power, own.tokens, own.std)
    elif own.what == "compare":
        compare(own.out, own.engine_args, own.running)
    else:
        cost(own.out, own.engine_args, own.rounds, own.mixtures)


if __name__ == "__main__":
    main()
