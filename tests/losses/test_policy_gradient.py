"""The pairwise policy gradient: RLOO on policy, no influence of numbers added to a prompt, two clips."""

import itertools
import math

import pytest
import torch

from pluralign.core import InputError
from pluralign.losses.policy_gradient import joint_clip, pairwise_policy_gradient_loss, separate_clip

CLIPS = [separate_clip, joint_clip]


@pytest.fixture
def sampled():
    torch.manual_seed(3)
    log_probs = -torch.rand(5, 4, dtype=torch.float64) * 9
    return log_probs.requires_grad_(), torch.randn(5, 4, dtype=torch.float64)


def gradient(loss, log_probs):
    return torch.autograd.grad(loss, log_probs)[0]


@pytest.mark.parametrize("surrogate", CLIPS)
@pytest.mark.parametrize("clip", [0.2, math.inf])
def test_on_policy_it_is_rloo(surrogate, clip, sampled):
    log_probs, rewards = sampled
    found = pairwise_policy_gradient_loss(log_probs, log_probs, rewards, surrogate=surrogate, clip=clip)
    others = (rewards.sum(1, keepdim=True) - rewards) / 3
    rloo = -((rewards - others) * log_probs).mean()
    torch.testing.assert_close(gradient(found, log_probs), gradient(rloo, log_probs), atol=1e-6, rtol=0)


@pytest.mark.parametrize("surrogate", CLIPS)
def test_a_number_added_to_a_prompts_rewards_changes_nothing(surrogate, sampled):
    log_probs, rewards = sampled
    old = log_probs.detach() + 0.3 * torch.randn(5, 4, dtype=torch.float64)
    more = rewards + torch.arange(5.0)[:, None]
    one, other = (
        gradient(pairwise_policy_gradient_loss(log_probs, old, r, surrogate=surrogate), log_probs)
        for r in (rewards, more)
    )
    torch.testing.assert_close(one, other)


def test_off_policy_without_a_clip_the_product_weights_each_pair(sampled):
    log_probs, rewards = sampled
    old = log_probs.detach() + 0.3 * torch.randn(5, 4, dtype=torch.float64)
    found = pairwise_policy_gradient_loss(log_probs, old, rewards, surrogate=joint_clip, clip=math.inf)
    ratios = (log_probs.detach() - old).exp()
    total = 0.0
    for i, j in itertools.combinations(range(4), 2):
        gaps = (rewards[:, i] - rewards[:, j]) / 2 * (log_probs[:, i] - log_probs[:, j])
        total += (ratios[:, i] * ratios[:, j] * gaps).sum()
    torch.testing.assert_close(gradient(found, log_probs), gradient(-total / (5 * 6), log_probs))


def test_separate_clip_stops_samples_that_have_moved_far_enough():
    old = torch.zeros(1, 2, dtype=torch.float64)

    def pull(*moved):
        log_probs = torch.tensor([moved], dtype=torch.float64).log().requires_grad_()
        rewards = torch.tensor([[1.0, 0.0]])
        return gradient(pairwise_policy_gradient_loss(log_probs, old, rewards), log_probs)[0].tolist()

    # The better sample is raised until its ratio is 1.2, the worse one lowered until it is 0.8.
    assert pull(1.0, 1.0) == pytest.approx([-0.5, 0.5])
    assert pull(1.3, 0.7) == [0.0, 0.0]
    assert pull(1.3, 1.3) == pytest.approx([0.0, 0.65])
    # Too little of the better one is always corrected.
    assert pull(0.7, 0.7) == pytest.approx([-0.35, 0.0])


def test_joint_clip_bounds_the_weight_of_a_pair():
    log_probs = torch.tensor([[1.0, 1.0]], dtype=torch.float64).requires_grad_()
    rewards = torch.tensor([[1.0, 0.0]])
    found = pairwise_policy_gradient_loss(log_probs, torch.zeros(1, 2), rewards, surrogate=joint_clip)
    assert gradient(found, log_probs)[0].tolist() == pytest.approx([-0.6, 0.6])


def test_refusals():
    one = torch.zeros(2, 1)
    with pytest.raises(InputError, match="two or more samples of each prompt, found 1"):
        pairwise_policy_gradient_loss(one, one, one)
    two = torch.zeros(2, 2)
    for clip in (0.0, -1.0, math.nan):
        with pytest.raises(InputError, match="'clip': must be above 0"):
            pairwise_policy_gradient_loss(two, two, two, clip=clip)
