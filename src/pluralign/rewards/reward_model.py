"""Reward models: a trunk with a reward head that scores completions, tokens and sentences."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

import torch
from torch import Tensor, nn

from pluralign.core import Decision, InputError, OptionRewards
from pluralign.core.messages import Messages, Template, unquoted
from pluralign.folders.card import CARD, HEAD, TRUNK, Card, read_folder, write_folder
from pluralign.folders.tensors import filled, read_tensors
from pluralign.folders.tuned import Bases, load_tuned_backbone
from pluralign.lm.backbone import Backbone
from pluralign.lm.completion_trees import CompletionReader
from pluralign.lm.forest import Forest
from pluralign.lm.layers import CutTrunk
from pluralign.lm.map_forests import map_completions
from pluralign.lm.prompts import TEMPLATES
from pluralign.lm.tensors import to_list
from pluralign.rewards.heads import GaussianRewards, RewardHead, make_head
from pluralign.rewards.reward import Reward
from pluralign.rewards.spans import SpanReward

KIND = "reward_model"
Head = TypeVar("Head", bound=nn.Module)


@dataclass(frozen=True)
class RewardSettings:
    """Settings for reading text.

    Args:
        max_length: Largest number of tokens of prompt + completion; see `CompletionReader` for truncation.
        template: Name of the template for messages in `lm.prompts.TEMPLATES`.
        token_budget: Largest number of tokens per forward pass.
        control_tokens: Whether prompts and completions that are texts may contain control tokens by name.
    """

    max_length: int = 1024
    template: str = "dialogue"
    token_budget: int = 4096
    control_tokens: bool = False


class RewardModel(Reward):
    """A trained reward model. Scores of a text do not depend on what is scored with it.

    Args:
        name: Name in reports.
        backbone: Trained trunk.
        head: Reward head.
        settings: Settings for reading text.
        card: Card of the model.
    """

    def __init__(
        self,
        name: str,
        backbone: Backbone,
        head: RewardHead,
        settings: RewardSettings | None = None,
        card: Card | None = None,
    ) -> None:
        self.name, self.backbone, self.head = name, backbone, head.to(backbone.device).eval()
        self.settings = settings or RewardSettings()
        self.card = card or Card("")
        self.reader = CompletionReader.for_model(backbone.model, backbone.tokenizer, self.settings.max_length)
        self._cuts: dict[int, CutTrunk] = {}

    @property
    def counts(self) -> Mapping[str, int]:
        """Number of completions read so far, and how many of them were truncated."""
        return self.reader.counts

    def score_decisions(self, decisions: Iterable[Decision]) -> list[OptionRewards]:
        """Reward of each option (completion) of each decision, after its prompt as it is."""
        return [rewards for rewards, _ in self._run(list(decisions))]

    def score_tokens(
        self, decisions: Iterable[Decision]
    ) -> list[tuple[OptionRewards, list[list[SpanReward]]]]:
        """Rewards of options, and of every token of every option, the end-of-text token last."""
        known = list(decisions)
        return [
            (
                rewards,
                [self._spans(decision.prompt, *one) for one in zip(decision.options, tokens, strict=True)],
            )
            for decision, (rewards, tokens) in zip(known, self._run(known), strict=True)
        ]

    def _token_spans(self, prompt: str, completion: str) -> list[SpanReward]:
        ((_, (tokens,)),) = self.score_tokens([Decision(prompt, (completion,))])
        return tokens

    def _spans(self, prompt: str, option: str, values: Tensor) -> list[SpanReward]:
        places = self.reader.places(prompt, option)
        option = unquoted(option)
        # Truncated text has no reward.
        places = [*places, (len(option), len(option))]
        return [
            SpanReward(option[start:stop], start, float(mean), float(sigma))
            for (start, stop), (mean, sigma) in zip(places, to_list(values), strict=False)
        ]

    def render(self, messages: Messages, opens: bool) -> str:
        """Messages rendered to text as in training; ``opens`` starts the assistant's turn."""
        return self.template(messages, opens)

    @property
    def template(self) -> Template:
        """See `Reward`."""
        settings = self.settings
        return TEMPLATES[settings.template](self.backbone.tokenizer, settings.control_tokens)

    @torch.inference_mode()
    def _run(self, decisions: Sequence[Decision]) -> list[tuple[OptionRewards, list[Tensor]]]:
        """Rewards of each decision's options; and for each option mean and sigma per token, shape (tokens,
        2)."""
        read = [self.reader.read(decision.prompt, decision.options) for decision in decisions]

        def rewards(hidden: Tensor, forest: Forest) -> list[tuple[Tensor, Tensor]]:
            of_tokens = self.head(hidden, forest)
            whole = _columns(self.head.of_branches(of_tokens, forest))
            return list(
                zip(whole, _columns(of_tokens).split_with_sizes(to_list(forest.lengths)), strict=True)
            )

        budget = self.settings.token_budget
        return [
            (option_rewards([whole for whole, _ in own]), [tokens for _, tokens in own])
            for own in map_completions(self.backbone.model, read, rewards, token_budget=budget)
        ]

    def of_branches(self, hidden: Tensor, forest: Forest) -> Tensor:
        """Mean and sigma of each branch of a forest from the trunk's states of its tokens, shape (branches,
        2)."""
        return _columns(self.head.of_branches(self.head(hidden, forest), forest))

    def cut(self, layers: int) -> CutTrunk:
        """The trunk, cut below its uppermost layers.

        Raises:
            InputError: It cannot be cut there.
        """
        if layers not in self._cuts:
            self._cuts[layers] = CutTrunk(self.backbone.model, layers)
        return self._cuts[layers]


def option_rewards(values: Sequence[Tensor]) -> OptionRewards:
    """Rewards of options from their means and sigmas, each of shape (2,)."""
    found = torch.stack(list(values)).cpu().double().numpy()
    return OptionRewards(found[:, 0], found[:, 1])


def save_reward_model(
    folder: Path, model: RewardModel, tensors: dict[str, Tensor], *, policy: bool, adapter: Any = None
) -> None:
    """Write a reward model to a folder, completely or not at all (`write_folder`).

    Args:
        folder: Output folder; created if necessary.
        model: Reward model, with its card.
        tensors: Trained weights of the trunk; empty with an adapter or a frozen trunk.
        policy: Whether the trunk is also a language policy.
        adapter: PEFT model if the trunk was trained through an adapter.

    Raises:
        InputError: The folder cannot be written.
    """
    settings = model.settings
    content = {
        "name": model.name,
        "head": model.head.describe(),
        "max_length": settings.max_length,
        "template": settings.template,
        "policy": policy,
        # Written where it is not the default.
        **({"control_tokens": True} if settings.control_tokens else {}),
    }
    files = {HEAD: model.head.state_dict()} | ({TRUNK: tensors} if tensors else {})
    write_folder(folder, KIND, model.card, content, files, adapter)


def load_reward_model(
    folder: Path, *, dtype: torch.dtype | None = None, token_budget: int = 4096, model: str | None = None,
    bases: Bases | None = None,
) -> RewardModel:  # fmt: skip
    """Load a reward model from its folder.

    Args:
        folder: Folder of a trained reward model.
        dtype: Floating-point type of the trunk; float32 by default, as in training. The head stays in
            float32.
        token_budget: Largest number of tokens per forward pass.
        model: Hub id or folder of the base model, if it was moved.
        bases: Base models whose weights are shared; see `load_tuned_backbone`.

    Raises:
        InputError: The folder does not exist or holds another kind of model, files are missing or damaged, or
            the backbone is not the one that it was trained on.
    """
    folder = Path(folder)
    content = read_folder(folder, KIND, HEAD)
    head = read_head(make_head, folder, content)
    settings = read_settings(folder, content, token_budget)
    backbone = load_tuned_backbone(folder, content, dtype=dtype, model=model, bases=bases)
    if head.dimension != backbone.hidden_size:
        raise InputError(
            f"its head needs states of width {head.dimension}, the backbone has width {backbone.hidden_size}",
            path=folder,
        )
    names = ("method", "objective", "seed", "config", "data", "backbone", "figures", "versions")
    card = Card(**{name: content[name] for name in names})
    return RewardModel(str(content["name"]), backbone, head, settings, card)


def read_head(make: Callable[[dict[str, Any]], Head], folder: Path, content: Mapping[str, Any]) -> Head:
    """The head of a folder, in float32.

    Args:
        make: Makes a head from its description.
        folder: Folder of the model.
        content: Its card.

    Raises:
        InputError: The card does not describe such a head, or the weights belong to another head.
    """
    described: dict[str, Any] = content.get("head") or {}
    try:
        return filled(lambda: make(described), read_tensors(folder / HEAD))
    except RuntimeError as error:
        reason = str(error).splitlines()[-1].strip()
        raise InputError(f"does not contain this model's head: {reason}", path=folder / HEAD) from error


def read_settings(folder: Path, content: Mapping[str, Any], token_budget: int) -> RewardSettings:
    """Settings for reading text from a folder's card.

    Raises:
        InputError: The card does not contain them.
    """
    try:
        settings = RewardSettings(
            int(content["max_length"]), str(content["template"]), token_budget,
            content.get("control_tokens") is True,
        )  # fmt: skip
    except (KeyError, TypeError, ValueError) as error:
        raise InputError(f"has no settings for reading text: {error}", path=folder / CARD) from error
    if settings.template not in TEMPLATES:
        known = ", ".join(TEMPLATES)
        raise InputError(
            f"must be one of {known}, found {settings.template!r}", path=folder / CARD, field="template"
        )
    return settings


def _columns(rewards: GaussianRewards) -> Tensor:
    return torch.stack([rewards.mean, rewards.sigma], dim=1)
