"""The logits processors and worker hooks, called as vLLM's two model runners call them."""

from __future__ import annotations

from types import SimpleNamespace
from typing import NamedTuple

import numpy as np
import pytest
import torch

from pluralign.core import InputError
from pluralign.vllm.logits import MixtureDraws, MixtureRows, mix_before_sampling, mix_in_sampling
from pluralign.vllm.settings import MEMBER, Member, MixtureSettings

CONFIG = SimpleNamespace(additional_config=MixtureSettings({"a": "/a", "b": "/b"}, power=1.0).to_config())
WEIGHTS = (0.7, 0.3)
PLAIN = SimpleNamespace(extra_args=None, temperature=0.0)
PROMPT = 5


def params(number, temperature, masked=False):
    place = Member("g", number, 2, WEIGHTS[number], 3, masked)
    return SimpleNamespace(
        extra_args={MEMBER: place.to_list()}, temperature=temperature, top_k=0, top_p=0.9, min_p=0.0,
        max_tokens=9,
    )  # fmt: skip


def updated(rows, update, new):
    """vLLM's `process_dict_updates` of requests that are added."""
    for index, own, prompt, output in update:
        if (row := new(own, prompt, output)) is not None:
            rows[index] = row
    return bool(update)


class Rows(MixtureRows):
    update_rows = staticmethod(updated)


class Draws(MixtureDraws):
    update_rows = staticmethod(updated)


@pytest.fixture
def logits():
    return torch.randn(3, 40, generator=torch.Generator().manual_seed(0))


def first_runner(temperature, masked=False):
    """V1: rows 0 and 2 are a group with two tokens so far."""
    rows = [kind(CONFIG, torch.device("cpu"), False) for kind in (Rows, Draws)]
    added = [
        (2, params(0, temperature, masked), [], [7, 8]),
        (1, PLAIN, [], []),
        (0, params(1, temperature), [], [7, 8]),
    ]
    for one in rows:
        one.update_state(added)
    return rows


def second_runner(temperature, masked=False):
    """V2: the same rows, whose requests are in the slots 4, 0 and 6."""
    states = SimpleNamespace(device="cpu", prompt_len=SimpleNamespace(np=np.full(8, PROMPT)))
    rows = [kind(CONFIG, states) for kind in (Rows, Draws)]
    for one in rows:
        assert one.add_request(6, params(0, temperature, masked)) is (temperature > 0 or masked)
        assert not one.add_request(0, PLAIN)
        one.add_request(4, params(1, temperature))
    slots = np.array([4, 0, 6])
    return rows, SimpleNamespace(idx_mapping_np=slots, seq_lens_upper_bound_np=np.full(3, PROMPT + 2))


class State(NamedTuple):
    logits: torch.Tensor


def test_both_runners_mix_before_all_else(logits):
    runner = SimpleNamespace(
        execute_model_state=State(logits), sample_tokens=lambda grammar: runner.execute_model_state
    )
    rows, _ = first_runner(0.0)
    mix_before_sampling(runner, lambda _: rows)
    first = runner.sample_tokens(None).logits
    expected = WEIGHTS[0] * logits[2].softmax(-1) + WEIGHTS[1] * logits[0].softmax(-1)
    torch.testing.assert_close(first[0].softmax(-1), expected)
    assert torch.equal(first[0], first[2])
    assert torch.equal(first[1], logits[1])

    (rows, _), ctx = second_runner(0.0)
    model = SimpleNamespace(compute_logits=lambda states: logits)
    runner = SimpleNamespace(
        batch_sharder=None, model=model, sample=lambda states, batch, grammar: model.compute_logits(states)
    )
    mix_in_sampling(runner, lambda _: rows)
    assert torch.equal(runner.sample(None, ctx, None), first)
    # Outside of sampling, as for log-probabilities of prompts, nothing is mixed.
    assert torch.equal(model.compute_logits(None), logits)


def test_ranks_that_split_the_batch_are_refused():
    with pytest.raises(InputError, match="batch-sharded"):
        mix_in_sampling(SimpleNamespace(batch_sharder=object()), lambda _: None)


@pytest.mark.parametrize("masked", [False, True])
def test_both_runners_draw_the_same_token(logits, masked):
    temperature = 0.8
    given = logits.clone()
    given[0] = given[2]
    if masked:
        given[2, ::2] = -torch.inf
    rows, draws = first_runner(temperature, masked)
    first = rows.apply(given.clone())
    first[[0, 2]] /= temperature
    first = draws.apply(first)
    (rows, draws), ctx = second_runner(temperature, masked)
    second = draws.apply(rows.apply(given.clone(), ctx), ctx)
    assert torch.equal(first, second)
    assert first[0].argmax() == first[2].argmax()
    assert torch.isinf(first[0]).sum() == 39
    assert torch.equal(first[1], logits[1])
    if masked:
        assert first[0].argmax() % 2 == 1


def test_parameters_that_mixtures_lack_are_refused():
    own = {"extra_args": {"steering_weights": "a=0.5,b=0.5"}, "prompt_logprobs": None}
    MixtureRows.validate_params(SimpleNamespace(**own))
    MixtureRows.validate_params(SimpleNamespace(extra_args=None))
    for change, message in (
        ({"prompt_logprobs": 0}, "log-probabilities of the prompt"),
        ({"extra_args": {"steering_weights": "a=0.5"}}, "sum to 1"),
        ({"extra_args": {MEMBER: []}}, "internal"),
    ):
        with pytest.raises(InputError, match=message):
            MixtureRows.validate_params(SimpleNamespace(**(own | change)))
