"""Rewarded soups: policies averaged in their weights instead of their predictions."""

from __future__ import annotations

import copy
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor

from pluralign.core import InputError, SteeringWeights
from pluralign.core.files import write_json
from pluralign.folders.tensors import write_tensors
from pluralign.lm.adapter_check import CONFIG, DOWN, PREFIX, TENSORS, UP, Adapter, check_adapter
from pluralign.lm.backbone import Backbone, make_backbone


def soup_adapter(folders: Mapping[str, Path | None], weights: SteeringWeights, out: Path) -> None:
    """Write the LoRA adapter that is the weighted sum of others: sum_i w_i s_i B_i A_i for every layer.

    This equals averaging the merged models' weights (Rame et al. 2023) exactly, since all share the trunk.
    The ranks add up; adapters of weight zero are left out. Copies of the model's own weights that PEFT
    saved next to an adapter are left out: `why_not_stacked` has compared them with the model.

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
    adapters = [check_adapter(folder) for folder in used.values()]
    parts = [_scaled(adapter, weights[name]) for name, adapter in zip(used, adapters, strict=True)]
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
        tensors[PREFIX + layer + DOWN] = torch.nn.functional.pad(down, (0, 0, 0, missing))
        tensors[PREFIX + layer + UP] = torch.nn.functional.pad(up, (0, missing))
    config: dict[str, Any] = {
        **adapters[0].config, "r": rank, "lora_alpha": rank, "lora_dropout": 0.0, "use_rslora": False,
        "rank_pattern": {}, "alpha_pattern": {}, "init_lora_weights": True, "layers_to_transform": None,
        "layers_pattern": None, "exclude_modules": None,
        "target_modules": layers,
    }  # fmt: skip
    write_tensors(out / TENSORS, tensors)
    write_json(out / CONFIG, config)


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
    # A mean of tied and untied models is untied: the copy must be of one that is.
    first = next((name for name in used if not _is_tied(models[name].model)), next(iter(used)))
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


def _is_tied(model: Any) -> bool:
    head = model.get_output_embeddings()
    return head is not None and head.weight is model.get_input_embeddings().weight


def _scaled(
    adapter: Adapter, weight: float
) -> dict[str, tuple[Float[Tensor, "rank d_in"], Float[Tensor, "d_out rank"]]]:
    """Both matrices of each layer in float32, the second multiplied by the adapter's scaling and weight."""
    if adapter.beyond:
        raise InputError(
            f"cannot be averaged, only plain LoRA adapters can: {adapter.beyond}", path=adapter.folder
        )
    tensors = adapter.tensors()
    return {
        layer: (tensors[layer + DOWN].float(), weight * adapter.scaling(layer) * tensors[layer + UP].float())
        for layer in adapter.layers
    }
