"""Options of ``pluralign generate`` that steer: ``--policies``, ``--guides``, ``--block``, and a range of
``--samples``."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Literal

from pluralign.cli.common import named_entries, named_folders, named_policies, refuse
from pluralign.core import InputError, SteeringWeights
from pluralign.lm.dtypes import DTypeName
from pluralign.steer.suggest import constant_weights

if TYPE_CHECKING:
    from pluralign.steer.block_guides import Blocks
    from pluralign.steer.budget import Budget
    from pluralign.steer.generate import Mix
    from pluralign.steer.writers import Guides

BlockOption = Literal["sentences", "lines", "tokens"]
RewardDistribution = Literal["normal", "samples"]


def read_mix(policies: tuple[str, ...], weights: str | None) -> Mix | None:
    """The policies given by ``--policies``; None without any.

    Raises:
        InputError: An entry is malformed, or the weights name other objectives.
    """
    if not policies:
        return None
    from pluralign.steer.generate import Mix

    folders = named_policies(policies, "policies")
    return Mix(folders, _weights(weights, tuple(folders)))


def read_guides(
    guides: tuple[str, ...], weights: str | None, strength: float | None, candidates: int | None
) -> Guides | None:
    """The guides of every token given by ``--guides``; None without any.

    Raises:
        InputError: An entry is malformed, a folder holds no value model, the weights name other objectives,
            or options of guides were given without guides.
    """
    named = named_folders(guides, "guides")
    if not named:
        refuse("requires --guides", weights=weights, strength=strength, candidates=candidates)
        return None
    from pluralign.steer.value_guided import Guidance
    from pluralign.steer.writers import Guides

    guidance = Guidance()
    if strength is not None:
        guidance = replace(guidance, strength=strength)
    if candidates is not None:
        guidance = replace(guidance, candidates=candidates)
    return Guides(named, _weights(weights, tuple(named)), guidance)


def read_blocks(
    guides: tuple[str, ...], weights: str | None, block: BlockOption, draws: int | None,
    tokens: int | None, dtype: DTypeName,
) -> Blocks:  # fmt: skip
    """The guides of blocks given by ``--guides`` and ``--block``.

    Raises:
        InputError: See `Blocks`; or there are no guides.
    """
    named = named_entries(guides, "guides", "NAME=DIR", required=False)
    if not named:
        raise InputError("requires --guides", field="block")
    from pluralign.steer.block_guides import Blocks

    found = Blocks(dict(named), _weights(weights, tuple(named)), end=block, dtype=dtype)
    if draws is not None:
        found = replace(found, draws=draws)
    return found if tokens is None else replace(found, tokens=tokens)


def read_steering(
    policies: tuple[str, ...], guides: tuple[str, ...], weights: str | None, guide_weights: str | None,
    strength: float | None, candidates: int | None, block: BlockOption | None, draws: int | None,
    block_tokens: int | None, dtype: DTypeName,
) -> tuple[Mix | None, Guides | Blocks | None]:  # fmt: skip
    """Policies and guides, from the options of ``pluralign generate``.

    Raises:
        InputError: See `read_mix`, `read_guides` and `read_blocks`; or options do not go together.
    """
    mix = read_mix(policies, weights)
    if mix is None:
        refuse("requires --policies; the weights of guides alone are --weights", guide_weights=guide_weights)
    own = weights if mix is None else guide_weights
    if block is not None:
        refuse("does not apply to --block", strength=strength, candidates=candidates)
        return mix, read_blocks(guides, own, block, draws, block_tokens, dtype)
    refuse("requires --block", draws=draws, block_tokens=block_tokens)
    if mix is not None and guides:
        raise InputError("guide every token of a single model; with --policies, give --block", field="guides")
    if mix is not None:
        refuse("requires --guides", guide_weights=guide_weights, strength=strength, candidates=candidates)
        return mix, None
    return None, read_guides(guides, own, strength, candidates)


def read_samples(
    samples: str, price: float | None, rewards: tuple[str, ...], reward_weights: str | None,
    reward_distribution: RewardDistribution | None, context: str | None, context_model: str | None,
    dtype: DTypeName,
) -> int | Budget:  # fmt: skip
    """The number of samples of each prompt, or the budget that a range of them and a price are.

    Raises:
        InputError: It is neither a number nor a range, options of a range were given without one, a range
            lacks its price or rewards, or see `Budget`.
    """
    first, dots, last = samples.partition("..")
    numbers = [_count(one, samples) for one in ((first, last) if dots else (first,))]
    if not dots:
        message = "requires a range of samples, such as --samples 4..32"
        given = {"price": price, "rewards": rewards or None, "reward_weights": reward_weights}
        given |= {"reward_distribution": reward_distribution}
        refuse(message, **given, context=context, context_model=context_model)
        return numbers[0]
    if price is None:
        raise InputError("a range of samples requires the --price of one", field="samples")
    if not rewards:
        raise InputError("a range of samples requires --rewards that say which are good", field="samples")
    if context is None:
        refuse("requires --context", context_model=context_model)
    from pluralign.steer.budget import Budget

    named = named_entries(rewards, "rewards", "NAME=REWARD")
    weights = None if reward_weights is None else constant_weights(reward_weights)
    return Budget(
        numbers[0], numbers[1], price, dict(named), weights, dtype=dtype,
        reward_distribution=reward_distribution or "normal",
    )  # fmt: skip


def _count(text: str, samples: str) -> int:
    if not (text.isascii() and text.isdigit()):
        raise InputError(f"expected a number, or a range such as 4..32, found {samples!r}", field="samples")
    return int(text)


def _weights(given: str | None, names: tuple[str, ...]) -> SteeringWeights:
    return SteeringWeights.uniform(names) if given is None else constant_weights(given)
