"""The power mean of policies."""

import math
from itertools import pairwise

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from pluralign.core import InputError
from pluralign.steer.mixing import ARITHMETIC, mix_log_probs, mix_rows

POWERS = [-math.inf, -50.0, -1.0, -1e-3, 0.0, 1e-3, 0.5, 1.0, 2.0, 50.0, math.inf]
# Two policies over two options, for values worked out by hand.
TWO = np.log(np.array([[0.9, 0.1], [0.2, 0.8]]))
EVEN = [0.5, 0.5]


def log_softmax(logits: np.ndarray) -> np.ndarray:
    shifted = logits - logits.max(-1, keepdims=True)
    return shifted - np.log(np.exp(shifted).sum(-1, keepdims=True))


@st.composite
def mixtures(
    draw: st.DrawFn, low: float = -30.0, policies: int | None = None
) -> tuple[np.ndarray, list[float]]:
    n = policies or draw(st.integers(1, 4))
    options = draw(st.integers(1, 5))
    logits = draw(hnp.arrays(np.float64, (n, options), elements=st.floats(low, 30.0)))
    parts = draw(st.lists(st.integers(0, 10), min_size=n, max_size=n).filter(any))
    return log_softmax(logits), [part / sum(parts) for part in parts]


@pytest.mark.parametrize(
    ("power", "expected"),
    [
        (1.0, [0.55, 0.45]),  # (.9 + .2) / 2, (.1 + .8) / 2
        (0.0, [0.6, 0.4]),  # sqrt(.18) : sqrt(.08) = 3 : 2
        (-1.0, [0.18 / 1.1 / (0.18 / 1.1 + 0.08 / 0.9), 0.08 / 0.9 / (0.18 / 1.1 + 0.08 / 0.9)]),
        (math.inf, [0.9 / 1.7, 0.8 / 1.7]),
        (-math.inf, [0.2 / 0.3, 0.1 / 0.3]),
        (
            2.0,
            [
                math.sqrt(0.85) / (math.sqrt(0.85) + math.sqrt(0.65)),
                math.sqrt(0.65) / (math.sqrt(0.85) + math.sqrt(0.65)),
            ],
        ),
    ],
)
def test_values_by_hand(power: float, expected: list[float]) -> None:
    np.testing.assert_allclose(np.exp(mix_log_probs(TWO, EVEN, power)), expected, rtol=1e-12)


def test_uneven_weights_by_hand() -> None:
    # Arithmetic: .25 * .9 + .75 * .2 = .375; geometric: .9^.25 * .2^.75 against .1^.25 * .8^.75.
    np.testing.assert_allclose(
        np.exp(mix_log_probs(TWO, [0.25, 0.75], ARITHMETIC)), [0.375, 0.625], rtol=1e-12
    )
    first, second = 0.9**0.25 * 0.2**0.75, 0.1**0.25 * 0.8**0.75
    np.testing.assert_allclose(
        np.exp(mix_log_probs(TWO, [0.25, 0.75], 0)),
        [first / (first + second), second / (first + second)],
        rtol=1e-12,
    )


@given(mixtures(), st.sampled_from(POWERS))
def test_sums_to_one(mixture: tuple[np.ndarray, list[float]], power: float) -> None:
    log_probs, weights = mixture
    mixed = mix_log_probs(log_probs, weights, power)
    assert mixed.shape == log_probs.shape[1:]
    assert np.exp(mixed).sum() == pytest.approx(1.0, abs=1e-12)


@given(mixtures(), st.sampled_from(POWERS), st.data())
def test_one_hot_weights_give_back_that_policy_exactly(
    mixture: tuple[np.ndarray, list[float]], power: float, data: st.DataObject
) -> None:
    log_probs, _ = mixture
    chosen = data.draw(st.integers(0, len(log_probs) - 1))
    weights = np.eye(len(log_probs))[chosen]
    assert np.array_equal(mix_log_probs(log_probs, weights, power), log_probs[chosen])


@given(mixtures(), st.sampled_from(POWERS), st.randoms(use_true_random=False))
def test_the_order_of_policies_does_not_matter(
    mixture: tuple[np.ndarray, list[float]], power: float, rng: object
) -> None:
    log_probs, weights = mixture
    order = list(range(len(weights)))
    rng.shuffle(order)  # type: ignore[attr-defined]
    moved = mix_log_probs(log_probs[order], [weights[i] for i in order], power)
    np.testing.assert_allclose(moved, mix_log_probs(log_probs, weights, power), atol=1e-9)


@given(mixtures(), st.sampled_from(POWERS), st.randoms(use_true_random=False))
def test_permuting_options_commutes(
    mixture: tuple[np.ndarray, list[float]], power: float, rng: object
) -> None:
    log_probs, weights = mixture
    order = list(range(log_probs.shape[1]))
    rng.shuffle(order)  # type: ignore[attr-defined]
    np.testing.assert_allclose(
        mix_log_probs(log_probs[:, order], weights, power),
        mix_log_probs(log_probs, weights, power)[order],
        atol=1e-9,
    )


@given(mixtures(policies=1), st.floats(0.01, 0.99), st.sampled_from(POWERS))
def test_two_equal_policies_are_that_policy(
    mixture: tuple[np.ndarray, list[float]], weight: float, power: float
) -> None:
    row = mixture[0][0]
    mixed = mix_log_probs(np.stack([row, row]), [weight, 1 - weight], power)
    np.testing.assert_allclose(mixed, row, atol=1e-9)


@given(mixtures())
def test_approaches_the_geometric_mean_from_both_sides(mixture: tuple[np.ndarray, list[float]]) -> None:
    log_probs, weights = mixture
    geometric = mix_log_probs(log_probs, weights, 0.0)
    gap = np.ptp(log_probs)
    for power in (1e-3, -1e-3, 1e-6, -1e-6, 1e-9, -1e-9, 1e-12, 1e-15, -1e-300):
        # The mean's second-order term is p * variance / 2, and the variance is at most gap^2 / 4.
        np.testing.assert_allclose(
            mix_log_probs(log_probs, weights, power), geometric, atol=abs(power) * gap**2 / 4 + 1e-11
        )


@given(mixtures(policies=3))
def test_approaches_the_largest_and_the_smallest(mixture: tuple[np.ndarray, list[float]]) -> None:
    log_probs, weights = mixture
    # |log w| / |p| is how far the unnormalised mean is from its limit.
    for power in (1e5, -1e5, 1e200, -1e200):
        np.testing.assert_allclose(
            mix_log_probs(log_probs, weights, power),
            mix_log_probs(log_probs, weights, math.copysign(math.inf, power)),
            atol=1e-4,
        )


@given(mixtures(policies=3))
def test_unnormalised_power_means_rise_with_the_power(mixture: tuple[np.ndarray, list[float]]) -> None:
    from pluralign.steer.mixing import _power_mean

    log_probs, weights = mixture
    used = np.array(weights) > 0
    rows, column = log_probs[used], np.array(weights)[used][:, None]
    means = [_power_mean(rows, column, power) for power in POWERS]
    for lower, higher in pairwise(means):
        assert (higher >= lower - 1e-9).all()


def test_zero_weight_leaves_a_policy_out_entirely() -> None:
    rows = np.vstack([TWO, [math.nan, math.inf]])
    for power in POWERS:
        np.testing.assert_array_equal(
            mix_log_probs(rows, [0.5, 0.5, 0.0], power), mix_log_probs(TWO, EVEN, power)
        )


def test_extreme_log_probabilities() -> None:
    rows = np.array([[0.0, -1e4], [-1e4, 0.0]])
    for power in (-1.0, 0.0, 1e-9, 0.5, 1.0, 2.0, math.inf):
        np.testing.assert_allclose(np.exp(mix_log_probs(rows, EVEN, power)), [0.5, 0.5], atol=1e-12)
    # One policy is nearly sure; with p = 0 the other's tiny preference decides what is left.
    rows = np.array([[0.0, -1000.0, -2000.0], [-2000.0, -1.0, math.log1p(-math.exp(-1))]])
    np.testing.assert_allclose(
        mix_log_probs(rows, EVEN, 0.0), log_softmax((rows[0] + rows[1])[None] / 2)[0], atol=1e-9
    )


@pytest.mark.parametrize("power", [0.5, 1.0, 2.0, math.inf])
def test_impossible_options_count_as_zero_for_positive_powers(power: float) -> None:
    rows = np.array([[0.0, -math.inf, -math.inf], [-math.inf, 0.0, -math.inf]])
    np.testing.assert_allclose(np.exp(mix_log_probs(rows, EVEN, power)), [0.5, 0.5, 0.0], atol=1e-12)


def test_impossible_options_with_uneven_weights() -> None:
    # p = 1/2: (.75 * 1)^2 against (.25 * 1)^2 = 9 : 1.
    rows = np.array([[0.0, -math.inf], [-math.inf, 0.0]])
    np.testing.assert_allclose(np.exp(mix_log_probs(rows, [0.75, 0.25], 0.5)), [0.9, 0.1], rtol=1e-12)


@pytest.mark.parametrize("power", [0.0, -0.5, -1.0, -math.inf])
def test_impossible_for_one_is_impossible_for_all_at_powers_up_to_zero(power: float) -> None:
    half = math.log(0.5)
    rows = np.array([[half, half, -math.inf], [-math.inf, half, half]])
    np.testing.assert_array_equal(mix_log_probs(rows, EVEN, power), [-math.inf, 0.0, -math.inf])
    with pytest.raises(InputError, match="share no option"):
        mix_log_probs(rows[:, [0, 2]], EVEN, power)


def test_not_a_number_is_refused() -> None:
    with pytest.raises(InputError, match="not a number"):
        mix_log_probs(np.array([[math.nan, 0.0], [-1.0, -1.0]]), EVEN)


@pytest.mark.parametrize("power", POWERS)
def test_tensors_give_what_arrays_give(power: float) -> None:
    rows = log_softmax(np.random.default_rng(0).normal(size=(3, 4, 5)) * 5)
    weights = [0.2, 0.3, 0.5]
    for_arrays = mix_log_probs(rows, weights, power)
    assert for_arrays.shape == (4, 5)
    for i in range(4):
        np.testing.assert_allclose(for_arrays[i], mix_log_probs(rows[:, i], weights, power), atol=1e-13)
    if math.isfinite(power):
        tensors = torch.tensor(rows[:, 0])
        mixed = mix_rows(tensors, torch.zeros(3, dtype=torch.long), torch.tensor(weights).double(), 1, power)
        assert mixed.dtype == torch.float64
        np.testing.assert_allclose(mixed[0].numpy(), for_arrays[0], atol=1e-7)


def test_gradients_flow_to_the_policies_in_proportion() -> None:
    rows = torch.tensor(TWO, requires_grad=True)
    mix_rows(rows, torch.zeros(2, dtype=torch.long), torch.tensor([0.5, 0.5]), 1, ARITHMETIC)[0, 0].backward()
    # d log(.5 pi_1 + .5 pi_2) / d log pi_i = .5 pi_i / mixture, less the normaliser's share.
    assert rows.grad is not None
    np.testing.assert_allclose(rows.grad[:, 0].numpy(), [0.45 / 0.55 - 0.45, 0.1 / 0.55 - 0.1], rtol=1e-9)


@pytest.mark.parametrize(
    ("weights", "message"),
    [
        ([0.5, 0.6], "sum to 1"),
        ([0.3, 0.3], "sum to 1"),
        ([1.5, -0.5], "not negative"),
        ([math.nan, 1.0], "finite"),
        ([1.0], "one weight for each of 2"),
        ([0.2, 0.3, 0.5], "one weight for each of 2"),
    ],
)
def test_weights_that_do_not_fit_are_refused(weights: list[float], message: str) -> None:
    with pytest.raises(InputError, match=message):
        mix_log_probs(TWO, weights)


def test_a_power_that_is_no_number_is_refused() -> None:
    with pytest.raises(InputError, match="power"):
        mix_log_probs(TWO, EVEN, math.nan)


def test_an_excluded_option_keeps_the_others_small_shares():
    # One policy excludes the third option; the other gives it e^-2000, half of which is left.
    rows = np.array([[0.0, -2000.0, -math.inf], [-2000.0, 0.0, -2000.0]])
    found = mix_log_probs(rows, [0.5, 0.5], 1.0)
    assert float(found[2]) == pytest.approx(-2000 + math.log(0.5), abs=1e-3)


@given(
    st.lists(st.floats(0.05, 1), min_size=1, max_size=4),
    st.sampled_from([0.0, 1.0, -1.0, 0.3, 5.0, -4.0, 0.02, 1e-6, -1e-8]),
    st.integers(0, 1000),
)  # fmt: skip
@settings(max_examples=60)
def test_many_mixtures_at_once_are_each_its_own(weights, power, seed):
    torch.manual_seed(seed)
    total = sum(weights)
    shares = [w / total for w in weights]
    rows = (3 * torch.randn(len(weights) + 1, 9)).log_softmax(-1)
    owners = torch.tensor([1] * len(weights) + [0])
    found = mix_rows(rows, owners, torch.tensor([*shares, 1.0]), 2, power)
    expected = torch.tensor(mix_log_probs(rows[:-1].numpy(), np.array(shares), power))
    torch.testing.assert_close(found[1], expected, atol=2e-5, rtol=1e-5)
    assert torch.equal(found[0], rows[-1])


def test_extreme_probabilities_are_mixed():
    rows = torch.tensor([[0.0, -200.0, float("-inf")], [-200.0, 0.0, -300.0]])
    owners = torch.zeros(2, dtype=torch.long)
    for power, third in ((1.0, -300.7), (0.0, float("-inf")), (-1.0, float("-inf")), (-1e-4, float("-inf"))):
        found = mix_rows(rows, owners, torch.tensor([0.5, 0.5]), 1, power)[0]
        expected = torch.tensor(mix_log_probs(rows.numpy(), [0.5, 0.5], power))
        torch.testing.assert_close(found, expected, atol=1e-4, rtol=1e-4)
        assert (found[2] == third) if third == float("-inf") else abs(found[2] - third) < 0.1
