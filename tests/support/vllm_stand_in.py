"""A small stand-in of vLLM 0.32's scheduler: what `MixtureScheduling` reads, calls and overrides.

Recorded from vllm/v1/core/sched/scheduler.py: running requests are scheduled before waiting ones; where
blocks are missing, the last running request is preempted, to the front of the queue; nobody is admitted in a
step with preemptions or while new requests are paused; the first waiting request that cannot compute a token
ends the admissions; one whose adapter has no slot in the step is passed over, and a step with more adapters
than slots fails; a request that is cached as a whole still computes its last token.
"""

from __future__ import annotations

import enum
from collections import deque
from dataclasses import dataclass, field
from types import SimpleNamespace
from typing import Any, NamedTuple

from pluralign.vllm.scheduler import MixtureScheduling, VllmNames
from pluralign.vllm.settings import MixtureSettings
from pluralign.vllm.support import LOGITS_PROCESSORS, WORKER

BLOCK = 4


class PauseState(enum.IntEnum):
    UNPAUSED = 0
    PAUSED_NEW = 1
    PAUSED_ALL = 2


class RequestStatus(enum.IntEnum):
    WAITING = 1
    RUNNING = 5
    PREEMPTED = 6
    FINISHED_STOPPED = 7
    FINISHED_LENGTH_CAPPED = 8
    FINISHED_ABORTED = 9
    FINISHED_ERROR = 11


class Adapter(NamedTuple):
    lora_name: str
    lora_int_id: int
    lora_path: str


class StandInRequest:
    def __init__(
        self, request_id, prompt_token_ids, sampling_params, pooling_params=None, *, client_index=0,
        arrival_time=0.0, lora_request=None, cache_salt=None, priority=0, block_hasher=None,
    ):  # fmt: skip
        self.request_id, self.prompt_token_ids, self.sampling_params = (
            request_id,
            prompt_token_ids,
            sampling_params,
        )
        self.client_index, self.arrival_time, self.lora_request = client_index, arrival_time, lora_request
        self.cache_salt, self.priority, self._block_hasher = cache_salt, priority, block_hasher
        self.mm_features, self.resumable, self.kv_transfer_params = [], False, None
        self.status, self.block_hashes, self.output_token_ids = RequestStatus.WAITING, [], []
        self.num_computed_tokens = self.num_output_placeholders = self.num_in_flight_tokens = 0
        self.is_prefill_chunk = False

    @property
    def num_tokens(self):
        return len(self.prompt_token_ids) + len(self.output_token_ids)

    @property
    def num_output_tokens(self):
        return len(self.output_token_ids)

    def is_finished(self):
        return self.status > RequestStatus.PREEMPTED

    def update_block_hashes(self):
        self.block_hashes = [self.lora_request]


class Queue(deque):
    def remove_requests(self, requests):
        kept = [request for request in self if request not in requests]
        self.clear()
        self.extend(kept)

    def prepend_request(self, request):
        self.appendleft(request)


@dataclass
class Stats:
    num_running_reqs: int
    num_waiting_reqs: int
    num_skipped_waiting_reqs: int = 0


@dataclass
class Outputs:
    outputs: list[Any] = field(default_factory=list)
    finished_requests: set[str] | None = None


class StandInScheduler:
    def __init__(
        self, settings: MixtureSettings, *, blocks: int, seats: int, budget: int, length: int, **changes
    ):
        options: dict[str, Any] = {
            "speculative_config": None, "kv_transfer_config": None,
            "model_config": SimpleNamespace(
                runner_type="generate", is_diffusion=False, logprobs_mode="raw_logprobs",
                logits_processors=list(LOGITS_PROCESSORS),
            ),
            "parallel_config": SimpleNamespace(enable_batch_sharded_sampling=False, worker_cls=WORKER),
        }  # fmt: skip
        self.vllm_config = SimpleNamespace(additional_config=settings.to_config(), **(options | changes))
        self.lora_config = SimpleNamespace(max_loras=settings.adapters)
        self.policy, self.is_encoder_decoder, self.has_mamba_layers = (
            SimpleNamespace(value="fcfs"),
            False,
            False,
        )
        self.max_num_active_reqs, self.max_model_len, self.block_size = seats, length, BLOCK
        self.max_num_scheduled_tokens, self.total, self.held_blocks = budget, blocks, {}
        spec = SimpleNamespace(kv_cache_spec=SimpleNamespace(block_size=BLOCK))
        self.kv_cache_config = SimpleNamespace(kv_cache_groups=[spec])
        self.recorded: list[str] = []
        self.kv_cache_manager = SimpleNamespace(
            block_pool=SimpleNamespace(num_gpu_blocks=blocks + 1, get_num_free_blocks=self.free),
            record_prefix_cache_stats=lambda request, hits: self.recorded.append(request.request_id),
            truncate_computed_blocks=lambda blocks, tokens: tokens // BLOCK,
        )
        self.requests: dict[str, Any] = {}
        self.running: list[Any] = []
        self.waiting = Queue()
        self.deferred_waiting: set[Any] = set()
        self.cached: set[tuple[Any, tuple[int, ...]]] = set()
        self.grammar_compile_error_reqs: set[str] = set()
        self._pause_state = PauseState.UNPAUSED

    def free(self):
        return self.total - sum(self.held_blocks.values())

    def add_request(self, request):
        self.requests[request.request_id] = request
        self.waiting.append(request)

    def _handle_blocked_waiting_request(self, request):
        return True

    def _reserve_prefill_lookahead(self, request, num_computed_tokens, num_new_tokens):
        return num_new_tokens

    def _get_local_prefix_cache_hit(self, request):
        tokens, adapter = [*request.prompt_token_ids, *request.output_token_ids], request.lora_request
        most = (request.num_tokens - 1) // BLOCK
        hits = (n for n in range(most, 0, -1) if (adapter, tuple(tokens[: n * BLOCK])) in self.cached)
        found = next(hits, 0)
        return found, found * BLOCK, 0, False

    def _allocate(self, request, tokens):
        needed = -(-tokens // BLOCK) - self.held_blocks.get(request.request_id, 0)
        if needed > self.free():
            return False
        self.held_blocks[request.request_id] = self.held_blocks.get(request.request_id, 0) + max(0, needed)
        return True

    def _preempt_request(self, request, timestamp):
        self.held_blocks.pop(request.request_id, None)
        request.status, request.num_computed_tokens = RequestStatus.PREEMPTED, 0
        self.waiting.prepend_request(request)

    def schedule(self):
        scheduled, budget, preempted, index = {}, self.max_num_scheduled_tokens, False, 0
        while index < len(self.running) and budget:
            request = self.running[index]
            new = min(request.num_tokens - request.num_computed_tokens, budget)
            new = self._reserve_prefill_lookahead(request, request.num_computed_tokens, new)
            if not new:
                index += 1
                continue
            while not self._allocate(request, request.num_computed_tokens + new):
                victim = self.running.pop()
                self._preempt_request(victim, 0.0)
                preempted = True
                if victim is request:
                    break
            if request.status != RequestStatus.RUNNING:
                break
            scheduled[request.request_id] = new
            budget, index = budget - new, index + 1
        adapters = {self.requests[name].lora_request for name in scheduled} - {None}
        assert len(adapters) <= self.lora_config.max_loras
        skipped = []
        while self.waiting and budget and not preempted and self._pause_state == PauseState.UNPAUSED:
            if len(self.running) >= self.max_num_active_reqs:
                break
            request = self.waiting[0]
            ready = self._handle_blocked_waiting_request(request)
            if not ready or len(adapters | {request.lora_request} - {None}) > self.lora_config.max_loras:
                skipped.append(self.waiting.popleft())
                continue
            _, computed, *_ = self._get_local_prefix_cache_hit(request)
            new = min(request.num_tokens - computed, budget)
            new = self._reserve_prefill_lookahead(request, computed, new)
            if not new or not self._allocate(request, computed + new):
                break
            self.kv_cache_manager.record_prefix_cache_stats(request, computed)
            self.running.append(self.waiting.popleft())
            request.status, request.num_computed_tokens = RequestStatus.RUNNING, computed
            scheduled[request.request_id] = new
            adapters |= {request.lora_request} - {None}
            budget -= new
        self.waiting.extendleft(reversed(skipped))
        for name, new in scheduled.items():
            request = self.requests[name]
            request.num_computed_tokens += new
            request.is_prefill_chunk = request.num_computed_tokens < request.num_tokens
        return SimpleNamespace(num_scheduled_tokens=scheduled)

    def update_from_output(self, output, tokens):
        found = Outputs()
        for name in output.num_scheduled_tokens:
            request = self.requests.get(name)
            if request is None or name not in tokens:
                continue
            request.output_token_ids.append(tokens[name])
            whole = (*request.prompt_token_ids, *request.output_token_ids)
            computed = request.num_computed_tokens // BLOCK * BLOCK
            self.cached |= {(request.lora_request, whole[:n]) for n in range(BLOCK, computed + 1, BLOCK)}
            ended = request.num_output_tokens == request.sampling_params.max_tokens
            if ended:
                self._free(request, RequestStatus.FINISHED_LENGTH_CAPPED)
            found.outputs.append(SimpleNamespace(request_id=name, token=tokens[name], ended=ended))
        for name in set(self.grammar_compile_error_reqs):
            for request in self.finish_requests([name], RequestStatus.FINISHED_ERROR):
                found.outputs.append(
                    SimpleNamespace(request_id=request.request_id, token=None, ended="error")
                )
        self.grammar_compile_error_reqs.clear()
        return {0: found}

    def _free(self, request, status):
        request.status = status
        self.held_blocks.pop(request.request_id, None)
        self.requests.pop(request.request_id)
        if request in self.running:
            self.running.remove(request)
        self.waiting.remove_requests([request])

    def finish_requests(self, request_ids, finished_status):
        found = [self.requests[name] for name in request_ids if name in self.requests]
        for request in found:
            self._free(request, finished_status)
        return found

    def make_stats(self):
        return Stats(len(self.running), len(self.waiting))


class MixtureStandIn(MixtureScheduling, StandInScheduler):
    names = VllmNames(RequestStatus, PauseState, Adapter)
