"""Policies that vLLM decodes, for the project's own server: the model is loaded by vLLM alone."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from typing import Any

from transformers import AutoConfig, GenerationConfig, PreTrainedTokenizerBase

from pluralign.core import InputError
from pluralign.lm.backbone import TINY_RANDOM, load_tokenizer
from pluralign.lm.generation import end_ids
from pluralign.lm.prompts import TEMPLATES
from pluralign.serve.settings import Limits
from pluralign.steer.mixing import GEOMETRIC
from pluralign.steer.prompt_encoder import PromptEncoder
from pluralign.vllm.adapters import open_adapters
from pluralign.vllm.engine import VllmEngine
from pluralign.vllm.launch import engine_options, require_vllm
from pluralign.vllm.settings import MixtureSettings
from pluralign.vllm.trunk import model_files


@dataclass(frozen=True)
class VllmPolicies(PromptEncoder):
    """One policy per objective, decoded by vLLM.

    Args:
        name: Name of the model, as the server's `/v1/models` lists it.
        objectives: Names of the objectives, in display order.
        template: Template of conversations (`lm.prompts.TEMPLATES`).
        power: Exponent of the power mean.
        control_tokens: Whether prompts that are texts may contain control tokens by name.
        tokenizer: Tokenizer of the model.
        context: Largest number of tokens of prompt and answer together.
        shared: Whether all policies are adapters of one model, which they must be.
    """

    name: str
    objectives: tuple[str, ...]
    template: str
    power: float
    control_tokens: bool
    tokenizer: PreTrainedTokenizerBase
    context: int | None
    shared: bool = True


def start_vllm(
    model: str,
    policies: Mapping[str, Path],
    engine_args: Mapping[str, Any],
    limits: Limits,
    *,
    power: float = GEOMETRIC,
    template: str | None = None,
    control_tokens: bool = False,
) -> tuple[VllmPolicies, Callable[[Limits], VllmEngine]]:
    """Start vLLM with a mixture of policies.

    Args:
        model: Base model of the policies: ``smollm2-135m``, a hub id or a local folder.
        policies: Folder of each policy, by name.
        engine_args: Further engine arguments of vLLM, by name.
        limits: Limits of requests.
        power: Exponent of the power mean.
        template: Template of conversations; by default the one that the policies were trained with.
        control_tokens: Whether prompts that are texts may contain control tokens by name.

    Returns:
        The policies, and the function that makes the engine for `serve.service.Service`.

    Raises:
        InputError: vLLM is not installed, cannot mix the policies, or does not start.
    """
    require_vllm()
    if model == TINY_RANDOM:
        raise InputError("vLLM needs a model in a folder or on the hub", field="model")
    adapters = open_adapters(model, policies, template)
    if adapters.template not in TEMPLATES:
        raise InputError(
            f"must be one of {', '.join(TEMPLATES)}, found {adapters.template!r}", field="template"
        )
    settings = MixtureSettings(adapters.folders, power)
    place = model_files(model)
    tokenizer = load_tokenizer(model)
    llm = _start(
        {
            "max_num_seqs": limits.running * settings.most,
            "model": place,
            **engine_options(settings, adapters),
            **engine_args,
        }
    )
    context = int(llm.vllm_config.model_config.max_model_len)
    trusting = control_tokens or adapters.control_tokens
    found = VllmPolicies(
        Path(model).name or model, tuple(policies), adapters.template, power, trusting, tokenizer, context
    )
    found.chat_ids([{"role": "user", "content": "."}])  # a model without a template is reported now
    stops = _stop_ids(place, tokenizer)
    return found, lambda own: VllmEngine(llm, load_tokenizer(model), stops, own.running, own.queue)


def _start(options: Mapping[str, Any]) -> Any:
    os.environ.setdefault("VLLM_LOGGING_LEVEL", "WARNING")
    arguments: Any = import_module("vllm.engine.arg_utils")
    engine: Any = import_module("vllm.v1.engine.async_llm")
    try:
        return engine.AsyncLLM.from_engine_args(arguments.AsyncEngineArgs(**options))
    except (ValueError, TypeError, RuntimeError, OSError) as error:
        line = next((one for one in str(error).splitlines() if one.strip()), type(error).__name__)
        raise InputError(f"vLLM does not start: {line.strip()}") from error


def _stop_ids(place: str, tokenizer: PreTrainedTokenizerBase) -> list[int]:
    """Ids of the tokens that end a text (`lm.generation.stop_ids`), from the model's files alone."""
    configs: Any = GenerationConfig
    try:
        config = configs.from_pretrained(place)
    except OSError:
        models: Any = AutoConfig
        config = configs.from_model_config(models.from_pretrained(place))
    return end_ids(tokenizer, config)
