"""Policies that vLLM can mix: plain LoRA adapters of one model, and the model itself."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from pluralign.core import InputError
from pluralign.folders.heads import is_heads_folder
from pluralign.lm.adapter_check import DOWN, check_adapter
from pluralign.lm.prompts import TEMPLATES
from pluralign.steer.policy_folders import adapter_folder, policy_card, template_of
from pluralign.vllm.trunk import require_trunk

_RANKS = (1, 8, 16, 32, 64, 128, 256, 320, 512)
"""Values of vLLM's ``--max-lora-rank``."""


@dataclass(frozen=True)
class AdapterFolders:
    """Checked policies.

    Args:
        folders: Absolute folder of each policy's adapter, by name; None for the model itself.
        ranks: Largest rank of each policy's adapter.
        template: Template of conversations that the policies were trained with.
        control_tokens: Whether a policy was trained with control tokens by name in its prompts.
    """

    folders: Mapping[str, str | None]
    ranks: Mapping[str, int]
    template: str
    control_tokens: bool


def open_adapters(model: str, policies: Mapping[str, Path], template: str | None = None) -> AdapterFolders:
    """Check that policies are plain LoRA adapters of a model, or the model itself.

    Args:
        model: Base model of the policies, as it was named by the user.
        policies: Folder of each policy, by name: the output of ``learn``, a PEFT adapter, or ``model`` again.
        template: Template of conversations; by default the one that the policies were trained with.

    Raises:
        InputError: There is no policy, or one that vLLM cannot mix: heads, a whole model, an adapter that is
            more than a plain LoRA, or one that was trained on another model.
    """
    if not policies:
        raise InputError("expected at least one policy, found none", field="policies")
    for folder in policies.values():
        if is_heads_folder(folder):
            raise InputError(
                "holds heads, which vLLM does not mix: it mixes LoRA adapters of one model (heads need "
                "--engine own)",
                path=folder,
                field="policies",
            )
    cards = {name: policy_card(folder) for name, folder in policies.items()}
    folders: dict[str, str | None] = {}
    ranks: dict[str, int] = {}
    for name, folder in policies.items():
        shares, adapter = adapter_folder(folder, cards[name], model)
        if not shares:
            raise InputError(
                f"policy {name!r} is a whole model; vLLM mixes LoRA adapters of one model (whole models need "
                "--engine own)",
                path=folder,
                field="policies",
            )
        if adapter is None:
            folders[name] = None
            continue
        found = check_adapter(adapter)
        if found.beyond or found.copies:
            reason = found.beyond or f"it has its own copy of {found.copies[0]}"
            raise InputError(
                f"policy {name!r} is more than a plain LoRA adapter, which vLLM cannot mix: {reason}",
                path=folder,
                field="policies",
            )
        folders[name] = str(adapter.resolve())
        ranks[name] = max(found.shapes[layer + DOWN][0] for layer in found.layers)
    require_trunk(model, {policies[name]: card for name, card in cards.items()})
    trusting = any(card is not None and card.get("control_tokens") is True for card in cards.values())
    own = template_of(cards) if template is None else template
    if own not in TEMPLATES:
        raise InputError(f"must be one of {', '.join(TEMPLATES)}, found {own!r}", field="template")
    return AdapterFolders(folders, ranks, own, trusting)


def lora_rank(rank: int) -> int:
    """The least value of ``--max-lora-rank`` that holds a rank.

    Raises:
        InputError: There is none.
    """
    found = next((known for known in _RANKS if known >= rank), None)
    if found is None:
        raise InputError(f"vLLM's adapters have ranks up to {_RANKS[-1]}, found {rank}", field="policies")
    return found
