"""A trainable trunk: all of it, its uppermost layers, a LoRA adapter, or nothing is trained."""

from __future__ import annotations

import json
from collections.abc import Sequence
from contextlib import nullcontext
from pathlib import Path
from typing import Any

import torch
from jaxtyping import Float
from safetensors import safe_open
from torch import Tensor, nn
from transformers import PreTrainedModel

from pluralign.core import InputError
from pluralign.core.digests import digest
from pluralign.core.progress import ProgressBar
from pluralign.folders.tensors import write_tensors
from pluralign.folders.tuned import learned_tensors
from pluralign.learn.texts.data import Batch
from pluralign.lm.adapters import add_lora
from pluralign.lm.backbone import Backbone
from pluralign.lm.checkpointing import checkpointed_layers
from pluralign.lm.forest import Forest, Tree
from pluralign.lm.layers import CutTrunk
from pluralign.lm.map_forests import forest_states
from pluralign.lm.tensors import seeded, to_list
from pluralign.lm.trunk import forest_hidden_states


class LowerStates:
    """Hidden states of trees below the trained layers of a trunk: computed once per tree, kept in memory.

    Args:
        backbone: Model with the trunk.
        layers: Number of uppermost layers that are left out.
        bf16: Whether to compute and store in bfloat16.
        token_budget: Largest number of tokens per forward pass.

    Raises:
        InputError: The trunk cannot be split there; see `CutTrunk`.
    """

    def __init__(
        self, backbone: Backbone, layers: int, *, bf16: bool = False, token_budget: int = 4096
    ) -> None:
        self.backbone, self.cut = backbone, CutTrunk(backbone.model, layers)
        self._bf16, self._budget = bf16, token_budget
        # A branch's states depend on its prompt and itself only, so trees with equal parts share their
        # states.
        self._known: dict[str, Tensor] = {}

    @torch.no_grad()
    def compute(self, trees: Sequence[Tree]) -> None:
        """Compute missing states, with a progress bar on a terminal."""
        missing = [tree for tree in trees if any(key not in self._known for key in _keys(tree))]
        if not missing:
            return
        model, device = self.backbone.model, self.backbone.device

        def lower(_: PreTrainedModel, forest: Forest) -> Tensor:
            with torch.autocast(device.type, torch.bfloat16, enabled=self._bf16):
                states = self.cut.lower_states(forest)
            return states.to("cpu", torch.bfloat16 if self._bf16 else torch.float32)

        with ProgressBar(len(missing), "frozen layers", unit="prompt") as bar:
            done: set[int] = set()
            for forest, states in forest_states(model, missing, token_budget=self._budget, states=lower):
                for number, prompt, branches in _parts(forest, states):
                    keys = _keys(missing[number])
                    self._known[keys[0]] = prompt
                    self._known.update({keys[1 + branch]: part for branch, part in branches.items()})
                    bar.advance(number not in done)
                    done.add(number)

    def save(self, path: Path) -> None:
        """Save all known states, for another process."""
        lengths = [len(states) for states in self._known.values()]
        described = {"keys": json.dumps(list(self._known)), "lengths": json.dumps(lengths)}
        write_tensors(path, {"states": torch.cat(list(self._known.values()))}, described)

    def read(self, path: Path) -> None:
        """Load states that another process saved."""
        opened: Any = safe_open(path, framework="pt")
        with opened as file:
            keys, lengths = (json.loads(file.metadata()[name]) for name in ("keys", "lengths"))
            states: Tensor = file.get_tensor("states")
        self._known.update(zip(keys, states.split_with_sizes(lengths), strict=True))

    def of(self, trees: Sequence[Tree]) -> Float[Tensor, "tokens d"]:
        """States of a forest that was planted from exactly these trees, none of them split."""
        self.compute(trees)
        parts = [self._known[key] for tree in trees for key in _keys(tree)]
        return torch.cat(parts).to(self.backbone.device)


class TunedTrunk(nn.Module):
    """Hidden states of batches, from a trunk of which all, some or none of the weights are trained.

    Args:
        backbone: Model loaded for this use alone; its weights are changed. Weights that are trained are in
            float32; those of a trunk under an adapter or heads may be in bfloat16 or 4 bits.
        trees: All trees that will be requested.
        lora_rank: Rank of a LoRA adapter; only the adapter is trained. 0 for none.
        layers: Number of uppermost layers to train, with the final norm; 0 trains nothing, None trains all.
        vocabulary: Whether the loss uses the vocabulary head, which is then trained too if everything is.
        lower: States of the frozen layers; computed here by default.
        bf16: Whether to use mixed precision.
        seed: Random seed of the adapter's weights.
        checkpointing: Whether to keep the inputs of layers alone for the backward pass.
        lora_alpha: Numerator of the adapter's factor; see `add_lora`.
        target_modules: Layers with an adapter; see `add_lora`.

    Raises:
        InputError: Both an adapter and ``layers`` were given, the trunk cannot be split there, the states
            are those of another model or split, or trained weights would not be in float32.
    """

    def __init__(
        self, backbone: Backbone, trees: Sequence[Tree], *, lora_rank: int, layers: int | None,
        vocabulary: bool, lower: LowerStates | None, bf16: bool, seed: int,
        checkpointing: bool = False, lora_alpha: float | None = None, target_modules: Sequence[str] = (),
    ) -> None:  # fmt: skip
        super().__init__()
        if lora_rank and layers is not None:
            raise InputError(
                "a LoRA adapter covers the whole trunk: give lora_rank or layers", field="layers"
            )
        model: Any = backbone.model
        if not lora_rank and layers != 0 and (backbone.source or backbone.dtype != torch.float32):
            kind = "4 bits" if backbone.source else str(backbone.dtype).removeprefix("torch.")
            raise InputError(f"weights that are trained are in float32, and those of this trunk in {kind}")
        self._checkpointing = checkpointing
        self._lower: LowerStates | None = None
        self._cut: CutTrunk | None = None
        if lora_rank:
            with seeded(seed):
                model = add_lora(backbone.model, lora_rank, alpha=lora_alpha, targets=target_modules)
        elif layers is not None:
            self._lower = lower or LowerStates(backbone, layers, bf16=bf16)
            self._cut = _own_cut(backbone, layers, self._lower)
            model.requires_grad_(False)
            self._cut.upper.requires_grad_(True)
            self._lower.compute(trees)
        elif not vocabulary and _has_own_head(model):
            # A weight that no loss uses would have no gradient, which distributed training does not allow.
            model.get_output_embeddings().requires_grad_(False)
        # Dropout stays off: forests equal separate sequences only without it, and losses are less noisy.
        model.eval()
        # Only trained parameters are registered, so that training checkpoints do not contain the rest.
        self._unregistered: tuple[Any] = (model,)
        learned = learned_tensors(model)
        self.learned = nn.ParameterDict({name.replace(".", "/"): value for name, value in learned.items()})

    @property
    def model(self) -> PreTrainedModel:
        """The language model (a PEFT model if an adapter is trained)."""
        return self._unregistered[0]

    def changed(self) -> dict[str, Tensor]:
        """The trained weights, by their names in the model."""
        return {name.replace("/", "."): value.detach() for name, value in self.learned.items()}

    def forward(self, batch: Batch) -> Float[Tensor, "tokens d"]:
        """Hidden states of the batch's forest."""
        with checkpointed_layers(self.model) if self._checkpointing else nullcontext():
            if self._lower is None or self._cut is None:
                return forest_hidden_states(self.model, batch.forest)
            lower = self._lower.of(batch.trees)
            return self._cut.hidden_states(batch.forest, lower.to(next(self.model.parameters()).dtype))


def _has_own_head(model: Any) -> bool:
    """Whether the vocabulary head is separate from the embedding; the configuration is not always right."""
    return model.get_output_embeddings().weight is not model.get_input_embeddings().weight


def _own_cut(backbone: Backbone, layers: int, lower: LowerStates) -> CutTrunk:
    """The split of the trained model; its lower part may have run in another copy of the model."""
    if lower.cut.layers != layers:
        raise InputError(f"the given states are those below {lower.cut.layers} layers", field="layers")
    if lower.backbone.fingerprint != backbone.fingerprint:
        raise InputError(f"the given states are from another model, {lower.backbone.name!r}", field="lower")
    return lower.cut if lower.backbone is backbone else CutTrunk(backbone.model, layers)


def _parts(forest: Forest, states: Tensor) -> list[tuple[int, Tensor, dict[int, Tensor]]]:
    """States of each piece of a forest: (index of its tree, states of the prompt, states of the branches)."""
    result: list[tuple[int, Tensor, dict[int, Tensor]]] = []
    owners: list[list[int]] = to_list(forest.owners)
    branch_of = forest.branch_ids
    starts = to_list(forest.ends - forest.lengths + 1)
    ends = to_list(forest.ends)
    at = 0
    for number, (tree, branch) in enumerate(owners):
        first = starts[number]
        if first > at or not result or result[-1][0] != tree:
            result.append((tree, states[at:first], {}))
        result[-1][2][branch] = states[first : ends[number] + 1]
        at = ends[number] + 1
    assert at == len(branch_of), "branches reach the row's end"
    return result


def _keys(tree: Tree) -> list[str]:
    """Cache keys of the prompt and of each branch after it."""
    prompt = repr(list(tree.prompt_ids))
    texts = [prompt, *(f"{prompt} {list(branch)}" for branch in tree.branches)]
    return [digest([text.encode()]) for text in texts]
