"""Several rewards of the same texts: what reward models on one trunk have in common is computed once."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor

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
        models = [rewards[name] for name in names]
        cuts = _cuts([model for model in models if isinstance(model, RewardModel)])
        if cuts is None:
            found |= {name: rewards[name].score_decisions(decisions[name]) for name in names}
        else:
            found |= dict(zip(names, _scored(cuts, decisions[names[0]]), strict=True))
    return {name: found[name] for name in rewards}


def trunk_key(model: RewardModel) -> tuple[Any, ...]:
    """Equal for reward models that may have layers in common and cut texts alike."""
    trunk = trunk_of(model.backbone.model)
    return id(next(trunk.parameters())), id(model.backbone.tokenizer), model.reader.max_length


def _groups(
    rewards: Mapping[str, Reward], decisions: Mapping[str, Sequence[Decision]]
) -> list[list[str]]:  # fmt: skip
    """Names of rewards that may have layers in common and read the same texts; each other one by itself."""
    groups: list[list[str]] = []
    for name, reward in rewards.items():
        for group in groups:
            other = rewards[group[0]]
            if (
                isinstance(reward, RewardModel) and isinstance(other, RewardModel)
                and trunk_key(reward) == trunk_key(other) and decisions[name] == decisions[group[0]]
            ):  # fmt: skip
                group.append(name)
                break
        else:
            groups.append([name])
    return groups


_Cuts = list[tuple[RewardModel, CutTrunk]]


def _cuts(models: Sequence[RewardModel]) -> _Cuts | None:
    """The models' trunks, cut above the layers that are the same weights in all of them; None for a single
    model, and where there are no such layers or a trunk cannot be cut."""
    if len(models) < 2 or models[0].backbone.model.config.is_encoder_decoder:
        return None
    layers = [list(trunk_layers(model.backbone.model)) for model in models]
    common = 0
    for same in zip(*layers, strict=True):
        if len({tuple(map(id, layer.parameters())) for layer in same}) > 1:
            break
        common += 1
    whole = {tuple(map(id, trunk_of(model.backbone.model).parameters())) for model in models}
    # Norms after the layers learn, too.
    upper = 0 if len(whole) == 1 else max(1, len(layers[0]) - common)
    if upper == len(layers[0]):
        return None
    try:
        cuts = [(model, model.cut(upper)) for model in models]
    except InputError:
        return None
    below = {
        tuple(key for key in map(id, trunk_of(model.backbone.model).parameters()) if key not in _ids(cut))
        for model, cut in cuts
    }
    return cuts if len(below) == 1 else None


def _ids(cut: CutTrunk) -> set[int]:
    return set(map(id, cut.upper.parameters()))


@torch.inference_mode()
def _scored(cuts: _Cuts, decisions: Sequence[Decision]) -> list[list[OptionRewards]]:
    """The rewards by each model, from one pass of the layers below the cuts."""
    # Each of them counts what it cuts.
    read, *_ = [[model.reader.read(one.prompt, one.options) for one in decisions] for model, _ in cuts]

    def states(_: Any, forest: Forest) -> list[Tensor]:
        model, cut = cuts[0][0].backbone.model, cuts[0][1]
        if cut.layers and not shares_forest(model, forest):
            return [forest_hidden_states(own.backbone.model, forest) for own, _ in cuts]
        lower = cut.lower_states(forest)
        return [own.hidden_states(forest, lower) for _, own in cuts]

    def values(hidden: Sequence[Tensor], forest: Forest) -> list[Tensor]:
        pairs = zip(cuts, hidden, strict=True)
        return list(torch.stack([model.of_branches(own, forest) for (model, _), own in pairs], dim=1))

    budget = min(model.settings.token_budget for model, _ in cuts)
    model = cuts[0][0].backbone.model
    rows = map_completions(model, read, values, token_budget=budget, states=states)
    return [[option_rewards([one[i] for one in row]) for row in rows] for i in range(len(cuts))]
