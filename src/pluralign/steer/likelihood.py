"""Exact log-likelihoods of texts under mixtures of policies."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import cast

import numpy as np

from pluralign.core import InputError, SteeringWeights
from pluralign.core.arrays import FloatArray
from pluralign.core.checks import checked, require_positive
from pluralign.core.messages import Prompt
from pluralign.core.progress import ProgressBar
from pluralign.steer.policies import Policies
from pluralign.steer.policy_rows import finished
from pluralign.steer.prompt_scores import score_mixtures

_PART = 2048


@checked
def log_likelihoods(
    policies: Policies, prompts: Sequence[Prompt], completions: Sequence[str], *,
    weights: Mapping[str, float] | Sequence[Mapping[str, float]], temperature: float = 1.0,
    ends: bool | Sequence[bool] = False, progress: bool = False,
) -> FloatArray:  # fmt: skip
    """Log-likelihood of each completion under mixtures of policies, as `Policies.generate` samples from them:
    the sum over its tokens of the log of the policies' power mean.

    Texts are read as tokens again. These may differ from the tokens that were sampled, rarely for trained
    models.

    Under several weightings each text is read once by each policy. With the base model among the policies
    (``base="smollm2-135m"``), the mean difference between a mixture's own completions under its weights and
    under ``{"base": 1.0}`` estimates how far steering moves the model: KL(mixture || base) in nats.

    Args:
        policies: The policies.
        prompts: Prompts, as `Policies.generate` takes them.
        completions: One completion per prompt.
        weights: Weights by objective, or several such weightings.
        temperature: Sampling temperature of the mixtures, above 0.
        ends: Whether the token that ends an answer counts, for all completions or for each. It does not for
            completions that were cut off at a token limit.
        progress: Whether to show a progress bar.

    Returns:
        Log-likelihoods in nats, shape (completions,), or (weightings, completions).

    Raises:
        InputError: There are other numbers of prompts and completions, weights have an unknown objective or
            do not sum to one, a prompt has no tokens, a text is longer than the context, or the policies
            cannot read a text in parts.

    Examples:
        >>> import pluralign as pl
        >>> mix = pl.load_policies("tiny-random", {"calm": "tiny-random", "base": "tiny-random"})
        >>> texts = mix.generate(["Hello", "Good"], weights={"calm": 1.0}, max_new_tokens=4)
        >>> mixes = [{"calm": 0.5, "base": 0.5}, {"base": 1.0}]
        >>> steered, base = pl.log_likelihoods(mix, ["Hello", "Good"], texts, weights=mixes)
        >>> bool(abs(steered - base).max() < 1e-4)  # one model, mixed with itself
        True
    """
    if len(prompts) != len(completions):
        raise InputError(
            f"expected one per prompt, {len(prompts)}, found {len(completions)}", field="completions"
        )
    require_positive(temperature=temperature)
    ended = [ends] * len(prompts) if isinstance(ends, bool) else list(ends)
    if len(ended) != len(prompts):
        raise InputError(f"expected one per prompt, {len(prompts)}, found {len(ended)}", field="ends")
    alone = isinstance(weights, Mapping)
    given = cast("Sequence[Mapping[str, float]]", [weights] if alone else weights)
    if not given:
        raise InputError("expected weights by objective, found none", field="weights")
    mixtures = [_numbered(policies, own) for own in given]
    found = np.zeros((len(mixtures), len(prompts)))
    with ProgressBar(len(prompts), "texts", unit="text", shown=progress) as bar:
        for place, (prompt, completion) in enumerate(zip(prompts, completions, strict=True)):
            before = policies.text_ids(prompt) if isinstance(prompt, str) else policies.chat_ids(prompt)
            lead = "" if isinstance(prompt, str) or completion[:1].isspace() else policies.conversations.lead
            talks = not isinstance(prompt, str)
            answer = policies.answer_ids(lead + completion, before, chat=talks, ended=ended[place])
            ids = [*before, *answer]
            _require_room(policies, before, ids, place)
            scored = finished(
                score_mixtures(
                    policies.rows, mixtures, ids, 0, policies.power, lambda: _PART, temperature, len(before)
                )
            )
            for row, own in zip(found, scored, strict=True):
                row[place] = sum(one.log_prob for one in own[len(before) :] if one is not None)
            bar.advance()
    return found[0] if alone else found


def _numbered(policies: Policies, given: Mapping[str, float]) -> dict[int, float]:
    weights = SteeringWeights(given)
    weights.require_known(policies.objectives)
    return {
        number: weights[name] for number, name in enumerate(policies.rows.names) if weights.get(name, 0.0) > 0
    }


def _require_room(policies: Policies, before: Sequence[int], ids: Sequence[int], place: int) -> None:
    if not before:
        raise InputError("has no tokens", field=f"prompts[{place}]")
    if policies.context is not None and len(ids) > policies.context:
        raise InputError(
            f"{len(ids)} tokens exceed the context of {policies.context}", field=f"completions[{place}]"
        )
