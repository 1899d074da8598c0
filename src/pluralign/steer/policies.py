"""One policy per objective, loaded together and mixed under the weights of each prompt."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from copy import deepcopy
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path
from typing import Any, cast, overload

from transformers import PreTrainedTokenizerBase

from pluralign.core import InputError, SteeringWeights
from pluralign.core.checks import checked
from pluralign.core.messages import Prompt
from pluralign.core.splits import seed_for
from pluralign.lm.backbone import resolve_dtype
from pluralign.lm.decoding import Decoding
from pluralign.lm.device import use_device
from pluralign.lm.dtypes import DTypeName
from pluralign.lm.prompts import TEMPLATES
from pluralign.steer.adapter_rows import AdapterRows
from pluralign.steer.block_decoder import BlockDecoder
from pluralign.steer.block_guides import Blocks
from pluralign.steer.decoder import MixtureDecoder
from pluralign.steer.head_rows import HeadRows
from pluralign.steer.mixing import GEOMETRIC
from pluralign.steer.policy_folders import named_folders, open_rows, policy_cards, template_of
from pluralign.steer.policy_rows import PolicyRows
from pluralign.steer.prompt_encoder import PromptEncoder
from pluralign.steer.request_weights import Weights, is_one, weights_of_each
from pluralign.steer.requests import Request


@dataclass(frozen=True)
class Policies(PromptEncoder):
    """One policy per objective, mixed under the weights of each prompt.

    Args:
        name: Name of the model, as the server's `/v1/models` lists it.
        rows: The policies; their names are the objectives.
        objectives: Names of the objectives, in display order.
        template: Template of conversations (`lm.prompts.TEMPLATES`).
        power: Exponent of the power mean: 0 geometric, 1 arithmetic, -1 harmonic (`mixing.mix_log_probs`).
        model: Base model of the policies, as given to `load_policies`.
        folders: Folder of each policy, by objective.
        dtype: Floating-point type of the weights, by name.
        control_tokens: Whether prompts that are texts may contain control tokens by name; by default such
            names are ordinary text.
    """

    name: str
    rows: PolicyRows
    objectives: tuple[str, ...]
    template: str = "chat"
    power: float = GEOMETRIC
    model: str = ""
    folders: Mapping[str, Path] = field(default_factory=dict[str, Path])
    dtype: DTypeName = "auto"
    control_tokens: bool = False
    _decoder: MixtureDecoder = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "_decoder", MixtureDecoder(self.rows, self.power))

    @property
    def dtype_name(self) -> str:
        """Floating-point type of the weights as they were loaded."""
        return str(self.rows.backbone.model.dtype).removeprefix("torch.")

    # A text is a sequence of texts to type checkers.
    @overload
    def generate(  # pyright: ignore[reportOverlappingOverload]
        self, prompts: Prompt, *, weights: Weights | Sequence[Mapping[str, float]], max_new_tokens: int = ...,
        temperature: float = ..., top_p: float = ..., top_k: int = ..., stop: str | Sequence[str] = ...,
        seed: int = ..., blocks: Blocks | None = ...,
    ) -> str: ...  # fmt: skip
    @overload
    def generate(
        self, prompts: Sequence[Prompt], *, weights: Weights | Sequence[Mapping[str, float]],
        max_new_tokens: int = ..., temperature: float = ..., top_p: float = ..., top_k: int = ...,
        stop: str | Sequence[str] = ..., seed: int = ..., blocks: Blocks | None = ...,
    ) -> list[str]: ...  # fmt: skip
    @checked
    def generate(
        self,
        prompts: Prompt | Sequence[Prompt],
        *,
        weights: Weights | Sequence[Mapping[str, float]],
        max_new_tokens: int = 128,
        temperature: float = 1.0,
        top_p: float = 1.0,
        top_k: int = 0,
        stop: str | Sequence[str] = (),
        seed: int = 0,
        blocks: Blocks | None = None,
    ) -> str | list[str]:
        """Generate answers under steering weights.

        All prompts are decoded together; an answer depends on its own prompt, weights and seed only. Sampling
        from the mixture is exact: each token is drawn from the power mean of the policies' distributions.
        Several threads may call this.

        Args:
            prompts: One prompt or several. A text is continued as it is. A conversation (list of messages
                with "role" and "content") is answered; its answer ends where the template says so.
            weights: Weights by objective, summing to one: one mapping for all prompts, a sequence with one
                mapping per prompt, or a function from a prompt to its weights.
            max_new_tokens: Largest number of tokens of an answer.
            temperature: Temperature of the mixture's softmax; 0 selects the most likely token.
            top_p: Probability mass to keep (nucleus sampling).
            top_k: Number of most likely tokens to keep; 0 keeps all.
            stop: Text or texts at which an answer ends; they are not part of it.
            seed: Random seed. The same prompt with the same seed gets the same answer.
            blocks: Guides that choose among several draws of each sentence, line or number of tokens.

        Returns:
            The answer (str) to a single prompt, or a list of answers.

        Raises:
            InputError: Weights have an unknown objective or do not sum to one, or a prompt is empty or leaves
                no room for the answer in the model's context; see `BlockDecoder` for ``blocks``.

        Examples:
            >>> import pluralign as pl
            >>> mix = pl.load_policies("tiny-random", {"helpful": "tiny-random", "harmless": "tiny-random"})
            >>> weights = {"helpful": 0.7, "harmless": 0.3}
            >>> answers = mix.generate(["Hello", "Good evening"], weights=weights, max_new_tokens=4)
            >>> len(answers)
            2
        """
        alone = is_one(prompts)
        asked = cast("list[Prompt]", [prompts] if alone else list(prompts))
        mixes = weights_of_each(weights, asked)
        decoding = Decoding(max_new_tokens, temperature, top_p, top_k, _texts(stop))
        requests = [self.request(*each, decoding, seed) for each in zip(asked, mixes, strict=True)]
        if blocks is None:
            texts = self._decoder.generate(requests)
        else:
            texts = self._by_blocks(blocks, list(zip(asked, requests, strict=True)))
        return texts[0] if alone else texts

    def _by_blocks(self, blocks: Blocks, asked: Sequence[tuple[Prompt, Request]]) -> list[str]:
        with self._decoder.lock:
            if self._decoder.running:
                raise InputError("a stream of these policies is open; close it first", field="blocks")
            found = dict(BlockDecoder(self.rows, blocks, self.power).answers(asked))
        return [found[number].text for number in range(len(asked))]

    @checked
    def stream(
        self,
        prompt: Prompt,
        *,
        weights: Weights,
        max_new_tokens: int = 128,
        temperature: float = 1.0,
        top_p: float = 1.0,
        top_k: int = 0,
        stop: str | Sequence[str] = (),
        seed: int = 0,
    ) -> Iterator[str]:
        """Generate an answer piece by piece; joined, the pieces equal the result of `generate`.

        Several streams may be read in turn; all of them are decoded together.

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

        Examples:
            >>> import pluralign as pl
            >>> mix = pl.load_policies("tiny-random", calm="tiny-random")
            >>> pieces = mix.stream("Hello", weights={"calm": 1.0}, max_new_tokens=4)
            >>> "".join(pieces) == mix.generate("Hello", weights={"calm": 1.0}, max_new_tokens=4)
            True
        """
        decoding = Decoding(max_new_tokens, temperature, top_p, top_k, _texts(stop))
        request = self.request(prompt, weights_of_each(weights, [prompt])[0], decoding, seed)
        return (event.text for event in self._decoder.events([request]) if event.text)

    def request(
        self, prompt: Prompt, weights: Mapping[str, float], decoding: Decoding, seed: int = 0
    ) -> Request:
        """A request for a `MixtureDecoder`, with a seed derived from the prompt.

        Args:
            prompt: A text or a conversation.
            weights: Weights by objective, summing to one.
            decoding: Sampling settings.
            seed: Random seed from which the prompt's own seed is derived.
        """
        talks = not isinstance(prompt, str)
        ids = self.chat_ids(prompt) if talks else self.text_ids(prompt)
        if talks:
            decoding = replace(decoding, stop=(*decoding.stop, *self.stops))
        own = seed_for(json.dumps(prompt, sort_keys=True), seed)
        lead = self.conversations.lead if talks else ""
        return Request(ids, SteeringWeights(weights), decoding, own, lead, joined=True)

    @cached_property
    def tokenizer(self) -> PreTrainedTokenizerBase:  # pyright: ignore[reportIncompatibleVariableOverride]
        """A copy of the tokenizer: another thread may be decoding with the original."""
        return deepcopy(self.rows.backbone.tokenizer)

    @property
    def shared(self) -> bool:  # pyright: ignore[reportIncompatibleVariableOverride]
        """Whether all policies are adapters on one trunk."""
        return isinstance(self.rows, AdapterRows)

    @property
    def headed(self) -> bool:
        """Whether the policies are heads on one model."""
        return isinstance(self.rows, HeadRows)

    @property
    def context(self) -> int | None:  # pyright: ignore[reportIncompatibleVariableOverride]
        """Largest number of tokens of prompt and answer together; None if the model does not specify it."""
        return self.rows.context


def load_policies(
    model: str,
    policies: Mapping[str, str | Path] | str | Path | None = None,
    /,
    *,
    power: float = GEOMETRIC,
    dtype: DTypeName = "auto",
    template: str | None = None,
    control_tokens: bool = False,
    device: str | None = None,
    **folders: str | Path,
) -> Policies:
    """Load one policy per objective, to be mixed at inference time.

    Heads on one model (``learn mah-dpo``) share one row and one forward pass per token. Policies that are all
    LoRA adapters of the model (or the model itself) share one forward pass of the trunk per token. Otherwise
    each policy is loaded as a whole model.

    Args:
        model: Base model of the policies: ``smollm2-135m``, a hub id or a local folder.
        policies: Folder of each policy by objective: the output of `fit_policy` or ``learn``, a folder with a
            PEFT adapter, or ``model`` again for the base model itself. An objective with the name of one of
            the options below must be given here. A folder of heads alone (``learn mah-dpo``) means all of its
            objectives.
        power: Exponent of the power mean: 0 geometric, 1 arithmetic, -1 harmonic.
        dtype: Floating-point type: "float32", "bfloat16", or "auto" for the faster of them on this machine.
        template: Template of conversations, "dialogue" or "chat"; by default the one that the policies were
            trained with, or else the model's own.
        control_tokens: Whether prompts that are texts may contain control tokens by name; by default such
            names are ordinary text, but for policies that were learned with control tokens.
        device: Device: "cpu", "cuda", "cuda:1" or "mps"; by default the GPU (CUDA) if there is one.
        folders: Further policies as keywords: ``load_policies(model, helpful="runs/helpful")``.

    Raises:
        InputError: There is no policy, a folder holds none or one of another model, heads and other policies
            were given together, or the policies have different templates.

    Examples:
        >>> import pluralign as pl
        >>> mix = pl.load_policies("tiny-random", helpful="tiny-random", harmless="tiny-random")
        >>> mix.objectives
        ('helpful', 'harmless')
    """
    given: Any = power
    if isinstance(given, bool) or not isinstance(given, int | float):
        raise InputError(
            f"must be a number, found {power!r}; an objective of this name must be given in the mapping",
            field="power",
        )
    if not isinstance(model, str | Path):
        raise InputError(f"expected the name of a model, found {model!r:.60}", field="model")
    named = named_folders(policies, folders)
    cards = policy_cards(named)
    own = template_of(cards) if template is None else template
    if own not in TEMPLATES:
        raise InputError(f"must be one of {', '.join(TEMPLATES)}, found {own!r}", field="template")
    with use_device(device):
        rows = open_rows(model, named, cards, resolve_dtype(dtype))
    trusting = control_tokens or any(card and card.get("control_tokens") is True for card in cards.values())
    found = Policies(Path(model).name or model, rows, tuple(named), own, power, model, named, dtype, trusting)
    found.chat_ids([{"role": "user", "content": "."}])  # a model without a template is reported now
    return found


def _texts(stop: str | Sequence[str]) -> tuple[str, ...]:
    return (stop,) if isinstance(stop, str) else tuple(stop)
