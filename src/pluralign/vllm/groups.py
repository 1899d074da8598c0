"""Groups of requests inside vLLM: the user's request and a silent twin for each further policy."""

from __future__ import annotations

import copy
import secrets
import zlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from pluralign.core import InputError
from pluralign.steer.mixing import GEOMETRIC
from pluralign.vllm.settings import MEMBER, WEIGHTS, Member

TWIN = f"~{secrets.token_hex(8)}~"
"""Part of the ids of twins, which no user can know."""
_SEEDS = 2**64


@dataclass(eq=False)
class Group:
    """Requests that are decoded in lockstep.

    Args:
        members: The user's request, and a twin for each further policy.
        open: Whether all members have come to their last token, so that the next one can be drawn.
    """

    members: list[Any]
    open: bool = False

    @property
    def leader(self) -> Any:
        """The user's request."""
        return self.members[0]


@dataclass
class Counts:
    """Counts of what the scheduler did."""

    groups: int = 0
    mixed_steps: int = 0
    held: int = 0
    gang_preemptions: int = 0
    stuck: int = 0


def is_twin(request: Any) -> bool:
    """Whether a request is a twin, which users do not see."""
    return TWIN in request.request_id


def lora_id(name: str) -> int:
    """vLLM's number of a policy's adapter."""
    return zlib.crc32(name.encode()) & 0x7FFFFFFF | 1


def has_slot(request: Any, running: Sequence[Any], lora_config: Any) -> bool:
    """Whether there is a slot for a request's adapter next to those of all running requests.

    vLLM counts the adapters of a step, in which those of members that are held back are missing.

    Args:
        request: Request that waits.
        running: Requests that run, held back or not.
        lora_config: vLLM's configuration of adapters; None without any.
    """
    if lora_config is None or request.lora_request is None:
        return True
    used = {one.lora_request.lora_int_id for one in running if one.lora_request is not None}
    return len({*used, request.lora_request.lora_int_id}) <= lora_config.max_loras


def require_mixable(request: Any, power: float) -> None:
    """Refuse what a mixture cannot have.

    Args:
        request: Request of vLLM, with sampling parameters.
        power: Power of the mixtures.

    Raises:
        InputError: The request has something that twins would lack, or that has no meaning for mixtures.
    """
    params = request.sampling_params
    for holds, what in (
        (params.prompt_logprobs is not None, "log-probabilities of the prompt"),
        (request.prompt_token_ids is None, "prompts given as embeddings"),
        (bool(request.mm_features), "images, audio and video"),
        (request.resumable, "streamed prompts"),
        (request.lora_request is not None, "a LoRA adapter as the model"),
        (bool(request.kv_transfer_params), "transfers of keys and values"),
        (
            power != GEOMETRIC and params.repetition_penalty != 1,
            "repetition_penalty: it acts on logits, which only geometric mixtures have",
        ),
    ):
        if holds:
            raise InputError(f"mixtures do not work with {what}", field=WEIGHTS)
    if request.num_tokens < 2:
        raise InputError("the prompt of a mixture needs at least 2 tokens", field="prompt")


def make_group(request: Any, weights: Mapping[str, float], policies: Mapping[str, Any]) -> Group:
    """Turn a request into the leader of a group, and make its twins.

    Args:
        request: User's request; it becomes the row of the first policy.
        weights: Positive weights by policy.
        policies: LoRA request of each policy, by name; None for the model itself.
    """
    params = copy.copy(request.sampling_params)
    # The group's draws are the logits processor's: a seed of vLLM's would be a generator for each member.
    seed, params.seed = params.seed, None
    seed = secrets.randbits(63) if seed is None else seed % _SEEDS
    masked = params.structured_outputs is not None
    members: list[Any] = []
    for number, (name, weight) in enumerate(weights.items()):
        own = copy.copy(params)
        place = Member(request.request_id, number, len(weights), weight, seed, masked)
        own.extra_args = {**(params.extra_args or {}), MEMBER: place.to_list()}
        if number == 0:
            request.sampling_params, request.lora_request = own, policies[name]
            # The hashes of cached blocks carry the adapter's name.
            request.block_hashes = []
            request.update_block_hashes()
            members.append(request)
            continue
        # The leader's row is masked, and with it the mixture; nobody reads a twin's log-probabilities.
        own.structured_outputs = own.logprobs = None
        members.append(
            type(request)(
                request_id=f"{request.request_id}{TWIN}{number}",
                client_index=request.client_index,
                prompt_token_ids=request.prompt_token_ids,
                sampling_params=own,
                pooling_params=None,
                arrival_time=request.arrival_time,
                lora_request=policies[name],
                cache_salt=request.cache_salt,
                priority=request.priority,
                block_hasher=request._block_hasher,
            )
        )
    return Group(members)
