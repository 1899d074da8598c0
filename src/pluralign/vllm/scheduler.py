"""vLLM's scheduler with mixtures: the requests of a group compute freely, but draw their tokens in lockstep.

The last token before the next one is held back until the whole group has come so far, whatever prefix
caching, chunks or preemption did to its members; then all of them run in one step. `plugin` puts
`MixtureScheduling` on vLLM's two schedulers. Written for vLLM 0.32.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Iterable
from dataclasses import dataclass, replace
from typing import Any, ClassVar

from pluralign.core import InputError
from pluralign.vllm.groups import TWIN, Counts, Group, has_slot, is_twin, lora_id, make_group, require_mixable
from pluralign.vllm.settings import WEIGHTS, MixtureSettings
from pluralign.vllm.support import require_supported

_log = logging.getLogger(__name__)


class TornGroup(RuntimeError):
    """Members of a group have drawn apart: the mixture would be wrong, so the engine stops."""


@dataclass(frozen=True)
class VllmNames:
    """What the scheduler needs of vLLM.

    Args:
        request_status: The enumeration ``RequestStatus``.
        pause_state: The enumeration ``PauseState``.
        lora_request: The class ``LoRARequest``.
    """

    request_status: Any
    pause_state: Any
    lora_request: Any


class MixtureScheduling:
    """Mixin for vLLM's ``Scheduler``: requests with steering weights become groups."""

    names: ClassVar[VllmNames]

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        own: Any = self
        self._settings = MixtureSettings.of(own.vllm_config.additional_config)
        require_supported(own, self._settings)
        self._policies = {
            name: folder
            and self.names.lora_request(lora_name=name, lora_int_id=lora_id(name), lora_path=folder)
            for name, folder in self._settings.policies.items()
        }
        self._groups: dict[str, Group] = {}
        self._stuck = False
        self.counts = Counts()
        manager = own.kv_cache_manager
        record = manager.record_prefix_cache_stats

        def of_users(request: Any, *rest: Any) -> None:
            if not is_twin(request):
                record(request, *rest)

        # Twins are no requests of users: the hits and misses of vLLM's metrics leave them out.
        manager.record_prefix_cache_stats = of_users

    # Requests come.

    def add_request(self, request: Any) -> None:
        """Add a request of a user; one with steering weights comes with its twins."""
        own: Any = self
        parent: Any = super()
        params = request.sampling_params
        given = params.extra_args.get(WEIGHTS) if params is not None and params.extra_args else None
        if given is None or request.request_id in own.requests:
            parent.add_request(request)
            return
        try:
            require_mixable(request, self._settings.power)
            weights = self._settings.weights(given)
        except InputError as error:
            # The doors (`middleware`, `engine`) refuse these; here the request ends with an error.
            _log.error("request %s is refused: %s", request.request_id, error)
            parent.add_request(request)
            own.grammar_compile_error_reqs.add(request.request_id)
            return
        group = make_group(request, weights, self._policies)
        if len(group.members) > 1:
            self._groups.update({member.request_id: group for member in group.members})
            self.counts.groups += 1
        for member in group.members:
            parent.add_request(member)

    # Lockstep.

    def schedule(self, *args: Any, **kwargs: Any) -> Any:
        """Schedule a step in which every group draws as a whole, or not at all.

        Raises:
            TornGroup: A group would draw in part.
        """
        own: Any = self
        parent: Any = super()
        if not self._groups:
            return parent.schedule(*args, **kwargs)
        for group in self._all_groups():
            group.open = all(self._runs(member) and _left(member) == 1 for member in group.members)
        # What draws a token goes first, so that the token budget cannot run out within a group.
        own.running.sort(key=self._draws, reverse=True)
        preempted = self._make_room()
        if self._stuck:
            preempted |= self._release_stuck()
        state = own._pause_state
        if preempted and state == self.names.pause_state.UNPAUSED:
            # As vLLM itself does after a preemption, nobody is admitted in this step.
            own._pause_state = self.names.pause_state.PAUSED_NEW
        try:
            output = parent.schedule(*args, **kwargs)
        finally:
            own._pause_state = state
        self._require_whole(output)
        self._stuck = not output.num_scheduled_tokens and not any(
            request.num_in_flight_tokens for request in own.running
        )
        return output

    def _all_groups(self) -> list[Group]:
        return list(dict.fromkeys(self._groups.values()))

    def _runs(self, request: Any) -> bool:
        return request.status == self.names.request_status.RUNNING

    def _draws(self, request: Any) -> bool:
        group = self._groups.get(request.request_id)
        return _left(request) <= 1 and (group is None or group.open)

    def _require_whole(self, output: Any) -> None:
        for group in self._all_groups():
            drawing = [
                member.request_id in output.num_scheduled_tokens and not member.is_prefill_chunk
                for member in group.members
            ]
            if any(drawing) and not all(drawing):
                raise TornGroup(f"the mixture of request {group.leader.request_id} was torn apart")
            self.counts.mixed_steps += all(drawing)

    def _make_room(self) -> bool:
        """Preempt whole groups beforehand, where vLLM would preempt single requests within a step.

        Returns:
            Whether anything was preempted.
        """
        own: Any = self
        pool, before = own.kv_cache_manager.block_pool, self.counts.gang_preemptions
        layers = len(own.kv_cache_config.kv_cache_groups)
        while own.running:
            new = sum(self._draws(r) and r.num_computed_tokens % own.block_size == 0 for r in own.running)
            if layers * new <= pool.get_num_free_blocks():
                break
            self._preempt_gang(own.running[-1])
        return self.counts.gang_preemptions > before

    def _preempt_gang(self, victim: Any) -> None:
        own: Any = self
        group = self._groups.get(victim.request_id)
        members = [victim] if group is None else group.members
        if group is not None:
            group.open = False
        for member in reversed(members):
            if self._runs(member):
                own.running.remove(member)
                own._preempt_request(member, time.monotonic())
        self.counts.gang_preemptions += 1

    def _release_stuck(self) -> bool:
        """Where groups that run in part block each other, let the first one in: another one makes room.

        Returns:
            Whether anything was preempted.
        """
        own: Any = self
        parts = [self._groups[r.request_id] for r in own.running if r.request_id in self._groups]
        first = next((g for g in parts if not all(self._runs(m) for m in g.members)), None)
        if first is None:
            return False
        victim = next((r for r in reversed(own.running) if self._groups.get(r.request_id) is not first), None)
        if victim is not None:
            self._preempt_gang(victim)
        missing = [member for member in first.members if not self._runs(member)]
        own.waiting.remove_requests(missing)
        for member in reversed(missing):
            own.waiting.prepend_request(member)
        self.counts.stuck += 1
        return victim is not None

    def _reserve_prefill_lookahead(self, request: Any, num_computed_tokens: int, num_new_tokens: int) -> int:
        """The barrier. vLLM asks here, for every request of every step, how many tokens it may compute."""
        parent: Any = super()
        number: int = parent._reserve_prefill_lookahead(request, num_computed_tokens, num_new_tokens)
        group = self._groups.get(request.request_id)
        if group is None or group.open:
            return number
        most: int = request.num_tokens + request.num_output_placeholders - num_computed_tokens - 1
        self.counts.held += number > most
        return max(0, min(number, most))

    def _handle_blocked_waiting_request(self, request: Any) -> bool:
        """Whether vLLM may admit a request: not where its adapter would find no slot in a later step."""
        own: Any = self
        parent: Any = super()
        ready: bool = parent._handle_blocked_waiting_request(request)
        return ready and has_slot(request, own.running, own.lora_config)

    def _get_local_prefix_cache_hit(self, request: Any) -> Any:
        """Of a prompt that is cached up to its last token, one block less: a request enters with a token."""
        own: Any = self
        parent: Any = super()
        blocks, cached, *rest = parent._get_local_prefix_cache_hit(request)
        if request.request_id in self._groups and cached and cached >= request.num_tokens - 1:
            cached -= own.block_size
            blocks = own.kv_cache_manager.truncate_computed_blocks(blocks, cached)
        return blocks, cached, *rest

    # Requests go.

    def update_from_output(self, *args: Any, **kwargs: Any) -> Any:
        """Take in the tokens of a step; twins stay out of the results.

        Raises:
            TornGroup: Members of a group have drawn different tokens.
        """
        parent: Any = super()
        result = parent.update_from_output(*args, **kwargs)
        ended: set[str] = set()
        for group in self._all_groups():
            if any(member.is_finished() for member in group.members):
                ended.update(member.request_id for member in group.members)
            elif len({(*m.output_token_ids[-1:], m.num_output_tokens) for m in group.members}) > 1:
                raise TornGroup(f"the rows of request {group.leader.request_id} have drawn different tokens")
        for outputs in result.values():
            outputs.outputs = [output for output in outputs.outputs if not is_twin(output)]
            if outputs.finished_requests:
                outputs.finished_requests = {i for i in outputs.finished_requests if TWIN not in i}
        if ended:
            self._end(ended)
        return result

    def finish_requests(self, request_ids: Any, finished_status: Any) -> list[Any]:
        """End requests, each with its whole group."""
        if request_ids is not None:
            ids = {request_ids} if isinstance(request_ids, str) else set(request_ids)
            for name in list(ids):
                if name in self._groups:
                    ids.update(member.request_id for member in self._groups[name].members)
            request_ids = ids
        parent: Any = super()
        found: list[Any] = parent.finish_requests(request_ids, finished_status)
        for request in found:
            self._groups.pop(request.request_id, None)
        return [request for request in found if not is_twin(request)]

    def _end(self, names: Iterable[str]) -> None:
        own: Any = self
        parent: Any = super()
        left = [name for name in names if name in own.requests]
        if left:
            parent.finish_requests(left, self.names.request_status.FINISHED_ABORTED)
        for name in names:
            self._groups.pop(name, None)

    def make_stats(self, *args: Any, **kwargs: Any) -> Any:
        """vLLM's statistics, in which a group counts as one request."""
        own: Any = self
        parent: Any = super()
        stats = parent.make_stats(*args, **kwargs)
        if stats is None or not self._groups:
            return stats
        twins = [member for group in self._all_groups() for member in group.members[1:]]
        running = sum(self._runs(twin) for twin in twins)
        deferred = sum(twin in own.deferred_waiting for twin in twins)
        return replace(
            stats,
            num_running_reqs=stats.num_running_reqs - running,
            num_waiting_reqs=stats.num_waiting_reqs - (len(twins) - running - deferred),
            num_skipped_waiting_reqs=stats.num_skipped_waiting_reqs - deferred,
        )


def _left(request: Any) -> int:
    """Tokens to compute before the next one is drawn; 1 where only the last is missing."""
    return request.num_tokens + request.num_output_placeholders - request.num_computed_tokens
