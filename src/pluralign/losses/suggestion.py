"""Losses of weights that depend on the prompt: which objectives decided these choices?"""

from __future__ import annotations

from jaxtyping import Float
from torch import Tensor
from torch.nn.functional import log_softmax, logsigmoid, softmax

from pluralign.core.checks import require_positive


def choice_weights_loss(
    logits: Float[Tensor, "pairs objectives"],
    differences: Float[Tensor, "pairs objectives"],
    log_decisiveness: Float[Tensor, ""],
) -> Float[Tensor, " pairs"]:
    """Negative log-likelihood of choices under weights that depend on the prompt, nats.

    L = -log sigma(kappa sum_k w_k(x) d_k), w(x) = softmax(logits): the weights under which these choices are
    likeliest (a random-utility model, McFadden 1974). Adding a constant to a reward changes nothing.

    Args:
        logits: Logits of the weights of each pair's prompt.
        differences: Reward of the chosen minus that of the rejected completion, by objective.
        log_decisiveness: Logarithm of kappa, which is learned, too.
    """
    utility = (softmax(logits, dim=1) * differences).sum(dim=1)
    return -logsigmoid(log_decisiveness.exp() * utility)


def label_weights_loss(
    logits: Float[Tensor, "pairs objectives"],
    values: Float[Tensor, "pairs objectives"],
    *,
    temperature: float = 1.0,
) -> Float[Tensor, " pairs"]:
    """Cross-entropy of weights that depend on the prompt with labels softmax(values / T), nats.

    With the rewards of preferred answers as values, these are the labels of Preference Orchestrator (Liu et
    al. 2025, arXiv 2511.10656, eq. 7). They follow the level of rewards and not what decided: a refusal of a
    harmful prompt has a low harmlessness reward, hence little weight on harmlessness. With differences
    between chosen and rejected answers as values, they follow what decided.

    Args:
        logits: Logits of the weights of each pair's prompt.
        values: Rewards of the chosen completion, or differences, by objective.
        temperature: Temperature T of the labels, above 0.
    """
    require_positive(temperature=temperature)
    labels = softmax(values / temperature, dim=1)
    return -(labels * log_softmax(logits, dim=1)).sum(dim=1)
