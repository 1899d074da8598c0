"""Loading of policy folders as rows of one decoder: heads or adapters on one model if possible, else whole
models."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch

from pluralign.core import InputError
from pluralign.core.files import in_home
from pluralign.folders.backbones import is_quantized_card, load_trained, same_model
from pluralign.folders.card import ADAPTER, CARD
from pluralign.folders.heads import KIND, is_heads_folder, load_heads, read_heads_folder
from pluralign.folders.tuned import load_language_policy, read_policy_folder
from pluralign.lm.adapter_stack import why_not_stacked
from pluralign.lm.adapter_tokenizer import warn_of_tokenizer
from pluralign.lm.backbone import Backbone, load_backbone, merged_backbone
from pluralign.steer.adapter_rows import AdapterRows
from pluralign.steer.head_rows import HeadRows
from pluralign.steer.model_rows import ModelRows
from pluralign.steer.policy_rows import PolicyRows

_log = logging.getLogger(__name__)


def open_rows(
    model: str, policies: Mapping[str, Path], cards: Mapping[str, Mapping[str, Any] | None],
    dtype: torch.dtype,
) -> PolicyRows:  # fmt: skip
    """Load policies so that they can be decoded together.

    Args:
        model: Base model of the policies: a hub id, local folder or built-in name.
        policies: Folder of each policy, by objective; ``model`` again for the base model itself.
        cards: Card of each policy (`policy_cards`).
        dtype: Floating-point type of the weights.

    Raises:
        InputError: A folder holds no policy, or one of another model; or heads would be decoded with other
            policies.
    """
    if headed := [name for name, card in cards.items() if card is not None and card["pluralign"] == KIND]:
        return _open_heads(model, policies, headed, cards, dtype)
    adapters = {name: adapter_folder(folder, cards[name], model) for name, folder in policies.items()}
    whole = [name for name, (known, _) in adapters.items() if not known]
    together = {name: folder for name, (known, folder) in adapters.items() if known}
    stacked: AdapterRows | None = None
    if together:
        trunk = _trunk(model, {policies[name]: cards[name] for name in together}, dtype)
        for name, folder in together.items():
            # Adapters with a card were trained with the model's tokenizer.
            if folder is not None and cards[name] is None:
                warn_of_tokenizer(folder, trunk.tokenizer)
        own = _own_rows(trunk, together)
        whole += own
        together = {name: folder for name, folder in together.items() if name not in own}
        if together:
            stacked = AdapterRows(trunk, together)
            if not whole:
                return stacked
        # Models that are loaded whole need the memory.
        del trunk
    return ModelRows({name: open_whole(policies[name], model, dtype) for name in whole}, stacked)


def _open_heads(
    model: str, policies: Mapping[str, Path], headed: Sequence[str],
    cards: Mapping[str, Mapping[str, Any] | None], dtype: torch.dtype,
) -> HeadRows:  # fmt: skip
    folder = policies[headed[0]]
    others = [name for name, place in policies.items() if place != folder]
    if others:
        raise InputError(
            f"holds heads, which are decoded on one model alone; {others[0]!r} is in another folder",
            path=folder,
        )
    card = cards[headed[0]]
    assert card is not None, "heads have a card"
    if unknown := [name for name in policies if name not in card["objectives"]]:
        raise InputError(
            f"has no head of {unknown[0]!r}; its objectives are {', '.join(card['objectives'])}", path=folder
        )
    found = load_heads(folder, dtype=dtype, model=model)
    return HeadRows(merged_backbone(found.backbone), {name: found.heads[name] for name in policies})


def heads_of(folder: str | Path) -> dict[str, Path]:
    """The policies of a folder of heads: the folder itself, by objective.

    Raises:
        InputError: The folder holds no heads.
    """
    return dict.fromkeys(read_heads_folder(Path(folder))["objectives"], Path(folder))


def named_folders(
    policies: Mapping[str, str | Path] | str | Path | None, more: Mapping[str, str | Path]
) -> dict[str, Path]:
    """Folder of each policy, by objective.

    Args:
        policies: Folders by objective; or a folder of heads, which means itself for each of its objectives.
        more: Further folders by objective.

    Raises:
        InputError: There is no policy, one occurs twice or is no path, or a single folder holds no heads.
    """
    if isinstance(policies, str | Path):
        policies = heads_of(in_home(policies))
    if policies is not None and not isinstance(policies, Mapping):
        raise InputError(f"expected a folder for each objective, found {policies!r:.60}", field="policies")
    for name, folder in {**(policies or {}), **more}.items():
        if not isinstance(folder, str | Path):
            raise InputError(f"expected a folder for {name!r}, found {folder!r:.60}", field="policies")
    found = {name: Path(in_home(folder)) for name, folder in {**(policies or {}), **more}.items()}
    if not found:
        raise InputError("expected at least one policy, found none", field="policies")
    if twice := sorted(set(policies or ()) & set(more)):
        raise InputError(f"'{twice[0]}' is given twice", field="policies")
    return found


def policy_cards(policies: Mapping[str, Path]) -> dict[str, Mapping[str, Any] | None]:
    """Card of each policy's folder, which may be one of heads; see `policy_card`.

    Raises:
        InputError: A folder does not hold a language policy, or is damaged.
    """
    known: dict[Path, Mapping[str, Any] | None] = {}
    for folder in policies.values():
        if folder not in known:
            known[folder] = read_heads_folder(folder) if is_heads_folder(folder) else policy_card(folder)
    return {name: known[folder] for name, folder in policies.items()}


def _own_rows(trunk: Backbone, adapters: Mapping[str, Path | None]) -> list[str]:
    """Names of the adapters that need a copy of the model for themselves; warns about their memory."""
    folders = {name: folder for name, folder in adapters.items() if folder is not None}
    reasons = dict(zip(folders, why_not_stacked(trunk.model, folders.values()), strict=True))
    own = {name: reason for name, reason in reasons.items() if reason}
    if own:
        size = sum(weight.numel() for weight in trunk.model.parameters())
        named = "; ".join(f"{name}: {reason}" for name, reason in own.items())
        _log.warning(
            "adapters that are more than a plain LoRA share no model; each is loaded with its own copy of "
            "the %.3g million weights (%s)", size / 1e6, named,
        )  # fmt: skip
    return list(own)


def policy_card(folder: Path) -> Mapping[str, Any] | None:
    """Card of a policy's folder, after checking its files; None if the folder has no card.

    Raises:
        InputError: The folder does not hold a language policy, or is damaged.
    """
    if not (folder / CARD).is_file():
        return None
    return read_policy_folder(folder)


def template_of(cards: Mapping[str, Mapping[str, Any] | None]) -> str:
    """Name of the template that the policies were trained with; the model's own if no card names one.

    Raises:
        InputError: The policies were trained with different templates.
    """
    found = {name: str(card.get("template", "dialogue")) for name, card in cards.items() if card is not None}
    if len(set(found.values())) > 1:
        raise InputError(
            f"the policies were trained with different templates ({found}); name one of them",
            field="template",
        )
    return next(iter(found.values()), "chat")


def adapter_folder(folder: Path, card: Mapping[str, Any] | None, model: str) -> tuple[bool, Path | None]:
    """Whether a policy is an adapter or the model itself, and the adapter's folder if it is one.

    Raises:
        InputError: There is no such folder.
    """
    if card is not None:
        adapted = any(file.startswith(f"{ADAPTER}/") for file in card["files"])
        return adapted, folder / ADAPTER if adapted else None
    if same_model(str(folder), model):
        return True, None
    if (folder / "adapter_config.json").is_file():
        return True, folder
    if not folder.is_dir():
        raise InputError("no such folder", path=folder)
    return False, None


def _trunk(model: str, cards: Mapping[Path, Mapping[str, Any] | None], dtype: torch.dtype) -> Backbone:
    """The model that policies were trained on. It is in 4 bits if it was so for all policies with a card.

    Raises:
        InputError: A policy was trained on another one.
    """
    known = {folder: card for folder, card in cards.items() if card is not None}
    if not known:
        return load_backbone(model, dtype=dtype)
    quantized = [is_quantized_card(card) for card in known.values()]
    trunk: Backbone | None = None
    alike: list[Mapping[str, Any]] = []
    for folder, card in known.items():
        trained = {key: card["backbone"].get(key) for key in ("fingerprint", "dtype", "tokenizer")}
        if trained in alike:
            continue
        found = load_trained(model, card, dtype=dtype, quantized=all(quantized))
        if not isinstance(found, Backbone):
            raise InputError(
                f"was trained on {card['backbone'].get('name')!r}, another model than {model!r} here",
                path=folder,
            )
        trunk, alike = trunk or found, [*alike, trained]
    assert trunk is not None, "there is a card"
    return trunk


def open_whole(folder: Path, model: str, dtype: torch.dtype) -> Backbone:
    """Load a policy as a whole model, its adapter merged.

    Args:
        folder: Folder of a trained policy, of a PEFT adapter, or of a model.
        model: Base model of an adapter.
        dtype: Floating-point type of the weights.

    Raises:
        InputError: The policy cannot be loaded.
    """
    if (folder / CARD).is_file():
        try:
            return merged_backbone(load_language_policy(folder, dtype=dtype))
        except InputError as error:
            if error.field != "model":
                raise
            return merged_backbone(load_language_policy(folder, dtype=dtype, model=model))
    if (folder / "adapter_config.json").is_file():
        return merged_backbone(load_backbone(model, dtype=dtype, adapter=folder))
    return load_backbone(str(folder), dtype=dtype)
