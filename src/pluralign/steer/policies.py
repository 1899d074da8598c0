"""One policy per objective, loaded together and mixed under the weights of each prompt."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from copy import deepcopy
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any

import torch
from transformers import PreTrainedTokenizerBase

from pluralign.core import InputError, SteeringWeights
from pluralign.core.messages import Messages
from pluralign.core.splits import seed_for
from pluralign.folders.card import ADAPTER, CARD, read_card, read_folder
from pluralign.folders.tuned import POLICY_KINDS, load_language_policy
from pluralign.lm.backbone import Backbone, DTypeName, load_backbone, make_backbone, resolve_dtype
from pluralign.lm.prompts import TEMPLATES, prompt_ids
from pluralign.lm.trunk import context_length
from pluralign.steer.decoder import Decoding, MixtureDecoder, Request, in_parts
from pluralign.steer.mixing import GEOMETRIC
from pluralign.steer.policy_rows import AdapterRows, ModelRows, PolicyRows

# Where a plain dialogue's next speaker begins, the answer has ended.
_DIALOGUE_STOP = "\n\nHuman:"


Prompt = str | Messages
"""A text that is continued as it stands, or messages that the template turns into a text."""

WeightsProvider = Callable[[Prompt], Mapping[str, float]]
"""Chooses the weights of a prompt, by objective: any function, or an object with `__call__`."""

Weights = Mapping[str, float] | WeightsProvider
"""Weights by objective, non-negative and summing to one, or what provides them for each prompt."""


@dataclass(frozen=True)
class Policies:
    """One policy per objective, mixed under the weights of each prompt.

    Args:
        name: Name of the whole, as the server's `/v1/models` lists it.
        rows: The policies; their names are the objectives.
        objectives: Names of the objectives, in the order that is shown.
        template: Template of conversations (`lm.prompts.TEMPLATES`).
        power: Exponent of the power mean: 0 geometric, 1 arithmetic, -1 harmonic (`mixing.mix_log_probs`).
    """

    name: str
    rows: PolicyRows
    objectives: tuple[str, ...]
    template: str = "chat"
    power: float = GEOMETRIC

    def generate(
        self,
        prompts: Prompt | Sequence[Prompt],
        *,
        weights: Weights | Sequence[Mapping[str, float]],
        max_new_tokens: int = 128,
        temperature: float = 1.0,
        top_p: float = 1.0,
        top_k: int = 0,
        stop: Sequence[str] = (),
        seed: int = 0,
    ) -> Any:
        """Write answers under steering weights.

        All prompts are decoded together; an answer depends on its own prompt, weights and seed only. The
        mixture is sampled from exactly: each token is drawn from the power mean of the policies'
        distributions.

        Args:
            prompts: One prompt or several: texts that are continued as they stand, or conversations (lists of
                messages with "role" and "content"), whose answer ends where the template says so.
            weights: Weights by objective, summing to one: one mapping for all prompts, a sequence with one
                for each, or a function from a prompt to its weights.
            max_new_tokens: Tokens of an answer at most.
            temperature: Temperature of the mixture's softmax; 0 takes the most likely token.
            top_p: Probability mass that is kept (nucleus sampling).
            top_k: Number of tokens that are kept; 0 keeps all.
            stop: Texts at which an answer ends; they are not part of it.
            seed: Random seed. The same prompt with the same seed gets the same answer.

        Returns:
            The answer (str) to a single prompt, or a list of answers.

        Raises:
            InputError: Weights of an unknown objective or that do not sum to one, an empty prompt, or one
                that leaves no room for the answer in the model's context.

        Example:
            >>> import pluralign as pl
            >>> mix = pl.load_policies("tiny-random", {"helpful": "tiny-random", "harmless": "tiny-random"})
            >>> weights = {"helpful": 0.7, "harmless": 0.3}
            >>> answers = mix.generate(["Hello", "Good evening"], weights=weights, max_new_tokens=4)
            >>> len(answers)
            2
        """
        alone = _is_one(prompts)
        asked: list[Prompt] = [prompts] if alone else list(prompts)  # pyright: ignore
        mixes = _weights_of_each(weights, asked)
        decoding = Decoding(max_new_tokens, temperature, top_p, top_k, tuple(stop), seed)
        requests = [self.request(*each, decoding) for each in zip(asked, mixes, strict=True)]
        texts = [text for part in in_parts(requests) for text in self._write(part)]
        return texts[0] if alone else texts

    def stream(
        self,
        prompt: Prompt,
        *,
        weights: Weights,
        max_new_tokens: int = 128,
        temperature: float = 1.0,
        top_p: float = 1.0,
        top_k: int = 0,
        stop: Sequence[str] = (),
        seed: int = 0,
    ) -> Iterator[str]:
        """Write an answer piece by piece; joined, the pieces are what `generate` returns.

        Streams may be read in turn: each keeps its place, and all of them go on together.

        Args:
            prompt: A text or a conversation; see `generate`.
            weights: Weights by objective, or a function from the prompt to them.
            max_new_tokens: See `generate`.
            temperature: See `generate`.
            top_p: See `generate`.
            top_k: See `generate`.
            stop: See `generate`.
            seed: See `generate`.

        Raises:
            InputError: See `generate`.

        Example:
            >>> import pluralign as pl
            >>> mix = pl.load_policies("tiny-random", calm="tiny-random")
            >>> pieces = mix.stream("Hello", weights={"calm": 1.0}, max_new_tokens=4)
            >>> "".join(pieces) == mix.generate("Hello", weights={"calm": 1.0}, max_new_tokens=4)
            True
        """
        decoding = Decoding(max_new_tokens, temperature, top_p, top_k, tuple(stop), seed)
        request = self.request(prompt, _weights_of_each(weights, [prompt])[0], decoding)
        return (event.text for event in self._decoder.events([request]) if event.text)

    def request(self, prompt: Prompt, weights: Mapping[str, float], decoding: Decoding) -> Request:
        """A request to a `MixtureDecoder`, with a seed of the prompt's own.

        Args:
            prompt: A text or a conversation.
            weights: Weights by objective, summing to one.
            decoding: How tokens are chosen; its seed and the prompt give the request's.
        """
        talks = not isinstance(prompt, str)
        ids = self.chat_ids(prompt) if talks else self.text_ids(prompt)
        own = replace(
            decoding,
            seed=seed_for(json.dumps(prompt, sort_keys=True), decoding.seed),
            stop=(*decoding.stop, *(self.stops if talks else ())),
        )
        return Request(ids, SteeringWeights(weights), own)

    def _write(self, requests: Sequence[Request]) -> list[str]:
        texts: dict[int, str] = {}
        for event in self._decoder.events(requests):
            texts[event.request] = texts.get(event.request, "") + event.text
        return [texts[number] for number in sorted(texts)]

    @cached_property
    def _decoder(self) -> MixtureDecoder:
        return MixtureDecoder(self.rows, self.power)

    @cached_property
    def tokenizer(self) -> PreTrainedTokenizerBase:
        """A copy of the tokenizer: another thread may be decoding with the original."""
        return deepcopy(self.rows.backbone.tokenizer)

    @property
    def shared(self) -> bool:
        """Whether all policies are adapters of one trunk."""
        return isinstance(self.rows, AdapterRows)

    @property
    def context(self) -> int | None:
        """Number of tokens of prompt and answer together, at most; None where the model does not say."""
        return context_length(self.rows.backbone.model)

    @property
    def stops(self) -> tuple[str, ...]:
        """Texts at which an answer in a conversation ends, whatever the request says."""
        return (_DIALOGUE_STOP,) if self.template == "dialogue" else ()

    def chat_ids(self, messages: Messages) -> list[int]:
        """Token ids of a conversation up to the beginning of the answer."""
        return self.text_ids(TEMPLATES[self.template](self.tokenizer)(messages, True))

    def text_ids(self, text: str) -> list[int]:
        """Token ids of a text that is continued as it stands."""
        return prompt_ids(self.tokenizer, text).ids


def load_policies(
    model: str,
    policies: Mapping[str, str | Path] | None = None,
    /,
    *,
    power: float = GEOMETRIC,
    dtype: DTypeName = "auto",
    template: str | None = None,
    **folders: str | Path,
) -> Policies:
    """Load one policy per objective, to be mixed at inference time.

    Where every policy is a LoRA adapter of the model (or the model itself), they share one pass of it per
    token; otherwise each is loaded whole.

    Args:
        model: Model that the policies were learned from: ``smollm2-135m``, a hub id or a local folder.
        policies: Folder of each policy by its objective: what `fit_policy` or ``learn`` wrote, a folder with
            a PEFT adapter, or ``model`` again, which means the model as it is.
        power: Exponent of the power mean: 0 geometric, 1 arithmetic, -1 harmonic.
        dtype: Floating-point type: "float32", "bfloat16", or "auto" for the faster of them on this machine.
        template: Template of conversations, "dialogue" or "chat"; by default the one that the policies were
            learned with, or else the model's own.
        folders: More policies, as keywords: ``load_policies(model, helpful="runs/helpful")``.

    Raises:
        InputError: No policy, a folder that holds none or one of another model, or policies with different
            templates.

    Example:
        >>> import pluralign as pl
        >>> mix = pl.load_policies("tiny-random", helpful="tiny-random", harmless="tiny-random")
        >>> mix.objectives
        ('helpful', 'harmless')
    """
    named = {name: Path(folder) for name, folder in {**(policies or {}), **folders}.items()}
    if not named:
        raise InputError("expected a policy or more, found none", field="policies")
    if twice := sorted(set(policies or ()) & set(folders)):
        raise InputError(f"'{twice[0]}' is given twice", field="policies")
    cards = {name: _card(folder) for name, folder in named.items()}
    own = template or _template_of(cards)
    if own not in TEMPLATES:
        raise InputError(f"must be one of {', '.join(TEMPLATES)}, found {own!r}", field="template")
    kind = resolve_dtype(dtype)
    adapters = {name: _adapter(folder, cards[name], model) for name, folder in named.items()}
    if all(known for known, _ in adapters.values()):
        trunk = load_backbone(model, dtype=torch.float32)
        for name, card in cards.items():
            _require_trunk(named[name], card, trunk)
        rows: PolicyRows = AdapterRows(_cast(trunk, kind), {n: folder for n, (_, folder) in adapters.items()})
    else:
        rows = ModelRows({name: open_whole(folder, model, kind) for name, folder in named.items()})
    found = Policies(Path(model).name or model, rows, tuple(named), own, power)
    found.chat_ids([{"role": "user", "content": "."}])  # a model without a template is reported now
    return found


def _is_one(prompts: Prompt | Sequence[Prompt]) -> bool:
    """Whether this is a single prompt: a text, or a list of messages."""
    return isinstance(prompts, str) or (len(prompts) > 0 and isinstance(prompts[0], Mapping))


def _weights_of_each(
    weights: Weights | Sequence[Mapping[str, float]], prompts: Sequence[Prompt]
) -> list[Mapping[str, float]]:
    if isinstance(weights, Mapping):
        return [weights] * len(prompts)
    if callable(weights):
        return [weights(prompt) for prompt in prompts]
    if len(weights) != len(prompts):
        raise InputError(
            f"expected one mapping, or one for each of {len(prompts)} prompts, found {len(weights)}",
            field="weights",
        )
    return list(weights)


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
