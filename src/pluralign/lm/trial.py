"""A trial of a model: a small forest of random tokens, and its paths as separate sequences."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn
from transformers import PreTrainedModel

from pluralign.lm.attention import ForestLayout, Layout
from pluralign.lm.candidate_attention import CandidateLayout
from pluralign.lm.forest import Tree, plant
from pluralign.lm.head import head_logits
from pluralign.lm.model_parts import text_config
from pluralign.lm.passes import run_layout, trunk_of
from pluralign.lm.plain import Continuation, run_sequences
from pluralign.lm.positions import length_factors
from pluralign.lm.row_attention import RowLayout
from pluralign.lm.sample_attention import PromptLayout, SampleLayout
from pluralign.lm.tensors import to_list


class Trial:
    """A small forest of random tokens, and its paths as separate sequences.

    Args:
        model: Model that is tried.
        seed: Random seed of the tokens.
    """

    def __init__(self, model: PreTrainedModel, seed: int) -> None:
        self._model, self._device = model, model.device
        config = text_config(model)
        longest = getattr(config, "max_position_embeddings", None) or 64
        if (factors := length_factors(trunk_of(model))) is not None:
            longest = min(longest, factors.boundary)
        generator = torch.Generator().manual_seed(seed)

        def draw(length: int) -> list[int]:
            length = max(2, min(length, length * longest // 36))
            return to_list(torch.randint(3, config.vocab_size, (length,), generator=generator))

        first, second, a, b, c, self._other = (draw(length) for length in (24, 5, 10, 7, 4, 10))
        self._trees = [Tree(first, [a, b]), Tree(second, [c])]
        self._steps = min(map(len, (a, b, c)))
        self._paths = [(tree.prompt_ids, branch) for tree in self._trees for branch in tree.branches]

    def separate(self) -> list[Tensor]:
        """States of each path's branch, each path run alone."""
        return [self._alone([*prompt, *branch])[-len(branch) :] for prompt, branch in self._paths]

    def rounded(self) -> list[Tensor]:
        """The same, with embeddings that are off by a rounding error each: how much the model makes of it."""
        generator = torch.Generator().manual_seed(0)

        def disturb(_: nn.Module, __: Any, states: Tensor) -> Tensor:
            signs = torch.randint(-1, 2, states.shape, generator=generator).to(states)
            return states * (1 + torch.finfo(states.dtype).eps * signs)

        embeddings: Any = self._model.get_input_embeddings()
        hook = embeddings.register_forward_hook(disturb)
        try:
            return self.separate()
        finally:
            hook.remove()

    def begun(self) -> list[Tensor]:
        """States of each path's branch without its last token."""
        return [self._alone([*prompt, *branch[:-1]])[1 - len(branch) :] for prompt, branch in self._paths]

    def own_logits(self) -> list[Tensor]:
        """Logits of the first path by the model's own code."""
        network: Any = self._model
        prompt, branch = self._paths[0]
        ids = torch.tensor([[*prompt, *branch]], device=self._device)
        return [network(input_ids=ids, use_cache=False).logits[0].float()]

    def logits(self) -> list[Tensor]:
        """The same, by our formula."""
        prompt, branch = self._paths[0]
        return [head_logits(self._model, self._alone([*prompt, *branch]))]

    def padded(self) -> list[Tensor]:
        """The same, padded to one batch."""
        rows = [[*prompt, *branch] for prompt, branch in self._paths]
        width = max(map(len, rows))
        filled = torch.tensor([row + row[-1:] * (width - len(row)) for row in rows], device=self._device)
        found = run_sequences(self._model, filled).last_hidden_state
        return [
            states[len(row) - len(branch) : len(row)]
            for states, row, (_, branch) in zip(found, rows, self._paths, strict=True)
        ]

    def cached(self) -> list[Tensor]:
        """The same, each token after the first by the model's own cache."""
        found: list[Tensor] = []
        for prompt, branch in self._paths:
            rows = Continuation(self._model, [[*prompt, self._other[0]], [*prompt, branch[0]]])
            # More rows than before, and another first one: caches that models implement themselves may keep
            # theirs.
            rows.select([1, 1, 0])
            found.append(torch.stack([rows.states[0], *(rows.step([token] * 3)[0] for token in branch[1:])]))
        return found

    def together(self) -> list[Tensor]:
        """The same, in one forest."""
        return self._forest(self._trees)

    def neighbours(self) -> list[Tensor]:
        """The same but for the first path, which is another one."""
        first, second = self._trees
        return self._forest([Tree(first.prompt_ids, [self._other, first.branches[1]]), second])[1:]

    def decoded(self) -> list[Tensor]:
        """The same, by our own keys and values: as rows, as samples, and as candidates."""
        prompts = [list(prompt) for prompt, _ in self._paths]
        lengths, steps = [len(prompt) for prompt in prompts], self._steps
        tokens = torch.tensor([branch[:steps] for _, branch in self._paths], device=self._device)
        (forest,) = plant([Tree(ids[:-1], [ids[-1:]]) for ids in prompts], sum(lengths))
        layout = PromptLayout(forest.to(self._device))
        self._run(layout, layout.forest.position_ids, layout.forest.input_ids)
        rows, samples = RowLayout(), SampleLayout(layout.kept, lengths, range(len(prompts)), 1, steps)
        rows.append(layout.kept, lengths, range(len(prompts)))
        by_row: list[Tensor] = []
        by_sample: list[Tensor] = []
        for step in range(steps):
            positions = rows.begin(self._device)
            by_row.append(self._run(rows, positions, tokens[None, :, step]))
            rows.end()
            samples.step = step
            by_sample.append(self._run(samples, positions, tokens[None, :, step]))
        parts = [torch.stack(found, dim=1) for found in (by_row, by_sample)]
        return [*torch.cat([*parts, self._candidates(tokens)], dim=1)]

    def steps(self, states: list[Tensor]) -> list[Tensor]:
        """What `decoded` should be, of separate sequences' states."""
        return [own[: self._steps].repeat(3, 1) for own in states]

    def _candidates(self, tokens: Tensor) -> Tensor:
        """States of each path's tokens as candidates, the first of two each time."""
        prompts, other = [list(prompt) for prompt, _ in self._paths], torch.tensor(self._other)
        choices = torch.stack([tokens, other[: tokens.shape[1]].to(tokens).expand_as(tokens)], dim=2)
        trees = [Tree(ids, to_list(two[0, :, None])) for ids, two in zip(prompts, choices, strict=True)]
        (forest,) = plant(trees, 1 << 20)
        layout = PromptLayout(forest.to(self._device))
        found = [
            self._run(layout, layout.forest.position_ids, layout.forest.input_ids)[layout.forest.ends[::2]]
        ]
        rows = CandidateLayout(layout.kept, [len(ids) for ids in prompts], 2)
        for step in range(1, tokens.shape[1]):
            rows.keep([0] * len(prompts))
            found.append(self._run(rows, rows.begin(self._device), choices[:, step].reshape(1, -1))[::2])
        return torch.stack(found, dim=1)

    def _alone(self, ids: list[int]) -> Tensor:
        return run_sequences(self._model, torch.tensor([ids], device=self._device)).last_hidden_state[0]

    def _run(self, layout: Layout, positions: Tensor, ids: Tensor) -> Tensor:
        return run_layout(self._model, layout, positions, input_ids=ids).last_hidden_state[0]

    def _forest(self, trees: list[Tree]) -> list[Tensor]:
        (forest,) = plant(trees)
        forest = forest.to(self._device)
        states = self._run(ForestLayout(forest), forest.position_ids, forest.input_ids)
        return [*torch.split(states[forest.places], to_list(forest.lengths))]
