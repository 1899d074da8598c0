"""Rows of vLLM's batches: mixed as pluralign mixes, and drawn with pluralign's random numbers."""

from __future__ import annotations

from types import SimpleNamespace

import numpy as np
import pytest
import torch

from pluralign.lm.decoding import Decoding, TokenSampler
from pluralign.steer.mixing import ARITHMETIC, GEOMETRIC, HARMONIC, mix_log_probs
from pluralign.vllm.rows import Mixtures, Row
from pluralign.vllm.settings import MEMBER, Member

VOCABULARY = 300


def row(group, number, size, weight, *, seed=3, masked=False, output=(), **params):
    defaults = {"temperature": 0.0, "top_k": 0, "top_p": 1.0, "min_p": 0.0, "max_tokens": 9}
    place = Member(group, number, size, weight, seed, masked)
    own = SimpleNamespace(extra_args={MEMBER: place.to_list()}, **(defaults | params))
    return Row.of(own, list(output))


def batch(**options):
    """Two groups whose rows are mixed up, and a row of no group."""
    return {
        0: row("g", 1, 3, 0.3, **options),
        2: row("h", 0, 2, 0.5, seed=4, **options),
        3: row("g", 0, 3, 0.2, **options),
        4: row("h", 1, 2, 0.5, seed=4, **options),
        5: row("g", 2, 3, 0.5, **options),
    }


@pytest.fixture
def logits():
    return torch.randn(6, VOCABULARY, generator=torch.Generator().manual_seed(0))


@pytest.mark.parametrize("power", [GEOMETRIC, ARITHMETIC, HARMONIC, 0.5])
def test_rows_become_the_mixture_of_their_group(logits, power):
    found = Mixtures(batch(), "cpu").mix(logits, power).log_softmax(-1).numpy()
    single = logits.double().log_softmax(-1).numpy()
    for places, weights in (([3, 0, 5], [0.2, 0.3, 0.5]), ([2, 4], [0.5, 0.5])):
        expected = mix_log_probs(single[places], weights, power)
        for place in places:
            np.testing.assert_allclose(found[place], expected, atol=2e-6)
    np.testing.assert_array_equal(found[1], logits.log_softmax(-1)[1])


def test_a_group_that_is_not_there_as_a_whole_is_left_as_it_is(logits):
    rows = batch()
    del rows[5]
    found = Mixtures(rows, "cpu").mix(logits, GEOMETRIC)
    assert torch.equal(found[[0, 1, 3, 5]], logits[[0, 1, 3, 5]])
    assert not torch.equal(found[2], logits[2])


def test_logits_of_low_precision_are_mixed_in_float32(logits):
    found = Mixtures(batch(), "cpu").mix(logits.bfloat16(), GEOMETRIC)
    assert found.dtype == torch.float32
    expected = 0.5 * (logits[2].bfloat16().float() + logits[4].bfloat16().float())
    assert torch.equal(found[2], expected)


@pytest.mark.parametrize("options", [{}, {"top_k": 5}, {"top_p": 0.7}, {"top_k": 20, "top_p": 0.9}])
@pytest.mark.parametrize("scale", [False, True])
def test_draws_are_those_of_the_own_decoder(logits, options, scale):
    temperature = 0.7
    mixtures = Mixtures(batch(temperature=temperature, output=[1, 2], **options), "cpu")
    mixed = mixtures.mix(logits, GEOMETRIC)
    given = mixed.clone() if scale else mixed / temperature
    mixtures.draw(given, [2, 2], scale=scale)
    for places, seed in (([0, 3, 5], 3), ([2, 4], 4)):
        uniform = torch.tensor([np.random.default_rng(seed).random(9)[2]])
        sampler = TokenSampler([Decoding(9, temperature, **options)], logits.device)
        (token,) = sampler.choose(mixed[places[:1]], uniform)
        for place in places:
            assert given[place].argmax() == token
            assert given[place, token] == 0
            assert torch.isinf(given[place]).sum() == VOCABULARY - 1
    assert torch.equal(given[1], logits[1] if scale else logits[1] / temperature)


def test_greedy_rows_are_not_drawn(logits):
    mixtures = Mixtures(batch(), "cpu")
    mixed = mixtures.mix(logits, GEOMETRIC)
    given = mixed.clone()
    mixtures.draw(given, [0, 0])
    assert torch.equal(given, mixed)


def test_min_p_leaves_out_unlikely_tokens():
    logits = torch.zeros(1, VOCABULARY)
    logits[0, 7] = 5.0
    mixtures = Mixtures({0: row("g", 0, 1, 1.0, temperature=1.0, min_p=0.5)}, "cpu")
    mixtures.draw(logits, [0], scale=True)
    assert logits[0].argmax() == 7
    assert torch.isinf(logits).sum() == VOCABULARY - 1


def test_nothing_is_drawn_after_the_last_token(logits):
    mixtures = Mixtures({0: row("g", 0, 1, 1.0, temperature=1.0, max_tokens=2)}, "cpu")
    given = logits.clone()
    mixtures.draw(given, [2])
    assert torch.equal(given, logits)


def test_members_get_the_row_that_a_grammar_has_masked(logits):
    rows = batch(masked=True)
    logits[3, ::2] = -torch.inf
    logits[2, 1::2] = -torch.inf
    Mixtures(rows, "cpu").copy_masks(logits)
    for place, leader in ((0, 3), (5, 3), (4, 2)):
        assert torch.equal(logits[place], logits[leader])


def test_a_mask_does_not_change_what_is_mixed(logits):
    """Arithmetic: the mixture is masked, not the policies."""
    mixtures = Mixtures(batch(masked=True), "cpu")
    mixed = mixtures.mix(logits, ARITHMETIC)
    masked = mixed.clone()
    masked[3, ::2] = -torch.inf
    mixtures.copy_masks(masked)
    expected = mixed[3].softmax(-1)
    expected[::2] = 0
    torch.testing.assert_close(masked[0].softmax(-1), expected / expected.sum())
