"""Lockstep of groups in vLLM's scheduler, with random requests, budgets, caches and aborts, and no model.

    python tests/support/vllm_fuzz.py [SEEDS]

In every step either all members of a group draw or none; each request gets as many tokens as it asked for;
nothing hangs. Modes: the plain scheduler, asynchronous scheduling, and two batches in flight (pipeline
parallelism).
"""

from __future__ import annotations

import os
import random
import sys
import tempfile
import zlib
from collections import Counter, deque
from pathlib import Path
from types import SimpleNamespace
from typing import Any

os.environ.setdefault("VLLM_LOGGING_LEVEL", "ERROR")

MODES = {"plain": (False, 1), "asynchronous": (True, 2), "pipeline": (False, 2)}
"""Whether scheduling is asynchronous, and the number of steps in flight."""
POLICIES = {"a": "/a", "b": "/b", "c": "/c", "base": None}
WEIGHTS = (
    None, "a=1.0", "a=0.5,b=0.5", "a=0.2,b=0.3,c=0.5", "a=0.5,base=0.5", "a=0.25,b=0.25,c=0.25,base=0.25",
)  # fmt: skip
LENGTH = 256


class Hang(AssertionError):
    """The scheduler does nothing, or never ends."""


def model_folder(folder: Path) -> str:
    """A folder with the configuration of a tiny model, which is never run."""
    from transformers import LlamaConfig

    LlamaConfig(
        vocab_size=1024, hidden_size=16, intermediate_size=16, num_hidden_layers=1, num_attention_heads=1,
        num_key_value_heads=1, max_position_embeddings=512, architectures=["LlamaForCausalLM"],
    ).save_pretrained(folder)  # fmt: skip
    return str(folder)


def make_scheduler(folder: str, rng: random.Random, asynchronous: bool) -> Any:
    import torch
    from vllm.config import CacheConfig, DeviceConfig, LoRAConfig, ModelConfig, SchedulerConfig, VllmConfig
    from vllm.v1.kv_cache_interface import FullAttentionSpec, KVCacheConfig, KVCacheGroupSpec
    from vllm.v1.structured_output import StructuredOutputManager

    from pluralign.vllm import plugin
    from pluralign.vllm.settings import MixtureSettings
    from pluralign.vllm.support import LOGITS_PROCESSORS, WORKER

    block = rng.choice([16, 32])
    # At least what the largest group of the longest requests needs, which the scheduler demands.
    blocks = len(POLICIES) * -(-LENGTH // block) + 1 + rng.randint(0, 4)
    model = ModelConfig(
        model=folder, dtype="float32", max_model_len=LENGTH, skip_tokenizer_init=True,
        logits_processors=list(LOGITS_PROCESSORS),
    )  # fmt: skip
    scheduling = SchedulerConfig(
        max_num_seqs=rng.choice([4, 9, 16, 32]), max_num_batched_tokens=rng.choice([32, 64, 256]),
        max_model_len=LENGTH, enable_chunked_prefill=True, is_encoder_decoder=False,
        async_scheduling=asynchronous,
    )  # fmt: skip
    cache = CacheConfig(
        block_size=block, gpu_memory_utilization=0.5, cache_dtype="auto",
        enable_prefix_caching=rng.random() < 0.7,
    )  # fmt: skip
    cache.num_gpu_blocks = blocks
    config = VllmConfig(
        model_config=model, scheduler_config=scheduling, cache_config=cache,
        lora_config=LoRAConfig(max_loras=3, max_lora_rank=16), device_config=DeviceConfig("cpu"),
        additional_config=MixtureSettings(POLICIES).to_config(),
    )  # fmt: skip
    config.parallel_config.worker_cls = WORKER
    # The platform's checks turn this off on CPUs.
    config.scheduler_config.async_scheduling = asynchronous
    cache.num_gpu_blocks, cache.block_size = blocks, block
    spec = FullAttentionSpec(block_size=block, num_kv_heads=1, head_size=1, dtype=torch.float32)
    layers = KVCacheConfig(
        num_blocks=blocks, kv_cache_tensors=[], kv_cache_groups=[KVCacheGroupSpec(["layer"], spec)]
    )
    return plugin.MixtureScheduler(
        vllm_config=config, kv_cache_config=layers, block_size=block, log_stats=False,
        structured_output_manager=StructuredOutputManager(config),
    )  # fmt: skip


class Run:
    """One scheduler with random requests, until all of them have ended."""

    def __init__(self, folder: str, seed: int, mode: str) -> None:
        from vllm.utils.hashing import sha256
        from vllm.v1.core.kv_cache_utils import get_request_block_hasher

        self.rng, (asynchronous, self.depth) = random.Random(seed), MODES[mode]
        self.scheduler = make_scheduler(folder, self.rng, asynchronous)
        self.hasher = get_request_block_hasher(self.scheduler.block_size, sha256)
        self.shared = [self.rng.randrange(1000) for _ in range(96)]
        self.todo = self.rng.randint(8, 32)
        self.rate = self.rng.choice([0.1, 0.5, 1.0])
        self.left: dict[str, int] = {}
        self.done: dict[str, str] = {}
        self.compiling: list[tuple[int, Any]] = []
        self.scheduler.structured_output_manager.accept_tokens = lambda request, tokens: True
        self.steps = 0

    def arrive(self) -> None:
        from vllm import SamplingParams
        from vllm.v1.request import Request, RequestStatus

        rng = self.rng
        begins = self.shared[: rng.choice([0, 16, 32, 33, 64, 96])]
        # Some prompts are cached up to their last token.
        prompt = begins + [rng.randrange(1000) for _ in range(rng.choice([1, 1, rng.randint(1, 60)]))]
        prompt = (prompt * 2)[: max(2, len(prompt))]
        weights = rng.choice(WEIGHTS)
        params = SamplingParams(
            max_tokens=rng.choice([1, 2, 20, 60, 100]), temperature=0.0, ignore_eos=True,
            extra_args={"steering_weights": weights} if weights else None,
        )  # fmt: skip
        name = f"r{len(self.left)}"
        request = Request(name, prompt, params, None, block_hasher=self.hasher)
        if rng.random() < 0.2:
            # The grammar of a structured output is compiled in the meantime: twins enter before their leader.
            request.structured_output_request = SimpleNamespace(grammar=None)
            request.status = RequestStatus.WAITING_FOR_STRUCTURED_OUTPUT_GRAMMAR
            self.compiling.append((self.steps + rng.randint(0, 40), request))
        self.scheduler.add_request(request)
        self.left[name] = params.max_tokens

    def disturb(self) -> None:
        """Arrivals, grammars that are ready, and aborts."""
        from vllm.v1.request import RequestStatus

        for when, request in self.compiling:
            if when <= self.steps:
                request.structured_output_request.grammar = object()
        if len(self.left) < self.todo and self.rng.random() < self.rate:
            self.arrive()
        alive = [name for name in self.left if name not in self.done]
        if alive and self.rng.random() < 0.02:
            name = self.rng.choice(alive)
            ended = self.scheduler.finish_requests([name], RequestStatus.FINISHED_ABORTED)
            assert [request.request_id for request in ended] == [name]
            self.done[name] = "aborted"

    def step(self, out: Any, drawing: set[str]) -> None:
        """Give the scheduler made-up tokens: equal ones for a group."""
        from vllm.v1.outputs import ModelRunnerOutput

        from pluralign.vllm.groups import TWIN

        names = list(out.num_scheduled_tokens)
        tokens = [
            [zlib.crc32(f"{name.split(TWIN)[0]} {self.steps}".encode()) % 1000] if name in drawing else []
            for name in names
        ]
        index = {name: i for i, name in enumerate(names)}
        result = self.scheduler.update_from_output(
            out, ModelRunnerOutput(req_ids=names, req_id_to_index=index, sampled_token_ids=tokens)
        )
        for output in (one for outputs in result.values() for one in outputs.outputs):
            assert TWIN not in output.request_id
            self.left[output.request_id] -= len(output.new_token_ids)
            if output.finish_reason is not None:
                self.done[output.request_id] = str(output.finish_reason)

    def run(self) -> Counter[str]:
        scheduler, flying, idle = self.scheduler, deque[Any](), 0
        while len(self.done) < self.todo:
            self.disturb()
            out = scheduler.schedule()
            drawing = {n for n in out.num_scheduled_tokens if not scheduler.requests[n].is_prefill_chunk}
            for group in set(scheduler._groups.values()):
                found = [member.request_id in drawing for member in group.members]
                assert all(found) or not any(found), "torn"
            flying.append((out, drawing))
            if len(flying) == self.depth:
                self.step(*flying.popleft())
            self.steps += 1
            waits = len(self.left) < self.todo or any(when > self.steps for when, _ in self.compiling)
            idle = 0 if out.num_scheduled_tokens or waits else idle + 1
            if idle >= 20 or self.steps >= 20000:
                raise Hang(f"{scheduler.running} {scheduler.counts}")
        wrong = {name: left for name, left in self.left.items() if left and self.done[name] != "aborted"}
        assert not wrong, wrong
        assert not scheduler._groups
        assert len(scheduler.requests) == 0
        return Counter(vars(scheduler.counts))


def prepare() -> None:
    from vllm.utils.hashing import sha256
    from vllm.v1.core.kv_cache_utils import init_none_hash

    init_none_hash(sha256)


def fuzz(folder: str, seeds: range, mode: str) -> Counter[str]:
    """Run all seeds.

    Returns:
        What the scheduler did in all runs together.
    """
    prepare()
    total: Counter[str] = Counter()
    for seed in seeds:
        try:
            total += Run(folder, seed, mode).run()
        except Exception as error:
            error.add_note(f"mode {mode}, seed {seed}")
            raise
    return total


def main() -> None:
    count = int(sys.argv[1]) if len(sys.argv) > 1 else 40
    with tempfile.TemporaryDirectory() as folder:
        name = model_folder(Path(folder))
        totals = SimpleNamespace(groups=0)
        for mode in MODES:
            found = fuzz(name, range(count), mode)
            totals.groups += found["groups"]
            print(mode, dict(found), flush=True)
        print(f"{totals.groups} groups, none torn")


if __name__ == "__main__":
    main()
