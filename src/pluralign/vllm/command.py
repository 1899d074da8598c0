"""The command of plain ``vllm serve`` that mixes policies."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path

from pluralign.options.open import DEFAULT_MODEL
from pluralign.steer.mixing import GEOMETRIC
from pluralign.vllm.adapters import open_adapters
from pluralign.vllm.launch import command_line, engine_options
from pluralign.vllm.settings import MixtureSettings
from pluralign.vllm.soups import POLICIES, RUNTIME
from pluralign.vllm.trunk import dialogue_template, model_files


def mixture_command(
    policies: Mapping[str, Path], model: str = DEFAULT_MODEL, *, power: float = GEOMETRIC, together: int = 0,
    soups: bool = False, more: Sequence[str] = (),
) -> list[str]:  # fmt: skip
    """The command with which plain ``vllm serve`` mixes policies by the weights of each request, as the list
    of its words. The policies are checked; vLLM need not be installed.

    Args:
        policies: Folder of each policy, by name.
        model: Base model of the policies.
        power: Exponent of the power mean.
        together: Largest number of policies that one request mixes; 0 for all of them.
        soups: Whether the model ``mix:NAME=NUMBER,...`` is an adapter with the weighted mean of the policies'
            weights.
        more: Further arguments of ``vllm serve``.

    Raises:
        InputError: The policies cannot be mixed by vLLM; or see `MixtureSettings`.
    """
    adapters = open_adapters(model, policies)
    settings = MixtureSettings(adapters.folders, power, together)
    options = engine_options(settings, adapters, soups=soups)
    if adapters.template == "dialogue":
        options["chat_template"] = str(dialogue_template())
    command = command_line(model_files(model), options, ["--served-model-name", Path(model).name, *more])
    if not soups:
        return command
    return ["env", f"{RUNTIME}=True", f"{POLICIES}={json.dumps(dict(adapters.folders))}", *command]
