"""``pluralign vllm``: the command that serves mixtures by plain ``vllm serve``."""

from __future__ import annotations

import shlex

from pluralign.cli.common import named_policies, say
from pluralign.options.open import DEFAULT_MODEL
from pluralign.steer.mixing import GEOMETRIC


def print_command(
    policies: tuple[str, ...],
    model: str = DEFAULT_MODEL,
    power: float = GEOMETRIC,
    together: int = 0,
    soups: bool = False,
    vllm_args: tuple[str, ...] = (),
) -> None:
    """Print the command with which plain ``vllm serve`` mixes policies by the weights of each request.

    The policies are checked; vLLM need not be installed.

    Example: eval "$(pluralign vllm --model smollm2-135m --policies calm=runs/calm kind=runs/kind)"

    Args:
        policies: Policies as NAME=DIR: a folder from learn, a PEFT adapter's folder, or the model itself.
        model: Base model: smollm2-135m, a hub id or a local folder.
        power: Exponent of the power mean that mixes the policies: 1 arithmetic, 0 geometric, -1 harmonic.
        together: Largest number of policies that one request mixes; 0 for all of them.
        soups: Whether the model "mix:NAME=NUMBER,..." is an adapter with the weighted mean of the policies'
            weights.
        vllm_args: Further arguments of vllm serve, such as --vllm-args=--port --vllm-args=8001.
    """
    # Help needs no model.
    from pluralign.vllm.command import mixture_command

    folders = named_policies(policies, "policies")
    say(
        shlex.join(
            mixture_command(folders, model, power=power, together=together, soups=soups, more=vllm_args)
        )
    )
