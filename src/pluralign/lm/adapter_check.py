"""What a PEFT adapter does to a model, read from its files before anything is loaded.

A plain LoRA adapter adds x A B to the outputs of linear layers and does nothing else: adapters of this kind
can share one trunk and can be averaged. An adapter that does more (biases, magnitudes, embeddings, whole
modules, an initialisation that changes the trunk) needs its own copy of the model.
"""

from __future__ import annotations

import dataclasses
import math
import re
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from torch import Tensor, nn
from transformers.pytorch_utils import Conv1D

from pluralign.core import InputError
from pluralign.core.files import read_json
from pluralign.core.jsonl import is_object

CONFIG, TENSORS = "adapter_config.json", "adapter_model.safetensors"
PREFIX = "base_model.model."
"""Beginning of the names of an adapter's tensors, before the model's own names."""
DOWN, UP = ".lora_A.weight", ".lora_B.weight"
_COPY = ".base_layer.weight"
# These say where the two matrices are, how they are scaled, and how they were learned.
_PLAIN = {
    "peft_type", "task_type", "auto_mapping", "peft_version", "base_model_name_or_path", "revision",
    "inference_mode", "r", "lora_alpha", "target_modules", "exclude_modules", "layers_to_transform",
    "layers_pattern", "rank_pattern", "alpha_pattern", "use_rslora", "lora_dropout", "fan_in_fan_out",
    "init_lora_weights", "bias", "ensure_weight_tying", "eva_config", "corda_config", "lora_ga_config",
    "loftq_config", "qalora_group_size", "runtime_config",
}  # fmt: skip
_PLAIN_STARTS = (True, False, "gaussian", "orthogonal", "eva", "mica")
# What these change in the model PEFT computes again when it loads the adapter, with the same result.
_REPEATED_STARTS = ("pissa", "olora")
_NO_COPY = {
    "alora_invocation_tokens": "acts on the tokens after an invocation alone",
    "layer_replication": "repeats layers of the model",
    "arrow_config": "chooses among other adapters for each token",
}
_NO_WEIGHTS = {
    "PROMPT_TUNING", "MULTITASK_PROMPT_TUNING", "P_TUNING", "PREFIX_TUNING", "CPT", "CARTRIDGE",
    "ADAPTION_PROMPT", "XLORA", "POLY",
}  # fmt: skip
_CONVERSION = (
    "convert it where it was trained, by model.save_pretrained(FOLDER, "
    "path_initial_model_for_weight_conversion=START), where START holds the adapter as it was before training"
)


@dataclass(frozen=True, eq=False)
class Adapter:
    """A PEFT adapter's files, checked; its tensors are read when they are asked for.

    Args:
        folder: Folder of the adapter.
        config: Content of its ``adapter_config.json``.
        shapes: Shape of each of its tensors by name, without PEFT's prefix.
    """

    folder: Path
    config: Mapping[str, Any]
    shapes: Mapping[str, tuple[int, ...]]

    @cached_property
    def beyond(self) -> str:
        """What it does beyond a plain LoRA on linear layers; empty for a plain LoRA."""
        if self.config["peft_type"] != "LORA":
            return f"it is of type {self.config['peft_type']}"
        defaults = _defaults("LORA")
        for name, value in self.config.items():
            if name not in _PLAIN and value and value != defaults.get(name):
                return f"it uses {name}"
        if _start(self.config) not in _PLAIN_STARTS:
            return (
                f"its initialisation, {self.config['init_lora_weights']!r}, changed the model's own weights; "
                f"to make it a plain LoRA, {_CONVERSION}"
            )
        return next((f"it changes {name}" for name in self.shapes if not self._is_plain(name)), "")

    @property
    def layers(self) -> list[str]:
        """Names of the layers that get a pair of matrices."""
        return sorted(name.removesuffix(DOWN) for name in self.shapes if name.endswith(DOWN))

    @property
    def copies(self) -> list[str]:
        """Names of the layers whose own weights PEFT saved next to the adapter, as it does for heads."""
        return [name.removesuffix(_COPY) for name in self.shapes if name.endswith(_COPY)]

    @property
    def base(self) -> str:
        """Name of the model that it was trained on; empty where it names none."""
        return str(self.config.get("base_model_name_or_path") or "")

    def scaling(self, layer: str) -> float:
        """Factor of a layer's product: alpha / r, or alpha / sqrt(r) in rank-stabilised LoRA."""
        from peft.utils.other import get_pattern_key  # heavy

        pattern: dict[str, Any] = self.config.get("alpha_pattern") or {}
        default = self.config.get("lora_alpha", _defaults("LORA")["lora_alpha"])
        alpha = pattern.get(get_pattern_key(list(pattern), layer), default)
        if not isinstance(alpha, int | float):
            raise InputError(f"expected a number as alpha, found {alpha!r}", path=self.folder / CONFIG)
        rank = self.shapes[layer + DOWN][0]
        return alpha / (math.sqrt(rank) if self.config.get("use_rslora") else rank)

    def tensors(self) -> dict[str, Tensor]:
        """All tensors, by name."""
        opened: Any = safe_open(self.folder / TENSORS, framework="pt")
        with opened as file:
            return {name.removeprefix(PREFIX): file.get_tensor(name) for name in file.keys()}  # noqa: SIM118

    def why_not_on(self, model: nn.Module) -> str:
        """Why it cannot share this model with other adapters; empty where it can.

        Raises:
            InputError: It was made for another model.
        """
        if self.beyond:
            return self.beyond
        network: Any = model
        modules: dict[str, nn.Module] = dict(network.named_modules())
        for layer in self.layers:
            if not isinstance(modules.get(layer), nn.Linear | Conv1D):
                return f"it changes {layer}, which is no linear layer"
        self._require_fit(modules)
        own = self.tensors() if self.copies else {}
        for layer in self.copies:
            module: Any = modules[layer]
            weight: Tensor = module.weight.detach()
            if not torch.equal(own[layer + _COPY].to(weight), weight):
                return f"it changes the weights of {layer} themselves"
        return ""

    def _is_plain(self, name: str) -> bool:
        if name.endswith(_COPY):
            return name.removesuffix(_COPY) + DOWN in self.shapes
        other = name.removesuffix(DOWN) + UP if name.endswith(DOWN) else name.removesuffix(UP) + DOWN
        return name.endswith((DOWN, UP)) and len(self.shapes[name]) == 2 and other in self.shapes

    def _require_fit(self, modules: Mapping[str, nn.Module]) -> None:
        """Compare shapes with the layers', and the layers that the configuration names with those it has."""
        for layer in self.layers:
            expected = _shape(modules[layer])
            found = self.shapes[layer + UP][0], self.shapes[layer + DOWN][1]
            if found != expected:
                raise self.of_another_model(f"{layer} is {expected} in the model and {found} in the adapter")
        targets = self._targets(modules)
        if targets is None:
            return
        if missing := sorted(targets - set(self.layers)):
            raise self.of_another_model(f"its file has no matrices for {missing[0]}")
        if unnamed := sorted(set(self.layers) - targets):
            raise self.of_another_model(
                f"its configuration does not name {unnamed[0]}, which its file changes"
            )

    def of_another_model(self, reason: str) -> InputError:
        """The error for an adapter that does not fit the model at hand."""
        named = f"{self.base!r}, " if self.base else ""
        return InputError(f"was made for {named}another model than the one here: {reason}", path=self.folder)

    def _targets(self, modules: Mapping[str, nn.Module]) -> set[str] | None:
        """Linear layers that the configuration names; None where it leaves them to PEFT."""
        from peft import PeftConfig
        from peft.tuners import tuners_utils

        reader: Any = PeftConfig
        utils: Any = tuners_utils
        if self.config.get("target_modules") in (None, [], "", "all-linear"):
            return None
        linear = [name for name, module in modules.items() if isinstance(module, nn.Linear | Conv1D)]
        try:
            config = reader.from_pretrained(str(self.folder))
            return {name for name in linear if utils.check_target_module_exists(config, name)}
        except (TypeError, ValueError, AttributeError, re.error) as error:
            raise InputError(f"PEFT cannot read it: {error}", path=self.folder / CONFIG) from error


def _shape(layer: Any) -> tuple[int, ...]:
    """Outputs and inputs of a linear layer."""
    if not layer.weight.is_floating_point():
        return layer.out_features, layer.in_features  # its weights are in 4 bits
    return tuple(layer.weight.shape if isinstance(layer, nn.Linear) else layer.weight.T.shape)


def check_adapter(folder: Path) -> Adapter:
    """Read what an adapter's files say, without loading its tensors.

    Raises:
        InputError: The folder holds no PEFT adapter, or one that PEFT cannot apply exactly to a fresh copy of
            its model.
    """
    folder = Path(folder)
    _require_files(folder)
    config = read_json(folder / CONFIG)
    if not is_object(config) or not isinstance(config.get("peft_type"), str):
        raise InputError("expected the configuration of an adapter, with a peft_type", path=folder / CONFIG)
    _require_known(folder, config)
    start = _start(config)
    if start not in (*_PLAIN_STARTS, *_REPEATED_STARTS):
        raise InputError(
            f"its initialisation, {config['init_lora_weights']!r}, changed the weights of the model that it "
            f"was trained on in a way that its files do not hold; {_CONVERSION}",
            path=folder,
        )
    try:
        opened: Any = safe_open(folder / TENSORS, framework="pt")
        with opened as file:
            shapes: dict[str, tuple[int, ...]] = {
                name.removeprefix(PREFIX): tuple(file.get_slice(name).get_shape())
                for name in file.keys()  # noqa: SIM118
            }
    except (SafetensorError, OSError, ValueError) as error:
        raise InputError(f"holds no tensors: {str(error).splitlines()[0]}", path=folder / TENSORS) from error
    if not shapes:
        raise InputError("holds no tensors", path=folder / TENSORS)
    return Adapter(folder, config, shapes)


def _require_files(folder: Path) -> None:
    if not (folder / CONFIG).is_file():
        inside = sorted(path.parent.name for path in folder.glob(f"*/{CONFIG}"))
        if inside:
            raise InputError(
                f"holds no {CONFIG}, but folders of adapters ({', '.join(inside)}): give one of them",
                path=folder,
            )
        raise InputError(f"holds no PEFT adapter (no {CONFIG})", path=folder)
    if (folder / TENSORS).is_file():
        return
    if (folder / "adapter_model.bin").is_file():
        raise InputError(
            "holds its weights as adapter_model.bin alone, a pickle, which is not opened; save it again with "
            f"PEFT, which writes {TENSORS}",
            path=folder,
        )
    raise InputError(f"holds no {TENSORS}", path=folder)


def _require_known(folder: Path, config: Mapping[str, Any]) -> None:
    """Refuse kinds that PEFT does not know, and those that are not a fixed change of the weights."""
    import peft
    from peft.mapping import PEFT_TYPE_TO_CONFIG_MAPPING

    kind = config["peft_type"]
    if kind not in {str(known.value) for known in PEFT_TYPE_TO_CONFIG_MAPPING}:
        raise InputError(f"is of type {kind!r}, which PEFT {peft.__version__} does not know", path=folder)
    if kind in _NO_WEIGHTS:
        raise InputError(
            f"is of type {kind}, which is no change of the model's weights; it cannot be used here",
            path=folder,
        )
    defaults = _defaults(kind)
    for name, value in config.items():
        if value and name not in defaults:
            raise InputError(
                f"has the setting {name!r}, which PEFT {peft.__version__} does not know and would ignore",
                path=folder / CONFIG,
            )
        if value and name in _NO_COPY:
            raise InputError(f"{_NO_COPY[name]} ({name}); it cannot be used here", path=folder)


def _defaults(kind: str) -> dict[str, Any]:
    from peft.mapping import PEFT_TYPE_TO_CONFIG_MAPPING

    fields = dataclasses.fields(PEFT_TYPE_TO_CONFIG_MAPPING[kind])  # pyright: ignore
    return {field.name: None if field.default is dataclasses.MISSING else field.default for field in fields}


def _start(config: Mapping[str, Any]) -> Any:
    """Name of the initialisation, as PEFT compares it."""
    start = config.get("init_lora_weights", True)
    return start.lower() if isinstance(start, str) else start
