"""Load test of the server: many clients with different weights; errors, mixed-up weights, memory.

    python benchmarks/serving.py

64 clients of the official package send requests for a minute to a server with three random LoRA adapters on
SmolLM2-135M (float32). A quarter of the requests are greedy with all weight on one adapter: their answers
must be identical to those of transformers with that adapter alone. Every answer must contain the requested
weights.
"""

from __future__ import annotations

import asyncio
import json
import statistics
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import openai
import torch
import tyro
from decoding import random_adapters

from pluralign.core.files import write_json
from pluralign.lm.adapters import read_adapter
from pluralign.lm.backbone import load_backbone

PROMPTS = (
    "How do I tell my neighbour that his dog barks all night?",
    "Name three rivers.",
    "Is it ever right to lie?",
    "What should I cook with two eggs and an onion?",
)


@dataclass(frozen=True)
class Settings:
    """Settings of the load test.

    Args:
        clients: Number of concurrent clients.
        seconds: Duration of the test.
        objectives: Number of adapters.
        new_tokens: Largest number of tokens of an answer.
        model: Base model.
        json: Output file for the figures.
    """

    clients: int = 64
    seconds: float = 60.0
    objectives: int = 3
    new_tokens: int = 12
    model: str = "smollm2-135m"
    json: Path | None = None


@dataclass
class Seen:
    """Counts of the clients' results."""

    answered: int = 0
    tokens: int = 0
    verified: int = 0
    wrong: Counter[str] = field(default_factory=Counter[str])
    latencies: list[float] = field(default_factory=list[float])


def expected_texts(settings: Settings, folders: Mapping[str, Path]) -> dict[tuple[str, str], str]:
    """Greedy answers of each adapter alone, by transformers."""
    found: dict[tuple[str, str], str] = {}
    for name, folder in folders.items():
        backbone = load_backbone(settings.model, dtype=torch.float32)
        model: Any = read_adapter(backbone.model, folder).merge_and_unload()
        tokenizer: Any = backbone.tokenizer
        for prompt in PROMPTS:
            ids = tokenizer.apply_chat_template(
                [{"role": "user", "content": prompt}], add_generation_prompt=True, return_tensors="pt",
                return_dict=True,
            )["input_ids"]  # fmt: skip
            whole = model.generate(
                input_ids=ids, attention_mask=torch.ones_like(ids), do_sample=False,
                max_new_tokens=settings.new_tokens, pad_token_id=tokenizer.eos_token_id,
            )  # fmt: skip
            found[name, prompt] = tokenizer.decode(whole[0, ids.shape[1] :], skip_special_tokens=True)
    return found


async def client(
    number: int, url: str, settings: Settings, expected: Mapping[tuple[str, str], str], seen: Seen
) -> None:
    """Send requests until the time is over."""
    rng = np.random.default_rng(number)
    names = sorted({name for name, _ in expected})
    end = time.monotonic() + settings.seconds
    async with openai.AsyncOpenAI(base_url=f"{url}/v1", api_key="none", max_retries=0, timeout=60) as asker:
        model = (await asker.models.list()).data[0].id
        while (began := time.monotonic()) < end:
            prompt, alone = str(rng.choice(PROMPTS)), rng.random() < 0.25
            chosen = str(rng.choice(names))
            shares = rng.dirichlet(np.ones(len(names))).round(3)
            shares[-1] = 1 - shares[:-1].sum()
            weights = {
                n: float(n == chosen) if alone else float(w) for n, w in zip(names, shares, strict=True)
            }
            body = {
                "model": model, "messages": [{"role": "user", "content": prompt}],
                "max_tokens": settings.new_tokens, "temperature": 0.0 if alone else 1.0,
                "seed": int(rng.integers(1 << 30)), "extra_body": {"steering_weights": weights},
            }  # fmt: skip
            try:
                text, told, tokens = await (_streamed if rng.random() < 0.5 else _whole)(asker, body)
            except openai.OpenAIError as error:
                seen.wrong[f"error: {type(error).__name__}: {error}"[:100]] += 1
                continue
            seen.answered += 1
            seen.tokens += tokens
            seen.latencies.append(time.monotonic() - began)
            if any(abs(told[n] - weights[n]) > 1e-9 for n in names):
                seen.wrong["other weights came back"] += 1
            if alone:
                seen.verified += 1
                seen.wrong["another adapter's text"] += text != expected[chosen, prompt]


async def _whole(asker: Any, body: Mapping[str, Any]) -> tuple[str, Mapping[str, float], int]:
    answer = await asker.chat.completions.create(**body)
    return answer.choices[0].message.content, answer.steering_weights, answer.usage.completion_tokens


async def _streamed(asker: Any, body: Mapping[str, Any]) -> tuple[str, Mapping[str, float], int]:
    text, told, tokens = "", dict[str, float](), 0
    stream = await asker.chat.completions.create(**body, stream=True, stream_options={"include_usage": True})
    async for piece in stream:
        text += "".join(choice.delta.content or "" for choice in piece.choices)
        told = piece.steering_weights
        tokens = piece.usage.completion_tokens if piece.usage else tokens
    return text, told, tokens


async def watch(process: int, memory: list[float]) -> None:
    """Record the server's resident memory every second, MB."""
    while True:
        status = Path(f"/proc/{process}/status").read_text()
        memory.append(int(status.split("VmRSS:")[1].split()[0]) / 1024)
        await asyncio.sleep(1)


async def _load(url: str, process: int, settings: Settings, expected: Any) -> tuple[Seen, list[float]]:
    seen, memory = Seen(), list[float]()
    watching = asyncio.create_task(watch(process, memory))
    await asyncio.gather(*(client(i, url, settings, expected, seen) for i in range(settings.clients)))
    watching.cancel()
    return seen, memory


def main(settings: Settings) -> None:
    """Serve, send requests, and report."""
    with tempfile.TemporaryDirectory() as place:
        folders = random_adapters(settings.model, settings.objectives, Path(place))
        expected = expected_texts(settings, folders)
        audit = Path(place) / "audit.jsonl"
        server = subprocess.Popen(
            [
                sys.executable, "-m", "pluralign", "serve", "--model", settings.model,
                "--dtype", "float32",
                "--policies", *(f"{name}={folder}" for name, folder in folders.items()), "--port", "0",
                "--limits.running", str(settings.clients), "--audit", str(audit),
            ],
            stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
        )  # fmt: skip
        try:
            assert server.stdout is not None
            line = next(line for line in server.stdout if "http://" in line)
            url = "http://" + line.split("http://")[1].split("/")[0]
            seen, memory = asyncio.run(_load(url, server.pid, settings, expected))
        finally:
            server.terminate()
            server.communicate(timeout=30)
        lines = [json.loads(line) for line in audit.read_text().splitlines()]
        lines = [line for line in lines if line["event"] == "end"]
    wrong = {what: count for what, count in seen.wrong.items() if count}
    third = len(memory) // 3
    middle, late = memory[third : 2 * third], memory[2 * third :]
    figures = {
        "answered": seen.answered, "tokens": seen.tokens, "verified": seen.verified, "wrong": wrong,
        "audit_lines": len(lines), "seconds_median": round(statistics.median(seen.latencies), 2),
        "memory_mb": [round(m) for m in memory],
        "memory_growth_mb": round(statistics.median(late) - statistics.median(middle)),
        "memory_peak_growth_mb": round(max(late) - max(middle)),
    }  # fmt: skip
    print(
        f"{settings.clients} clients, {settings.seconds:g} s: {seen.answered} answers, {seen.tokens} tokens, "
        f"{seen.verified} of one adapter alone, all checked; wrong: {wrong or 'nothing'}; "
        f"{len(lines)} audit lines; memory {memory[0]:.0f} MB at first, at most {max(memory):.0f}, "
        f"last third against the middle one {figures['memory_growth_mb']:+} MB (medians), "
        f"{figures['memory_peak_growth_mb']:+} MB (peaks)"
    )
    if settings.json is not None:
        write_json(settings.json, figures)
    if wrong or len(lines) != seen.answered:
        raise SystemExit(1)


if __name__ == "__main__":
    main(tyro.cli(Settings))
