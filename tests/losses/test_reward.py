import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from pluralign.losses.contrastive import label_expectation
from pluralign.losses.reward import attention_weights, bradley_terry, learned_variance

rewards = st.floats(-100, 100)


def _tensor(*values):
    return torch.tensor(values, dtype=torch.float64)


def bradley_terry_loss(chosen, rejected, *, margin=0.0, weights=None):
    """What learners make of `bradley_terry`: the mean over pairs, expected over labels that may be wrong."""
    losses = bradley_terry(chosen, rejected, margin)
    if weights is None:
        return losses.mean()
    return label_expectation(losses, bradley_terry(rejected, chosen, -margin), weights)


def learned_variance_loss(chosen, rejected, chosen_sigma, rejected_sigma, *, margin=0.0, weights=None):
    """The same of `learned_variance`."""
    losses = learned_variance(chosen, rejected, chosen_sigma, rejected_sigma, margin)
    if weights is None:
        return losses.mean()
    flipped = learned_variance(rejected, chosen, rejected_sigma, chosen_sigma, -margin)
    return label_expectation(losses, flipped, weights)


def test_bradley_terry_golden_value():
    # sigma(ln 3) = 3/4 and sigma(-ln 3) = 1/4; mean of ln 4/3 and ln 4.
    loss = bradley_terry_loss(_tensor(2 + math.log(3), 0.0), _tensor(2.0, math.log(3)))
    assert loss.item() == pytest.approx((math.log(4 / 3) + math.log(4)) / 2)


def test_margin_is_demanded_of_the_difference():
    # The first pair misses its margin by ln 3, the second meets it exactly.
    loss = bradley_terry_loss(_tensor(0.0, 1.5), _tensor(0.0, 1.0), margin=_tensor(math.log(3), 0.5))
    assert loss.item() == pytest.approx((math.log(4) + math.log(2)) / 2)
    one = bradley_terry_loss(_tensor(0.0), _tensor(0.0), margin=math.log(3))
    assert one.item() == pytest.approx(math.log(4))


def test_bradley_terry_soft_label_is_the_expectation_over_it():
    loss = bradley_terry_loss(_tensor(math.log(3)), _tensor(0.0), weights=_tensor(0.8))
    assert loss.item() == pytest.approx(0.8 * math.log(4 / 3) + 0.2 * math.log(4))


@given(rewards, rewards, rewards)
def test_bradley_terry_only_differences_count(chosen, rejected, shift):
    loss = bradley_terry_loss(_tensor(chosen), _tensor(rejected))
    shifted = bradley_terry_loss(_tensor(chosen + shift), _tensor(rejected + shift))
    torch.testing.assert_close(loss, shifted, rtol=1e-9, atol=1e-12)


def test_bradley_terry_gradient_is_the_probability_of_the_other_label():
    chosen, rejected = _tensor(math.log(3), -1.0).requires_grad_(), _tensor(0.0, 5.0).requires_grad_()
    found = torch.autograd.grad(bradley_terry_loss(chosen, rejected), [chosen, rejected])
    # sigma(-d) over two pairs.
    expected = _tensor(0.25, 1 / (1 + math.exp(-6))) / 2
    torch.testing.assert_close(found, (-expected, expected))


@pytest.mark.parametrize(("chosen", "expected"), [(1e4, 0.0), (-1e4, 2e4)])
def test_bradley_terry_finite_at_extremes(chosen, expected):
    values = torch.tensor([chosen], requires_grad=True)
    loss = bradley_terry_loss(values, -values.detach())
    assert loss.item() == expected
    assert torch.isfinite(torch.autograd.grad(loss, values)[0]).all()


def test_variance_golden_value():
    # sqrt((1 + 7) / 2) = 2, and 2 ln 3 / 2 = ln 3.
    loss = learned_variance_loss(_tensor(2 * math.log(3)), _tensor(0.0), _tensor(1.0), _tensor(math.sqrt(7)))
    assert loss.item() == pytest.approx(math.log(4 / 3))


@given(rewards, rewards, st.floats(0.1, 10), st.floats(-1, 1), st.floats(0, 1))
def test_equal_variances_are_bradley_terry(chosen, rejected, sigma, margin, weight):
    both = _tensor(sigma)
    loss = learned_variance_loss(
        _tensor(chosen), _tensor(rejected), both, both, margin=margin, weights=_tensor(weight)
    )
    scaled = bradley_terry_loss(
        _tensor(chosen / sigma),
        _tensor(rejected / sigma),
        margin=margin / sigma,
        weights=_tensor(weight),
    )
    torch.testing.assert_close(loss, scaled, rtol=1e-9, atol=1e-9)


def test_unit_variances_are_bradley_terry_in_gradient():
    generator = torch.Generator().manual_seed(0)
    pair = [torch.randn(8, generator=generator, dtype=torch.float64).requires_grad_() for _ in range(2)]
    unit = torch.ones(8, dtype=torch.float64)
    found = torch.autograd.grad(learned_variance_loss(pair[0], pair[1], unit, unit), pair)
    torch.testing.assert_close(found, torch.autograd.grad(bradley_terry_loss(pair[0], pair[1]), pair))


@pytest.mark.parametrize(("chosen", "sign"), [(1.0, 1), (-1.0, -1)])
def test_doubt_costs_where_the_order_is_right_and_helps_where_it_is_wrong(chosen, sign):
    sigmas = [_tensor(1.0).requires_grad_() for _ in range(2)]
    loss = learned_variance_loss(_tensor(chosen), _tensor(0.0), sigmas[0], sigmas[1])
    for gradient in torch.autograd.grad(loss, sigmas):
        assert gradient.item() * sign > 0


@pytest.mark.parametrize("sigma", [1e-6, 1.0, 1e6])
@pytest.mark.parametrize("chosen", [1e4, -1e4])
def test_variance_finite_at_extremes(sigma, chosen):
    a, b, c, d = leaves = [torch.tensor([v], requires_grad=True) for v in (chosen, -chosen, sigma, sigma)]
    loss = learned_variance_loss(a, b, c, d)
    assert torch.isfinite(loss)
    assert all(torch.isfinite(gradient).all() for gradient in torch.autograd.grad(loss, leaves))


def test_small_variance_keeps_the_digits_of_a_small_difference():
    # In float32 a thousand divided by a thousandth is known to a sixteenth only.
    difference = 2.0**-10
    sigma = torch.tensor([1e-3])
    loss = learned_variance_loss(torch.tensor([1000.0]), torch.tensor([1000.0 + difference]), sigma, sigma)
    assert loss.item() == pytest.approx(math.log1p(math.exp(difference / 1e-3)), rel=1e-5)


def _naive_weights(queries, keys, causal):
    """Eq. 11 of one branch, by loops over positions."""
    length, width = queries.shape
    total = torch.zeros(length, dtype=queries.dtype)
    for i in range(length):
        reach = i + 1 if causal else length
        total[:reach] += torch.softmax(keys[:reach] @ queries[i] / math.sqrt(width), dim=0)
    return total / length


def _random_branches(lengths, width=3, seed=0):
    generator = torch.Generator().manual_seed(seed)
    queries, keys = torch.randn(2, sum(lengths), width, generator=generator, dtype=torch.float64) * 2
    return queries, keys, torch.repeat_interleave(torch.arange(len(lengths)), torch.tensor(lengths))


@pytest.mark.parametrize(("causal", "expected"), [(False, [0.625, 0.375]), (True, [0.75, 0.25])])
def test_attention_golden_value(causal, expected):
    # Width 4: 2 ln 3 / sqrt(4) = ln 3. The first row is (3/4, 1/4), causal (1, 0); the second (1/2, 1/2).
    queries, keys = torch.zeros(2, 4), torch.zeros(2, 4)
    queries[0, 0], keys[0, 0] = 2.0, math.log(3)
    weights = attention_weights(queries, keys, torch.zeros(2, dtype=torch.long), 1, causal=causal)
    torch.testing.assert_close(weights, torch.tensor(expected))


@given(st.lists(st.integers(1, 12), min_size=1, max_size=6), st.booleans(), st.integers(0, 1000))
def test_attention_weights_are_those_of_the_equation_and_sum_to_one(lengths, causal, seed):
    queries, keys, owner = _random_branches(lengths, seed=seed)
    weights = attention_weights(queries, keys, owner, len(lengths), causal=causal)
    sums = torch.zeros(len(lengths), dtype=weights.dtype).index_add(0, owner, weights)
    torch.testing.assert_close(sums, torch.ones_like(sums))
    parts = [_naive_weights(queries[owner == b], keys[owner == b], causal) for b in range(len(lengths))]
    torch.testing.assert_close(weights, torch.cat(parts))


def test_attention_weighted_sum_is_the_preference_transformer():
    # z = mean_i sum_t softmax_t(q_i . k_t / sqrt(d)) r_t, written with a matrix.
    queries, keys, owner = _random_branches([7])
    token_rewards = torch.linspace(-1, 2, 7, dtype=torch.float64)
    z = ((queries @ keys.T / math.sqrt(3)).softmax(dim=-1) @ token_rewards).mean()
    weights = attention_weights(queries, keys, owner, 1)
    torch.testing.assert_close((weights * token_rewards).sum(), z)


@pytest.mark.parametrize("causal", [False, True])
@pytest.mark.parametrize("junk", [1e4, math.nan])
def test_attention_other_branches_are_inert(causal, junk):
    queries, keys, _ = _random_branches([5])
    queries, keys = queries.float(), keys.float()
    owner = torch.tensor([0] * 3 + [1] * 5 + [2] * 9)
    crowd = [torch.cat([torch.full((3, 3), junk), x, torch.full((9, 3), junk)]) for x in (queries, keys)]
    alone = [x.clone().requires_grad_() for x in (queries, keys)]
    crowd = [x.requires_grad_() for x in crowd]
    scale = torch.arange(5.0)
    one = attention_weights(alone[0], alone[1], torch.zeros(5, dtype=torch.long), 1, causal=causal)
    many = attention_weights(crowd[0], crowd[1], owner, 3, causal=causal)[3:8]
    torch.testing.assert_close(many, one, rtol=0, atol=1e-6)
    found = torch.autograd.grad((many * scale).sum(), crowd)
    expected = torch.autograd.grad((one * scale).sum(), alone)
    for a, b in zip(found, expected, strict=True):
        torch.testing.assert_close(a[3:8], b, rtol=0, atol=1e-6)


def test_order_within_a_branch_does_not_matter_without_causality():
    queries, keys, owner = _random_branches([6])
    order = torch.tensor([3, 0, 5, 1, 4, 2])
    weights = attention_weights(queries, keys, owner, 1)
    torch.testing.assert_close(attention_weights(queries[order], keys[order], owner, 1), weights[order])


def test_causal_attention_starves_the_last_token():
    # Indifferent queries: row i gives 1/i to each of its i tokens, so w_1 / w_T = T (1 + ... + 1/T).
    length = 128
    zeros = torch.zeros(length, 2, dtype=torch.float64)
    owner = torch.zeros(length, dtype=torch.long)
    weights = attention_weights(zeros, zeros, owner, 1, causal=True)
    harmonic = sum(1 / i for i in range(1, length + 1))
    assert (weights[0] * length).item() == pytest.approx(harmonic)
    assert (weights[0] / weights[-1]).item() == pytest.approx(length * harmonic)
    torch.testing.assert_close(
        attention_weights(zeros, zeros, owner, 1), torch.full_like(weights, 1 / length)
    )


def test_attention_of_a_branch_without_tokens_and_of_none():
    queries, keys, _ = _random_branches([2, 3])
    owner = torch.tensor([0, 0, 2, 2, 2])
    dense = attention_weights(queries, keys, torch.tensor([0, 0, 1, 1, 1]), 2)
    torch.testing.assert_close(attention_weights(queries, keys, owner, 3), dense)
    nothing = torch.zeros(0, 3)
    assert attention_weights(nothing, nothing, torch.zeros(0, dtype=torch.long), 0).shape == (0,)


@pytest.mark.parametrize("causal", [False, True])
def test_attention_finite_at_extremes(causal):
    queries, keys, owner = _random_branches([4, 6])
    leaves = [(x.float() * 1e4).requires_grad_() for x in (queries, keys)]
    weights = attention_weights(leaves[0], leaves[1], owner, 2, causal=causal)
    gradients = torch.autograd.grad((weights * torch.arange(10.0)).sum(), leaves)
    assert torch.isfinite(weights).all()
    assert weights.sum().item() == pytest.approx(2.0, rel=1e-6)
    assert all(torch.isfinite(gradient).all() for gradient in gradients)


def test_attending_more_to_a_token_raises_its_weight():
    queries = torch.ones(4, 2)
    keys = torch.zeros(4, 2, requires_grad=True)
    weights = attention_weights(queries, keys, torch.zeros(4, dtype=torch.long), 1)
    (gradient,) = torch.autograd.grad(weights[1], keys)
    assert (gradient[1] > 0).all()
    assert (gradient[[0, 2, 3]] < 0).all()
