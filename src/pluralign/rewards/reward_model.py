"""A reward model: a trunk with a reward head that scores completions, their tokens and their sentences."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from pluralign.core import Decision, InputError, OptionRewards
from pluralign.core.messages import Messages
from pluralign.folders.card import CARD, HEAD, TRUNK, Card, read_folder, read_tensors, write_folder
from pluralign.folders.tuned import load_tuned_backbone
from pluralign.lm.backbone import Backbone
from pluralign.lm.completion_trees import CompletionReader
from pluralign.lm.forest import Forest
from pluralign.lm.map_forests import map_completions
from pluralign.lm.prompts import TEMPLATES
from pluralign.rewards.heads import GaussianRewards, RewardHead, make_head
from pluralign.rewards.reward import Reward
from pluralign.rewards.spans import SpanReward

KIND = "reward_model"


@dataclass(frozen=True)
class RewardSettings:
    """How a reward model reads text.

    Args:
        max_length: tokens of prompt + completion; see `CompletionReader` for what is cut.
        template: how messages become text: a name in `lm.prompts.TEMPLATES`.
        token_budget: tokens in one forward pass.
    """

    max_length: int = 1024
    template: str = "dialogue"
    token_budget: int = 4096


class RewardModel(Reward):
    """Scores completions of prompts. The same text gets the same score, whatever it is scored with.

    Args:
        name: how reports call it.
        backbone: the trunk, as trained.
        head: the reward head.
        settings: how text is read.
        card: where it comes from.
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

    @property
    def counts(self) -> Mapping[str, int]:
        """Completions read so far, and what of them was cut."""
        return self.reader.counts

    def score_decisions(self, decisions: Iterable[Decision]) -> list[OptionRewards]:
        """The reward of each option (completion) of each decision, after its prompt as it stands."""
        return [rewards for rewards, _ in self._run(list(decisions))]

    def score_tokens(
        self, decisions: Iterable[Decision]
    ) -> list[tuple[OptionRewards, list[list[SpanReward]]]]:
        """The same, and the reward of every token of every option; the end-of-text token comes last."""
        known = list(decisions)
        return [
            (rewards, [self._spans(*pair) for pair in zip(decision.options, tokens, strict=True)])
            for decision, (rewards, tokens) in zip(known, self._run(known), strict=True)
        ]

    def _token_spans(self, prompt: str, completion: str) -> list[SpanReward]:
        ((_, (tokens,)),) = self.score_tokens([Decision(prompt, (completion,))])
        return tokens

    def _spans(self, option: str, values: Tensor) -> list[SpanReward]:
        encoded = self.backbone.tokenizer(option, add_special_tokens=False, return_offsets_mapping=True)
        offsets: list[tuple[int, int]] = [*encoded["offset_mapping"], (len(option), len(option))]
        # A BOS that comes first (encoder-decoders) has no text; what the limit cut off has no reward.
        extra = max(0, len(values) - len(offsets))
        places = [(0, 0)] * extra + offsets
        return [
            SpanReward(option[start:stop], start, float(mean), float(sigma))
            for (start, stop), (mean, sigma) in zip(places, values.tolist(), strict=False)
        ]

    def render(self, messages: Messages, opens: bool) -> str:
        """Messages as the text that this model was trained on; ``opens`` begins the assistant's turn."""
        return TEMPLATES[self.settings.template](self.backbone.tokenizer)(messages, opens)

    @torch.inference_mode()
    def _run(self, decisions: Sequence[Decision]) -> list[tuple[OptionRewards, list[Tensor]]]:
        """For each decision its options' rewards, and for each option (tokens, 2): mean and sigma."""
        read = [self.reader.read(decision.prompt, decision.options) for decision in decisions]

        def rewards(hidden: Tensor, forest: Forest) -> list[tuple[Tensor, Tensor]]:
            of_tokens = self.head(hidden, forest)
            whole = _columns(self.head.of_branches(of_tokens, forest))
            return list(zip(whole, _columns(of_tokens).split(forest.lengths.tolist()), strict=True))

        found: list[tuple[OptionRewards, list[Tensor]]] = []
        budget = self.settings.token_budget
        for own in map_completions(self.backbone.model, read, rewards, token_budget=budget):
            values = torch.stack([whole for whole, _ in own]).double().cpu().numpy()
            found.append((OptionRewards(values[:, 0], values[:, 1]), [tokens for _, tokens in own]))
        return found


def save_reward_model(
    folder: Path, model: RewardModel, tensors: dict[str, Tensor], *, policy: bool, adapter: Any = None
) -> None:
    """Write a reward model to a folder, whole or not at all (`write_folder`).

    Args:
        folder: made where it does not exist.
        model: what was trained; its card goes with it.
        tensors: the weights of the trunk that training changed; none with an adapter or a frozen trunk.
        policy: whether its trunk is a policy that writes text, too.
        adapter: the PEFT model, if the trunk learned through one.

    Raises:
        InputError: the folder cannot be written.
    """
    settings = model.settings
    content = {
        "name": model.name,
        "head": model.head.describe(),
        "max_length": settings.max_length,
        "template": settings.template,
        "policy": policy,
    }
    files = {HEAD: model.head.state_dict()} | ({TRUNK: tensors} if tensors else {})
    write_folder(folder, KIND, model.card, content, files, adapter)


def load_reward_model(
    folder: Path, *, dtype: torch.dtype | None = None, token_budget: int = 4096
) -> RewardModel:
    """Read a reward model from its folder.

    Args:
        folder: what one of the reward learners wrote.
        dtype: of the trunk; float32 by default, as trained. The head stays in float32.
        token_budget: tokens in one forward pass.

    Raises:
        InputError: no such folder, one of another method, missing or damaged files, or another backbone
            than the one that was trained.
    """
    folder = Path(folder)
    content = read_folder(folder, KIND, HEAD)
    head = make_head(content.get("head") or {})
    fill_head(head, folder)
    settings = read_settings(folder, content, token_budget)
    backbone = load_tuned_backbone(folder, content, dtype=dtype)
    if head.dimension != backbone.hidden_size:
        raise InputError(
            f"its head reads states of width {head.dimension}, the backbone's have {backbone.hidden_size}",
            path=folder,
        )
    names = ("method", "objective", "seed", "config", "data", "backbone", "figures", "versions")
    card = Card(**{name: content[name] for name in names})
    return RewardModel(str(content["name"]), backbone, head, settings, card)


def fill_head(head: nn.Module, folder: Path) -> None:
    """Give a head the weights that a folder holds.

    Raises:
        InputError: they are another head's.
    """
    try:
        head.load_state_dict(read_tensors(folder / HEAD))
    except RuntimeError as error:
        reason = str(error).splitlines()[-1].strip()
        raise InputError(f"does not hold this model's head: {reason}", path=folder / HEAD) from error


def read_settings(folder: Path, content: Mapping[str, Any], token_budget: int) -> RewardSettings:
    """How a folder's model reads text, by its card.

    Raises:
        InputError: the card does not say.
    """
    try:
        settings = RewardSettings(int(content["max_length"]), str(content["template"]), token_budget)
    except (KeyError, TypeError, ValueError) as error:
        raise InputError(f"does not say how text is read: {error}", path=folder / CARD) from error
    if settings.template not in TEMPLATES:
        known = ", ".join(TEMPLATES)
        raise InputError(
            f"must be one of {known}, found {settings.template!r}", path=folder / CARD, field="template"
        )
    return settings


def _columns(rewards: GaussianRewards) -> Tensor:
    return torch.stack([rewards.mean, rewards.sigma], dim=1)
