"""Rewarded soups: policies averaged in their weights instead of their predictions."""

from __future__ import annotations

import copy
import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from jaxtyping import Float
from safetensors.torch import save_file
from torch import Tensor

from pluralign.core import InputError, SteeringWeights
from pluralign.core.files import read_json, replace_when_whole, write_json
from pluralign.folders.card import read_tensors
from pluralign.lm.backbone import Backbone, make_backbone

_CONFIG, _TENSORS = "adapter_config.json", "adapter_model.safetensors"
_DOWN, _UP = ".lora_A.weight", ".lora_B.weight"
_PREFIX = "base_model.model."
# Configuration fields of adapters that change more than the two matrices of a linear layer.
_BEYOND = (
    "use_dora", "modules_to_save", "trainable_token_indices", "target_parameters", "lora_bias",
    "layer_replication", "use_qalora", "use_bdlora",
)  # fmt: skip
# Other initialisations (PiSSA, OLoRA, LoftQ) change the trunk as well.
_PLAIN_STARTS = (True, False, "gaussian", "orthogonal", "eva")


def soup_adapter(folders: Mapping[str, Path | None], weights: SteeringWeights, out: Path) -> None:
    """Write the LoRA adapter that is the weighted sum of others: sum_i w_i s_i B_i A_i for every layer.

    This equals averaging the merged models' weights (Rame et al. 2023) exactly, since all share the trunk.
    The ranks add up; adapters of weight zero are left out.

    Args:
        folders: Folder of each PEFT adapter, by policy name; None for the trunk itself, which adds nothing.
        weights: Weights of the policies.
        out: Output folder.

    Raises:
        InputError: A name is unknown, an adapter is not a plain LoRA, the adapters belong to different
            models, or all adapters have weight zero.
    """
    weights.require_known(list(folders))
    used = {name: folder for name, folder in folders.items() if folder and weights.get(name, 0.0) > 0}
    if not used:
        raise InputError("no adapter has weight", field="weights")
    configs = {name: _config(folder) for name, folder in used.items()}
    parts = [_scaled(folder, configs[name], weights[name]) for name, folder in used.items()]
    layers = sorted({layer for part in parts for layer in part})
    rank = max(sum(part[layer][0].shape[0] for part in parts if layer in part) for layer in layers)
    tensors: dict[str, Tensor] = {}
    for layer in layers:
        found = [part[layer] for part in parts if layer in part]
        shapes = {(down.shape[1], up.shape[0]) for down, up in found}
        if len(shapes) > 1:
            raise InputError(f"adapters of different models: {layer} is {sorted(shapes)}", field="policies")
        down, up = torch.cat([d for d, _ in found]), torch.cat([u for _, u in found], dim=1)
        # All layers have the same rank; layers that some adapter does not change are padded with zeros.
        missing = rank - down.shape[0]
        tensors[layer + _DOWN] = torch.nn.functional.pad(down, (0, 0, 0, missing))
        tensors[layer + _UP] = torch.nn.functional.pad(up, (0, missing))
    config = {
        **configs[next(iter(used))], "r": rank, "lora_alpha": rank, "lora_dropout": 0.0, "use_rslora": False,
        "rank_pattern": {}, "alpha_pattern": {}, "init_lora_weights": True, "layers_to_transform": None,
        "layers_pattern": None, "exclude_modules": None,
        "target_modules": [layer.removeprefix(_PREFIX) for layer in layers],
    }  # fmt: skip
    with replace_when_whole(out / _TENSORS) as temporary:
        save_file({name: value.contiguous() for name, value in tensors.items()}, temporary)
    write_json(out / _CONFIG, config)


@torch.no_grad()
def soup_backbone(models: Mapping[str, Backbone], weights: SteeringWeights) -> Backbone:
    """The model whose weights are the weighted mean of several models' weights.

    Args:
        models: Whole models of one architecture, by policy name; they are not changed.
        weights: Weights of the policies.

    Raises:
        InputError: A name is unknown, or the models have different shapes.
    """
    weights.require_known(list(models))
    used = {name: weight for name, weight in weights.items() if weight > 0}
    states = {name: models[name].model.state_dict() for name in used}
    first = next(iter(used))
    shapes = {name: {key: value.shape for key, value in state.items()} for name, state in states.items()}
    for name, found in shapes.items():
        if found != shapes[first]:
            raise InputError(f"{name!r} and {first!r} are different models: their weights cannot be averaged")
    model: Any = copy.deepcopy(models[first].model)
    for key, value in model.state_dict().items():
        if value.is_floating_point():
            # Summed in float32: in bfloat16 every addition would round.
            total = torch.zeros_like(value, dtype=torch.float32)
            for name, weight in used.items():
                total += weight * states[name][key].to(total)
            value.copy_(total)
    return make_backbone(model, models[first].tokenizer, models[first].name)


def _config(folder: Path) -> dict[str, Any]:
    """An adapter's configuration, if it is a plain LoRA."""
    if not (Path(folder) / _CONFIG).is_file():
        raise InputError(f"holds no PEFT adapter (no {_CONFIG})", path=folder)
    config = read_json(Path(folder) / _CONFIG)
    if not isinstance(config, dict):
        raise InputError("expected an adapter's configuration", path=Path(folder) / _CONFIG)
    beyond = [name for name in _BEYOND if config.get(name)]
    if config.get("bias", "none") != "none":
        beyond.append("bias")
    if config.get("init_lora_weights", True) not in _PLAIN_STARTS:
        beyond.append("init_lora_weights")
    if config.get("peft_type") != "LORA" or beyond:
        raise InputError(
            f"only plain LoRA adapters can be averaged; this has {beyond or config.get('peft_type')}",
            path=folder,
        )
    return config


def _scaled(
    folder: Path, config: Mapping[str, Any], weight: float
) -> dict[str, tuple[Float[Tensor, "rank d_in"], Float[Tensor, "d_out rank"]]]:
    """Both matrices of each layer in float32, the second multiplied by the adapter's scaling and weight."""
    tensors = read_tensors(Path(folder) / _TENSORS)
    known = {name: value for name, value in tensors.items() if name.endswith((_DOWN, _UP))}
    if odd := sorted(set(tensors) - set(known)):
        raise InputError(f"adapts more than linear layers ({odd[0]}); it cannot be averaged", path=folder)
    found: dict[str, tuple[Tensor, Tensor]] = {}
    for name in (name for name in known if name.endswith(_DOWN)):
        layer = name.removesuffix(_DOWN)
        if layer + _UP not in known:
            raise InputError(f"has no {layer + _UP}", path=folder)
        down, up = known[name].float(), known[layer + _UP].float()
        scaling = _scaling(config, layer.removeprefix(_PREFIX), down.shape[0])
        found[layer] = down, weight * scaling * up
    if not found:
        raise InputError("adapts no linear layer", path=folder)
    return found


def _scaling(config: Mapping[str, Any], layer: str, rank: int) -> float:
    """alpha / r, or alpha / sqrt(r) in rank-stabilised LoRA; alpha may be specific to the layer."""
    from peft.utils.other import get_pattern_key  # heavy

    pattern: dict[str, Any] = config.get("alpha_pattern") or {}
    alpha = float(pattern.get(get_pattern_key(list(pattern), layer), config["lora_alpha"]))
    return alpha / (math.sqrt(rank) if config.get("use_rslora") else rank)
