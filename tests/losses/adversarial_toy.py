"""A problem of imitation whose optimum is known: two tokens after each of a few contexts.

All distributions are tables, so expectations are exact and nothing but the method is tested.
"""

from dataclasses import dataclass

import numpy as np
import torch
from scipy.optimize import minimize

from pluralign.losses.adversarial import discriminator_loss, f_divergence

CONTEXTS, TOKENS = 3, 3


def autoregressive(theta):
    """Log-probabilities (contexts, 9) of any distribution: theta is (contexts, 3 + 9)."""
    first = theta[:, :TOKENS].log_softmax(-1)
    second = theta[:, TOKENS:].reshape(-1, TOKENS, TOKENS).log_softmax(-1)
    return (first[:, :, None] + second).flatten(1)


def factorised(theta):
    """The second token does not see the first: theta is (contexts, 3 + 3)."""
    first, second = theta[:, :TOKENS].log_softmax(-1), theta[:, TOKENS:].log_softmax(-1)
    return (first[:, :, None] + second[:, None, :]).flatten(1)


SIZES = {autoregressive: TOKENS + TOKENS**2, factorised: 2 * TOKENS}


def smooth_demonstrator():
    """Any distribution with every pair of tokens in it."""
    theta = 1.5 * np.random.default_rng(0).standard_normal((CONTEXTS, SIZES[autoregressive]))
    return autoregressive(torch.tensor(theta))


def two_habits():
    """Equal tokens: mostly one pair, less often another, and hardly ever a mixture of the two."""
    p = np.full((CONTEXTS, TOKENS, TOKENS), 0.01)
    for context, (often, seldom, share) in enumerate([(0, 2, 0.62), (1, 0, 0.56), (2, 1, 0.66)]):
        p[context, often, often] = share
        p[context, seldom, seldom] = 1 - share - 0.07
    return torch.tensor(p).flatten(1).log()


def divergence_of(log_p, log_q, divergence):
    """D_f(p || q), mean over contexts."""
    return f_divergence(log_p, log_q, divergence.generator).mean()


def known_optimum(log_p, family, divergence, starts=8):
    """The least D_f within the family, by direct minimisation from several starts, and where it is."""
    rng = np.random.default_rng(0)
    shape = (CONTEXTS, SIZES[family])

    def value(flat):
        theta = torch.tensor(flat.reshape(shape), requires_grad=True)
        found = divergence_of(log_p, family(theta), divergence)
        (gradient,) = torch.autograd.grad(found, theta)
        return found.item(), gradient.numpy().ravel()

    found = [
        minimize(value, rng.standard_normal(shape).ravel(), jac=True, method="BFGS", options={"gtol": 1e-8})
        for _ in range(starts)
    ]
    best = min(found, key=lambda result: result.fun)
    return best.fun, family(torch.tensor(best.x.reshape(shape)))


def train_discriminator(logits, log_p, log_q, steps=3):
    """Newton's steps on the real loss, which is a sum over outcomes, with probabilities as weights."""
    p, q = log_p.exp().flatten(), log_q.exp().flatten()
    for _ in range(steps):
        h = logits.clone().requires_grad_()
        loss = discriminator_loss(h.flatten(), h.flatten(), p, q)
        (slope,) = torch.autograd.grad(loss, h, create_graph=True)
        (curvature,) = torch.autograd.grad(slope.sum(), h)
        logits = logits - (slope.detach() / curvature).clamp(-2, 2)
    return logits


@dataclass(frozen=True)
class Imitated:
    """What adversarial training ended with: log-probabilities and logits, (contexts, 9) each."""

    log_q: torch.Tensor
    logits: torch.Tensor


def imitate(log_p, family, divergence, *, steps=400, rate=0.1):
    """Discriminator and policy in turn, without sampling noise."""
    theta = torch.zeros(CONTEXTS, SIZES[family], dtype=torch.float64, requires_grad=True)
    # Symmetric starts are saddles for those who seek one mode.
    with torch.no_grad():
        theta += 0.05 * torch.randn(theta.shape, generator=torch.Generator().manual_seed(0))
    optimizer = torch.optim.Adam([theta], lr=rate)
    decay = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, steps)
    logits = torch.zeros_like(log_p)
    for _ in range(steps):
        log_q = family(theta)
        logits = train_discriminator(logits, log_p, log_q.detach())
        rewards = divergence.reward(logits)
        optimizer.zero_grad()
        # E_pi[r] differentiated with the rewards fixed is the policy gradient, summed exactly.
        (-(log_q.exp() * rewards).sum(-1).mean()).backward()
        optimizer.step()
        decay.step()
    log_q = family(theta).detach()
    return Imitated(log_q, train_discriminator(logits, log_p, log_q))


def imitate_from_samples(log_p, divergence, *, samples=64, steps=300, rate=0.1, seed=0):
    """The same from samples: a few steps of the discriminator each round, and REINFORCE with a leave-one-out
    baseline. Contexts are learned side by side, and may be many."""
    generator = torch.Generator().manual_seed(seed)
    contexts, outcomes = log_p.shape
    theta = torch.zeros(contexts, SIZES[autoregressive], dtype=torch.float64, requires_grad=True)
    logits = torch.zeros(contexts, outcomes, dtype=torch.float64, requires_grad=True)
    policy = torch.optim.Adam([theta], lr=rate)
    critic = torch.optim.Adam([logits], lr=2 * rate)
    schedules = [torch.optim.lr_scheduler.CosineAnnealingLR(o, steps) for o in (policy, critic)]
    for _ in range(steps):
        log_q = autoregressive(theta)
        good = torch.multinomial(log_p.exp(), samples, replacement=True, generator=generator)
        drawn = torch.multinomial(log_q.detach().exp(), samples, replacement=True, generator=generator)
        for _ in range(3):
            critic.zero_grad()
            # A mean over contexts would make the many learn slower.
            (discriminator_loss(logits.gather(1, good), logits.gather(1, drawn)) * contexts).backward()
            critic.step()
        rewards = divergence.reward(logits.detach()).gather(1, drawn)
        advantages = rewards - (rewards.sum(1, keepdim=True) - rewards) / (samples - 1)
        policy.zero_grad()
        (-(advantages * log_q.gather(1, drawn)).mean(1).sum()).backward()
        policy.step()
        for schedule in schedules:
            schedule.step()
    return autoregressive(theta).detach()
