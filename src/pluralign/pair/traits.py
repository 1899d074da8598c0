"""What a frozen language model sees in preference pairs: features, losses and entropies."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
import torch
from jaxtyping import Float
from torch import Tensor
from transformers import PreTrainedModel

from pluralign.core import Decision, InputError, PreferencePair
from pluralign.core.progress import ProgressBar
from pluralign.data.reading import learned_template, quoted_decisions
from pluralign.lm.backbone import Backbone
from pluralign.lm.completion_trees import CompletionReader
from pluralign.lm.forest import Forest
from pluralign.lm.layers import forest_layers
from pluralign.lm.map_forests import map_completions
from pluralign.lm.prompts import TEMPLATES
from pluralign.lm.vocabulary import branch_losses_and_entropies
from pluralign.options.feature_shards import FeatureShards, shards_folder
from pluralign.options.features import branch_features, feature_dimension, feature_layer

# Part of the name of the folder of kept traits: increment it when they change.
_VERSION = 1
_BATCH = 64


@dataclass(frozen=True, eq=False)
class PairTraits:
    """Traits of pairs' completions, the chosen one first, from a frozen language model.

    Args:
        features: Last hidden state and mean hidden state of each completion (`options.features`), shape
            (pairs, 2, d).
        losses: Mean negative log-probability of each completion's tokens, nats, shape (pairs, 2).
        entropies: Mean entropy of the predictions of each completion's tokens, nats, shape (pairs, 2).
        vocabulary: Number of tokens that the model predicts.
    """

    features: npt.NDArray[np.float32]
    losses: npt.NDArray[np.float64]
    entropies: npt.NDArray[np.float64]
    vocabulary: int


def read_traits(
    pairs: Sequence[PreferencePair], backbone: Backbone, *, folder: str | Path | None = None,
    max_length: int = 512, token_budget: int = 4096,
) -> PairTraits:  # fmt: skip
    """Read pairs with a frozen language model.

    Args:
        pairs: One-step pairs of texts.
        backbone: Decoder-only language model.
        folder: Folder in which traits are kept between runs; None keeps none.
        max_length: Largest number of tokens of prompt and completion; the end of the prompt stays.
        token_budget: Largest number of tokens per forward pass.

    Raises:
        InputError: There is no pair, a pair has several steps, or the model is an encoder-decoder.
    """
    if not pairs:
        raise InputError("expected one or more pairs, found none", field="pairs")
    template = TEMPLATES[learned_template(pairs, None, backbone.tokenizer)](backbone.tokenizer)
    own = quoted_decisions(pairs, template)
    recipe = f"{backbone.fingerprint}-pairs{_VERSION}-{max_length}"
    dimension = feature_dimension(backbone.model)
    own_folder = None if folder is None else shards_folder(Path(folder) / recipe, backbone.tokenizer_digest)
    shards = None if own_folder is None else FeatureShards(own_folder, dimension + 2)
    known = {} if shards is None else {key: entry[0] for key, entry in shards.read().items()}
    missing = list({d.key: d for both in own for d in both if d.key not in known}.values())
    reader = CompletionReader.for_model(backbone.model, backbone.tokenizer, max_length)
    with ProgressBar(len(missing), "traits", unit="pair") as bar:
        for start in range(0, len(missing), _BATCH):
            batch = missing[start : start + _BATCH]
            for decision, rows in zip(batch, _read(backbone, reader, batch, token_budget), strict=True):
                known[decision.key] = rows
                if shards is not None:
                    # The losses are in the rows, too; shards were made for options of games.
                    shards.add(decision.key, (rows, rows[:, -2].astype(float), np.ones(len(rows), int)))
            if shards is not None:
                shards.flush_when_due()
            bar.advance(len(batch))
    if shards is not None:
        shards.flush()
    table = np.stack([np.concatenate([known[decision.key] for decision in both]) for both in own])
    losses, entropies = (table[:, :, column].astype(np.float64) for column in (-2, -1))
    return PairTraits(table[:, :, :-2], losses, entropies, backbone.vocabulary_size)


@torch.inference_mode()
def _read(
    backbone: Backbone, reader: CompletionReader, decisions: Sequence[Decision], token_budget: int
) -> list[npt.NDArray[np.float32]]:
    """Features, mean loss and mean entropy of each decision's completions."""

    def states(model: PreTrainedModel, forest: Forest) -> list[Tensor]:
        return forest_layers(model, forest, [feature_layer(model), -1])

    def traits(layers: Sequence[Tensor], forest: Forest) -> list[Float[Tensor, " columns"]]:
        seen = branch_features(layers[0], forest)
        predicted = branch_losses_and_entropies(backbone.model, layers[1], forest)
        return list(torch.cat([seen, predicted], dim=1).cpu())

    read = [reader.read(decision.prompt, decision.options) for decision in decisions]
    found = map_completions(backbone.model, read, traits, token_budget=token_budget, states=states)
    return [torch.stack(rows).numpy() for rows in found]
