"""What is steered: one policy for each objective, and how a chat becomes the text that they read."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from copy import deepcopy
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import torch
from transformers import PreTrainedTokenizerBase

from pluralign.core import InputError
from pluralign.core.messages import Messages
from pluralign.folders.card import ADAPTER, CARD, read_card, read_folder
from pluralign.folders.tuned import POLICY_KINDS, load_language_policy
from pluralign.lm.backbone import Backbone, fast_dtype, load_backbone, make_backbone
from pluralign.lm.prompts import TEMPLATES, prompt_ids
from pluralign.lm.trunk import context_length
from pluralign.steer import GEOMETRIC
from pluralign.steer.policy_rows import AdapterRows, ModelRows, PolicyRows

# Where a plain dialogue's next speaker begins, the answer has ended.
_DIALOGUE_STOP = "\n\nHuman:"


@dataclass(frozen=True)
class Deployment:
    """Policies that are mixed for each request, ready for a server or a sweep.

    Args:
        name: of the whole, as `/v1/models` lists it.
        rows: the policies; their names are the objectives.
        objectives: their names, in the order that is shown.
        template: of chats (`lm.prompts.TEMPLATES`).
        power: of the mixture.
    """

    name: str
    rows: PolicyRows
    objectives: tuple[str, ...]
    template: str = "chat"
    power: float = GEOMETRIC

    @cached_property
    def tokenizer(self) -> PreTrainedTokenizerBase:
        """A copy, for the thread that decodes has the other."""
        return deepcopy(self.rows.backbone.tokenizer)

    @property
    def shared(self) -> bool:
        """Whether all policies go through one trunk."""
        return isinstance(self.rows, AdapterRows)

    @property
    def context(self) -> int | None:
        """Tokens of prompt and answer together, at most; None where the model does not say."""
        return context_length(self.rows.backbone.model)

    @property
    def stops(self) -> tuple[str, ...]:
        """Texts at which an answer in a chat ends, whatever the request says."""
        return (_DIALOGUE_STOP,) if self.template == "dialogue" else ()

    def chat_ids(self, messages: Messages) -> list[int]:
        """The tokens of a chat up to where the answer begins."""
        return self.text_ids(TEMPLATES[self.template](self.tokenizer)(messages, True))

    def text_ids(self, text: str) -> list[int]:
        """The tokens of a text that is continued as it stands."""
        return prompt_ids(self.tokenizer, text).ids


def open_deployment(
    model: str, policies: Mapping[str, Path], *, power: float = GEOMETRIC, exact: bool = False,
    template: str | None = None,
) -> Deployment:  # fmt: skip
    """Load policies to be mixed.

    Where every policy is a LoRA adapter of the model (or the model itself), they share its one pass for each
    token; otherwise each is loaded whole.

    Args:
        model: hub id, local folder, ``smollm2-135m``.
        policies: by objective: a folder of what ``learn`` wrote, a folder with a PEFT adapter, or ``model``
            again, which is the model as it is.
        power: of the mixture.
        exact: compute in float32 where bfloat16 would be faster.
        template: of chats; by default the one that the policies were learned with, or else the model's own.

    Raises:
        InputError: a folder holds no policy, one of another model, or the policies differ in their template.
    """
    if not policies:
        raise InputError("expected a policy or more, found none", field="policies")
    cards = {name: _card(folder) for name, folder in policies.items()}
    own = template or _template_of(cards)
    if own not in TEMPLATES:
        raise InputError(f"must be one of {', '.join(TEMPLATES)}, found {own!r}", field="template")
    dtype = torch.float32 if exact else fast_dtype()
    adapters = {name: _adapter(folder, cards[name], model) for name, folder in policies.items()}
    if all(known for known, _ in adapters.values()):
        trunk = load_backbone(model, dtype=torch.float32)
        for name, card in cards.items():
            _require_trunk(policies[name], card, trunk)
        rows: PolicyRows = AdapterRows(
            _cast(trunk, dtype), {n: folder for n, (_, folder) in adapters.items()}
        )
    else:
        rows = ModelRows({name: open_whole(folder, model, dtype) for name, folder in policies.items()})
    deployment = Deployment(Path(model).name or model, rows, tuple(policies), own, power)
    deployment.chat_ids([{"role": "user", "content": "."}])  # a model without a template is told now
    return deployment


def _card(folder: Path) -> Mapping[str, Any] | None:
    """The card of a folder, its files checked; None where the folder has none."""
    if not (folder / CARD).is_file():
        return None
    kind = read_card(folder)["pluralign"]
    if kind not in POLICY_KINDS:
        read_card(folder, "language_policy")
    content = read_folder(folder, kind, "")
    if not content.get("policy"):
        raise InputError(
            f"its method, {content['method']!r}, learns rewards and no policy that writes text", path=folder
        )
    return content


def _template_of(cards: Mapping[str, Mapping[str, Any] | None]) -> str:
    found = {name: str(card.get("template", "dialogue")) for name, card in cards.items() if card is not None}
    if len(set(found.values())) > 1:
        raise InputError(
            f"the policies were learned with different templates ({found}); give one with --template",
            field="policies",
        )
    return next(iter(found.values()), "chat")


def _adapter(folder: Path, card: Mapping[str, Any] | None, model: str) -> tuple[bool, Path | None]:
    """Whether a policy is an adapter or the model itself, and the adapter's folder if it is one."""
    if card is not None:
        adapted = any(file.startswith(f"{ADAPTER}/") for file in card["files"])
        return adapted, folder / ADAPTER if adapted else None
    if str(folder) == model:
        return True, None
    if (folder / "adapter_config.json").is_file():
        return True, folder
    if not folder.is_dir():
        raise InputError("no such folder", path=folder)
    return False, None


def _require_trunk(folder: Path, card: Mapping[str, Any] | None, trunk: Backbone) -> None:
    if card is not None and card["backbone"].get("fingerprint") != trunk.fingerprint:
        raise InputError(
            f"was trained on {card['backbone'].get('name')!r}, another model than {trunk.name!r} here",
            path=folder,
        )


def open_whole(folder: Path, model: str, dtype: torch.dtype) -> Backbone:
    """A policy as a whole model, its adapter merged.

    Args:
        folder: what ``learn`` wrote, a PEFT adapter, or a model.
        model: that an adapter belongs to.
        dtype: of the weights.

    Raises:
        InputError: it cannot be loaded.
    """
    if (folder / CARD).is_file():
        return _merged(load_language_policy(folder, dtype=dtype))
    if (folder / "adapter_config.json").is_file():
        return _merged(load_backbone(model, dtype=dtype, adapter=folder))
    return load_backbone(str(folder), dtype=dtype)


def _merged(backbone: Backbone) -> Backbone:
    model: Any = backbone.model
    if not hasattr(model, "merge_and_unload"):
        return backbone
    return make_backbone(model.merge_and_unload(), backbone.tokenizer, backbone.name)


def _cast(backbone: Backbone, dtype: torch.dtype) -> Backbone:
    if backbone.dtype == dtype:
        return backbone
    model: Any = backbone.model
    return make_backbone(model.to(dtype), backbone.tokenizer, backbone.name)


def in_order(weights: Mapping[str, float], objectives: Sequence[str]) -> dict[str, float]:
    """The weights of all objectives, in their order, as answers carry them."""
    return {name: float(weights.get(name, 0.0)) for name in objectives}
