"""TRL's RLOO trainer with pluralign's sampler and forests: a prompt is read once for all its completions."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import nullcontext
from functools import cache
from typing import Any

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from pluralign.core.splits import seed_for
from pluralign.lm.backbone import Backbone
from pluralign.lm.checkpointing import checkpointed_layers
from pluralign.lm.decoding import Decoding
from pluralign.lm.forest import Forest, Tree
from pluralign.lm.generation import draw_ids
from pluralign.lm.map_forests import map_forests
from pluralign.lm.prompts import PromptIds
from pluralign.lm.tensors import to_list
from pluralign.lm.vocabulary import token_log_probs


@cache
def forest_trainer() -> Any:
    """A subclass of TRL's ``RLOOTrainer`` with two of its steps replaced: sampling, and log-probabilities.

    TRL pads every prompt to the longest, and reads it again for each of its completions. Here equal prompts
    are one tree of a forest. The values are the same (float32: within 1e-4).

    Raises:
        ImportError: TRL is not installed.
    """
    from trl.trainer.rloo_trainer import RLOOTrainer

    class ForestTrainer(RLOOTrainer):
        """See `forest_trainer`.

        Args:
            backbone: Model that is trained, with its tokenizer.
            sampling: Sampling settings.
            budget: Largest number of tokens in one forest.
            checkpointing: Whether to keep the inputs of layers alone for the backward pass.
        """

        def __init__(
            self, backbone: Backbone, sampling: Decoding, budget: int, checkpointing: bool, **arguments: Any
        ) -> None:
            super().__init__(backbone.model, processing_class=backbone.tokenizer, **arguments)
            self._backbone, self._sampling, self._budget = backbone, sampling, budget
            self._checkpointing = checkpointing

        def _generate_single_turn(
            self, prompt_ids: list[list[int]], images: Any, multimodal_fields: Any
        ) -> list[list[int]]:
            if self.use_vllm:
                trainer: Any = super()
                return trainer._generate_single_turn(prompt_ids, images, multimodal_fields)
            groups = _equal(prompt_ids)
            label, seed = f"step {self.state.global_step}", self.args.seed
            seeds = [
                [seed_for(f"{label} {i} {prompt}", seed) for i in range(len(rows))]
                for prompt, rows in groups.items()
            ]
            drawn = draw_ids(self._backbone, [PromptIds(list(ids)) for ids in groups], seeds, self._sampling)
            found: list[list[int]] = [[] for _ in prompt_ids]
            for rows, own in zip(groups.values(), drawn, strict=True):
                for row, ids in zip(rows, own, strict=True):
                    found[row] = ids
            return found

        def _get_per_token_logps_and_entropies(
            self,
            model: Any,
            input_ids: Tensor,
            attention_mask: Tensor,
            logits_to_keep: int,
            *_: Any,
            **others: Any,
        ) -> tuple[Tensor, Tensor, None]:
            mask = attention_mask.bool()
            with (
                self.accelerator.autocast(),
                checkpointed_layers(self._backbone.model) if self._checkpointing else nullcontext(),
            ):
                found = padded_log_probs(
                    self._backbone, input_ids, mask, logits_to_keep, self._sampling.temperature, self._budget
                )
            # Entropies are for TRL's log alone, which is off.
            return found, torch.full_like(found, torch.nan).detach(), None

    return ForestTrainer


def padded_log_probs(
    backbone: Backbone, input_ids: Int[Tensor, "rows tokens"], mask: Bool[Tensor, "rows tokens"],
    completion: int, temperature: float, token_budget: int,
) -> Float[Tensor, "rows completion"]:  # fmt: skip
    """Log-probability of each token of padded completions, nats; 0 for padding. Differentiable.

    Args:
        backbone: Model that scores them.
        input_ids: Prompts, padded in front, and completions, padded behind.
        mask: False for padding.
        completion: Number of columns of the completions, which are the last ones.
        temperature: Sampling temperature, which divides the logits.
        token_budget: Largest number of tokens in one forest.
    """
    prompts = _rows(input_ids[:, :-completion], mask[:, :-completion])
    completions = _rows(input_ids[:, -completion:], mask[:, -completion:])
    groups = _equal(prompts)
    trees = [Tree(prompt, [completions[row] for row in rows]) for prompt, rows in groups.items()]

    def of_branches(hidden: Tensor, forest: Forest) -> Tensor:
        values = token_log_probs(backbone.model, hidden, forest, temperature)
        starts = forest.lengths.cumsum(0) - forest.lengths
        columns = torch.arange(len(values), device=values.device) - starts[forest.token_branches]
        padded = values.new_zeros(len(forest.ends), completion)
        return padded.index_put((forest.token_branches, columns), values)

    found = torch.cat(map_forests(backbone.model, trees, of_branches, token_budget=token_budget))
    order = torch.tensor([row for rows in groups.values() for row in rows], device=found.device)
    return found[order.argsort()]


def _rows(ids: Int[Tensor, "rows tokens"], mask: Bool[Tensor, "rows tokens"]) -> list[list[int]]:
    """Token ids of each row without padding."""
    return [to_list(own[kept]) for own, kept in zip(ids.cpu(), mask.cpu(), strict=True)]


def _equal(rows: Sequence[Sequence[int]]) -> dict[tuple[int, ...], list[int]]:
    """Numbers of equal rows, in the order in which these appear."""
    found: dict[tuple[int, ...], list[int]] = {}
    for number, row in enumerate(rows):
        found.setdefault(tuple(row), []).append(number)
    return found
