"""Groups in a stand-in of vLLM's scheduler; `test_fuzz` runs them in vLLM's own where it is installed."""

from __future__ import annotations

import random
import zlib
from collections import Counter
from types import SimpleNamespace

import pytest
from vllm_stand_in import BLOCK, Adapter, MixtureStandIn, RequestStatus, StandInRequest, StandInScheduler

from pluralign.core import InputError
from pluralign.vllm.groups import TWIN
from pluralign.vllm.scheduler import MixtureScheduling, TornGroup
from pluralign.vllm.settings import MEMBER, MixtureSettings

SETTINGS = MixtureSettings({"a": "/a", "b": "/b", "base": None})
LENGTH = 40


def scheduler(settings=SETTINGS, blocks=30, seats=6, budget=16, length=LENGTH, **changes):
    return MixtureStandIn(settings, blocks=blocks, seats=seats, budget=budget, length=length, **changes)


def request(name, prompt, weights=None, new=5, **params):
    defaults = {
        "seed": None, "structured_outputs": None, "prompt_logprobs": None, "logprobs": None,
        "repetition_penalty": 1.0, "max_tokens": new,
    }  # fmt: skip
    extra = None if weights is None else {"steering_weights": weights}
    own = SimpleNamespace(extra_args=extra, **(defaults | params))
    return StandInRequest(name, list(prompt), own)


def step(own, count=[0]):  # noqa: B006 - a counter
    """One step, with equal tokens for the rows of a group."""
    out = own.schedule()
    count[0] += 1
    tokens = {
        name: zlib.crc32(f"{name.split(TWIN)[0]} {count[0]}".encode()) % 50
        for name in out.num_scheduled_tokens
        if not own.requests[name].is_prefill_chunk
    }
    (found,) = own.update_from_output(out, tokens).values()
    return out, found.outputs


def run(own, steps=400):
    """All outputs until nothing is left."""
    found = []
    for _ in range(steps):
        found += step(own)[1]
        if not own.requests:
            return found
    raise TimeoutError


def test_a_request_comes_with_a_twin_for_each_further_policy():
    own = scheduler()
    own.add_request(request("r", range(6), "b=0.25,a=0.75", seed=-1, logprobs=2))
    leader, twin = own.requests.values()
    assert leader.request_id == "r"
    assert [one.sampling_params.extra_args[MEMBER][1:] for one in (leader, twin)] == [
        [0, 2, 0.75, 2**64 - 1, False],
        [1, 2, 0.25, 2**64 - 1, False],
    ]
    assert [one.lora_request[0] for one in (leader, twin)] == ["a", "b"]
    assert (leader.sampling_params.logprobs, twin.sampling_params.logprobs) == (2, None)
    assert leader.sampling_params.seed is None
    assert leader.block_hashes == [leader.lora_request]


def test_other_adapters_leave_the_slots_of_members_that_are_held_back():
    own = scheduler(blocks=60)
    own.lora_config.max_loras = 3  # those of the policies, and one for soups
    own.add_request(request("r", range(20), "a=0.5,b=0.5"))
    step(own)
    step(own)
    assert [one.num_computed_tokens for one in own.running] == [19, 13]
    for number in range(2):
        soup = request(f"soup{number}", range(6))
        soup.lora_request = Adapter(f"mix:{number}", number + 1, f"/soup{number}")
        own.add_request(soup)
    outputs = run(own)
    assert Counter(output.request_id for output in outputs) == {"r": 5, "soup0": 5, "soup1": 5}


def test_users_see_no_twins():
    own = scheduler()
    own.add_request(request("r", range(6), "a=0.5,base=0.5"))
    own.add_request(request("plain", range(6)))
    step(own)
    assert own.make_stats().num_running_reqs == 2
    outputs = run(own)
    assert {output.request_id for output in outputs} == {"r", "plain"}
    assert set(own.recorded) == {"r", "plain"}
    assert not own._groups


def test_a_group_of_one_needs_no_lockstep():
    own = scheduler()
    own.add_request(request("r", range(6), "a=1"))
    assert not own._groups
    assert own.requests["r"].sampling_params.extra_args[MEMBER][1:4] == [0, 1, 1.0]
    assert len(run(own)) == 5


def test_an_abort_frees_the_whole_group():
    own = scheduler()
    own.add_request(request("r", range(6), "a=0.5,b=0.25,base=0.25"))
    step(own)
    ended = own.finish_requests(["r"], RequestStatus.FINISHED_ABORTED)
    assert [one.request_id for one in ended] == ["r"]
    assert not own.requests
    assert own.free() == own.total


@pytest.mark.parametrize(
    ("weights", "prompt", "params"),
    [
        ("a=0.5", range(6), {}),
        ("a=0.5,c=0.5", range(6), {}),
        ("a=0.5,b=0.5", [1], {}),
        ("a=0.5,b=0.5", range(6), {"prompt_logprobs": 1}),
    ],
)
def test_what_cannot_be_mixed_ends_with_an_error(weights, prompt, params):
    own = scheduler()
    own.add_request(request("r", prompt, weights, **params))
    (output,) = [one for one in run(own) if one.ended]
    assert (output.request_id, output.ended) == ("r", "error")


def test_rows_that_draw_apart_stop_the_engine():
    own = scheduler()
    own.add_request(request("r", range(3), "a=0.5,b=0.5"))
    for _ in range(3):
        out = own.schedule()
        if any(not own.requests[name].is_prefill_chunk for name in out.num_scheduled_tokens):
            break
    with pytest.raises(TornGroup, match="rows of request r have drawn different tokens"):
        own.update_from_output(out, {name: i for i, name in enumerate(out.num_scheduled_tokens)})


OTHER_WORKER = SimpleNamespace(enable_batch_sharded_sampling=False, worker_cls="auto")


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"blocks": 29}, "the cache of 29 blocks does not hold the longest mixture: 3 policies of 10 blocks"),
        ({"seats": 2}, "--max-num-seqs must be at least 3"),
        ({"budget": 5}, "--max-num-batched-tokens must be at least --max-num-seqs, 6"),
        ({"speculative_config": object()}, "do not work with speculative decoding"),
        (
            {"parallel_config": SimpleNamespace(enable_batch_sharded_sampling=False, worker_cls="auto")},
            "--worker-cls",
        ),
    ],
)
def test_engines_that_cannot_mix_do_not_start(options, message):
    with pytest.raises(InputError, match=message):
        scheduler(**options)


def test_fewer_policies_together_need_less():
    settings = MixtureSettings(SETTINGS.policies, together=2)
    own = scheduler(settings, blocks=20, seats=2)
    own.add_request(request("r", range(6), "a=0.4,b=0.3,base=0.3"))
    assert [one.ended for one in run(own)][-1] == "error"


def fuzz(seed):
    rng = random.Random(seed)
    seats = rng.choice([3, 4, 8, 16])
    own = scheduler(blocks=rng.randint(30, 36), seats=seats, budget=seats + rng.choice([0, 8, 64]))
    shared = [rng.randrange(50) for _ in range(3 * BLOCK)]
    left, done, stuck = {}, set(), 0
    while len(done) < 20:
        if len(left) < 20 and rng.random() < 0.7:
            prompt = shared[: rng.choice([0, BLOCK, 3 * BLOCK])] + [
                rng.randrange(50) for _ in range(rng.choice([1, 8]))
            ]
            prompt = prompt if len(prompt) > 1 else prompt * 2
            weights = rng.choice([None, "a=1", "a=0.5,b=0.5", "a=0.2,b=0.3,base=0.5"])
            name, new = f"r{len(left)}", rng.choice([1, 5, 20])
            own.add_request(request(name, prompt, weights, new))
            left[name] = new
        out, outputs = step(own)
        for output in outputs:
            left[output.request_id] -= 1
            done |= {output.request_id} if output.ended else set()
        stuck = 0 if out.num_scheduled_tokens or len(left) < 20 else stuck + 1
        if stuck > 20:
            raise TimeoutError
    assert not any(left.values())
    assert not own._groups
    assert own.free() == own.total
    return own.counts


SEEDS = range(40)


def test_no_group_is_torn():
    counts = [fuzz(seed) for seed in SEEDS]
    assert sum(one.groups for one in counts) > 300
    assert sum(one.gang_preemptions for one in counts) > 20
    assert sum(one.held for one in counts) > 300


@pytest.mark.parametrize(
    ("name", "error"),
    [
        ("_reserve_prefill_lookahead", TornGroup),
        ("_make_room", TornGroup),
        ("_get_local_prefix_cache_hit", TimeoutError),
    ],
    ids=["barrier", "gang preemption", "cached prompts"],
)
def test_each_part_is_needed(name, error, monkeypatch):
    without = (lambda self: False) if name == "_make_room" else getattr(StandInScheduler, name)
    monkeypatch.setattr(MixtureScheduling, name, without)
    failed = 0
    for seed in SEEDS:
        try:
            fuzz(seed)
        except error:
            failed += 1
    assert failed
