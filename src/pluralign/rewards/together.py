"""Several rewards of the same texts: what reward models on one trunk have in common is computed once."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from pluralign.core import Decision, InputError, OptionRewards
from pluralign.lm.forest import Forest
from pluralign.lm.layers import CutTrunk, trunk_layers
from pluralign.lm.map_forests import map_completions
from pluralign.lm.passes import trunk_of
from pluralign.lm.trunk import forest_hidden_states, shares_forest
from pluralign.rewards.reward import Reward
from pluralign.rewards.reward_model import RewardModel, option_rewards


def score_together(
    rewards: Mapping[str, Reward], decisions: Mapping[str, Sequence[Decision]]
) -> dict[str, list[OptionRewards]]:
    """Score decisions with several rewards, as each would alone (`Reward.score_decisions`).

    Reward models that `load_rewards` loaded hold the layers that none of them trained in common. Where they
    read the same texts, these layers are computed once for all of them.

    Args:
        rewards: Rewards by name.
        decisions: For each reward its decisions, whose texts are read as they are.

    Returns:
        For each reward the rewards of the options of each of its decisions.
    """
    found: dict[str, list[OptionRewards]] = {}
    for names in _groups(rewards, decisions):
        models = [reward for name in names if isinstance(reward := rewards[name], RewardModel)]
        cuts = _cuts(models) if len(names) > 1 else None
        if cuts is None:
            found |= {name: rewards[name].score_decisions(decisions[name]) for name in names}
        else:
            found |= dict(zip(names, _scored(models, cuts, decisions[names[0]]), strict=True))
    return {name: found[name] for name in rewards}


def trunk_key(reward: Reward) -> tuple[Any, ...] | None:
    """Equal for reward models that may have layers in common and cut texts alike; None for other rewards."""
    # A class derived from it may score in another way.
    if type(reward) is not RewardModel:
        return None
    trunk = trunk_of(reward.backbone.model)
    return id(next(trunk.parameters())), id(reward.backbone.tokenizer), reward.reader.max_length


def _groups(
    rewards: Mapping[str, Reward], decisions: Mapping[str, Sequence[Decision]]
) -> list[list[str]]:  # fmt: skip
    """Names of rewards that may have layers in common and read the same texts; each other one by itself."""
    groups: list[list[str]] = []
    for name, reward in rewards.items():
        key = trunk_key(reward)
        for group in groups:
            first = group[0]
            if key is not None and key == trunk_key(rewards[first]) and decisions[name] == decisions[first]:
                group.append(name)
                break
        else:
            groups.append([name])
    return groups


def _cuts(models: Sequence[RewardModel]) -> list[CutTrunk] | None:
    """The models' trunks, cut above the layers that are the same weights in all of them; None where there are
    no such layers, or a trunk cannot be cut."""
    if models[0].backbone.model.config.is_encoder_decoder:
        return None
    trunks = [trunk_of(model.backbone.model) for model in models]
    try:
        layers = [list(trunk_layers(model.backbone.model)) for model in models]
        common = [len({_ids(layer) for layer in same}) == 1 for same in zip(*layers, strict=True)]
        alike = len({_ids(trunk) for trunk in trunks}) == 1
        # What follows the layers may be trained as well.
        upper = 0 if alike else max(1, len(common) - (*common, False).index(False))
        if upper == len(common):
            return None
        cuts = [model.cut(upper) for model in models]
    except InputError:
        return None
    below = {_below(trunk, cut) for trunk, cut in zip(trunks, cuts, strict=True)}
    return cuts if len(below) == 1 else None


def _below(trunk: nn.Module, cut: CutTrunk) -> tuple[int, ...]:
    upper = set(_ids(cut.upper))
    return tuple(key for key in _ids(trunk) if key not in upper)


def _ids(module: nn.Module) -> tuple[int, ...]:
    return tuple(map(id, module.parameters()))


@torch.inference_mode()
def _scored(
    models: Sequence[RewardModel], cuts: Sequence[CutTrunk], decisions: Sequence[Decision]
) -> list[list[OptionRewards]]:
    """The rewards by each model, from one pass of the layers below the cuts."""
    # Each of them counts what it cuts.
    read, *_ = [[model.reader.read(one.prompt, one.options) for one in decisions] for model in models]
    first = models[0].backbone.model

    def states(_: Any, forest: Forest) -> list[Tensor]:
        if cuts[0].layers and not shares_forest(first, forest):
            return [forest_hidden_states(model.backbone.model, forest) for model in models]
        lower = cuts[0].lower_states(forest)
        return [cut.hidden_states(forest, lower) for cut in cuts]

    def values(hidden: Sequence[Tensor], forest: Forest) -> list[Tensor]:
        pairs = zip(models, hidden, strict=True)
        return list(torch.stack([model.of_branches(own, forest) for model, own in pairs], dim=1))

    budget = min(model.settings.token_budget for model in models)
    rows = map_completions(first, read, values, token_budget=budget, states=states)
    return [[option_rewards([one[i] for one in row]) for row in rows] for i in range(len(models))]
