"""Values after the first token, by value models on the frozen trunk."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import cached_property
from pathlib import Path

import numpy as np
import torch
from console import say
from torch import Tensor

from pluralign.core.arrays import FloatArray
from pluralign.data.examples import ScoredCompletion
from pluralign.learn.texts.run import Run
from pluralign.learn.texts.training_options import Training
from pluralign.learn.texts.trunk import LowerStates
from pluralign.learn.texts.value import ValueConfig, fit_value
from pluralign.lm.backbone import Backbone, load_backbone
from pluralign.lm.completion_trees import CompletionReader
from pluralign.lm.forest import Tree
from pluralign.lm.map_forests import map_forests
from pluralign.rewards.value_head import ValueHead
from pluralign.rewards.value_model import read_value_folder

_LONGEST = 512


class FirstTokens:
    """Value models of one frozen trunk, whose heads are trained on scored samples.

    Args:
        model: Frozen trunk.
        draws: Samples by prompt.
        samples: Number of samples of each prompt that are used.
        epochs: Passes over the samples in training.
        folder: Folder of the value models.
    """

    def __init__(
        self, model: str, draws: Mapping[str, Sequence[str]], samples: int, epochs: float, folder: Path
    ) -> None:
        self._model, self._folder, self._epochs = model, folder, epochs
        self._prompts = list(draws)
        self._texts = [list(own[:samples]) for own in draws.values()]

    @cached_property
    def _trunk(self) -> Backbone:
        return load_backbone(self._model, dtype=torch.float32)

    @cached_property
    def _lower(self) -> LowerStates:
        """States of all samples, computed once for all heads."""
        return LowerStates(self._trunk, 0)

    @cached_property
    def _states(self) -> list[Tensor]:
        """State after the first token of each prompt's samples, shape (samples, d)."""
        say("  states after the first tokens")
        reader = CompletionReader.for_model(self._trunk.model, self._trunk.tokenizer, _LONGEST)
        read = [reader.read(prompt, own) for prompt, own in zip(self._prompts, self._texts, strict=True)]
        trees = [
            Tree(one.prompt_ids, [own[:1] for own in one.branches], one.keep_first)
            for r in read
            for one in r.trees
        ]
        with torch.inference_mode():
            found = map_forests(self._trunk.model, trees, lambda hidden, forest: hidden[forest.ends].cpu())
        starts = np.cumsum([0, *(len(one.trees) for one in read)])
        return [
            torch.stack([found[start + tree][branch] for tree, branch in one.places])
            for start, one in zip(starts.tolist(), read, strict=False)
        ]

    def head(self, name: str, rewards: FloatArray, context: Sequence[int], seed: int) -> ValueHead:
        """Head that is trained on the context's samples, once.

        Args:
            name: Name of its folder.
            rewards: Rewards of all prompts' samples.
            context: Numbers of the context's prompts.
            seed: Random seed of training.
        """
        out = self._folder / name
        if not (out / "card.json").is_file():
            say(f"  value model {name}")
            rows = [
                ScoredCompletion(self._prompts[i], text, float(rewards[i][k]), name)
                for i in context
                for k, text in enumerate(self._texts[i])
            ]
            training = Training(
                layers=0, learning_rate=1e-3, epochs=self._epochs, max_length=_LONGEST, bf16=False
            )
            run = Run(self._model, out, training, seed, lower=self._lower, control_tokens=True)
            fit_value(rows, run, ValueConfig())
        return read_value_folder(out).head

    def values(self, head: ValueHead, prompts: Sequence[int]) -> FloatArray:
        """Mean value of prompts after the first tokens of their samples."""
        with torch.inference_mode():
            return np.array([float(head.values(head(self._states[i])).mean()) for i in prompts])
